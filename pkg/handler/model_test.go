package handler_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// modelProject has an iteration with these models.
func modelProject(api *cvtest.Server, exports ...cvtest.ExportSpec) *cvtest.Project {
	return api.AddProject(cvtest.ProjectSpec{
		Compact: true, Images: 1, Iterations: []cvtest.IterationSpec{{Exports: exports}}, ImageBytes: cvtest.Tiny,
	})
}

// A model is stored under its own name, whatever GetExports lists when it is asked for a fresh
// link.
func TestModelsKeepTheirNames(t *testing.T) {
	t.Parallel()
	const normal, lite = "TensorFlow.TensorFlowNormal.zip", "TensorFlow.TensorFlowLite.zip"
	reverse := func(exports []map[string]any) []map[string]any {
		slices.Reverse(exports)
		return exports
	}
	twins := func(exports []map[string]any) []map[string]any { // the flavors become one: only the files tell them apart
		for _, e := range exports {
			e["flavor"] = "Twin"
		}
		return exports
	}
	without := func(file string) func([]map[string]any) []map[string]any {
		return func(exports []map[string]any) []map[string]any {
			return slices.DeleteFunc(exports, func(e map[string]any) bool { return strings.Contains(e["downloadUri"].(string), file) })
		}
	}
	both := func(f, g func([]map[string]any) []map[string]any) func([]map[string]any) []map[string]any {
		return func(exports []map[string]any) []map[string]any { return g(f(exports)) }
	}
	const nameNormal, nameLite = "TensorFlow-TensorFlowNormal", "TensorFlow-TensorFlowLite"
	for _, c := range []struct {
		name         string
		first, later func([]map[string]any) []map[string]any
		want         map[string]string // flavor of the content by the name of the file; empty: it cannot be had
	}{
		{name: "the order changes", later: reverse, want: map[string]string{nameNormal: "TensorFlowNormal", nameLite: "TensorFlowLite"}},
		{
			name: "a newer one of the same platform comes first", first: without(lite),
			want: map[string]string{nameNormal: "TensorFlowNormal"}, later: reverse,
		},
		{
			name: "it is not offered any more", later: without(normal),
			want: map[string]string{nameNormal: "", nameLite: "TensorFlowLite"},
		},
		{
			name: "another one of its platform and flavor takes its place", first: both(twins, without(lite)), later: both(twins, without(normal)),
			want: map[string]string{"TensorFlow-Twin": ""},
		},
		{
			name: "two of one platform and flavor change places", first: twins, later: both(twins, reverse),
			want: map[string]string{"TensorFlow-Twin": "TensorFlowNormal", "TensorFlow-Twin2": "TensorFlowLite"},
		},
		{
			name: "a newer one of its platform and flavor comes first", first: both(twins, without(lite)), later: both(twins, reverse),
			want: map[string]string{"TensorFlow-Twin": "TensorFlowNormal"},
		},
		{
			name: "it is made again", later: func(exports []map[string]any) []map[string]any {
				exports[0]["status"], exports[0]["downloadUri"] = "Exporting", nil
				return exports
			},
			want: map[string]string{nameNormal: "", nameLite: "TensorFlowLite"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := modelProject(w.api,
				cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowNormal"},
				cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowLite"})
			if c.first != nil {
				w.api.Fault(cvtest.Fault{Operation: "GetExports", Rewrite: rewriting(t, c.first)})
			}
			w.api.Fault(cvtest.Fault{Operation: "GetExports", Call: 1, Times: -1, Rewrite: rewriting(t, c.later)})
			w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: normal, Status: 403, Code: "AuthenticationFailed"}) // a fresh link is asked for
			w.start(t, replicaOptions{})
			checkModels(t, w, p, c.want)
			if unhit := w.api.Unhit(); len(unhit) > 0 {
				t.Errorf("faults not hit: %+v", unhit)
			}
		})
	}
	t.Run("a later attempt works on the frozen reading", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: redelivery})
		p := modelProject(w.api,
			cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowNormal"},
			cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowLite"})
		w.api.Fault(cvtest.Fault{Operation: "GetExports", Call: 1, Times: -1, Rewrite: rewriting(t, reverse)})
		f := newFate("blob /blobs/m-"+strings.ReplaceAll(p.ID.String(), "-", "")+"/"+p.Iterations[0].String()+"."+normal+"#1", false)
		first := w.start(t, replicaOptions{fate: f})
		h := w.publish(t, "export", "disturbed", `{"all_projects":true}`)
		select {
		case <-f.died:
		case <-time.After(patience):
			t.Fatalf("no model is fetched; these effects happened:\n%s", strings.Join(f.effects, "\n"))
		}
		first.stop()
		w.start(t, replicaOptions{})
		if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		checkModelFiles(t, w, p, map[string]string{nameNormal: "TensorFlowNormal", nameLite: "TensorFlowLite"})
	})
}

// rewriting is a change of a list of exports, as a fault makes it.
func rewriting(t *testing.T, change func([]map[string]any) []map[string]any) func([]byte) []byte {
	return func(b []byte) []byte {
		var exports []map[string]any
		if err := json.Unmarshal(b, &exports); err != nil {
			t.Errorf("read the exports: %v", err)
		}
		out, err := json.Marshal(change(exports))
		if err != nil {
			t.Errorf("write the exports: %v", err)
		}
		return out
	}
}

// checkModels runs an export and holds the models of its bag against those wanted, and what cannot
// be had against the inventory.
func checkModels(t *testing.T, w *world, p *cvtest.Project, want map[string]string) {
	t.Helper()
	var lost []string
	for name, flavor := range want {
		if flavor == "" {
			lost = append(lost, p.Iterations[0].String()+"/"+name)
		}
	}
	_, e, inventory := w.exceptions(t, `{"all_projects":true}`, int64(len(lost)))
	if had := int64(len(want) - len(lost)); e.Counts.Exports != had {
		t.Errorf("%d models are counted, want %d", e.Counts.Exports, had)
	}
	var failed []string
	for _, f := range inventory.Projects[0].Categories["exports"].Failed {
		failed = append(failed, f.ID)
		if f.Code != "gone" {
			t.Errorf("%s could not be had: %s %s", f.ID, f.Code, f.Message)
		}
	}
	if !slices.Equal(failed, lost) {
		t.Errorf("the inventory lists %v, want %v", failed, lost)
	}
	checkModelFiles(t, w, p, want)
}

func checkModelFiles(t *testing.T, w *world, p *cvtest.Project, want map[string]string) {
	t.Helper()
	files := w.bag(t, "disturbed", sink.ExportBag)
	folder := "data/projects/" + p.ID.String() + "/iterations/" + p.Iterations[0].String() + "/exports/"
	for name, flavor := range want {
		content, there := files[folder+name+".zip"]
		switch {
		case flavor == "" && there:
			t.Errorf("%s is in the bag, and cannot be had", name)
		case flavor != "" && !slices.Equal(content, w.api.Model(p.ID, p.Iterations[0], "TensorFlow", flavor)):
			t.Errorf("%s is not the model of flavor %s", name, flavor)
		}
		delete(files, folder+name+".zip")
	}
	for name := range files {
		if strings.HasPrefix(name, folder) {
			t.Errorf("the bag has %s", name)
		}
	}
}
