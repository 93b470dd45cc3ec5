package handler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

const everything = `{"all_projects":true}`

// deaf is a queue on which word of an end is never heard.
type deaf struct{ handler.Queue }

func (deaf) NotifyOver(context.Context, string) error { return nil }

func TestCancelStopsAnExportOnEveryReplica(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		configure func(*handler.Config)
	}{
		{name: "told"},
		{name: "not told", configure: func(c *handler.Config) { c.Queue = deaf{c.Queue} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, ackWait: time.Hour}) // a unit that nobody stops is waited for, far too long
			w.api.Sample()
			hangs := w.hangBlobs()
			w.start(t, replicaOptions{commands: 2, configure: c.configure}) // coordinates
			w.start(t, replicaOptions{units: 4, configure: c.configure})    // works
			exp := w.publish(t, handler.ActionExport, "exp", everything)
			hangs.wait(t, "a download")
			stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
			if e := w.wait(t, stop); e.Status != handler.StatusCompleted || e.Action != handler.ActionCancel || e.Error != nil {
				t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
			}
			e := w.wait(t, exp)
			if left := w.objects(t, "exp"); len(left) > 0 {
				t.Errorf("the end is told while there are %d objects, such as %s", len(left), left[0])
			}
			if e.Status != handler.StatusCancelled || e.Error != nil || e.Bundle != nil {
				t.Errorf("ended %s, error %v, bundle %v", e.Status, e.Error, e.Bundle)
			}
			job := w.job(t, "exp")
			if job.Cancel == nil || job.Cancel.ID != "stop" || job.LeftBehind != "" || job.Phase != "" {
				t.Errorf("job %+v", job)
			}
			if w.dead(t, handler.ActionExport, "exp") {
				t.Error("a cancelled command is a dead letter")
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("the service was changed: %v", calls)
			}
		})
	}
}

// A cancel needs no free slot; what it cancels has not begun then.
func TestCancelOfACommandThatHasNoSlot(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	hangs := w.hangBlobs()
	w.start(t, replicaOptions{commands: 1, units: 2})
	first := w.publish(t, handler.ActionExport, "first", everything)
	hangs.wait(t, "a download")
	second := w.publish(t, handler.ActionExport, "second", everything)
	stop2 := w.publish(t, handler.ActionCancel, "stop-2", `{"id":"second"}`)
	if e := w.wait(t, stop2); e.Status != handler.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	w.publish(t, handler.ActionCancel, "stop-1", `{"id":"first"}`)
	if e := w.wait(t, first); e.Status != handler.StatusCancelled {
		t.Errorf("the first ended %s: %v", e.Status, e.Error)
	}
	if e := w.wait(t, second); e.Status != handler.StatusCancelled || e.Attempt != 0 {
		t.Errorf("the second ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.neverBegun(t, "second")
}

// neverBegun demands that a command has no accepted event, no object and no line in the ledger.
func (w *world) neverBegun(t *testing.T, id string) {
	t.Helper()
	if _, err := w.queue.Event(t.Context(), handler.ActionExport, id, handler.StatusAccepted); !errors.Is(err, handler.ErrNoMessage) {
		t.Errorf("%s was accepted: %v", id, err)
	}
	if left := w.objects(t, id); len(left) > 0 {
		t.Errorf("%s stored %v", id, left)
	}
	if _, seq, err := w.queue.LedgerTail(t.Context(), id); err != nil || seq != 0 {
		t.Errorf("%s has a ledger: %d, %v", id, seq, err)
	}
}

// A command that waits for the operator ends at its cancel, not when its message comes again.
func TestCancelOfAWaitingCommand(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	settles := func(d handler.Delivery, verdict handler.Disposition) {
		if d.Header[handler.HeaderMsgID][0] == "exp" && verdict.Verb != handler.Nak {
			t.Errorf("it ended when its message came again: %s", verdict.Verb)
		}
	}
	w.start(t, replicaOptions{commands: 2, units: 2, key: cv.TrainingKey("revoked"), settles: settles})
	exp := w.publish(t, handler.ActionExport, "exp", everything)
	job := w.await(t, "exp", "waiting", func(j handler.Job) bool { return j.Waiting != nil })
	if job.Waiting.For != handler.WaitCredential || job.Attempt != 0 {
		t.Fatalf("waits for %s after %d attempts", job.Waiting.For, job.Attempt)
	}
	w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, exp); e.Status != handler.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// unheard is a queue that does not take an end's event, as long as it is told so.
type unheard struct {
	handler.Queue
	refuses *bool
}

func (q unheard) PublishEvent(ctx context.Context, e handler.Event) error {
	if *q.refuses && e.Data.Status == handler.StatusCancelled {
		return errors.New("not now")
	}
	return q.Queue.PublishEvent(ctx, e)
}

// Nor does its message stay in the queue, where it would be in the way of others until it comes
// again; but not before its event is stored.
func TestCancelTakesAWaitingCommandOutOfTheQueue(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		t.Run(fmt.Sprintf("event refused %t", refuses), func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			w.api.Fault(cvtest.Fault{Operation: "GetProjects", Times: -1, Status: http.StatusUnauthorized, Code: "PermissionDenied"})
			r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) { c.Queue = unheard{c.Queue, &refuses} }})
			deliver := func(h *history) handler.Disposition {
				t.Helper()
				m, err := w.queue.Command(t.Context(), h.seq)
				if err != nil {
					t.Fatal(err)
				}
				return r.handler.Command(t.Context(), handler.Delivery{Message: m})
			}
			exp := w.publish(t, "export", "exp", everything)
			if d := deliver(exp); d.Verb != handler.Nak || d.Delay == 0 {
				t.Fatalf("%s after %s: %s", d.Verb, d.Delay, d.Reason)
			}
			if d := deliver(w.publish(t, "cancel", "stop", `{"id":"exp"}`)); d.Verb != handler.Ack {
				t.Fatalf("the cancel: %s: %s", d.Verb, d.Reason)
			}
			if refuses {
				refuses = false
				if d := deliver(exp); d.Verb != handler.Ack {
					t.Fatalf("%s: %s", d.Verb, d.Reason)
				}
				m, err := w.queue.Command(t.Context(), exp.seq)
				if err == nil {
					err = w.queue.RemoveCommand(t.Context(), m) // as who acknowledges it
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if e := w.wait(t, exp); e.Status != handler.StatusCancelled {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
		})
	}
}

func TestCancelBeforeItsCommand(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	w.start(t, replicaOptions{commands: 2, units: 2})
	stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, stop); e.Status != handler.StatusCompleted {
		t.Fatalf("the cancel ended %s: %v", e.Status, e.Error)
	}
	if j, _, err := w.queue.Job(t.Context(), "exp"); !errors.Is(err, handler.ErrNoJob) || j.Cancel == nil || j.Cancel.ID != "stop" {
		t.Errorf("the job is %+v, %v", j, err)
	}
	for j, err := range w.queue.Jobs(t.Context()) {
		if err != nil || j.ID != "stop" {
			t.Errorf("listed as a job: %+v, %v", j, err)
		}
	}
	calls := len(w.api.Calls())
	exp := w.publish(t, handler.ActionExport, "exp", everything)
	if e := w.wait(t, exp); e.Status != handler.StatusCancelled || e.Attempt != 0 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.neverBegun(t, "exp")
	if n := len(w.api.Calls()); n != calls {
		t.Errorf("%d calls were made for it", n-calls)
	}
	// The command again, and another one of the same id: the first result stands.
	w.wait(t, w.publish(t, handler.ActionExport, "exp", everything))
	other := w.publishMessage(t, "", plain(handler.ActionExport, "exp", `{"all_projects":true,"categories":["tags"]}`))
	if e := w.wait(t, other); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "exp" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
}

// A cancel counts for 24 hours, and only for a command that can be cancelled.
func TestCancelThatWaited(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	mark := func(id string, age time.Duration) {
		t.Helper()
		if _, err := w.queue.PutJob(t.Context(), handler.Job{ID: id, Cancel: &handler.Cancel{ID: "stop", Time: time.Now().Add(-age)}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	mark("late", 24*time.Hour+time.Minute)
	mark("timely", 24*time.Hour-time.Minute)
	mark("cancel", time.Minute)
	w.start(t, replicaOptions{commands: 4, units: 2})
	for id, want := range map[string]handler.Status{"late": handler.StatusCompleted, "timely": handler.StatusCancelled} {
		if e := w.wait(t, w.publish(t, handler.ActionExport, id, everything)); e.Status != want {
			t.Errorf("%s ended %s: %v", id, e.Status, e.Error)
		}
	}
	if j := w.job(t, "late"); j.Cancel != nil {
		t.Errorf("an old cancel is in the job: %+v", j.Cancel)
	}
	cancel := w.publish(t, handler.ActionCancel, "cancel", `{"id":"nobody"}`)
	if e := w.wait(t, cancel); e.Status != handler.StatusCompleted {
		t.Errorf("a cancel ended %s: %v", e.Status, e.Error)
	}
}

// A bundle that outlived its traces is not taken away by a cancel.
func TestCancelDoesNotReachABundleOfBefore(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	w.wait(t, w.publish(t, handler.ActionExport, "exp", everything))
	if err := w.queue.Forget(t.Context(), "exp"); err != nil {
		t.Fatal(err)
	}
	stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, stop); e.Status != handler.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	exp := w.publish(t, handler.ActionExport, "exp", everything)
	if e := w.wait(t, exp); e.Status != handler.StatusCompleted {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}

func TestCancelTooLate(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	done := w.publish(t, handler.ActionExport, "done", everything)
	if e := w.wait(t, done); e.Status != handler.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	for id, j := range map[string]handler.Job{
		"deleting": {Action: handler.ActionDelete, State: handler.StateRunning, Phase: handler.PhaseCleanUp, Irrevocable: true},
		"failing":  {Action: handler.ActionExport, State: handler.StateRunning, Phase: handler.PhaseEnding},
	} {
		j.ID = id
		if _, err := w.queue.PutJob(t.Context(), j, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"done", "deleting", "failing"} {
		before := w.job(t, id)
		stop := w.publish(t, handler.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		if e := w.wait(t, stop); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeTooLate {
			t.Errorf("%s: the cancel ended %s: %v", id, e.Status, e.Error)
		}
		if after := w.job(t, id); after.Cancel != nil || !after.Updated.Equal(before.Updated) {
			t.Errorf("%s: the job was changed", id)
		}
		if !w.dead(t, handler.ActionCancel, "stop-"+id) {
			t.Errorf("%s: the refused cancel is no dead letter", id)
		}
	}
	w.bag(t, "done", sink.ExportBag)
}

func TestCancelAgain(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	hangs := w.hangBlobs()
	w.start(t, replicaOptions{commands: 2, units: 2})
	exp := w.publish(t, handler.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	w.wait(t, exp)
	first := w.wait(t, stop)
	if again := w.wait(t, w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)); !again.FinishedAt.Equal(*first.FinishedAt) {
		t.Error("the same cancel was answered twice")
	}
	stop2 := w.publish(t, handler.ActionCancel, "stop-2", `{"id":"exp"}`)
	if e := w.wait(t, stop2); e.Status != handler.StatusCompleted {
		t.Errorf("another cancel of a cancelled command ended %s: %v", e.Status, e.Error)
	}
	other := w.publishMessage(t, "", plain(handler.ActionCancel, "stop", `{"id":"other"}`))
	if e := w.wait(t, other); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "stop" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	other = w.publishMessage(t, "", plain(handler.ActionCancel, "exp", `{"id":"other"}`))
	if e := w.wait(t, other); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "exp" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
}

func TestCancelOfWhatIsNoCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	w.wait(t, stop)
	stopstop := w.publish(t, handler.ActionCancel, "stop-stop", `{"id":"stop"}`)
	if e := w.wait(t, stopstop); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeInvalidCommand {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	for n, data := range []string{`{"id":"me-0"}`, `{"id":"seq-1"}`, `{"id":"no good"}`, `{}`, `{"id":"exp","dry_run":true}`} {
		if e := w.wait(t, w.publish(t, handler.ActionCancel, fmt.Sprintf("me-%d", n), data)); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeInvalidCommand || e.Action != handler.ActionCancel {
			t.Errorf("%s ended %s: %v", data, e.Status, e.Error)
		}
	}
}

// However a cancel and the end of its command meet, both tell the same.
func TestCancelAgainstTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	w.start(t, replicaOptions{commands: 4, units: 4})
	w.start(t, replicaOptions{commands: 4, units: 4})
	won := map[handler.Status]int{}
	for n := range 24 {
		id := fmt.Sprintf("exp-%d", n)
		exp := w.publish(t, handler.ActionExport, id, everything)
		phases := []string{"", handler.PhasePlan, handler.PhaseRead, handler.PhaseCommit, handler.PhaseSeal, handler.PhaseCleanUp}
		phase := phases[n%len(phases)]
		w.await(t, id, "in phase "+phase+" or ended", func(j handler.Job) bool { return slices.Index(phases, j.Phase) >= n%len(phases) || j.State.Terminal() })
		stop := w.publish(t, handler.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		answer, e := w.end(t, stop), w.end(t, exp)
		won[e.Status]++
		switch left := w.objects(t, id); {
		case answer.Status == handler.StatusCompleted && e.Status == handler.StatusCancelled && len(left) == 0:
		case answer.Status == handler.StatusRefused && answer.Error.Code == handler.CodeTooLate && e.Status == handler.StatusCompleted && len(left) > 0:
		default:
			t.Errorf("%s: the cancel ended %s (%v), the export %s (%v), and there is %v", id, answer.Status, answer.Error, e.Status, e.Error, left)
		}
	}
	if won[handler.StatusCancelled] == 0 || won[handler.StatusCompleted] == 0 {
		t.Errorf("the race was always won by the same: %v", won)
	}
}

// A coordinator that dies between a cancel and the end leaves the rest to an heir.
func TestCancelSurvivesItsCoordinator(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	hangs := w.hangBlobs()
	removing := newSignal()
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, key string, before bool) error {
		if op == "DeleteObjects" && strings.Contains(key, "exp/") && before {
			removing.happens()
			return errors.New("the process dies")
		}
		return nil
	}
	first := w.start(t, replicaOptions{commands: 1, faults: faults, configure: func(c *handler.Config) { c.Queue = mortal{c.Queue, removing} }})
	w.start(t, replicaOptions{units: 2})
	exp := w.publish(t, handler.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	removing.wait(t, "the removal")
	first.stop()
	if j := w.job(t, "exp"); j.State.Terminal() || j.Phase != handler.PhaseEnding {
		t.Fatalf("the job is %s, in phase %q", j.State, j.Phase)
	}
	w.start(t, replicaOptions{commands: 1, units: 1})
	if e := w.wait(t, exp); e.Status != handler.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// mortal is the queue of a process that is dead for CV_JOBS once the signal is given.
type mortal struct {
	handler.Queue
	dead *signal
}

func (m mortal) PutJob(ctx context.Context, j handler.Job, rev uint64) (uint64, error) {
	select {
	case <-m.dead.c:
		return 0, errors.New("the process is dead")
	default:
		return m.Queue.PutJob(ctx, j, rev) //nolint:wrapcheck // handed through
	}
}

// From just before the manifests on, an export finishes, and so does a plan from just before its
// bag; before that, they do not, even if their coordinator hangs.
func TestCancelAroundThePointOfNoReturn(t *testing.T) {
	t.Parallel()
	const plan = `{"all_projects":true,"dry_run":true}`
	for _, c := range []struct {
		name, at, data string
		action         handler.Action
		hangs          bool
		answer         handler.Status
		end            handler.Status
	}{
		{"before", "/data/export.json", everything, handler.ActionExport, true, handler.StatusCompleted, handler.StatusCancelled},
		{"after", "/receipt.json", everything, handler.ActionExport, false, handler.StatusRefused, handler.StatusCompleted},
		{"before a plan", "/delete-begun-", plan, handler.ActionDelete, true, handler.StatusCompleted, handler.StatusCancelled},
		{"after a plan", "/receipt.json", plan, handler.ActionDelete, false, handler.StatusRefused, handler.StatusCompleted},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
			reached, answered := newSignal(), newSignal()
			faults := sinktest.NewFaults(nil)
			faults.OnRequest = func(op, key string, before bool) error {
				if op != "PutObject" || !strings.Contains(key, c.at) || !before {
					return nil
				}
				reached.happens()
				<-answered.c
				return nil
			}
			if c.hangs {
				faults.Add(sinktest.Fault{Op: "PutObject", Key: "*" + c.at + "*", Effect: sinktest.Hang})
			}
			defer answered.happens()
			w.start(t, replicaOptions{commands: 1, units: 2, faults: faults})
			exp := w.publish(t, c.action, "exp", c.data)
			reached.wait(t, "the write of "+c.at)
			stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
			answer := w.wait(t, stop)
			answered.happens()
			e := w.wait(t, exp)
			if answer.Status != c.answer || e.Status != c.end {
				t.Errorf("the cancel ended %s (%v), the command %s (%v)", answer.Status, answer.Error, e.Status, e.Error)
			}
			if left := w.objects(t, "exp"); (len(left) > 0) != (c.end == handler.StatusCompleted) {
				t.Errorf("%d objects are there", len(left))
			}
			faults.Check(t)
		})
	}
}

// A delete that waits, or reads what there is to delete, ends cancelled without having touched
// anything; one that deletes finishes.
func TestCancelOfADelete(t *testing.T) {
	t.Parallel()
	t.Run("that waits", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
		w.api.Sample()
		hangs := w.hangBlobs()
		w.start(t, replicaOptions{commands: 4, units: 2})
		w.publish(t, handler.ActionExport, "exp", everything)
		hangs.wait(t, "a download")
		del := w.publish(t, handler.ActionDelete, "del", everything)
		w.await(t, "del", "waiting for the export", func(j handler.Job) bool { return j.Waiting != nil && j.Waiting.For == handler.WaitCommand })
		w.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, del); e.Status != handler.StatusCancelled || e.Attempt != 0 {
			t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
		}
		if calls := w.api.DestructiveCalls(); len(calls) > 0 {
			t.Errorf("it deleted: %v", calls)
		}
	})
	t.Run("that plans", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
		w.api.Sample()
		hangs := newSignal()
		w.api.Fault(cvtest.Fault{Operation: "GetIterations", Times: -1, Hang: true})
		w.api.OnCall(func(operation string, _ int) {
			if operation == "GetIterations" {
				hangs.happens()
			}
		})
		w.start(t, replicaOptions{commands: 1, units: 1})
		del := w.publish(t, handler.ActionDelete, "del", `{"all_projects":true,"unpublish":true}`)
		hangs.wait(t, "the plan")
		w.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, del); e.Status != handler.StatusCancelled || e.Error != nil {
			t.Errorf("ended %s: %v", e.Status, e.Error)
		}
		if calls := w.api.DestructiveCalls(); len(calls) > 0 {
			t.Errorf("it deleted: %v", calls)
		}
		if left := w.objects(t, "del"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if w.dead(t, handler.ActionDelete, "del") {
			t.Error("a cancelled delete is a dead letter")
		}
	})
	t.Run("that deletes", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
		w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
		begun, answered := newSignal(), newSignal()
		defer answered.happens()
		w.api.OnCall(func(operation string, _ int) {
			if strings.HasPrefix(operation, "Delete") {
				begun.happens()
				<-answered.c
			}
		})
		w.start(t, replicaOptions{commands: 1, units: 1})
		del := w.publish(t, handler.ActionDelete, "del", everything)
		begun.wait(t, "the first destructive call")
		stop := w.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, stop); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeTooLate {
			t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
		}
		answered.happens()
		if e := w.wait(t, del); e.Status != handler.StatusCompleted || e.Outcome != handler.OutcomeComplete {
			t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		if n := len(w.api.Snapshot().Projects); n != 0 {
			t.Errorf("%d projects are left", n)
		}
	})
}
