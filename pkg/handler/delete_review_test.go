package handler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// before calls do just before the service answers the n-th call of an operation, n counting from 1.
func (w *world) before(operation string, n int, do func()) {
	var calls atomic.Int64
	w.api.OnCall(func(op string, _ int) {
		if op == operation && calls.Add(1) == int64(n) {
			do()
		}
	})
}

// TestDeleteMeetsAnotherEndpoint gives the resource's alias to another account in the middle of a delete. There nothing of the plan exists, which proves
// nothing: the delete waits until the alias is what it was.
func TestDeleteMeetsAnotherEndpoint(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	a := fillAccount(w.api)
	before := w.api.Snapshot()
	other := newWorld(t, worldOptions{api: cvtest.Options{Seed: 9}})
	elsewhere, err := cv.New(other.api.URL(), cv.TrainingKey(other.api.Key()), cv.Options{MaxRPS: 10000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.CloseIdleConnections)
	w.api.Fault(cvtest.Fault{Operation: "DeleteIteration", Status: 401, Times: -1})
	first := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(a.a.ID)+`}`)
	waits := func(in string) {
		t.Helper()
		w.eventually(t, "the delete waits", func() bool {
			job, _, err := w.queue.Job(t.Context(), "del-1")
			return err == nil && job.Waiting != nil && job.Waiting.For == handler.WaitCredential && strings.Contains(job.Waiting.Detail, in)
		})
	}
	waits("DeleteIteration")
	first.stop()
	w.api.ClearFaults()
	second := w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Resources = map[string]*cv.Client{handler.DefaultResource: elsewhere}
	}})
	waits("another endpoint")
	if calls := other.api.Calls(); len(calls) > 0 {
		t.Errorf("the other account is called: %v", calls)
	}
	second.stop()
	w.start(t, replicaOptions{configure: noWait})
	if e := w.wait(t, h); e.Status != handler.StatusCompleted || e.Attempt != 1 {
		t.Fatalf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.checkState(t, before, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == a.a.ID })
	})
}

// TestHoldPutMeanwhile puts a legal hold on a project after the delete of several was begun: what is not deleted yet stays.
func TestHoldPutMeanwhile(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	fillAccount(w.api)
	state := w.api.Snapshot()
	slices.SortFunc(state.Projects, func(a, b cvtest.ProjectState) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	first, second := state.Projects[0].ID, state.Projects[1].ID
	w.before("DeleteProject", 1, func() {
		if err := w.queue.PutHold(context.WithoutCancel(t.Context()), second.String(), []byte("case 7")); err != nil {
			t.Error(err)
		}
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"all_projects":true,"unpublish":true}`)
	if e.Status != handler.StatusFailed || e.Error.Code != handler.CodeLegalHold || e.Counts.Projects != 1 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	w.checkState(t, state, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == first })
	})
}

// TestExportFirstOfWhatIsGone exports and deletes what is partly or wholly gone already.
func TestExportFirstOfWhatIsGone(t *testing.T) {
	gone := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	for _, c := range []struct {
		name    string
		data    func(a account) string
		outcome handler.Outcome
	}{
		{"a project", func(account) string { return `{"project_ids":` + idList(gone) + `,"export_first":true}` }, handler.OutcomeNothingFound},
		{"one project of two", func(a account) string {
			return `{"project_ids":` + idList(a.a.ID, gone) + `,"export_first":true}`
		}, handler.OutcomeComplete},
		{"an image of two", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"image_ids":%s,"export_first":true}`, idList(a.a.ID), idList(a.a.Images[3], gone))
		}, handler.OutcomeComplete},
		{"an iteration", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s,"export_first":true}`, idList(a.a.ID), idList(gone))
		}, handler.OutcomeNothingFound},
		{"a tag", func(a account) string {
			return fmt.Sprintf(`{"project_ids":%s,"tag_ids":%s,"export_first":true}`, idList(a.a.ID), idList(gone))
		}, handler.OutcomeNothingFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			a := fillAccount(w.api)
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", c.data(a))
			if e.Status != handler.StatusCompleted || e.Outcome != c.outcome || e.ExportBundle == nil {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.bags(t, "del-1", sink.DeleteBag, sink.ExportBag)
		})
	}
}

// slowLedger takes its time once: the append that has an intent of the operation.
type slowLedger struct {
	handler.Queue
	operation string
	slow      func()
}

func (q *slowLedger) AppendLedger(ctx context.Context, id string, lines []byte, after uint64) (uint64, error) {
	if q.operation != "" && strings.Contains(string(lines), `"intent"`) && strings.Contains(string(lines), q.operation) {
		q.operation = ""
		q.slow()
	}
	return q.Queue.AppendLedger(ctx, id, lines, after)
}

// TestIntentHasItsOwnTime has an intent that took too long, so that its call is not made: the one that is made for it has the time at which it was written, from
// which an heir reckons how long the call can be under way.
func TestIntentHasItsOwnTime(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	a := fillAccount(w.api)
	clock := skippingClock()
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		c.Now, c.Wait = clock.now, clock.wait
		c.Queue = &slowLedger{c.Queue, "DeleteImages", func() { clock.skipped.Add(int64(time.Minute)) }}
	}})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(a.a.ID)+`,"categories":["images"]}`)
	if e.Status != handler.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	var times []time.Time
	for raw := range strings.Lines(string(w.bag(t, "del-1", sink.DeleteBag)["evidence/ledger.jsonl"])) {
		var l struct {
			Time            time.Time
			Kind, Operation string
		}
		unmarshal(t, []byte(raw), &l)
		if l.Kind == sink.LedgerIntent && l.Operation == "DeleteImages" {
			times = append(times, l.Time)
		}
	}
	if len(times) != 2 || times[1].Sub(times[0]) < time.Minute {
		t.Errorf("the intents have the times %v", times)
	}
	if n := w.api.Count("DeleteImages"); n != 1 {
		t.Errorf("%d calls were made", n)
	}
}
