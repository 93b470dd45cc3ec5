package handler_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
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

// removalMethods are the methods by which the things of a category went, by id, as a bag tells.
func removalMethods(t *testing.T, files map[string][]byte, category string) map[uuid.UUID]string {
	t.Helper()
	out := map[uuid.UUID]string{}
	for name, content := range files {
		if !strings.HasSuffix(name, "/deleted.jsonl") {
			continue
		}
		for line := range strings.Lines(string(content)) {
			var l deletedLine
			unmarshal(t, []byte(line), &l)
			if l.Category == category {
				out[l.ID] = l.How
			}
		}
	}
	return out
}

// TestDeleteMeetsAnotherEndpoint gives the resource's alias to another account in the middle of a
// delete. There nothing of the plan exists, which proves nothing: the delete waits until the alias
// is what it was.
func TestDeleteMeetsAnotherEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	other := newWorld(t, worldOptions{api: cvtest.Options{Seed: 9}})
	elsewhere, err := cv.New(other.api.URL(), cv.TrainingKey(other.api.Key()), cv.Options{MaxRPS: 10000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(elsewhere.CloseIdleConnections)
	w.api.Fault(cvtest.Fault{Operation: "DeleteIteration", Status: 401, Times: -1})
	first := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	waits := func(in string) {
		t.Helper()
		w.eventually(t, "the delete waits", func() bool {
			job, _, err := w.queue.Job(t.Context(), "del-1")
			return err == nil && job.Waiting != nil && job.Waiting.For == contract.WaitCredential && strings.Contains(job.Waiting.Detail, in)
		})
	}
	waits("DeleteIteration")
	first.stop()
	w.api.ClearFaults()
	second := w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Resources = map[string]*cv.Client{contract.DefaultResource: elsewhere}
	}})
	waits("another endpoint")
	if calls := other.api.Calls(); len(calls) > 0 {
		t.Errorf("the other account is called: %v", calls)
	}
	second.stop()
	w.start(t, replicaOptions{configure: noWait})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Fatalf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.checkState(t, before, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == account.small.ID })
	})
}

// TestHoldPutMeanwhile puts a legal hold on a project after the delete of several was begun: what
// is not deleted yet stays.
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
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeLegalHold || e.Counts.Projects != 1 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	w.checkState(t, state, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == first })
	})
}

// TestGoneBeforeItsTurn has another tool delete what was planned, just before its turn comes: it is
// told as already gone, and not counted as deleted.
func TestGoneBeforeItsTurn(t *testing.T) {
	for _, c := range []struct {
		name, operation, category string
		data                      func(account testAccount) string
		remove                    func(w *world, account testAccount) // by another tool
		want                      func(account testAccount) map[uuid.UUID]string
		outcome                   contract.Outcome
	}{
		{
			name: "an iteration", operation: "DeleteIteration", category: "iterations",
			data: func(account testAccount) string {
				return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(account.small.Iterations[0]))
			},
			remove: func(w *world, account testAccount) {
				w.api.RemoveIteration(account.small.ID, account.small.Iterations[0])
			},
			want: func(account testAccount) map[uuid.UUID]string {
				return map[uuid.UUID]string{account.small.Iterations[0]: "already_gone"}
			},
			outcome: contract.OutcomeNothingFound,
		},
		{
			name: "an image of two", operation: "DeleteImages", category: "images",
			data: func(account testAccount) string {
				return fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.other.ID), idList(account.other.Images[3:5]...))
			},
			remove: func(w *world, account testAccount) { w.api.EraseImage(account.other.ID, account.other.Images[3]) },
			want: func(account testAccount) map[uuid.UUID]string {
				return map[uuid.UUID]string{account.other.Images[3]: "already_gone", account.other.Images[4]: "DeleteImages"}
			},
			outcome: contract.OutcomeComplete,
		},
		{
			name: "a whole project", operation: "DeleteImages", category: "images",
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.small.ID) + `,"categories":["images"]}`
			},
			remove: func(w *world, account testAccount) { w.api.RemoveProject(account.small.ID) },
			want: func(account testAccount) map[uuid.UUID]string {
				want := map[uuid.UUID]string{}
				for _, id := range account.small.Images {
					want[id] = "already_gone"
				}
				return want
			},
			outcome: contract.OutcomeNothingFound,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, MissingFailsBatch: true}})
			account := fillAccount(w.api)
			w.before(c.operation, 1, func() { c.remove(w, account) })
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", c.data(account))
			if e.Status != contract.StatusCompleted || e.Outcome != c.outcome {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			want, deleted := c.want(account), int64(0)
			for _, how := range want {
				if how != "already_gone" {
					deleted++
				}
			}
			if got := removalMethods(t, w.bag(t, "del-1", sink.DeleteBag), c.category); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("deleted.jsonl says\n%v, want\n%v", got, want)
			}
			if n := e.Counts.Images + e.Counts.Iterations; n != deleted {
				t.Errorf("%d things are counted, want %d", n, deleted)
			}
		})
	}
}

// TestGoneBeforeALaterAttempt is the same in the second attempt: only what an earlier call of this
// command may have deleted is told as deleted by it.
func TestGoneBeforeALaterAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	byID := slices.Clone(account.small.Iterations)
	slices.SortFunc(byID, func(x, y uuid.UUID) int { return strings.Compare(x.String(), y.String()) })
	// The first call is carried out and its answer lost; the second ends the attempt.
	w.api.Fault(cvtest.Fault{Operation: "DeleteIteration", Path: byID[0].String(), Reset: true, AfterEffect: true})
	w.api.Fault(cvtest.Fault{Operation: "DeleteIteration", Path: byID[0].String(), Call: 1, Status: 401})
	w.before("DeleteIteration", 3, func() { w.api.RemoveIteration(account.small.ID, byID[1]) })
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(byID...)))
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Iterations != 1 {
		t.Errorf("ended %s %s: %v, counts %+v", e.Status, e.Outcome, e.Error, e.Counts)
	}
	want := map[uuid.UUID]string{byID[0]: "DeleteIteration", byID[1]: "already_gone"}
	if got := removalMethods(t, w.bag(t, "del-1", sink.DeleteBag), "iterations"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("deleted.jsonl says %v, want %v", got, want)
	}
}

// TestGoneBeforeALaterAttemptAtTheNextProject has the first project of two cost a second attempt,
// in which another tool deletes the other one.
func TestGoneBeforeALaterAttemptAtTheNextProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	fillAccount(w.api)
	state := w.api.Snapshot()
	slices.SortFunc(state.Projects, func(a, b cvtest.ProjectState) int { return strings.Compare(a.ID.String(), b.ID.String()) })
	w.api.Fault(cvtest.Fault{Operation: "DeleteProject", Status: 401})
	w.before("DeleteProject", 1, func() { w.api.RemoveProject(state.Projects[1].ID) })
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"all_projects":true,"unpublish":true}`)
	if e.Status != contract.StatusCompleted || e.Counts.Projects != 1 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	files := w.bag(t, "del-1", sink.DeleteBag)
	for line := range strings.Lines(string(files["data/projects/"+state.Projects[1].ID.String()+"/deleted.jsonl"])) {
		if !strings.Contains(line, `"how":"already_gone"`) {
			t.Errorf("the other project's deleted.jsonl says %s", line)
		}
	}
}

// TestPublishedMeanwhile publishes an iteration after published ones were looked for: it is deleted
// only where the command allows to unpublish.
func TestPublishedMeanwhile(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		t.Run(fmt.Sprintf("unpublish %t", allowed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			byID := slices.Clone(account.small.Iterations)
			slices.SortFunc(byID, func(x, y uuid.UUID) int { return strings.Compare(x.String(), y.String()) })
			w.before("DeleteIteration", 1, func() { w.api.Publish(account.small.ID, byID[1], "in use") })
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"unpublish":%t}`, idList(account.small.ID), allowed))
			p := project(ptr(w.api.Snapshot()), account.small.ID)
			if allowed {
				if e.Status != contract.StatusCompleted || p != nil {
					t.Errorf("ended %s: %v, the project is %v", e.Status, e.Error, p)
				}
				return
			}
			if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			if p == nil || !slices.ContainsFunc(p.Iterations, func(it cvtest.IterationState) bool { return it.ID == byID[1] }) {
				t.Error("the published iteration is gone")
			}
		})
	}
}

// TestExportFirstOfWhatIsGone exports and deletes what is partly or wholly gone already.
func TestExportFirstOfWhatIsGone(t *testing.T) {
	gone := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	for _, c := range []struct {
		name    string
		data    func(account testAccount) string
		outcome contract.Outcome
	}{
		{"a project", func(testAccount) string { return `{"project_ids":` + idList(gone) + `,"export_first":true}` }, contract.OutcomeNothingFound},
		{"one project of two", func(account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID, gone) + `,"export_first":true}`
		}, contract.OutcomeComplete},
		{"an image of two", func(account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"image_ids":%s,"export_first":true}`, idList(account.small.ID), idList(account.small.Images[3], gone))
		}, contract.OutcomeComplete},
		{"an iteration", func(account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s,"export_first":true}`, idList(account.small.ID), idList(gone))
		}, contract.OutcomeNothingFound},
		{"a tag", func(account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"tag_ids":%s,"export_first":true}`, idList(account.small.ID), idList(gone))
		}, contract.OutcomeNothingFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.start(t, replicaOptions{configure: noWait})
			e := w.delete(t, "del-1", c.data(account))
			if e.Status != contract.StatusCompleted || e.Outcome != c.outcome || e.ExportBundle == nil {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.bags(t, "del-1", sink.DeleteBag, sink.ExportBag)
		})
	}
}

// slowLedger is a queue that calls slow, once, before it appends an intent of the operation.
type slowLedger struct {
	Queue
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

// TestIntentHasItsOwnTime has an intent that took too long, so that its call is not made: the one
// that is made for it has the time at which it was written, from which the next holder reckons how
// long the call can be under way.
func TestIntentHasItsOwnTime(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	clock := newSkippingClock()
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		c.Now, c.Wait = clock.now, clock.wait
		c.Queue = parts(&slowLedger{whole(c.Queue), "DeleteImages", func() { clock.skipped.Add(int64(time.Minute)) }})
	}})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`,"categories":["images"]}`)
	if e.Status != contract.StatusCompleted {
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

// TestPredictionsThatWereNotExported stores a prediction at each moment after an export that goes
// before its delete has read them. No plan names predictions, and still nothing goes that is not in
// the bundle.
func TestPredictionsThatWereNotExported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, at string
		data     string
		status   contract.Status
	}{
		{"before the delete is judged", "PutObject del-1/export/receipt.json#1", `,"export_first":true}`, contract.StatusRefused},
		{"before it begins", "PutJob running delete#1", `,"export_first":true}`, contract.StatusFailed},
		{"before the project goes", "PutObject del-1/.work/deleted/000000-images.jsonl#1", `,"export_first":true}`, contract.StatusFailed},
		{"when nothing was to be exported", "PutJob running delete#1", `}`, contract.StatusCompleted},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			f := newFate("", false)
			var late uuid.UUID
			f.hook = func(effect string, after bool) {
				if effect == c.at && !after {
					late = w.api.AddPrediction(account.small.ID, account.small.Iterations[0])
				}
			}
			w.start(t, replicaOptions{fate: f, configure: noWait})
			e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+c.data)
			if e.Status != c.status {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			if c.status == contract.StatusCompleted {
				return
			}
			if e.Error.Code != contract.CodePlanChanged || !strings.Contains(e.Error.Message, late.String()) {
				t.Errorf("ended with %v; prediction %s was not exported", e.Error, late)
			}
			if calls := w.api.DestructiveCalls(); c.status == contract.StatusRefused && len(calls) > 0 {
				t.Errorf("calls were made: %v", calls)
			}
			if p := project(ptr(w.api.Snapshot()), account.small.ID); p == nil || !slices.ContainsFunc(p.Predictions, oneOf(late)) {
				t.Error("a prediction is gone that was not exported")
			}
			if e.ExportBundle == nil {
				t.Error("the bundle is not named")
			}
		})
	}
}

// TestFailureWhileTheBagIsMade lets the receipt never be stored: what is left is the evidence of a
// failed delete, and not half a bag.
func TestFailureWhileTheBagIsMade(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	r := w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 1
	}})
	r.faults.Add(sinktest.Fault{Op: "PutObject", Key: "*/receipt.json", Times: -1, Status: http.StatusInternalServerError})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || e.Counts.Projects != 1 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	files := slices.Sorted(maps.Keys(w.fetch(t, "del-1/")))
	want := []string{"delete/evidence/failure.json", "delete/evidence/ledger.jsonl", "delete/evidence/plan.json", "delete/evidence/request.json"}
	if !slices.Equal(files, want) {
		t.Errorf("these objects are left: %v", files)
	}
	r.faults.Check(t)
}

// TestReadOnlyMeanwhile puts a project into disaster recovery in the middle of its delete, which
// fails and says so.
func TestReadOnlyMeanwhile(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.before("DeleteIteration", 1, func() { w.api.SetDRMode(account.small.ID, true) })
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeReadOnly || e.Counts.Images != 4 || e.Counts.Iterations != 0 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
}

// TestTamperedExport changes the stored bundle after it was exported: it does not verify, and
// nothing is deleted.
func TestTamperedExport(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	w.spoiled = true
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		if effect == "PutObject del-1/export/receipt.json#1" && after {
			key := sink.Key("del-1/export/data/projects/" + account.small.ID.String() + "/tags.json")
			if err := w.store.Replace(context.Background(), key, sink.Bytes([]byte("[]"), "application/json")); err != nil {
				t.Error(err)
			}
		}
	}
	w.start(t, replicaOptions{fate: f, configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`,"export_first":true}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "does not verify, so nothing is deleted") {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	if calls := w.api.DestructiveCalls(); len(calls) > 0 {
		t.Errorf("calls were made: %v", calls)
	}
	w.checkState(t, before)
}

// TestLateCallIsNotSent lets the time that an intent counts for go by between the intent and its
// call: the call is not sent then, but after an intent of its own.
func TestLateCallIsNotSent(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	clock := newSkippingClock()
	f := newFate("", false)
	late := "DELETE projects/" + account.small.ID.String() + "/iterations/" + account.small.Iterations[0].String()
	tries := 0
	f.hook = func(effect string, after bool) {
		if strings.HasPrefix(effect, late+"#") && !after {
			if tries++; tries == 1 {
				clock.skipped.Add(int64(10 * time.Second))
			}
		}
	}
	w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait }})
	e := w.delete(t, "del-1", fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(account.small.Iterations[0])))
	if e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	intents := 0
	for _, l := range ledgerOf(t, w.bag(t, "del-1", sink.DeleteBag)) {
		if l.Kind == sink.LedgerIntent {
			intents++
		}
	}
	if calls := w.api.DestructiveCalls(); tries != 2 || intents != 2 || len(calls) != 1 {
		t.Errorf("%d intents, %d tries and %d calls of an iteration's deletion", intents, tries, len(calls))
	}
}

// TestFencedOutByTheLedger has another holder write the ledger just before a destructive call: it
// is not made, whatever its coordinator believes about its lease. The next holder takes over from
// there, and the chain of the ledger is whole.
func TestFencedOutByTheLedger(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, ackWait: redelivery})
	account := fillAccount(w.api)
	clock := newSkippingClock()
	f := newFate("", false)
	made := -1 // calls when the other one wrote
	f.hook = func(effect string, after bool) {
		if made >= 0 || after || !strings.HasPrefix(effect, "AppendLedger#") || len(w.api.DestructiveCalls()) == 0 {
			return
		}
		made = len(w.api.DestructiveCalls())
		tail, seq, err := w.queue.LedgerTail(context.Background(), "del-1")
		if err != nil {
			t.Error(err)
			return
		}
		tail = bytes.TrimRight(tail, "\n")
		chain, err := sink.NewChain(tail[bytes.LastIndexByte(tail, '\n')+1:])
		if err != nil {
			t.Error(err)
			return
		}
		line, err := chain.Append(sink.LedgerLine{Time: clock.now().UTC(), Kind: sink.LedgerTakeover})
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := w.queue.AppendLedger(context.Background(), "del-1", line, seq); err != nil {
			t.Error(err)
		}
	}
	said := make(chan int, 1) // calls when the first delivery was given up
	w.start(t, replicaOptions{
		fate:      f,
		configure: func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait },
		settles: func(d delivery.Delivery, verdict delivery.Disposition) {
			if d.Delivered == 1 && verdict.Verb == delivery.Abandon {
				said <- len(w.api.DestructiveCalls())
			}
		},
	})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	select {
	case calls := <-said:
		if calls != made {
			t.Errorf("%d calls were made after another holder wrote the ledger", calls-made)
		}
	default:
		t.Error("the first delivery was not given up")
	}
	w.bag(t, "del-1", sink.DeleteBag)
}
