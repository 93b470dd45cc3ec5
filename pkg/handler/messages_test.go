package handler_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// repeated is data that asks for the same in other bytes: two messages that are equal in all, one
// just after the other, are one for JetStream.
func repeated(data string) string { return " " + data }

// settled gives a message to a replica, twice, as when the acknowledgement of the first time was
// lost, and returns its answer.
func (w *world) settled(t *testing.T, r *replica, h *history) contract.EventData {
	t.Helper()
	for range 2 {
		if d := w.given(t, r, h); d.Verb != delivery.Ack {
			t.Fatalf("message %d (%s %s) is settled %s: %s", h.seq, h.action, h.id, d.Verb, d.Reason)
		}
	}
	return w.answer(t, h)
}

// acknowledged takes a message out of the queue, as its acknowledgement does.
func (w *world) acknowledged(t *testing.T, h *history) {
	t.Helper()
	m, err := w.queue.Command(t.Context(), h.seq)
	if err == nil {
		err = w.queue.RemoveCommand(t.Context(), m)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// duplicates demands that a message is answered as the duplicate of another one, whose command has
// this state, and that nothing else is made of it.
func (w *world) duplicates(t *testing.T, r *replica, h *history, first *history, state contract.State) {
	t.Helper()
	letters := len(w.messages(t, "CV_DEAD"))
	e := w.settled(t, r, h)
	if e.Status != contract.StatusDuplicate || e.CommandID != contract.SeqID(h.seq) || string(e.GivenID) != h.id || e.Error != nil || e.Attempt != 0 || e.FinishedAt != nil {
		t.Fatalf("message %d is answered %+v", h.seq, e)
	}
	if of := e.DuplicateOf; of == nil || of.ID != first.id || of.Seq != first.seq || of.Stream == "" || of.State != state {
		t.Errorf("message %d is a duplicate of %+v; the first is %d, %s", h.seq, of, first.seq, state)
	}
	if _, _, err := w.queue.Job(t.Context(), e.Key()); err == nil {
		t.Errorf("there is a job %s", e.Key())
	}
	if n := len(w.messages(t, "CV_DEAD")); n != letters {
		t.Errorf("a duplicate is a dead letter")
	}
	w.acknowledged(t, h)
}

// The publisher of a message finds its answer by the sequence of its acknowledgement: before the
// first command of that id has ended, after it, and whatever the message is.
func TestEveryMessageIsAnswered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.project("one")
	first := w.waitsForCredential(t, "mine")
	r := w.idle(t)
	w.duplicates(t, r, w.publish(t, "export", "mine", repeated(everything)), first, contract.StateRunning)
	w.refusedAs(t, r, w.publish(t, "export", "mine", `{"all_projects":true,"reference":"CASE-2"}`), contract.CodeIDConflict)
	// Cancels have ids of their own, also while a command with the same id waits.
	stop := w.publish(t, "cancel", "mine", `{"id":"nobody"}`)
	if e := w.settled(t, r, stop); e.CommandID != "mine" || e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeKept {
		t.Errorf("the cancel %s ended %s %s: %v", e.CommandID, e.Status, e.Outcome, e.Error)
	}
	w.duplicates(t, r, w.publish(t, "cancel", "mine", repeated(`{"id":"nobody"}`)), stop, contract.StateCompleted)
	if e := w.settled(t, r, first); e.Status != contract.StatusCompleted || e.CommandID != "mine" {
		t.Fatalf("the first ended %s: %v", e.Status, e.Error)
	}
	w.duplicates(t, r, w.publish(t, "export", "mine", "\n"+everything), first, contract.StateCompleted)
	w.refusedAs(t, r, w.publish(t, "delete", "mine", everything), contract.CodeIDConflict)
	if e := w.settled(t, r, first); e.Status != contract.StatusCompleted {
		t.Errorf("delivered again, the first is answered %s", e.Status)
	}

	w.refusedAs(t, r, w.publish(t, "cancel", "mine", `{"id":"mine"}`), contract.CodeIDConflict)
	w.refusedAs(t, r, w.publish(t, "cancel", "mine", `{"id":7}`), contract.CodeInvalidCommand)

	// What is refused for good uses its id up, and is repeated like everything else.
	bad := w.publish(t, "export", "bad", `{"all_projects":true,"resource":"nowhere"}`)
	if e := w.settled(t, r, bad); e.CommandID != "bad" || e.Status != contract.StatusRefused {
		t.Errorf("%s ended %s", e.CommandID, e.Status)
	}
	w.duplicates(t, r, w.publish(t, "export", "bad", repeated(`{"all_projects":true,"resource":"nowhere"}`)), bad, contract.StateRefused)
}

// refusedAs demands that a message is refused under its sequence because its id is taken.
func (w *world) refusedAs(t *testing.T, r *replica, h *history, code string) {
	t.Helper()
	w.settled(t, r, h)
	if e := w.refusedBySeq(t, h.action, h, h.id, code); code == contract.CodeIDConflict && string(e.ConflictsWith) != h.id {
		t.Errorf("message %d conflicts with %q", h.seq, e.ConflictsWith)
	}
	w.acknowledged(t, h)
}

// In a stream that was made again, a message gets the sequence that an earlier one had there: it
// has an answer of its own, in the place of that one's.
func TestDuplicateInAStreamMadeAgain(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.project("one")
	r := w.idle(t)
	first := w.publish(t, "export", "mine", everything)
	w.settled(t, r, first)
	w.settled(t, r, w.publish(t, "delete", "mine", everything)) // seq-2 is refused
	w.remake(t)
	w.publish(t, "export", "note", everything)
	again := w.publish(t, "export", "mine", everything)
	if again.seq != 2 {
		t.Fatalf("the message is %d", again.seq)
	}
	stale := w.job(t, contract.SeqID(2))
	if e := w.settled(t, r, again); e.DuplicateOf == nil || e.DuplicateOf.Seq != first.seq || e.DuplicateOf.Stream == e.Stream || e.DuplicateOf.Stream != stale.Command.Stream {
		t.Errorf("answered %+v", e)
	}
	for _, m := range w.messages(t, "CV_EVENTS") {
		if m.Subject == "cv.events.delete.seq-2.refused" {
			t.Error("the answer to the earlier stream's message is still there")
		}
	}
}

// A command that has ended ends once, also when its job is lost: by its message it is known, by its
// bundle, or not at all.
func TestJobLostAfterTheEnd(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.project("one")
	r := w.idle(t)
	lost := func(h *history, key string) *history {
		t.Helper()
		w.settled(t, r, h)
		js, err := jetstream.New(w.conn)
		if err != nil {
			t.Fatal(err)
		}
		jobs, err := js.Stream(t.Context(), "KV_CV_JOBS")
		if err == nil {
			err = jobs.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.CV_JOBS."+key))
		}
		if err != nil {
			t.Fatal(err)
		}
		w.settled(t, r, h) // its event tells
		w.acknowledged(t, h)
		return h
	}
	first := lost(w.publish(t, "export", "mine", everything), "mine")
	w.duplicates(t, r, w.publish(t, "export", "mine", repeated(everything)), first, contract.StateCompleted)
	lost(w.publish(t, "export", "bad", `{"all_projects":true,"resource":"nowhere"}`), "bad")
	w.refusedAs(t, r, w.publish(t, "export", "bad", repeated(`{"all_projects":true,"resource":"nowhere"}`)), contract.CodeIDConflict)
	w.refusedAs(t, r, w.publish(t, "export", "bad", "[]"), contract.CodeInvalidCommand)
	w.refusedAs(t, r, w.publish(t, "delete", "bad", everything), contract.CodeIDConflict)
	lost(w.publish(t, "export", "worse", "{}"), "worse")
	lost(w.publish(t, "cancel", "stop", `{"id":"mine"}`), "cancel.stop")
	w.refusedAs(t, r, w.publish(t, "cancel", "stop", repeated(`{"id":"mine"}`)), contract.CodeIDConflict)
}

// The command's message became another one while a replica that did not know it wrote the end: the
// end is the answer to the message that it names.
func TestEndOfAnotherMessage(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	r := w.idle(t)
	first := w.publish(t, "cancel", "stop", `{"id":"mine"}`)
	w.settled(t, r, first)
	again := w.publish(t, "cancel", "stop", repeated(`{"id":"mine"}`))
	job, rev, err := w.queue.Job(t.Context(), "cancel.stop")
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.queue.Command(t.Context(), again.seq)
	if err != nil {
		t.Fatal(err)
	}
	job.Command = job.Command.WithMessage(contract.Command{Seq: m.Seq, Stream: m.Stream, Published: m.Time})
	if _, err := w.queue.PutJob(t.Context(), job, rev); err != nil {
		t.Fatal(err)
	}
	w.duplicates(t, r, again, first, contract.StateCompleted)
}

// A replica that dies while it answers a duplicate leaves that to the next, which answers it once.
func TestDuplicateCutShort(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after: %t", after), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: redelivery})
			f := newFate("PublishEvent duplicate#1", after)
			w.start(t, replicaOptions{fate: f})
			first := w.publish(t, "cancel", "stop", `{"id":"mine"}`)
			w.wait(t, first)
			again := w.publish(t, "cancel", "stop", repeated(`{"id":"mine"}`))
			<-f.died
			w.start(t, replicaOptions{})
			w.eventually(t, "the duplicate leaves the queue", func() bool { return !w.queued(t, again) })
			if e := w.answer(t, again); e.Status != contract.StatusDuplicate || e.DuplicateOf.Seq != first.seq {
				t.Errorf("answered %+v", e)
			}
		})
	}
}

// The guide for requesters says how to wait for the answer to a message. Here it is done as it
// says, by a client that knows nothing else.
func TestTheWaitOfTheGuide(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	w.start(t, replicaOptions{commands: 4, units: 4})
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(id, data string) contract.EventData {
		t.Helper()
		commands, err := js.Stream(t.Context(), "CV_COMMANDS")
		if err != nil {
			t.Fatal(err)
		}
		stream := commands.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
		answer, err := w.conn.RequestMsg(&nats.Msg{Subject: "cv.commands.export", Header: nats.Header{"Nats-Msg-Id": {id}}, Data: []byte(data)}, patience)
		if err != nil {
			t.Fatal(err)
		}
		var ack struct {
			Seq       uint64
			Duplicate bool
		}
		unmarshal(t, answer.Data, &ack)
		if ack.Duplicate { // as it says: publish again
			return contract.EventData{}
		}
		events, err := js.OrderedConsumer(t.Context(), "CV_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{
			"cv.events.*." + id + ".*", fmt.Sprintf("cv.events.*.seq-%d.*", ack.Seq),
		}})
		if err != nil {
			t.Fatal(err)
		}
		messages, err := events.Messages()
		if err != nil {
			t.Fatal(err)
		}
		defer messages.Stop()
		for {
			m, err := messages.Next(jetstream.NextMaxWait(patience))
			if err != nil {
				t.Fatal(err)
			}
			var e struct{ Data contract.EventData }
			if err := json.Unmarshal(m.Data(), &e); err != nil {
				t.Fatal(err)
			}
			ends := []contract.Status{"completed", "failed", "refused", "cancelled", "duplicate"}
			if e.Data.Seq == ack.Seq && string(e.Data.Stream) == stream && slices.Contains(ends, e.Data.Status) {
				return e.Data
			}
		}
	}
	for _, c := range []struct {
		id, data string
		status   contract.Status
		code     string
	}{
		{"req-1", everything, contract.StatusCompleted, ""},
		{"req-1", repeated(everything), contract.StatusDuplicate, ""},
		{"req-1", `{"all_projects":true,"reference":"CASE-2"}`, contract.StatusRefused, contract.CodeIDConflict},
		{"req-2", `[]`, contract.StatusRefused, contract.CodeInvalidCommand},
		{"no.good", everything, contract.StatusRefused, contract.CodeInvalidCommand},
	} {
		var e contract.EventData
		w.eventually(t, "JetStream stores the message", func() bool {
			e = ask(c.id, c.data)
			return e.Status != ""
		})
		if e.Status != c.status || c.code != "" && e.Error.Code != c.code {
			t.Errorf("%s %s is answered %s: %v", c.id, c.data, e.Status, e.Error)
		}
	}
}
