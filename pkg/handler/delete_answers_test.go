package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// waits are the pauses that a handler asked for, none of which it gets.
type waits struct {
	mu    sync.Mutex
	asked []time.Duration
}

func (w *waits) configure(c *handler.Config) {
	c.Wait = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.asked = append(w.asked, d)
		return ctx.Err()
	}
}

// longest is the longest pause that was asked for.
func (w *waits) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Max(append(w.asked, 0))
}

// TestReplicaOfTheServiceLags has the service say six times in a row that a project is not there,
// which it is: everything is deleted all the same, and nothing passes for gone already.
func TestReplicaOfTheServiceLags(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"GetProject", "GetIterations", "GetTags", "GetImageCount", "DeleteImages", "DeleteIteration"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.Fault(cvtest.Fault{Operation: operation, Path: account.small.ID.String(), Times: 6, Status: 404, Code: "NotFoundProject"})
			var pauses waits
			w.start(t, replicaOptions{configure: pauses.configure})
			e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Projects != 1 || e.Counts.Images != 4 {
				t.Fatalf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
			}
			if project(ptr(w.api.Snapshot()), account.small.ID) != nil {
				t.Error("the project is there")
			}
			if pauses.longest() < 9*time.Second {
				t.Errorf("it was asked for again after %s", pauses.longest())
			}
		})
	}
}

// TestDeletionMissesOnce has the service say once, to the call that deletes it, that a thing is not
// there, which it is: it is deleted again.
func TestDeletionMissesOnce(t *testing.T) {
	t.Parallel()
	for operation, c := range map[string]struct{ code, more string }{
		"DeleteIteration":  {"NotFoundIteration", `"categories":["iterations"]`},
		"DeleteTag":        {"NotFoundTag", `"categories":["tags"]`},
		"DeletePrediction": {"NotFound", `"categories":["predictions"]`},
		"DeleteProject":    {"NotFoundProject", `"unpublish":true`},
	} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.Fault(cvtest.Fault{Operation: operation, Status: 404, Code: c.code})
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`,`+c.more+`}`)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
			}
		})
	}
}

// TestContradictionThatLasts has direct reads say for good that a listed project is not there: that
// proves nothing, and the delete ends unverified.
func TestContradictionThatLasts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	w.api.Fault(cvtest.Fault{Operation: "GetProject", Path: account.small.ID.String(), Times: -1, Status: 404, Code: "NotFoundProject"})
	clock := newSkippingClock()
	w.start(t, replicaOptions{configure: func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait }})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeUnverified || !strings.Contains(e.Error.Message, "is listed") {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.checkState(t, before)
}

// TestUnknownImageInABatch names an image that is in no scope: the service refuses every batch that
// has it, which says nothing of the others, in the workspace or in an iteration.
func TestUnknownImageInABatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, MissingFailsBatch: true}})
	account := fillAccount(w.api)
	unknown := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	w.api.Fault(cvtest.Fault{Operation: "GetImagesByIds", Path: unknown.String(), Times: -1, Status: 404, Code: "NotFoundImage"})
	dropped := account.other.Images[0] // which only an iteration has
	w.start(t, replicaOptions{configure: noWait})
	named := append([]uuid.UUID{unknown, dropped}, account.other.Images[3:5]...)
	e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.other.ID), idList(named...)))
	if e.Status != contract.StatusCompleted || e.Counts.Images != 3 {
		t.Fatalf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	left := project(ptr(w.api.Snapshot()), account.other.ID)
	scopes := [][]cvtest.ItemState{left.Workspace.Images}
	for _, it := range left.Iterations {
		scopes = append(scopes, it.Images)
	}
	for _, images := range scopes {
		for _, id := range named {
			if slices.ContainsFunc(images, oneOf(id)) {
				t.Errorf("image %s is there", id)
			}
		}
	}
}

// TestListingBehindDirectReads has GetIterations list an iteration that GetIteration calls gone,
// for two more calls after it was deleted: that is waited for.
func TestListingBehindDirectReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	gone := project(ptr(w.api.Snapshot()), account.small.ID).Iterations[0].Iteration
	w.before("DeleteIteration", 1, func() {
		w.api.Fault(cvtest.Fault{Operation: "GetIterations", Path: account.small.ID.String(), Times: 2, Status: 200, Body: "[" + string(gone) + "]"})
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted || e.Counts.Projects != 1 {
		t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
}

// TestBatchesThatAreTooBig has the service take fewer images and predictions at once than it
// documents.
func TestBatchesThatAreTooBig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.api.Fault(cvtest.Fault{Operation: "DeleteImages", Status: http.StatusRequestEntityTooLarge, Times: 2})
	w.api.Fault(cvtest.Fault{Operation: "DeletePrediction", Status: 400, Code: "BadRequestExceededBatchSize"})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"categories":["images","predictions"]}`, idList(account.other.ID)))
	if e.Status != contract.StatusCompleted || e.Counts.Images != 7 || e.Counts.Predictions != 3 {
		t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
	left := project(ptr(w.api.Snapshot()), account.other.ID)
	if len(left.Workspace.Images)+len(left.Predictions) > 0 {
		t.Errorf("%d images and %d predictions are left", len(left.Workspace.Images), len(left.Predictions))
	}
}

// TestGoneBeforeItsBatch has a delete stop between two batches of images, and another tool delete
// those of the second: they are told as already gone.
func TestGoneBeforeItsBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "Many", Tags: []string{"box"}, Images: 300, ImageBytes: cvtest.Tiny})
	w.api.Fault(cvtest.Fault{Operation: "DeleteImages", Call: 1, Status: 401, Times: -1})
	r := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(p.ID)+`,"categories":["images"]}`)
	w.waitsFor(t, "del-1", contract.WaitCredential)
	r.stop()
	w.api.ClearFaults()
	left := project(ptr(w.api.Snapshot()), p.ID).Workspace.Images
	for _, image := range left {
		w.api.EraseImage(p.ID, image.ID)
	}
	w.start(t, replicaOptions{configure: noWait})
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Counts.Images != int64(300-len(left)) || len(left) == 0 {
		t.Errorf("ended %s with %d images, %d were deleted by another tool: %v", e.Status, e.Counts.Images, len(left), e.Error)
	}
	for _, image := range left {
		if how := removalMethods(t, w.bag(t, "del-1", sink.DeleteBag), "images")[image.ID]; how != "already_gone" {
			t.Fatalf("image %s was deleted by another tool, and is told as %s", image.ID, how)
		}
	}
}

// TestWaitsOutTheCallOfAHolderWhoseClockIsBehind kills a replica, whose clock is an hour behind,
// while a destructive call is on its way: the next one waits until it must be over, by its own
// clock.
func TestWaitsOutTheCallOfAHolderWhoseClockIsBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, ackWait: redelivery})
	account := fillAccount(w.api)
	f := newFate("DELETE projects/"+account.small.ID.String()+"/iterations/"+account.small.Iterations[0].String()+"#1", false)
	w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) {
		noWait(c)
		c.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	}})
	h := w.publish(t, "delete", "del-1", fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(account.small.Iterations[0])))
	select {
	case <-f.died:
	case <-time.After(patience):
		t.Fatal("the call is never made")
	}
	var pauses waits
	w.start(t, replicaOptions{configure: pauses.configure})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	if pauses.longest() < 35*time.Second {
		t.Errorf("it waited %s", pauses.longest())
	}
}

// TestOtherKeyBeforeThePlan has the key of another account from the start: nothing is said to be
// deleted, only where it was not found.
func TestOtherKeyBeforeThePlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	w.api.OtherAccount(otherKey)
	w.start(t, replicaOptions{key: newKeyring(otherKey), configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeNothingFound || e.Counts != (contract.Counts{}) {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	if !slices.ContainsFunc(e.Residuals, func(r contract.Residual) bool {
		return strings.Contains(r.Reason, "which listed 0 projects: "+account.small.ID.String())
	}) {
		t.Errorf("the residuals are %+v", e.Residuals)
	}
	w.checkState(t, before)
}

// TestDeletedByItsOwnerMeanwhile has the owner delete the project by hand just before a step of the
// delete, which ends as complete with what it deleted itself.
func TestDeletedByItsOwnerMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	var once atomic.Bool
	w.api.OnCall(func(operation string, _ int) {
		if operation == "DeleteIteration" && once.CompareAndSwap(false, true) {
			w.api.RemoveProject(account.small.ID)
		}
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted || e.Counts.Projects != 0 || e.Counts.Images != 4 {
		t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
}

// TestEndsThatFence has deletes end before they have begun: the last line of the ledger is a
// takeover, after which no coordinator that stood still can begin.
func TestEndsThatFence(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		data    func(account testAccount) string
		prepare func(w *world)
		status  contract.Status
	}{
		{name: "planned", status: contract.StatusCompleted, data: func(a testAccount) string {
			return `{"project_ids":` + idList(a.small.ID) + `,"dry_run":true}`
		}},
		{name: "refused", status: contract.StatusRefused, data: func(a testAccount) string {
			return `{"project_ids":` + idList(a.small.ID) + `,"expect":{"max_images":1}}`
		}},
		{name: "nothing found", status: contract.StatusCompleted, data: func(testAccount) string {
			return `{"project_ids":["0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"]}`
		}},
		{
			name: "failed", status: contract.StatusFailed, data: func(a testAccount) string { return `{"project_ids":` + idList(a.small.ID) + `}` },
			prepare: func(w *world) {
				w.api.Fault(cvtest.Fault{Operation: "GetTags", Status: 400, Code: "BadRequest", Times: -1})
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			if c.prepare != nil {
				c.prepare(w)
			}
			w.start(t, replicaOptions{configure: noWait})
			if e := w.delete(t, "del-1", c.data(account)); e.Status != c.status {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			messages := w.messages(t, "CV_LEDGER")
			if len(messages) == 0 || !strings.Contains(string(messages[len(messages)-1].Data), `"kind":"`+sink.LedgerTakeover+`"`) {
				t.Errorf("the ledger does not end with a takeover: %d messages", len(messages))
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("calls were made: %v", calls)
			}
			if c.status == contract.StatusCompleted {
				w.bag(t, "del-1", sink.DeleteBag)
			}
		})
	}
}

// TestCallsOfADelete holds the number of Training API calls of a small delete against the formula
// in ARCHITECTURE.md.
func TestCallsOfADelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	const iterations, tags, predictions = 2, 2, 3
	p := w.api.AddProject(cvtest.ProjectSpec{
		Name: "Faces", Tags: []string{"box", "can"}, Images: 6, Untagged: 2, ImageBytes: cvtest.Tiny, Predictions: predictions,
		Iterations: []cvtest.IterationSpec{{}, {Published: true}},
		Metadata:   func(i int) map[string]string { return map[string]string{"subject": fmt.Sprintf("person-%d", i%2)} },
	})
	var later atomic.Int64 // by the clock of the replica, so that no listing of an earlier delete counts
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}})
	const others = 1                      // GetProjects
	plan := 2 + 5 + 6*iterations + others // GetProject and GetIterations; listings and witness of the workspace; listings of iterations
	for _, c := range []struct {
		name, data string
		calls      int
	}{
		{"a person", `,"image_metadata":{"subject":"person-1"}`, plan +
			1 + 1 + 3*(1+iterations) + // the call; the look, by count and by id
			5 + 6*iterations}, // the last look
		{"an image", fmt.Sprintf(`,"image_ids":["%s"]`, p.Images[0]), 2 + 1 + iterations + others +
			1 + 1 + 1 + iterations + // the call; the look, by id
			1 + iterations}, // the last look
		{"all tags", `,"categories":["tags"]`, 3 + others + 2*tags},
		{"the project", `,"unpublish":true`, plan + 1 + // GetTags
			2 + // one is published
			1 + (1 + iterations) + 2 + // predictions of one iteration, which the workspace lists
			1 + 1 + 2*(1+iterations) + // images
			2*iterations +
			4 + 3}, // what is left; the project
	} {
		later.Add(int64(10 * time.Second))
		before := len(w.api.Calls())
		if e := w.delete(t, "del-"+strings.ReplaceAll(c.name, " ", "-"), `{"project_ids":`+idList(p.ID)+c.data+`}`); e.Outcome != contract.OutcomeComplete {
			t.Fatalf("%s: ended %s %s: %v", c.name, e.Status, e.Outcome, e.Error)
		}
		if calls := w.api.Calls()[before:]; len(calls) != c.calls {
			var names []string
			for _, call := range calls {
				names = append(names, call.Operation)
			}
			t.Errorf("%s: %d calls, want %d: %v", c.name, len(calls), c.calls, names)
		}
	}
}
