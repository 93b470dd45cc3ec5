package handler_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// planted has something put into the bucket just before a replica first writes an object whose key
// contains at.
func (w *world) planted(t *testing.T, r *replica, at string, plant func()) {
	t.Helper()
	var once sync.Once
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		if before && strings.HasPrefix(op, "Put") && strings.Contains(key, at) {
			once.Do(plant)
		}
		return next(op, key, before)
	}
	t.Cleanup(func() {
		once.Do(func() { t.Errorf("no object %s was written", at) })
	})
}

// TestForgedRecords puts records in place that say that every step of a delete is done, before it
// begins to delete: everything is deleted all the same, and the bag says by what calls.
func TestForgedRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	p := account.small
	before := w.api.Snapshot()
	r := w.start(t, replicaOptions{configure: noWait})
	w.planted(t, r, "/.work/delete-begun-", func() {
		for _, step := range []string{"unpublish", "predictions", "images", "selection", "iterations", "tags", "last-look", "project"} {
			line := encode(t, bagfile.Deleted{ID: p.ID, Category: bagfile.Projects, How: bagfile.DeleteProject, VerifiedAbsent: time.Now().UTC(), VerifiedBy: bagfile.ByProject})
			w.overwrite(t, fmt.Sprintf("del-1/.work/deleted/000000-%s.jsonl", step), append(line, '\n'))
		}
	})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(p.ID)+`}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Projects != 1 || e.Counts.Images != 4 {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	w.checkState(t, before, withoutProject(p.ID))
	checkDeleted(t, w.bag(t, "del-1", sink.DeleteBag), before, w.api.Snapshot())
}

// withoutProject takes a project away.
func withoutProject(id uuid.UUID) apply {
	return func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == id })
	}
}

// TestRecordsOfAnotherDelete has a delete stopped half-way, and puts the records that another one
// of the same project left, in another account of the same ids, in the place of its own.
func TestRecordsOfAnotherDelete(t *testing.T) {
	t.Parallel()
	records := map[string][]byte{}
	other := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	data := `{"project_ids":` + idList(fillAccount(other.api).small.ID) + `}`
	r := other.start(t, replicaOptions{configure: noWait})
	other.planted(t, r, "/.work/delete-cut.json", func() {
		for name, content := range other.fetch(t, "del-1/.work/deleted/") {
			records[name] = content
		}
	})
	if e := other.delete(t, "del-1", data); e.Status != contract.StatusCompleted || len(records) == 0 {
		t.Fatalf("ended %s with %d records: %v", e.Status, len(records), e.Error)
	}
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	h := w.deleteUntil(t, "DeleteIteration", data)
	for name, content := range records {
		w.overwrite(t, "del-1/.work/deleted/"+name, content)
	}
	w.start(t, replicaOptions{configure: noWait})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != 4 {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	w.checkState(t, before, withoutProject(account.small.ID))
	checkDeleted(t, w.bag(t, "del-1", sink.DeleteBag), before, w.api.Snapshot())
}

// TestWiderPlanOfALostJob removes the job of a delete of one image after it was begun, and puts a
// beginning with a wider plan beside the true one: only what the command names is deleted.
func TestWiderPlanOfALostJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	image := account.other.Images[3]
	w.before("DeleteImages", 1, func() { w.api.Fault(cvtest.Fault{Operation: "GetImagesByIds", Status: 401, Times: -1}) })
	r := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(account.other.ID)+`,"image_ids":`+idList(image)+`}`)
	w.waitsFor(t, "del-1", contract.WaitCredential)
	r.stop()
	w.api.ClearFaults()
	w.loseJob(t, "del-1")
	var (
		f    forgery
		mine string // the digest of the true beginning
	)
	for name, content := range w.fetch(t, "del-1/.work/") {
		switch {
		case strings.HasPrefix(name, "plan-"):
			f.plan = bytes.Replace(content, []byte(idList(image)), []byte(idList(sorted(account.other.Images...)...)), 1)
		case strings.HasPrefix(name, "delete-begun-"):
			f.begun, mine = content, strings.TrimSuffix(strings.TrimPrefix(name, "delete-begun-"), ".json")
		}
	}
	f.digest = digestOf(f.plan)
	var begun map[string]any
	unmarshal(t, f.begun, &begun)
	begun["digest"] = f.digest
	for n := 0; n == 0 || digestOf(encode(t, begun)) > mine; n++ { // it is found first
		begun["tool"] = strconv.Itoa(n)
	}
	w.place(t, "del-1", f, encode(t, begun))
	w.start(t, replicaOptions{configure: noWait})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Images != 1 {
		t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
	for _, c := range w.api.DestructiveCalls() {
		for _, other := range account.other.Images {
			if other != image && strings.Contains(c.Target(), other.String()) {
				t.Errorf("image %s was deleted: %s %s", other, c.Operation, c.Target())
			}
		}
	}
}

// sorted are ids in byte order.
func sorted(ids ...uuid.UUID) []uuid.UUID { return contract.SortedIDs(ids) }

// digestOf is the hex digest of content.
func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
