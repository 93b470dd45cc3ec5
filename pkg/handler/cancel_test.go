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
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

const everything = `{"all_projects":true}`

// dropsEndNotices is a queue that sends no notice that a command is over.
type dropsEndNotices struct{ Queue }

func (dropsEndNotices) NotifyOver(context.Context, string) error { return nil }

func TestCancelStopsAnExportOnEveryReplica(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		configure func(*handler.Config)
	}{
		{name: "told"},
		{name: "not told", configure: func(c *handler.Config) { c.Queue = parts(dropsEndNotices{whole(c.Queue)}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, ackWait: time.Hour}) // a unit that is not stopped is waited for, far too long
			w.api.Sample()
			hangs := w.hangBlobs()
			w.start(t, replicaOptions{commands: 2, configure: c.configure}) // coordinates
			w.start(t, replicaOptions{units: 4, configure: c.configure})    // works
			exp := w.publish(t, contract.ActionExport, "exp", everything)
			hangs.wait(t, "a download")
			stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
			if e := w.wait(t, stop); e.Status != contract.StatusCompleted || e.Action != contract.ActionCancel || e.Error != nil {
				t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
			}
			e := w.wait(t, exp)
			if left := w.objects(t, "exp"); len(left) > 0 {
				t.Errorf("the end is told while there are %d objects, such as %s", len(left), left[0])
			}
			if e.Status != contract.StatusCancelled || e.Error != nil || e.Bundle != nil {
				t.Errorf("ended %s, error %v, bundle %v", e.Status, e.Error, e.Bundle)
			}
			job := w.job(t, "exp")
			if job.Cancel == nil || job.Cancel.ID != "stop" || job.LeftBehind != "" || job.Phase != "" {
				t.Errorf("job %+v", job)
			}
			if w.dead(t, contract.ActionExport, "exp") {
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
	first := w.publish(t, contract.ActionExport, "first", everything)
	hangs.wait(t, "a download")
	second := w.publish(t, contract.ActionExport, "second", everything)
	stop2 := w.publish(t, contract.ActionCancel, "stop-2", `{"id":"second"}`)
	if e := w.wait(t, stop2); e.Status != contract.StatusCompleted || e.Outcome != "" {
		t.Errorf("the cancel of a queued command ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.publish(t, contract.ActionCancel, "stop-1", `{"id":"first"}`)
	if e := w.wait(t, first); e.Status != contract.StatusCancelled {
		t.Errorf("the first ended %s: %v", e.Status, e.Error)
	}
	if e := w.wait(t, second); e.Status != contract.StatusCancelled || e.Attempt != 0 {
		t.Errorf("the second ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.neverBegun(t, "second")
}

// neverBegun demands that a command has no accepted event, no object and no line in the ledger.
func (w *world) neverBegun(t *testing.T, id string) {
	t.Helper()
	if _, err := w.queue.Event(t.Context(), contract.ActionExport, id, contract.StatusAccepted); !errors.Is(err, contract.ErrNoMessage) {
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
	settles := func(d delivery.Delivery, verdict delivery.Disposition) {
		if d.Header[contract.HeaderMsgID][0] == "exp" && verdict.Verb != delivery.Nak {
			t.Errorf("it ended when its message came again: %s", verdict.Verb)
		}
	}
	w.start(t, replicaOptions{commands: 2, units: 2, key: cv.TrainingKey("revoked"), settles: settles})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	job := w.await(t, "exp", "waiting", func(j contract.Job) bool { return j.Waiting != nil })
	if job.Waiting.For != contract.WaitCredential || job.Attempt != 0 {
		t.Fatalf("waits for %s after %d attempts", job.Waiting.For, job.Attempt)
	}
	w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// refusesCancelledEvents is a queue that refuses the event of a cancelled command, as long as the
// test says so.
type refusesCancelledEvents struct {
	Queue
	refuses *bool
}

func (q refusesCancelledEvents) PublishEvent(ctx context.Context, e contract.Event) error {
	if *q.refuses && e.Data.Status == contract.StatusCancelled {
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
			r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) { c.Queue = parts(refusesCancelledEvents{whole(c.Queue), &refuses}) }})
			deliver := func(h *history) delivery.Disposition {
				t.Helper()
				m, err := w.queue.Command(t.Context(), h.seq)
				if err != nil {
					t.Fatal(err)
				}
				return r.handler.Command(t.Context(), delivery.Delivery{Message: m})
			}
			exp := w.publish(t, "export", "exp", everything)
			if d := deliver(exp); d.Verb != delivery.Nak || d.Delay == 0 {
				t.Fatalf("%s after %s: %s", d.Verb, d.Delay, d.Reason)
			}
			if d := deliver(w.publish(t, "cancel", "stop", `{"id":"exp"}`)); d.Verb != delivery.Ack {
				t.Fatalf("the cancel: %s: %s", d.Verb, d.Reason)
			}
			if refuses {
				refuses = false
				if d := deliver(exp); d.Verb != delivery.Ack {
					t.Fatalf("%s: %s", d.Verb, d.Reason)
				}
				m, err := w.queue.Command(t.Context(), exp.seq)
				if err == nil {
					err = w.queue.RemoveCommand(t.Context(), m) // as the acknowledgement does
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
		})
	}
}

func TestCancelBeforeItsCommand(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	w.start(t, replicaOptions{commands: 2, units: 2})
	stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, stop); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeKept {
		t.Fatalf("the cancel ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if j, _, err := w.queue.Job(t.Context(), "exp"); !errors.Is(err, contract.ErrNoJob) || j.Cancel == nil || j.Cancel.ID != "stop" {
		t.Errorf("the job is %+v, %v", j, err)
	}
	for j, err := range w.queue.Jobs(t.Context()) {
		if err != nil || j.ID != "stop" {
			t.Errorf("listed as a job: %+v, %v", j, err)
		}
	}
	calls := len(w.api.Calls())
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled || e.Attempt != 0 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.neverBegun(t, "exp")
	if n := len(w.api.Calls()); n != calls {
		t.Errorf("%d calls were made for it", n-calls)
	}
	// The command again, and another one of the same id: the first result stands.
	w.wait(t, w.publish(t, contract.ActionExport, "exp", everything))
	other := w.publishMessage(t, "", plain(contract.ActionExport, "exp", `{"all_projects":true,"categories":["tags"]}`))
	if e := w.wait(t, other); e.Error == nil || e.Error.Code != contract.CodeIDConflict || e.ConflictsWith != "exp" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
}

// A cancel counts for 24 hours, and only for a command that can be cancelled.
func TestCancelThatWaited(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	mark := func(id string, age time.Duration) {
		t.Helper()
		if _, err := w.queue.PutJob(t.Context(), contract.Job{ID: id, Cancel: &contract.Cancel{ID: "stop", Time: time.Now().Add(-age)}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	mark("late", 24*time.Hour+time.Minute)
	mark("timely", 24*time.Hour-time.Minute)
	mark("cancel", time.Minute)
	w.start(t, replicaOptions{commands: 4, units: 2})
	for id, want := range map[string]contract.Status{"late": contract.StatusCompleted, "timely": contract.StatusCancelled} {
		if e := w.wait(t, w.publish(t, contract.ActionExport, id, everything)); e.Status != want {
			t.Errorf("%s ended %s: %v", id, e.Status, e.Error)
		}
	}
	if j := w.job(t, "late"); j.Cancel != nil {
		t.Errorf("an old cancel is in the job: %+v", j.Cancel)
	}
	cancel := w.publish(t, contract.ActionCancel, "cancel", `{"id":"nobody"}`)
	if e := w.wait(t, cancel); e.Status != contract.StatusCompleted {
		t.Errorf("a cancel ended %s: %v", e.Status, e.Error)
	}
}

// A bundle that outlived its traces is not taken away by a cancel.
func TestCancelDoesNotReachABundleOfBefore(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	w.wait(t, w.publish(t, contract.ActionExport, "exp", everything))
	if err := w.queue.Forget(t.Context(), "exp"); err != nil {
		t.Fatal(err)
	}
	stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, stop); e.Status != contract.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	if e := w.wait(t, exp); e.Status != contract.StatusCompleted {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}

func TestCancelTooLate(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	done := w.publish(t, contract.ActionExport, "done", everything)
	if e := w.wait(t, done); e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	for id, j := range map[string]contract.Job{
		"deleting": {Action: contract.ActionDelete, State: contract.StateRunning, Phase: contract.PhaseCleanUp, Irrevocable: true},
		"failing":  {Action: contract.ActionExport, State: contract.StateRunning, Phase: contract.PhaseEnding},
	} {
		j.ID = id
		if _, err := w.queue.PutJob(t.Context(), j, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"done", "deleting", "failing"} {
		before := w.job(t, id)
		stop := w.publish(t, contract.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		if e := w.wait(t, stop); e.Status != contract.StatusRefused || e.Error.Code != contract.CodeTooLate {
			t.Errorf("%s: the cancel ended %s: %v", id, e.Status, e.Error)
		}
		if after := w.job(t, id); after.Cancel != nil || !after.Updated.Equal(before.Updated) {
			t.Errorf("%s: the job was changed", id)
		}
		if !w.dead(t, contract.ActionCancel, "stop-"+id) {
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
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	w.wait(t, exp)
	first := w.wait(t, stop)
	if again := w.wait(t, w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)); !again.FinishedAt.Equal(*first.FinishedAt) {
		t.Error("the same cancel was answered twice")
	}
	stop2 := w.publish(t, contract.ActionCancel, "stop-2", `{"id":"exp"}`)
	if e := w.wait(t, stop2); e.Status != contract.StatusCompleted {
		t.Errorf("another cancel of a cancelled command ended %s: %v", e.Status, e.Error)
	}
	other := w.publishMessage(t, "", plain(contract.ActionCancel, "stop", `{"id":"other"}`))
	if e := w.wait(t, other); e.Error == nil || e.Error.Code != contract.CodeIDConflict || e.ConflictsWith != "stop" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	// The id of a command is free for a cancel.
	if e := w.wait(t, w.publish(t, contract.ActionCancel, "exp", `{"id":"exp"}`)); e.CommandID != "exp" || e.Status != contract.StatusCompleted || e.Outcome != "" {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

func TestCancelOfWhatIsNoCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.start(t, replicaOptions{commands: 2, units: 2})
	stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	w.wait(t, stop)
	// A cancel takes no command's id: no command is called stop, nor me.
	for id, data := range map[string]string{"stop-stop": `{"id":"stop"}`, "me": `{"id":"me"}`} {
		if e := w.wait(t, w.publish(t, contract.ActionCancel, id, data)); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeKept {
			t.Errorf("%s ended %s %s: %v", id, e.Status, e.Outcome, e.Error)
		}
	}
	for n, data := range []string{`{"id":"seq-1"}`, `{"id":"no good"}`, `{}`, `{"id":"exp","dry_run":true}`} {
		if e := w.wait(t, w.publish(t, contract.ActionCancel, fmt.Sprintf("me-%d", n), data)); e.Status != contract.StatusRefused || e.Error.Code != contract.CodeInvalidCommand || e.Action != contract.ActionCancel {
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
	won := map[contract.Status]int{}
	for n := range 24 {
		id := fmt.Sprintf("exp-%d", n)
		exp := w.publish(t, contract.ActionExport, id, everything)
		phases := []string{"", contract.PhasePlan, contract.PhaseRead, contract.PhaseCommit, contract.PhaseSeal, contract.PhaseCleanUp}
		phase := phases[n%len(phases)]
		w.await(t, id, "in phase "+phase+" or ended", func(j contract.Job) bool { return slices.Index(phases, j.Phase) >= n%len(phases) || j.State.Terminal() })
		stop := w.publish(t, contract.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		answer, e := w.end(t, stop), w.end(t, exp)
		won[e.Status]++
		switch left := w.objects(t, id); {
		case answer.Status == contract.StatusCompleted && e.Status == contract.StatusCancelled && len(left) == 0:
		case answer.Status == contract.StatusRefused && answer.Error.Code == contract.CodeTooLate && e.Status == contract.StatusCompleted && len(left) > 0:
		default:
			t.Errorf("%s: the cancel ended %s (%v), the export %s (%v), and there is %v", id, answer.Status, answer.Error, e.Status, e.Error, left)
		}
	}
	if won[contract.StatusCancelled] == 0 || won[contract.StatusCompleted] == 0 {
		t.Errorf("the race was always won by the same: %v", won)
	}
}

// A coordinator that dies between a cancel and the end leaves the rest to the next holder.
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
	first := w.start(t, replicaOptions{commands: 1, faults: faults, configure: func(c *handler.Config) { c.Queue = parts(failsJobWrites{whole(c.Queue), removing}) }})
	w.start(t, replicaOptions{units: 2})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	removing.wait(t, "the removal")
	first.stop()
	if j := w.job(t, "exp"); j.State.Terminal() || j.Phase != contract.PhaseEnding {
		t.Fatalf("the job is %s, in phase %q", j.State, j.Phase)
	}
	w.start(t, replicaOptions{commands: 1, units: 1})
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// failsJobWrites is a queue that fails every write of a job once the signal is given, as if the
// process were dead.
type failsJobWrites struct {
	Queue
	dead *signal
}

func (m failsJobWrites) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
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
		action         contract.Action
		hangs          bool
		answer         contract.Status
		end            contract.Status
	}{
		{"before", "/data/export.json", everything, contract.ActionExport, true, contract.StatusCompleted, contract.StatusCancelled},
		{"after", "/receipt.json", everything, contract.ActionExport, false, contract.StatusRefused, contract.StatusCompleted},
		{"before a plan", "/delete-begun-", plan, contract.ActionDelete, true, contract.StatusCompleted, contract.StatusCancelled},
		{"after a plan", "/receipt.json", plan, contract.ActionDelete, false, contract.StatusRefused, contract.StatusCompleted},
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
			stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
			answer := w.wait(t, stop)
			answered.happens()
			e := w.wait(t, exp)
			if answer.Status != c.answer || e.Status != c.end {
				t.Errorf("the cancel ended %s (%v), the command %s (%v)", answer.Status, answer.Error, e.Status, e.Error)
			}
			if left := w.objects(t, "exp"); (len(left) > 0) != (c.end == contract.StatusCompleted) {
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
		w.publish(t, contract.ActionExport, "exp", everything)
		hangs.wait(t, "a download")
		del := w.publish(t, contract.ActionDelete, "del", everything)
		w.await(t, "del", "waiting for the export", func(j contract.Job) bool { return j.Waiting != nil && j.Waiting.For == contract.WaitCommand })
		w.publish(t, contract.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, del); e.Status != contract.StatusCancelled || e.Attempt != 0 {
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
		del := w.publish(t, contract.ActionDelete, "del", `{"all_projects":true,"unpublish":true}`)
		hangs.wait(t, "the plan")
		w.publish(t, contract.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, del); e.Status != contract.StatusCancelled || e.Error != nil {
			t.Errorf("ended %s: %v", e.Status, e.Error)
		}
		if calls := w.api.DestructiveCalls(); len(calls) > 0 {
			t.Errorf("it deleted: %v", calls)
		}
		if left := w.objects(t, "del"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if w.dead(t, contract.ActionDelete, "del") {
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
		del := w.publish(t, contract.ActionDelete, "del", everything)
		begun.wait(t, "the first destructive call")
		stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"del"}`)
		if e := w.wait(t, stop); e.Status != contract.StatusRefused || e.Error.Code != contract.CodeTooLate {
			t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
		}
		answered.happens()
		if e := w.wait(t, del); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
			t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		if n := len(w.api.Snapshot().Projects); n != 0 {
			t.Errorf("%d projects are left", n)
		}
	})
}
