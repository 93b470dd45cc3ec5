package handler_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// hidden makes an iteration of project a be in training, and returns an image that only this
// iteration has: it cannot be seen until the training is over.
func hidden(t *testing.T, w *world, account testAccount) (iteration, image uuid.UUID) {
	t.Helper()
	p := project(ptr(w.api.Snapshot()), account.small.ID)
	for _, it := range p.Iterations {
		for _, i := range without(it.Images, func(i cvtest.ItemState) bool {
			return len(without(p.Workspace.Images, oneOf(i.ID))) < len(p.Workspace.Images)
		}) {
			w.api.SetStatus(account.small.ID, it.ID, cvtest.StatusTraining)
			return it.ID, i.ID
		}
	}
	t.Fatal("every image of every iteration is in the workspace")
	return uuid.Nil, uuid.Nil
}

// waitsForTraining waits until a command says that it does.
func (w *world) waitsForTraining(t *testing.T, id string) {
	t.Helper()
	w.eventually(t, "the job waits for training", func() bool {
		job, _, err := w.queue.Job(t.Context(), id)
		return err == nil && job.Waiting != nil && job.Waiting.For == contract.WaitTraining
	})
}

// TestImagesWaitForTraining deletes an image while an iteration that holds a copy is in training:
// until that is over it cannot be deleted, nor be said to be gone.
func TestImagesWaitForTraining(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	it, image := hidden(t, w, account)
	before := w.api.Snapshot()
	w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.small.ID), idList(image)))
	w.waitsForTraining(t, "del-1")
	w.api.SetStatus(account.small.ID, it, cvtest.StatusCompleted)
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Images != 1 || e.Attempt != 1 {
		t.Fatalf("ended %s in attempt %d with %d images: %v", e.Status, e.Attempt, e.Counts.Images, e.Error)
	}
	w.checkState(t, before, everywhere(oneOf(image), account.small.ID))
}

// TestTrainingBegunMeanwhile begins a training after the plan was made: what it takes in of the
// images to delete is not overlooked.
func TestTrainingBegunMeanwhile(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"DeleteImages", "GetImagesByIds"} {
		t.Run(when, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			image := project(ptr(w.api.Snapshot()), account.small.ID).Workspace.Images[0].ID
			it := account.small.Iterations[1]
			var once sync.Once
			w.api.OnCall(func(operation string, _ int) {
				if operation == when {
					once.Do(func() { w.api.SetStatus(account.small.ID, it, cvtest.StatusTraining) })
				}
			})
			before := w.api.Snapshot()
			w.start(t, replicaOptions{configure: noWait})
			h := w.publish(t, "delete", "del-1", fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.small.ID), idList(image)))
			w.waitsForTraining(t, "del-1")
			w.api.SetStatus(account.small.ID, it, cvtest.StatusCompleted)
			if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Images != 1 {
				t.Fatalf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
			}
			w.checkState(t, before, everywhere(oneOf(image), account.small.ID))
		})
	}
}

// TestEachThingHasItsOwnTime shows that the time to see one thing gone does not run while another
// is deleted, or while nothing can be done at all.
func TestEachThingHasItsOwnTime(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	clock := newSkippingClock()
	// The service forgets an iteration only after the first look at it; an hour goes by before the
	// second one is deleted.
	w.api.Fault(cvtest.Fault{Operation: "DeleteIteration", Status: 404, Code: "NotFoundIteration", Times: -1})
	its := slices.SortedFunc(slices.Values(account.small.Iterations), func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	w.api.OnCall(func(operation string, n int) {
		switch {
		case operation == "DeleteIteration" && n == 2:
			clock.skipped.Add(int64(time.Hour))
		case operation == "GetIteration" && n%2 == 0:
			w.api.RemoveIteration(account.small.ID, its[n/2-1])
		}
	})
	w.start(t, replicaOptions{configure: func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait }})
	e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(its...)))
	if e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
}

// TestDeleteOutlivesItsTraces publishes a delete again when its job is forgotten: the end of before
// stands, also where the service deletes nothing any more.
func TestDeleteOutlivesItsTraces(t *testing.T) {
	t.Parallel()
	for _, status := range []contract.Status{contract.StatusCompleted, contract.StatusFailed} {
		t.Run(string(status), func(t *testing.T) {
			o := cvtest.Options{Seed: 4}
			if status == contract.StatusFailed {
				o.DeleteDelay = 24 * time.Hour
			}
			w := newWorld(t, worldOptions{api: o})
			account := fillAccount(w.api)
			clock := newSkippingClock()
			carryOut := func(p contract.DeletePolicy) contract.EventData {
				r := w.start(t, replicaOptions{configure: func(c *handler.Config) { c.Now, c.Wait, c.Deletes = clock.now, clock.wait, p }})
				defer r.stop()
				return w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
			}
			first := carryOut(contract.DeletesEnabled)
			if first.Status != status {
				t.Fatalf("ended %s: %v", first.Status, first.Error)
			}
			for _, p := range []contract.DeletePolicy{contract.DeletesDisabled, contract.DeletesEnabled} {
				if err := w.queue.Forget(t.Context(), "del-1"); err != nil {
					t.Fatal(err)
				}
				w.api.ResetCalls()
				again := carryOut(p)
				if again.Status != status || again.Counts != first.Counts || again.Plan == nil || *again.Plan != *first.Plan || !reflect.DeepEqual(again.Bundle, first.Bundle) {
					t.Errorf("%s: ended %s: %v\n%+v\nand before\n%+v", p, again.Status, again.Error, again, first)
				}
				if calls := w.api.Calls(); len(calls) > 0 {
					t.Errorf("%s: it was carried out again: %v", p, calls)
				}
			}
		})
	}
}

// TestWorkspaceListedAsAnIteration deletes where the service lists the workspace among the
// iterations, as an old one does: it goes with its project only.
func TestWorkspaceListedAsAnIteration(t *testing.T) {
	for _, categories := range []string{"", `,"categories":["iterations"]`} {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
		account := fillAccount(w.api)
		it := account.other.Iterations[1]
		w.api.SetStatus(account.other.ID, it, cvtest.StatusNew)
		w.start(t, replicaOptions{configure: noWait})
		e := w.delete(t, "del-1", `{"project_ids":`+idList(account.other.ID)+`,"unpublish":true`+categories+`}`)
		if e.Status != contract.StatusCompleted || e.Counts.Iterations != 1 {
			t.Errorf("%s: ended %s with %d iterations: %v", categories, e.Status, e.Counts.Iterations, e.Error)
		}
	}
}

// TestCancelOfASealedPlan cancels a dry run when its receipt is being stored: the cancel's answer
// and the end are of one mind.
func TestCancelOfASealedPlan(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	r := w.start(t, replicaOptions{configure: noWait})
	next := r.faults.OnRequest
	var once sync.Once
	var answer contract.EventData
	r.faults.OnRequest = func(op, key string, before bool) error {
		if op == "PutObject" && key == "plan-1/delete/receipt.json" && !before {
			once.Do(func() { answer = w.wait(t, w.publish(t, "cancel", "stop-1", `{"id":"plan-1"}`)) })
		}
		return next(op, key, before)
	}
	e := w.delete(t, "plan-1", `{"project_ids":`+idList(account.small.ID)+`,"dry_run":true}`)
	if e.Status != contract.StatusCompleted || answer.Status != contract.StatusRefused || answer.Error.Code != contract.CodeTooLate {
		t.Errorf("the plan ended %s (%v), the cancel %s (%v)", e.Status, e.Error, answer.Status, answer.Error)
	}
}

// TestTagsThatWereNotPlanned adds a tag to a project after its plan was made: the project is not
// deleted with it.
func TestTagsThatWereNotPlanned(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	var once sync.Once
	w.api.OnCall(func(operation string, _ int) {
		if operation == "DeleteIteration" {
			once.Do(func() { w.api.AddTag(account.small.ID, "added") })
		}
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged || e.Counts.Projects != 0 || project(ptr(w.api.Snapshot()), account.small.ID) == nil {
		t.Errorf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
}
