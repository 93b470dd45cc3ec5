package handler_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// labelled is a project of one person's images, three of them with a tag and three without.
func labelled(api *cvtest.Server) (p *cvtest.Project, tagged, untagged []uuid.UUID) {
	p = api.AddProject(cvtest.ProjectSpec{
		Name: "Faces", Tags: []string{"box"}, Images: 6, ImageBytes: cvtest.Tiny,
		Metadata: func(int) map[string]string { return map[string]string{"subject": "person-1"} },
	})
	api.UntagImages(p.ID, p.Images[3:]...)
	return p, p.Images[:3], p.Images[3:]
}

// tagOne tags an image that has no tag.
func tagOne(w *world, p *cvtest.Project, _, untagged []uuid.UUID) {
	w.api.TagImages(p.ID, p.Tags[0], untagged[0])
}

// swapTags tags one image and untags another, so that all counts are what they were.
func swapTags(w *world, p *cvtest.Project, tagged, untagged []uuid.UUID) {
	w.api.TagImages(p.ID, p.Tags[0], untagged[0])
	w.api.UntagImages(p.ID, tagged[0])
}

// TestErasedBesideALabeller labels an image between the listing of the tagged and that of the
// untagged images, so that it is in neither. The erasure takes it all the same, or says that it did
// not.
func TestErasedBesideALabeller(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		label   func(w *world, p *cvtest.Project, tagged, untagged []uuid.UUID)
		status  contract.Status
		left    int // images
		deleted int64
	}{
		{name: "one is tagged", status: contract.StatusCompleted, deleted: 6, label: tagOne},
		{name: "one is tagged and another untagged", status: contract.StatusCompleted, deleted: 6, label: swapTags},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			p, tagged, untagged := labelled(w.api)
			w.before("GetUntaggedImages", 1, func() { c.label(w, p, tagged, untagged) })
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
			if e.Status != c.status || e.Counts.Images != c.deleted {
				t.Errorf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
			}
			if left := len(project(ptr(w.api.Snapshot()), p.ID).Workspace.Images); left != c.left {
				t.Errorf("%d images are left, want %d", left, c.left)
			}
		})
	}
}

// TestOnlyMatchIsLabelled labels the only image of a person while the plan is made: it is found.
func TestOnlyMatchIsLabelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "Faces", Tags: []string{"box"}, Images: 1, ImageBytes: cvtest.Tiny})
	match := w.api.AddImage(p.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": "person-1"}})
	w.before("GetUntaggedImages", 1, func() {
		w.api.TagImages(p.ID, p.Tags[0], match)
		w.api.UntagImages(p.ID, p.Images[0])
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
	if e.Status != contract.StatusCompleted || e.Counts.Images != 1 {
		t.Errorf("ended %s %s with %d images: %v", e.Status, e.Outcome, e.Counts.Images, e.Error)
	}
}

// TestAddedAfterTheBeginning adds an image of the person after the delete began: it is a new
// command's business.
func TestAddedAfterTheBeginning(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p, _, _ := labelled(w.api)
	w.before("DeleteImages", 1, func() {
		w.api.AddImage(p.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": "person-1"}, Created: time.Now().Add(time.Hour)})
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
	if e.Status != contract.StatusCompleted || e.Counts.Images != 6 {
		t.Errorf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	if left := len(project(ptr(w.api.Snapshot()), p.ID).Workspace.Images); left != 1 {
		t.Errorf("%d images are left, want the new one", left)
	}
}

// TestExportedBesideALabeller is the same for an export.
func TestExportedBesideALabeller(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		label func(w *world, p *cvtest.Project, tagged, untagged []uuid.UUID)
	}{
		{"one is tagged", tagOne},
		{"one is tagged and another untagged, so that all counts are what they were", swapTags},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			p, tagged, untagged := labelled(w.api)
			w.before("GetUntaggedImages", 1, func() { c.label(w, p, tagged, untagged) })
			w.start(t, replicaOptions{units: 1, commands: 1})
			e := w.run(t, "exp-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
			lines := w.bag(t, "exp-1", sink.ExportBag)["data/projects/"+p.ID.String()+"/images.jsonl"]
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != 6 || !bytes.Contains(lines, []byte(untagged[0].String())) {
				t.Errorf("ended %s %s with %d images: %v", e.Status, e.Outcome, e.Counts.Images, e.Error)
			}
		})
	}
}

// TestExportedWhileItsCountsLie has the service count no tagged images while it lists some: all of
// them are in the bag, and the contradiction is an exception.
func TestExportedWhileItsCountsLie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p, _, _ := labelled(w.api)
	w.api.Fault(cvtest.Fault{Operation: "GetTaggedImageCount", Status: 200, Body: "0", Times: -1})
	w.start(t, replicaOptions{})
	_, e, inventory := w.exceptions(t, `{"project_ids":`+idList(p.ID)+`,"categories":["images"]}`, 1)
	if got := inventory.Projects[0].Unstable; e.Counts.Images != 6 || len(got) != 1 || got[0] != "tagged of the workspace" {
		t.Errorf("%d images, and unstable is %v", e.Counts.Images, got)
	}
}

// TestRemovedBeforeItsDownload removes images between their listing and the download of their
// pictures. One that is nowhere any more was removed meanwhile, and is no exception; one that an
// iteration still has is fetched there.
func TestRemovedBeforeItsDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p, tagged, _ := labelled(w.api)
	w.api.AddIteration(p.ID, cvtest.IterationSpec{})
	fresh := w.api.AddImages(p.ID, 1, cvtest.Tiny)[0]
	w.before(cvtest.OperationBlob, 1, func() { w.api.RemoveImage(p.ID, tagged[2], fresh) })
	w.start(t, replicaOptions{commands: 1, units: 1, configure: func(c *handler.Config) { c.Downloads = 1 }})
	files, _, inventory := w.exceptions(t, `{"project_ids":`+idList(p.ID)+`,"categories":["images"]}`, 0)
	if got := inventory.Projects[0].Removed; len(got) != 1 || got[0] != fresh.String() {
		t.Errorf("removed is %v, not %s", got, fresh)
	}
	lines := files["data/projects/"+p.ID.String()+"/images.jsonl"]
	for id, want := range map[uuid.UUID]bool{tagged[2]: true, fresh: false} {
		if l := lineOf(t, lines, id); (l.File != nil) != want || (l.Error == nil) != want {
			t.Errorf("of %s the bag has %+v", id, l)
		}
	}
}

// TestListedOnceMoreBesideA404 has the last look at a selection meet a 404 about one thing: that
// says nothing of the rest, and the image that went unseen is found.
func TestListedOnceMoreBesideA404(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"NotFoundIteration", "NotFoundTag"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			p, _, _ := labelled(w.api)
			w.api.OnCall(func(operation string, _ int) {
				if operation == "DeleteImages" {
					w.api.AddImage(p.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": "person-1"}}) // made before, as it says
					w.api.Fault(cvtest.Fault{Operation: "GetTaggedImages", Status: 404, Code: code})
					w.api.Fault(cvtest.Fault{Operation: "GetUntaggedImages", Status: 404, Code: code})
				}
			})
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
			if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged || !e.Error.Retryable {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
		})
	}
}

// TestClockBehind has a replica whose clock is behind: what was there when the command was
// published does not pass for new.
func TestClockBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p, _, _ := labelled(w.api)
	w.before("DeleteImages", 1, func() {
		w.api.AddImage(p.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": "person-1"}, Created: time.Now().Add(-time.Minute)})
	})
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Now = func() time.Time { return time.Now().Add(-10 * time.Minute) }
	}})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

// TestServiceClockAhead has a service whose clock is ahead of all others: what was there, by that
// clock, when the plan was made does not pass for new.
func TestServiceClockAhead(t *testing.T) {
	t.Parallel()
	ahead := func() time.Time { return time.Now().Add(24 * time.Hour) }
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, Now: ahead}})
	p, _, _ := labelled(w.api)
	w.before("DeleteImages", 1, func() {
		w.api.AddImage(p.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": "person-1"}, Created: ahead().Add(-time.Hour)})
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

// TestCountOfNone has the service count no tagged images while it lists some: each listing is asked
// for, whatever its count says.
func TestCountOfNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p, _, _ := labelled(w.api)
	w.api.Fault(cvtest.Fault{Operation: "GetTaggedImageCount", Status: 200, Body: "0", Times: -1})
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 1
	}})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_metadata":{"subject":"person-1"}}`)
	if left := len(project(ptr(w.api.Snapshot()), p.ID).Workspace.Images); e.Status == contract.StatusCompleted && left > 0 {
		t.Errorf("ended %s %s with %d images left", e.Status, e.Outcome, left)
	}
}
