package handler_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestRefusedThings has the service refuse each operation that an export calls, about one thing,
// for good. The rest of the export is whole, and the inventory names what is missing: the
// operation, the code and the service's name for the answer. /readyz stays as it is.
func TestRefusedThings(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	p := w.api.AddProject(cvtest.ProjectSpec{
		Images: 2, Untagged: 1, Predictions: 1, ImageBytes: cvtest.Tiny,
		Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 1, Exports: []cvtest.ExportSpec{{Platform: "ONNX"}}}, {Exports: []cvtest.ExportSpec{{Platform: "ONNX"}}}},
	})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{configure: attempts(1)})
	first := p.Iterations[0].String()
	n := 0
	for _, c := range []struct {
		operation, path string
		category        contract.Category
		id              string
	}{
		{"GetProject", "", contract.CategoryProjects, p.ID.String()},
		{"GetIterations", "", contract.CategoryIterations, p.ID.String()},
		{"GetTags", "iterationId=" + first, contract.CategoryTags, first},
		{"GetIterationPerformance", first, contract.CategoryPerformance, first},
		{"GetImagePerformanceCount", first, contract.CategoryPerformance, first},
		{"GetImagePerformances", first, contract.CategoryPerformance, first},
		{"GetTaggedImageCount", "iterationId=" + first, contract.CategoryImages, first},
		{"GetTaggedImages", "iterationId=" + first, contract.CategoryImages, first},
		{"GetUntaggedImageCount", "iterationId=" + first, contract.CategoryImages, first},
		{"GetUntaggedImages", "iterationId=" + first, contract.CategoryImages, first},
		{"GetImageCount", "", contract.CategoryImages, "workspace"},
		{"GetImages", "", contract.CategoryImages, "workspace"},
		{"GetImagesByIds", "iterationId=" + first, contract.CategoryImages, p.Images[0].String()},
		{"GetExports", first, contract.CategoryExports, first},
		{"QueryPredictions", "", contract.CategoryPredictions, "workspace"},
	} {
		for _, status := range []int{http.StatusBadRequest, http.StatusForbidden, http.StatusInternalServerError} {
			if status == http.StatusForbidden && c.id == "workspace" {
				continue // the fault strikes every scope: see TestRefusedRole
			}
			if n++; leftOut(n) {
				continue
			}
			id := fmt.Sprintf("exp-%d", n)
			t.Run(fmt.Sprintf("%s %d", c.operation, status), func(t *testing.T) {
				fault := cvtest.Fault{Operation: c.operation, Path: p.ID.String(), Times: -1, Status: status, Code: "Refused"}
				if c.path != "" {
					fault.Path = c.path
				}
				w.api.ClearFaults()
				w.api.Fault(fault)
				e := w.run(t, id, `{"project_ids":`+idList(p.ID)+`}`)
				if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeExceptions {
					t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
				}
				if problems := r.health.Problems(); len(problems) > 0 {
					t.Errorf("/readyz says %v", problems)
				}
				var inventory inventoryOf
				unmarshal(t, w.bag(t, id, sink.ExportBag)["evidence/inventory.json"], &inventory)
				var named *bagfile.Failure
				for _, f := range inventory.Projects[0].Categories[string(c.category)].Failed {
					if f.ID == c.id && f.Operation == c.operation {
						named = &f
					}
				}
				if named == nil || named.Code != "Refused" || named.RequestID == "" {
					t.Errorf("the inventory has %+v, and of the category %+v", named, inventory.Projects[0].Categories[string(c.category)].Failed)
				}
				if len(w.api.Unhit()) > 0 {
					t.Error("nothing was refused")
				}
			})
		}
	}
}

// TestTrainingAtAnExport exports a project while an iteration is in training, and one whose status
// is not known: their images cannot be seen, and the inventory says so.
func TestTrainingAtAnExport(t *testing.T) {
	t.Parallel()
	for status, exceptions := range map[string]int64{cvtest.StatusTraining: 1, "Queued": 1, cvtest.StatusFailed: 0} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := smallProject(w.api)
			w.api.SetStatus(p.ID, p.Iterations[1], status)
			w.start(t, replicaOptions{})
			_, _, inventory := w.exceptions(t, `{"project_ids":`+idList(p.ID)+`}`, exceptions)
			failed := inventory.Projects[0].Categories["iterations"].Failed
			if len(failed) != int(exceptions) || exceptions > 0 && (failed[0].ID != p.Iterations[1].String() || failed[0].Code != "training") {
				t.Errorf("the inventory has %+v", failed)
			}
		})
	}
}

// TestFrozenThresholds has one replica coordinate and another one work, whose settings differ: the
// performance is asked with the thresholds that the plan froze, which export.json names.
func TestFrozenThresholds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	p := smallProject(w.api)
	w.start(t, replicaOptions{commands: 1, configure: func(c *handler.Config) { c.Threshold, c.Overlap = 0.7, 0.4 }})
	w.start(t, replicaOptions{units: 1})
	files, _, _ := w.exceptions(t, `{"project_ids":`+idList(p.ID)+`,"categories":["performance"]}`, 0)
	asked := 0
	for _, call := range w.api.Calls() {
		if call.Operation != "GetIterationPerformance" {
			continue
		}
		asked++
		if got := call.Query.Get("threshold") + " " + call.Query.Get("overlapThreshold"); got != "0.7 0.4" {
			t.Errorf("asked with %s", got)
		}
	}
	var record struct {
		PerformanceThreshold float64 `json:"performance_threshold"`
	}
	unmarshal(t, files["data/export.json"], &record)
	if asked == 0 || record.PerformanceThreshold != 0.7 {
		t.Errorf("asked %d times; export.json says %v", asked, record.PerformanceThreshold)
	}
}
