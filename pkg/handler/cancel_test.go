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
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

const everything = `{"all_projects":true}`

// deaf is a queue on which word of an end is never heard.
type deaf struct{ *natsq.Queue }

func (deaf) NotifyOver(context.Context, string) error { return nil }

func TestCancelStopsAnExportOnEveryReplica(t *testing.T) {
	for _, c := range []struct {
		name  string
		queue func(*natsq.Queue) handler.Queue
	}{
		{name: "told"},
		{name: "not told", queue: func(q *natsq.Queue) handler.Queue { return deaf{q} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, cvtest.Options{Seed: 3})
			s.api.Sample()
			hangs := s.hangBlobs()
			s.start(t, part{commands: 2, queue: c.queue}) // coordinates
			s.start(t, part{units: 4, queue: c.queue})    // works
			seq := s.publish(t, handler.ActionExport, "exp", everything)
			hangs.wait(t, s.ctx, "a download")
			begun := time.Now()
			s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
			if e := s.end(t, "stop"); e.Status != handler.StatusCompleted || e.Action != handler.ActionCancel || e.Error != nil {
				t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
			}
			e := s.end(t, "exp")
			if left := s.objects(t, "exp"); len(left) > 0 {
				t.Errorf("the end is told while there are %d objects, such as %s", len(left), left[0])
			}
			if e.Status != handler.StatusCancelled || e.Error != nil || e.Bundle != nil {
				t.Errorf("ended %s, error %v, bundle %v", e.Status, e.Error, e.Bundle)
			}
			if took := time.Since(begun); took > natsq.DefaultAckWait/2 { // as long as a unit's message is held without a heartbeat
				t.Errorf("it took %s", took)
			}
			s.settled(t, seq)
			job := s.job(t, "exp")
			if job.Cancel == nil || job.Cancel.ID != "stop" || job.LeftBehind != "" || job.Phase != "" {
				t.Errorf("job %+v", job)
			}
			if s.dead(t, handler.ActionExport, "exp") {
				t.Error("a cancelled command is a dead letter")
			}
			if calls := s.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("the service was changed: %v", calls)
			}
		})
	}
}

// A cancel needs no free slot; what it cancels has not begun then.
func TestCancelOfACommandThatHasNoSlot(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.Sample()
	hangs := s.hangBlobs()
	s.start(t, part{commands: 1, units: 2})
	s.publish(t, handler.ActionExport, "first", everything)
	hangs.wait(t, s.ctx, "a download")
	second := s.publish(t, handler.ActionExport, "second", everything)
	s.publish(t, handler.ActionCancel, "stop-2", `{"id":"second"}`)
	if e := s.end(t, "stop-2"); e.Status != handler.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	s.publish(t, handler.ActionCancel, "stop-1", `{"id":"first"}`)
	if e := s.end(t, "first"); e.Status != handler.StatusCancelled {
		t.Errorf("the first ended %s: %v", e.Status, e.Error)
	}
	if e := s.end(t, "second"); e.Status != handler.StatusCancelled || e.Attempt != 0 {
		t.Errorf("the second ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	s.settled(t, second)
	s.neverBegun(t, "second")
}

// neverBegun demands that a command has no accepted event, no object and no line in the ledger.
func (s *stage) neverBegun(t *testing.T, id string) {
	t.Helper()
	if _, err := s.queue.Event(s.ctx, handler.ActionExport, id, handler.StatusAccepted); !errors.Is(err, handler.ErrNoMessage) {
		t.Errorf("%s was accepted: %v", id, err)
	}
	if left := s.objects(t, id); len(left) > 0 {
		t.Errorf("%s stored %v", id, left)
	}
	if _, seq, err := s.queue.LedgerTail(s.ctx, id); err != nil || seq != 0 {
		t.Errorf("%s has a ledger: %d, %v", id, seq, err)
	}
}

// A command that waits for the operator ends at its cancel, not when its message comes again.
func TestCancelOfAWaitingCommand(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.Sample()
	s.start(t, part{commands: 2, units: 2, key: cv.TrainingKey("revoked")})
	s.publish(t, handler.ActionExport, "exp", everything)
	job := s.await(t, "exp", "waiting", func(j handler.Job) bool { return j.Waiting != nil })
	if job.Waiting.For != handler.WaitCredential || job.Attempt != 0 {
		t.Fatalf("waits for %s after %d attempts", job.Waiting.For, job.Attempt)
	}
	begun := time.Now()
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := s.end(t, "exp"); e.Status != handler.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if took := time.Since(begun); took > 4*time.Second { // it is delivered again after 6 s or more
		t.Errorf("it took %s", took)
	}
	if left := s.objects(t, "exp"); len(left) > 0 {
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

// Nor does its message stay in the queue, where it would be in the way of others until it comes again; but not before its event is stored.
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
				if err := w.queue.RemoveCommand(t.Context(), exp.seq); err != nil { // as who acknowledges it
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
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.Sample()
	s.start(t, part{commands: 2, units: 2})
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := s.end(t, "stop"); e.Status != handler.StatusCompleted {
		t.Fatalf("the cancel ended %s: %v", e.Status, e.Error)
	}
	if j, _, err := s.queue.Job(s.ctx, "exp"); !errors.Is(err, handler.ErrNoJob) || j.Cancel == nil || j.Cancel.ID != "stop" {
		t.Errorf("the job is %+v, %v", j, err)
	}
	for j, err := range s.queue.Jobs(s.ctx) {
		if err != nil || j.ID != "stop" {
			t.Errorf("listed as a job: %+v, %v", j, err)
		}
	}
	calls := len(s.api.Calls())
	seq := s.publish(t, handler.ActionExport, "exp", everything)
	if e := s.end(t, "exp"); e.Status != handler.StatusCancelled || e.Attempt != 0 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	s.settled(t, seq)
	s.neverBegun(t, "exp")
	if n := len(s.api.Calls()); n != calls {
		t.Errorf("%d calls were made for it", n-calls)
	}
	// The command again, and another one of the same id: the first result stands.
	again := s.publish(t, handler.ActionExport, "exp", everything)
	s.settled(t, again)
	s.single(t, "exp")
	other := s.publish(t, handler.ActionExport, "exp", `{"all_projects":true,"categories":["tags"]}`)
	if e := s.end(t, handler.SeqID(other)); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "exp" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
}

// A cancel counts for 24 hours, and only for a command that can be cancelled.
func TestCancelThatWaited(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	mark := func(id string, age time.Duration) {
		t.Helper()
		if _, err := s.queue.PutJob(s.ctx, handler.Job{ID: id, Cancel: &handler.Cancel{ID: "stop", Time: time.Now().Add(-age)}}, 0); err != nil {
			t.Fatal(err)
		}
	}
	mark("late", 24*time.Hour+time.Minute)
	mark("timely", 24*time.Hour-time.Minute)
	mark("cancel", time.Minute)
	s.start(t, part{commands: 4, units: 2})
	for id, want := range map[string]handler.Status{"late": handler.StatusCompleted, "timely": handler.StatusCancelled} {
		s.publish(t, handler.ActionExport, id, everything)
		if e := s.end(t, id); e.Status != want {
			t.Errorf("%s ended %s: %v", id, e.Status, e.Error)
		}
	}
	if j := s.job(t, "late"); j.Cancel != nil {
		t.Errorf("an old cancel is in the job: %+v", j.Cancel)
	}
	s.publish(t, handler.ActionCancel, "cancel", `{"id":"nobody"}`)
	if e := s.end(t, "cancel"); e.Status != handler.StatusCompleted {
		t.Errorf("a cancel ended %s: %v", e.Status, e.Error)
	}
}

// A bundle that outlived its traces is not taken away by a cancel.
func TestCancelDoesNotReachABundleOfBefore(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.start(t, part{commands: 2, units: 2})
	s.settled(t, s.publish(t, handler.ActionExport, "exp", everything))
	if err := s.queue.Forget(s.ctx, "exp"); err != nil {
		t.Fatal(err)
	}
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	if e := s.end(t, "stop"); e.Status != handler.StatusCompleted {
		t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
	}
	s.publish(t, handler.ActionExport, "exp", everything)
	if e := s.end(t, "exp"); e.Status != handler.StatusCompleted {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	s.bag(t, "exp", sink.ExportBag)
}

func TestCancelTooLate(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.start(t, part{commands: 2, units: 2})
	s.publish(t, handler.ActionExport, "done", everything)
	if e := s.end(t, "done"); e.Status != handler.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	for id, j := range map[string]handler.Job{
		"deleting": {Action: handler.ActionDelete, State: handler.StateRunning, Phase: handler.PhaseCleanUp, Irrevocable: true},
		"failing":  {Action: handler.ActionExport, State: handler.StateRunning, Phase: handler.PhaseEnding},
	} {
		j.ID = id
		if _, err := s.queue.PutJob(s.ctx, j, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"done", "deleting", "failing"} {
		before := s.job(t, id)
		s.publish(t, handler.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		if e := s.end(t, "stop-"+id); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeTooLate {
			t.Errorf("%s: the cancel ended %s: %v", id, e.Status, e.Error)
		}
		if after := s.job(t, id); after.Cancel != nil || !after.Updated.Equal(before.Updated) {
			t.Errorf("%s: the job was changed", id)
		}
		if !s.dead(t, handler.ActionCancel, "stop-"+id) {
			t.Errorf("%s: the refused cancel is no dead letter", id)
		}
	}
	s.bag(t, "done", sink.ExportBag)
}

func TestCancelAgain(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.Sample()
	hangs := s.hangBlobs()
	s.start(t, part{commands: 2, units: 2})
	s.publish(t, handler.ActionExport, "exp", everything)
	hangs.wait(t, s.ctx, "a download")
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	s.end(t, "exp")
	first := s.end(t, "stop")
	s.settled(t, s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`))
	if again := s.end(t, "stop"); !again.FinishedAt.Equal(*first.FinishedAt) {
		t.Error("the same cancel was answered twice")
	}
	s.publish(t, handler.ActionCancel, "stop-2", `{"id":"exp"}`)
	if e := s.end(t, "stop-2"); e.Status != handler.StatusCompleted {
		t.Errorf("another cancel of a cancelled command ended %s: %v", e.Status, e.Error)
	}
	seq := s.publish(t, handler.ActionCancel, "stop", `{"id":"other"}`)
	if e := s.end(t, handler.SeqID(seq)); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "stop" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	seq = s.publish(t, handler.ActionCancel, "exp", `{"id":"other"}`)
	if e := s.end(t, handler.SeqID(seq)); e.Error == nil || e.Error.Code != handler.CodeIDConflict || e.ConflictsWith != "exp" {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
}

func TestCancelOfWhatIsNoCommand(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.start(t, part{commands: 2, units: 2})
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	s.end(t, "stop")
	s.publish(t, handler.ActionCancel, "stop-stop", `{"id":"stop"}`)
	if e := s.end(t, "stop-stop"); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeInvalidCommand {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	for _, data := range []string{`{"id":"me"}`, `{"id":"seq-1"}`, `{"id":"no good"}`, `{}`, `{"id":"exp","dry_run":true}`} {
		seq := s.publish(t, handler.ActionCancel, "me", data)
		if e := s.end(t, handler.SeqID(seq)); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeInvalidCommand || e.Action != handler.ActionCancel {
			t.Errorf("%s ended %s: %v", data, e.Status, e.Error)
		}
	}
}

// However a cancel and the end of its command meet, both tell the same.
func TestCancelAgainstTheEnd(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	s.start(t, part{commands: 4, units: 4})
	s.start(t, part{commands: 4, units: 4})
	won := map[handler.Status]int{}
	for n := range 24 {
		id := fmt.Sprintf("exp-%d", n)
		s.publish(t, handler.ActionExport, id, everything)
		phases := []string{"", handler.PhasePlan, handler.PhaseRead, handler.PhaseCommit, handler.PhaseSeal, handler.PhaseCleanUp}
		phase := phases[n%len(phases)]
		s.await(t, id, "in phase "+phase+" or ended", func(j handler.Job) bool { return slices.Index(phases, j.Phase) >= n%len(phases) || j.State.Terminal() })
		s.publish(t, handler.ActionCancel, "stop-"+id, fmt.Sprintf(`{"id":%q}`, id))
		answer, e := s.end(t, "stop-"+id), s.end(t, id)
		won[e.Status]++
		switch left := s.objects(t, id); {
		case answer.Status == handler.StatusCompleted && e.Status == handler.StatusCancelled && len(left) == 0:
		case answer.Status == handler.StatusRefused && answer.Error.Code == handler.CodeTooLate && e.Status == handler.StatusCompleted && len(left) > 0:
		default:
			t.Errorf("%s: the cancel ended %s (%v), the export %s (%v), and there are %d objects", id, answer.Status, answer.Error, e.Status, e.Error, len(left))
		}
	}
	if won[handler.StatusCancelled] == 0 || won[handler.StatusCompleted] == 0 {
		t.Errorf("the race was always won by the same: %v", won)
	}
}

// A coordinator that dies between a cancel and the end leaves the rest to an heir.
func TestCancelSurvivesItsCoordinator(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.Sample()
	hangs := s.hangBlobs()
	removing := newSignal()
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, key string, before bool) error {
		if op == "DeleteObjects" && strings.Contains(key, "exp/") && before {
			removing.happens()
			return errors.New("the process dies")
		}
		return nil
	}
	first := s.start(t, part{commands: 1, faults: faults, queue: func(q *natsq.Queue) handler.Queue { return mortal{q, removing} }})
	s.start(t, part{units: 2})
	s.publish(t, handler.ActionExport, "exp", everything)
	hangs.wait(t, s.ctx, "a download")
	s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
	removing.wait(t, s.ctx, "the removal")
	first.stop()
	if j := s.job(t, "exp"); j.State.Terminal() || j.Phase != handler.PhaseEnding {
		t.Fatalf("the job is %s, in phase %q", j.State, j.Phase)
	}
	s.start(t, part{commands: 1, units: 1})
	if e := s.end(t, "exp"); e.Status != handler.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := s.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// mortal is the queue of a process that is dead for CV_JOBS once the signal is given.
type mortal struct {
	*natsq.Queue
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

// From just before the manifests on, an export finishes, and so does a plan from just before its bag; before that, they do not, even if their coordinator hangs.
func TestCancelAroundThePointOfNoReturn(t *testing.T) {
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
		{"before a plan", "/delete-begun.json", plan, handler.ActionDelete, true, handler.StatusCompleted, handler.StatusCancelled},
		{"after a plan", "/receipt.json", plan, handler.ActionDelete, false, handler.StatusRefused, handler.StatusCompleted},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, cvtest.Options{Seed: 3})
			s.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
			reached, answered := newSignal(), newSignal()
			faults := sinktest.NewFaults(nil)
			faults.OnRequest = func(op, key string, before bool) error {
				if op != "PutObject" || !strings.HasSuffix(key, c.at) || !before {
					return nil
				}
				reached.happens()
				<-answered.c
				return nil
			}
			if c.hangs {
				faults.Add(sinktest.Fault{Op: "PutObject", Key: "*" + c.at, Effect: sinktest.Hang})
			}
			defer answered.happens()
			s.start(t, part{commands: 1, units: 2, faults: faults})
			s.publish(t, c.action, "exp", c.data)
			reached.wait(t, s.ctx, "the write of "+c.at)
			s.publish(t, handler.ActionCancel, "stop", `{"id":"exp"}`)
			answer := s.end(t, "stop")
			answered.happens()
			e := s.end(t, "exp")
			if answer.Status != c.answer || e.Status != c.end {
				t.Errorf("the cancel ended %s (%v), the command %s (%v)", answer.Status, answer.Error, e.Status, e.Error)
			}
			if left := s.objects(t, "exp"); (len(left) > 0) != (c.end == handler.StatusCompleted) {
				t.Errorf("%d objects are there", len(left))
			}
			faults.Check(t)
		})
	}
}

// A delete that waits, or reads what there is to delete, ends cancelled without having touched anything; one that deletes finishes.
func TestCancelOfADelete(t *testing.T) {
	t.Run("that waits", func(t *testing.T) {
		s := newStage(t, cvtest.Options{Seed: 3})
		s.api.Sample()
		hangs := s.hangBlobs()
		s.start(t, part{commands: 4, units: 2})
		s.publish(t, handler.ActionExport, "exp", everything)
		hangs.wait(t, s.ctx, "a download")
		s.publish(t, handler.ActionDelete, "del", everything)
		s.await(t, "del", "waiting for the export", func(j handler.Job) bool { return j.Waiting != nil && j.Waiting.For == handler.WaitCommand })
		s.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := s.end(t, "del"); e.Status != handler.StatusCancelled || e.Attempt != 0 {
			t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
		}
		if calls := s.api.DestructiveCalls(); len(calls) > 0 {
			t.Errorf("it deleted: %v", calls)
		}
	})
	t.Run("that plans", func(t *testing.T) {
		s := newStage(t, cvtest.Options{Seed: 3})
		s.api.Sample()
		hangs := newSignal()
		s.api.Fault(cvtest.Fault{Operation: "GetIterations", Times: -1, Hang: true})
		s.api.OnCall(func(operation string, _ int) {
			if operation == "GetIterations" {
				hangs.happens()
			}
		})
		s.start(t, part{commands: 1, units: 1})
		s.publish(t, handler.ActionDelete, "del", `{"all_projects":true,"unpublish":true}`)
		hangs.wait(t, s.ctx, "the plan")
		s.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := s.end(t, "del"); e.Status != handler.StatusCancelled || e.Error != nil {
			t.Errorf("ended %s: %v", e.Status, e.Error)
		}
		if calls := s.api.DestructiveCalls(); len(calls) > 0 {
			t.Errorf("it deleted: %v", calls)
		}
		if left := s.objects(t, "del"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if s.dead(t, handler.ActionDelete, "del") {
			t.Error("a cancelled delete is a dead letter")
		}
	})
	t.Run("that deletes", func(t *testing.T) {
		s := newStage(t, cvtest.Options{Seed: 3})
		s.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
		begun, answered := newSignal(), newSignal()
		defer answered.happens()
		s.api.OnCall(func(operation string, _ int) {
			if strings.HasPrefix(operation, "Delete") {
				begun.happens()
				<-answered.c
			}
		})
		s.start(t, part{commands: 1, units: 1})
		s.publish(t, handler.ActionDelete, "del", everything)
		begun.wait(t, s.ctx, "the first destructive call")
		s.publish(t, handler.ActionCancel, "stop", `{"id":"del"}`)
		if e := s.end(t, "stop"); e.Status != handler.StatusRefused || e.Error.Code != handler.CodeTooLate {
			t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
		}
		answered.happens()
		if e := s.end(t, "del"); e.Status != handler.StatusCompleted || e.Outcome != handler.OutcomeComplete {
			t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		if n := len(s.api.Snapshot().Projects); n != 0 {
			t.Errorf("%d projects are left", n)
		}
	})
}
