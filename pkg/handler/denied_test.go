package handler_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestExportOfWhatIsDeniedOnce has one replica of the service that lags behind say that something
// in the project is not there: an iteration, which the command names or not, a tag or an image that
// it names. The export looks again, and is whole.
func TestExportOfWhatIsDeniedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := smallProject(w.api)
	it := p.Iterations[0]
	w.start(t, replicaOptions{configure: noWait})
	gone := func(operation string) cvtest.Fault {
		return cvtest.Fault{Operation: operation, Path: it.String(), Status: 404, Code: "NotFoundIteration"}
	}
	counts := map[string]contract.Counts{} // of undisturbed exports, by what they are narrowed to
	for _, c := range []struct {
		name, narrow string
		fault        cvtest.Fault
	}{
		{"models", "", gone("GetExports")},
		{"performances", "", gone("GetImagePerformances")},
		{"images", "", gone("GetTaggedImages")},
		{"a code about something else", "", cvtest.Fault{Operation: "GetTaggedImages", Path: it.String(), Status: 404, Code: "NotFoundTag"}},
		{"an iteration that is named", `,"iteration_ids":` + idList(it), gone("GetIteration")},
		{"a tag that is named", `,"tag_ids":` + idList(p.Tags[0]), cvtest.Fault{Operation: "GetTags", Times: 1 + len(p.Iterations), Status: 200, Body: "[]"}},
		{"an image that is named", `,"image_ids":` + idList(p.Images[0]), cvtest.Fault{Operation: "GetImagesByIds", Times: 1 + len(p.Iterations), Status: 200, Body: "[]"}},
	} {
		if _, ok := counts[c.narrow]; !ok {
			counts[c.narrow] = w.run(t, "whole-"+uuid.NewString(), `{"project_ids":`+idList(p.ID)+c.narrow+`}`).Counts
		}
		id := "exp-" + uuid.NewString()
		w.api.Fault(c.fault)
		e := w.run(t, id, `{"project_ids":`+idList(p.ID)+c.narrow+`}`)
		if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts != counts[c.narrow] {
			t.Errorf("%s: ended %s %s with %+v, not %+v: %v", c.name, e.Status, e.Outcome, e.Counts, counts[c.narrow], e.Error)
		}
		if len(w.api.Unhit()) > 0 {
			t.Errorf("%s: nothing was denied", c.name)
		}
		w.api.ClearFaults()
	}
}

// TestExportOfContradictions has the service deny to the end what it lists. An iteration is named
// in the inventory, and the rest is whole; a project is not verified.
func TestExportOfContradictions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := smallProject(w.api)
	it := p.Iterations[0]
	w.start(t, replicaOptions{configure: func(c *handler.Config) { noWait(c); c.MaxAttempts = 1 }})
	for _, operation := range []string{"GetTags", "GetExports"} {
		w.api.Fault(cvtest.Fault{Operation: operation, Path: it.String(), Times: -1, Status: 404, Code: "NotFoundIteration"})
		if e := w.run(t, "exp-"+operation, `{"project_ids":`+idList(p.ID)+`}`); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeExceptions {
			t.Errorf("%s: ended %s %s: %v", operation, e.Status, e.Outcome, e.Error)
		}
		w.api.ClearFaults()
	}
	w.api.Fault(cvtest.Fault{Operation: "GetProject", Times: -1, Status: 404, Code: "NotFoundProject"})
	if e := w.run(t, "project", `{"project_ids":`+idList(p.ID)+`}`); e.Status != contract.StatusFailed || e.Error.Code != contract.CodeUnverified {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

// TestDeleteOfWhatIsDeniedOnce has one listing of the service leave out what a delete selects,
// while it is planned. The delete plans again, and does not say that nothing was there.
func TestDeleteOfWhatIsDeniedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := smallProject(w.api)
	w.start(t, replicaOptions{configure: noWait})
	for operation, data := range map[string]string{
		"GetTags":       `,"categories":["tags"],"tag_ids":` + idList(p.Tags[0]),
		"GetIterations": `,"categories":["iterations"],"iteration_ids":` + idList(p.Iterations[0]),
	} {
		w.api.Fault(cvtest.Fault{Operation: operation, Status: 200, Body: "[]"})
		if e := w.delete(t, "named-"+operation, `{"project_ids":`+idList(p.ID)+data+`}`); e.Outcome != contract.OutcomeComplete {
			t.Errorf("%s: ended %s %s: %v", operation, e.Status, e.Outcome, e.Error)
		}
	}
	w.api.Fault(cvtest.Fault{Operation: "GetIterations", Status: 200, Body: "[]"})
	if e := w.delete(t, "all", `{"project_ids":`+idList(p.ID)+`,"categories":["iterations"]}`); e.Outcome != contract.OutcomeComplete {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

// TestCountsThatWronglySayZero has the service count no image after a delete that did nothing.
// Counts alone do not show that the images are gone.
func TestCountsThatWronglySayZero(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 2, ImageBytes: cvtest.Tiny})
	w.start(t, replicaOptions{configure: func(c *handler.Config) { noWait(c); c.VerifyTimeout = 1 }})
	w.before("DeleteImages", 1, func() {
		for _, operation := range []string{"GetTaggedImageCount", "GetUntaggedImageCount"} {
			w.api.Fault(cvtest.Fault{Operation: operation, Status: 200, Body: "0"})
		}
	})
	w.api.Fault(cvtest.Fault{Operation: "DeleteImages", Status: 202})
	if e := w.delete(t, "del", `{"project_ids":`+idList(p.ID)+`,"categories":["images"]}`); e.Status != contract.StatusFailed || e.Error.Code != contract.CodeUnverified {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}
