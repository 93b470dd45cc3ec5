package handler_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// These tests delete CV_COMMANDS and provision it again while commands are under way, as an
// operator might. Its sequences begin at 1 again, so the numbers that jobs, units and replicas
// remember lead to other commands.

// remake deletes the stream of commands and makes it again.
func (w *world) remake(t *testing.T) {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "CV_COMMANDS"); err != nil {
		t.Fatal(err)
	}
	w.queue = w.open(t, w.conn)
}

// given delivers a command's message to a replica's handler and says what becomes of it.
func (w *world) given(t *testing.T, r *replica, h *history) delivery.Disposition {
	t.Helper()
	return <-w.deliver(t.Context(), t, h, r, delivery.Lease{})
}

// queued reports whether a command's message is in the queue.
func (w *world) queued(t *testing.T, h *history) bool {
	t.Helper()
	_, err := w.queue.Command(t.Context(), h.seq)
	if err != nil && !errors.Is(err, contract.ErrNoMessage) {
		t.Fatal(err)
	}
	return err == nil
}

// project adds a small project and returns its id.
func (w *world) project(name string) uuid.UUID {
	return w.api.AddProject(cvtest.ProjectSpec{Name: name, Images: 3, Tags: []string{"a"}}).ID
}

// concerning is a command's data about one project.
func concerning(id uuid.UUID, more string) string {
	return fmt.Sprintf(`{"project_ids":["%s"]%s}`, id, more)
}

// The units of an export are in the queue when its command's place is taken by another export. No
// worker reads that one's selection for them: the export ends with its own, when it is published
// again.
func TestRemadeStreamUnderAnExport(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	project := w.project("one")
	w.start(t, replicaOptions{commands: 4})
	w.publish(t, "export", "exp", concerning(project, ""))
	w.eventually(t, "a unit is queued", func() bool { return len(w.messages(t, "CV_WORK")) > 0 })
	w.remake(t)
	other := w.publish(t, "export", "other", concerning(project, `,"categories":["tags"]`))
	w.eventually(t, "both have units", func() bool { return len(w.messages(t, "CV_WORK")) > 1 })
	w.start(t, replicaOptions{units: 4})
	if e := w.wait(t, other); e.Status != contract.StatusCompleted || e.Counts.Images != 0 {
		t.Errorf("the other ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	e := w.run(t, "exp", concerning(project, ""))
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != 3 {
		t.Fatalf("ended %s %s with %d of 3 images: %v", e.Status, e.Outcome, e.Counts.Images, e.Error)
	}
	w.checkTruth(t, w.bag(t, "exp", sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{}))
}

// A coordinator whose message is gone with its stream stops: it holds its slot no longer, and the
// next command has it.
func TestRemadeStreamFreesTheSlot(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	project := w.project("one")
	w.start(t, replicaOptions{commands: 1})
	w.publish(t, "cancel", "filler", `{"id":"no-such-command"}`) // so that the export's sequence is not the next one's
	w.publish(t, "export", "exp", concerning(project, ""))
	w.eventually(t, "a unit is queued", func() bool { return len(w.messages(t, "CV_WORK")) > 0 })
	w.remake(t)
	next := w.publish(t, "export", "next", concerning(project, ""))
	w.start(t, replicaOptions{units: 4})
	if e := w.wait(t, next); e.Status != contract.StatusCompleted {
		t.Errorf("the next ended %s: %v", e.Status, e.Error)
	}
	if e := w.run(t, "exp", concerning(project, "")); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Errorf("published again, it ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
}

// waitsForCredential publishes an export that a replica without a valid key hands back, so that it
// has a job.
func (w *world) waitsForCredential(t *testing.T, id string) *history {
	t.Helper()
	locked := w.start(t, replicaOptions{idle: true, key: cv.TrainingKey("revoked")})
	h := w.publish(t, "export", id, everything)
	if d := w.given(t, locked, h); d.Verb != delivery.Nak {
		t.Fatalf("%s: settled %s: %s", id, d.Verb, d.Reason)
	}
	if j := w.job(t, id); j.Waiting == nil || j.Waiting.For != contract.WaitCredential {
		t.Fatalf("%s does not wait: %+v", id, j)
	}
	return h
}

// A command that is published again is no duplicate of one that merely has the first one's sequence
// now.
func TestRemadeStreamRepublished(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken bool // by another command
	}{{"its place is free", false}, {"its place is taken", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			w.project("one")
			w.publish(t, "cancel", "filler", `{"id":"no-such-command"}`)
			w.waitsForCredential(t, "exp")
			w.remake(t)
			if c.taken {
				w.publish(t, "export", "note", concerning(w.project("two"), ""))
				w.publish(t, "export", "other", concerning(w.project("three"), ""))
			}
			again := w.publish(t, "export", "exp", everything)
			w.start(t, replicaOptions{units: 4})
			if d := w.given(t, w.start(t, replicaOptions{idle: true}), again); d.Verb != delivery.Ack {
				t.Errorf("settled %s: %s", d.Verb, d.Reason)
			}
			e, err := w.queue.Event(t.Context(), contract.ActionExport, "exp", contract.StatusCompleted)
			if err != nil || e.Data.Outcome != contract.OutcomeComplete {
				t.Fatalf("acknowledged without an end: %+v, %v", e.Data, err)
			}
			if j := w.job(t, "exp"); j.Command.Seq != again.seq {
				t.Errorf("the job's message is %d, the command's %d", j.Command.Seq, again.seq)
			}
		})
	}
}

// beforeAnswer is a queue that calls do, then looks for a command's end.
type beforeAnswer struct {
	Queue
	do func()
}

func (q beforeAnswer) Answer(ctx context.Context, key string) (contract.Event, error) {
	q.do()
	return q.Queue.Answer(ctx, key)
}

// A command that was delivered before its stream was made again ends after it was published again,
// when the second message has found no job, and before it looks for an end. The second message is a
// duplicate: no other command has its id.
func TestRemadeStreamEndsMeanwhile(t *testing.T) {
	const late = `{"all_projects":true,"not_after":"2020-01-01T00:00:00Z"}`
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	remade, ended := newSignal(), newSignal()
	first := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(beforeAnswer{whole(c.Queue), sync.OnceFunc(func() { remade.happens(); <-ended.c })})
	}})
	given := w.deliver(t.Context(), t, w.publish(t, "export", "exp", late), first, delivery.Lease{})
	remade.wait(t, "the first message has no job")
	w.remake(t)
	w.publish(t, "cancel", "filler", `{"id":"no-such-command"}`) // so that its sequence is another one
	again := w.publish(t, "export", "exp", late)
	second := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(beforeAnswer{whole(c.Queue), sync.OnceFunc(func() { ended.happens(); <-given })})
	}})
	if d := w.given(t, second, again); d.Verb != delivery.Ack {
		t.Errorf("settled %s: %s", d.Verb, d.Reason)
	}
	if e, err := w.queue.Answer(t.Context(), contract.SeqID(again.seq)); err != nil || e.Data.Status != contract.StatusDuplicate {
		t.Errorf("the second message was answered %s %v, %v", e.Data.Status, e.Data.Error, err)
	}
	if e, err := w.queue.Answer(t.Context(), "exp"); err != nil || e.Data.Error == nil || e.Data.Error.Code != contract.CodeExpired {
		t.Errorf("the command ended %+v, %v", e.Data, err)
	}
}

// A cancel ends the command that it names, and none that has this one's sequence now: neither one
// that waits nor a delete that is at work.
func TestRemadeStreamCancel(t *testing.T) {
	t.Run("beside a command that waits", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		project := w.project("one")
		w.waitsForCredential(t, "exp")
		w.remake(t)
		other := w.publish(t, "export", "other", concerning(project, ""))
		if d := w.given(t, w.start(t, replicaOptions{idle: true}), w.publish(t, "cancel", "stop", `{"id":"exp"}`)); d.Verb != delivery.Ack {
			t.Errorf("the cancel: settled %s: %s", d.Verb, d.Reason)
		}
		if !w.queued(t, other) {
			t.Error("a command that was not cancelled is out of the queue")
		}
		w.start(t, replicaOptions{})
		if e := w.wait(t, other); e.Status != contract.StatusCompleted {
			t.Errorf("a command that was not cancelled ended %s: %v", e.Status, e.Error)
		}
		// The one that was is, when it is published again.
		if e := w.run(t, "exp", everything); e.Status != contract.StatusCancelled {
			t.Errorf("the cancelled one ended %s: %v", e.Status, e.Error)
		}
	})
	t.Run("beside a delete at work", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		project := w.project("one")
		w.waitsForCredential(t, "exp")
		w.remake(t)
		begun, answered := newSignal(), newSignal()
		defer answered.happens()
		w.api.OnCall(func(operation string, _ int) {
			if operation == "DeleteProject" {
				begun.happens()
				<-answered.c
			}
		})
		w.start(t, replicaOptions{configure: noWait})
		del := w.publish(t, "delete", "del", concerning(project, ""))
		begun.wait(t, "the delete is at work")
		if e := w.wait(t, w.publish(t, "cancel", "stop", `{"id":"exp"}`)); e.Status != contract.StatusCompleted {
			t.Errorf("the cancel ended %s: %v", e.Status, e.Error)
		}
		if !w.queued(t, del) {
			t.Error("the delete's message is out of the queue")
		}
		answered.happens()
		if e := w.wait(t, del); e.Status != contract.StatusCompleted {
			t.Errorf("the delete ended %s: %v", e.Status, e.Error)
		}
		w.bag(t, "del", sink.DeleteBag)
	})
}

// A delete that is at work when the stream is made again is carried on by its coordinator, or by
// the replica that gets it when it is published again: it ends once, and all of it is done.
func TestRemadeStreamUnderADelete(t *testing.T) {
	for _, at := range []string{"DELETE ", "PutObject " + cutID + "/.work/delete-begun-", "PutObject " + cutID + "/delete/"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true}`), sink.DeleteBag)
			w := s.world(t, func(o *worldOptions) { o.ackWait = 2 * time.Second })
			remade := newSignal()
			r := w.start(t, replicaOptions{configure: s.configure, fate: w.deletes(t, "CV_COMMANDS", at, remade.happens)})
			w.publish(t, s.action, cutID, s.data)
			remade.wait(t, "the stream is deleted")
			w.queue = w.open(t, w.conn)
			s.finish(t, w, w.publish(t, s.action, cutID, s.data), r)
		})
	}
}

// A replica that remembers the commands of the stream before does not let a command of this one
// wait for them, be it at a place that it knows or at a later one.
func TestRemadeStreamIsInNobodysWay(t *testing.T) {
	for _, notes := range []int{1, 3} {
		t.Run(fmt.Sprintf("after %d others", notes), func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			project, other := w.project("one"), w.project("two")
			w.publish(t, "export", "exp", concerning(project, ""))
			r := w.start(t, replicaOptions{idle: true, configure: noWait})
			if d := w.given(t, r, w.publish(t, "delete", "del", concerning(project, ""))); d.Verb != delivery.Nak || d.Reason != "waits for command" {
				t.Fatalf("settled %s: %s", d.Verb, d.Reason)
			}
			w.remake(t)
			for n := range notes {
				w.publish(t, "export", fmt.Sprintf("note-%d", n), concerning(other, ""))
			}
			del := w.publish(t, "delete", "del", concerning(project, ""))
			if d := w.given(t, r, del); d.Verb != delivery.Ack {
				t.Errorf("settled %s: %s", d.Verb, d.Reason)
			}
		})
	}
}

// A unit whose command's place another command has is not carried out with that one's selection.
// Units that an older version queued know the id only.
func TestUnitOfAnotherCommand(t *testing.T) {
	for name, known := range map[string]string{
		"another id": "", "another id, digest": `,"action":"export","digest":"salt.00"`, "another selection": `,"action":"export","digest":"salt.00"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			project := w.project("one")
			id := "exp"
			if strings.HasPrefix(name, "another id") {
				id = "other"
			}
			h := w.publish(t, "export", id, everything)
			if _, err := w.queue.PutJob(t.Context(), contract.Job{ID: "exp", Action: contract.ActionExport, State: contract.StateRunning}, 0); err != nil {
				t.Fatal(err)
			}
			body := fmt.Appendf(nil, `{"v":1,"command":"exp","seq":%d,"n":0,"kind":"project","project":"%s"%s}`, h.seq, project, known)
			d := w.start(t, replicaOptions{idle: true}).handler.Unit(t.Context(), delivery.UnitDelivery{Command: "exp", Body: body, Delivered: 1})
			if d.Verb != delivery.Ack || len(w.api.Calls()) > 0 || len(w.objects(t, "exp")) > 0 {
				t.Errorf("settled %s: %s; %d calls, objects %v", d.Verb, d.Reason, len(w.api.Calls()), w.objects(t, "exp"))
			}
		})
	}
}

// beforeCommandIn is a queue that calls do, then looks for a command's message.
type beforeCommandIn struct {
	Queue
	do func()
}

func (q beforeCommandIn) CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error) {
	q.do()
	return q.Queue.CommandIn(ctx, stream, seq)
}

// Before an export decides what its bag is made of, and before a delete begins, their message must
// still be in its stream: in another one, later commands do not wait for them.
func TestRemadeStreamBeforeTheTurningPoint(t *testing.T) {
	for action, data := range map[contract.Action]string{"export": everything, "delete": everything, "delete ": `{"all_projects":true,"dry_run":true}`} {
		t.Run(string(action)+data, func(t *testing.T) {
			action := contract.Action(strings.TrimSpace(string(action)))
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			w.project("one")
			w.start(t, replicaOptions{units: 4})
			r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
				noWait(c)
				c.Queue = parts(beforeCommandIn{whole(c.Queue), sync.OnceFunc(func() { w.remake(t) })})
			}})
			if d := w.given(t, r, w.publish(t, action, "mine", data)); d.Verb != delivery.Abandon {
				t.Errorf("settled %s: %s", d.Verb, d.Reason)
			}
			if j := w.job(t, "mine"); j.State != contract.StateRunning || j.Irrevocable || j.Attempt != 0 {
				t.Errorf("the job is %+v", j)
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("it deleted: %v", calls)
			}
			for _, name := range w.objects(t, "mine") {
				if strings.HasSuffix(name, "cut.json") || strings.Contains(name, "delete-begun-") {
					t.Errorf("it stored %s", name)
				}
			}
			again := w.publish(t, action, "mine", data)
			if d := w.given(t, w.start(t, replicaOptions{idle: true, configure: noWait}), again); d.Verb != delivery.Ack {
				t.Errorf("published again: settled %s: %s", d.Verb, d.Reason)
			}
			if e := w.end(t, again); e.Status != contract.StatusCompleted || e.Attempt != 1 || e.Seq != again.seq {
				t.Errorf("message %d ended %s in attempt %d: %v", e.Seq, e.Status, e.Attempt, e.Error)
			}
		})
	}
}

// What is refused under its sequence gets its own answer, not that of the message which had this
// sequence before.
func TestRemadeStreamRefusals(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{})
	refuse := func(action contract.Action, data, field string) {
		t.Helper()
		h := w.publishMessage(t, "", plain(action, "", data))
		w.eventually(t, "the message leaves the queue", func() bool { return !w.queued(t, h) })
		e, err := w.queue.Event(t.Context(), action, contract.SeqID(h.seq), contract.StatusRefused)
		if err != nil || e.Data.Error == nil || e.Data.Error.Message[:len(field)] != field {
			t.Errorf("%s is answered %v, %v", data, e.Data.Error, err)
		}
		if j := w.job(t, contract.SeqID(h.seq)); j.Action != action || j.Error == nil || j.Error.Message != e.Data.Error.Message {
			t.Errorf("%s: the job is %+v", data, j)
		}
		d, err := w.queue.DeadLetter(t.Context(), contract.SeqID(h.seq))
		if err != nil || string(d.Message.Body) != data || d.Action != action {
			t.Errorf("%s: the dead letter is %+v, %v", data, d, err)
		}
	}
	refuse("export", `{"all_projects":true}`, "Nats-Msg-Id")
	w.remake(t)
	refuse("export", `[]`, "Nats-Msg-Id")
	w.remake(t)
	refuse("delete", `{}`, "Nats-Msg-Id")
}
