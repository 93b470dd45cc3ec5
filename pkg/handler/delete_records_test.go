package handler_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestRecordsOfASmallDelete has a delete of tagged images and their tag fail at the tag, after its
// images are gone. The records of a small delete go into its cut, which this one does not get: they
// are stored as the attempt ends, and the evidence has what they saw.
func TestRecordsOfASmallDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "Faces", Tags: []string{"box", "can"}, Images: 6, ImageBytes: cvtest.Tiny})
	w.api.Fault(cvtest.Fault{Operation: "DeleteTag", Status: 400, Code: "BadRequest", Times: -1})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"tag_ids":`+idList(p.Tags[0])+`,"categories":["images","tags"]}`)
	if e.Status != contract.StatusFailed || e.Counts.Images == 0 {
		t.Fatalf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	var failure struct {
		KnownAbsent []struct{ Category string } `json:"known_absent"`
		NotVerified []struct{ Step string }     `json:"not_verified"`
	}
	raw := w.fetch(t, "del-1/delete/")["evidence/failure.json"]
	if err := json.Unmarshal(raw, &failure); err != nil {
		t.Fatal(err)
	}
	if len(failure.KnownAbsent) != 1 || failure.KnownAbsent[0].Category != "images" {
		t.Errorf("known to be absent: %v", failure.KnownAbsent)
	}
	for _, step := range failure.NotVerified {
		if step.Step != "tags" && step.Step != "last-look" {
			t.Errorf("not verified: %s", step.Step)
		}
	}
	if left := w.objects(t, "del-1"); slices.ContainsFunc(left, func(name string) bool { return strings.Contains(name, ".work/") }) {
		t.Errorf("working objects are left: %v", left)
	}
}

// TestRecordsOfASmallDeleteWithoutACut has the attempts at a small delete fail at its cut, when all
// is gone: the evidence has what they saw all the same.
func TestRecordsOfASmallDeleteWithoutACut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "Faces", Tags: []string{"box", "can"}, Images: 6, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 1
	}})
	r.faults.Add(sinktest.Fault{Op: "PutObject", Key: "*/delete-cut.json", Times: -1, Status: http.StatusInternalServerError})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`,"image_ids":`+idList(p.Images[:2]...)+`,"categories":["images"]}`)
	if e.Status != contract.StatusFailed || e.Counts.Images != 2 {
		t.Fatalf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	var failure struct {
		NotVerified []struct{ Step string } `json:"not_verified"`
	}
	raw := w.fetch(t, "del-1/delete/")["evidence/failure.json"]
	if err := json.Unmarshal(raw, &failure); err != nil {
		t.Fatal(err)
	}
	if len(failure.NotVerified) > 0 {
		t.Errorf("not verified: %v", failure.NotVerified)
	}
}
