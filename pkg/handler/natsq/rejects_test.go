package natsq

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/rejects"
)

// refuse stores the traces of a refused message, as the handler does.
func (w *world) refuse(t *testing.T, q *Queue, id, code string, seq uint64, body []byte) {
	t.Helper()
	e := event(id, contract.StatusRefused)
	e.Data.Seq, e.Data.Stream = seq, "a stream"
	reason := &contract.Error{Code: code}
	job := contract.Job{ID: id, Action: contract.ActionExport, State: contract.StateRefused, Error: reason, Event: &e, Command: contract.CommandRef{Seq: seq, Stream: "a stream"}}
	must[uint64](t)(q.PutJob(w.ctx, job, 0))
	ok(t, q.PublishDead(w.ctx, contract.DeadLetter{
		ID: id, Action: contract.ActionExport, Error: *reason, Message: contract.Message{Seq: seq, Stream: "a stream", Body: body},
	}))
	ok(t, q.PublishEvent(w.ctx, e))
}

// traced are the ids that have a letter, a job and an event; what has only some of them is an
// error.
func (w *world) traced(t *testing.T) []string {
	t.Helper()
	var letters, jobs []string
	for d, err := range w.q.DeadLetters(w.ctx) {
		ok(t, err)
		letters = append(letters, d.ID)
	}
	for j, err := range w.q.Jobs(w.ctx) {
		ok(t, err)
		jobs = append(jobs, j.ID)
		must[contract.Event](t)(w.q.Answer(w.ctx, j.ID))
	}
	slices.Sort(letters)
	if slices.Sort(jobs); !slices.Equal(letters, jobs) || w.messages(t, "CV_EVENTS") != uint64(len(jobs)) {
		t.Errorf("letters %q, jobs %q, %d events", letters, jobs, w.messages(t, "CV_EVENTS"))
	}
	return letters
}

// TestRejectsAreBounded stores more traces of messages that never were commands than are kept, by
// two replicas, some under ids that they gave and some under their sequences: the oldest go, and
// those of commands stay.
func TestRejectsAreBounded(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits rejects.Limits
		body   int // bytes
	}{
		{"by number", rejects.Limits{Letters: 10, Bytes: 1 << 30}, 10},
		{"by size", rejects.Limits{Letters: 1000, Bytes: 10 * 66_000}, 500_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			other := w.open(t)
			w.q.rejects.Limits, other.rejects.Limits = c.limits, c.limits
			w.refuse(t, w.q, "first-command", contract.CodeExpired, 1, bytes.Repeat([]byte("x"), 500_000))
			const n = 100
			want := []string{"first-command", "last-command"}
			for i := range uint64(n) {
				id, code := fmt.Sprintf("gave-%03d", i), contract.CodeInvalidCommand
				if i%2 == 0 {
					id, code = contract.SeqID(100+i), contract.CodeIDConflict
				}
				w.refuse(t, []*Queue{w.q, other}[i/2%2], id, code, 100+i, bytes.Repeat([]byte("x"), c.body))
				if n-i <= 10 {
					want = append(want, id)
				}
			}
			if got := len(w.traced(t)); got > 10+1+2*16 {
				t.Errorf("%d are kept between two looks", got)
			}
			w.refuse(t, other, "last-command", contract.CodePreconditionFailed, 300, nil)
			must[int](t)(w.q.ExpireTraces(w.ctx, time.Hour))
			slices.Sort(want)
			if got := w.traced(t); !slices.Equal(got, want) {
				t.Errorf("kept are %q, not %q", got, want)
			}
		})
	}
}

// TestRejectsLeaveWhatTookTheirPlace holds that removing the traces of a message spares what
// another message has under the same id by now.
func TestRejectsLeaveWhatTookTheirPlace(t *testing.T) {
	w := newWorld(t)
	w.q.rejects.Limits = rejects.Limits{Letters: 0}
	w.refuse(t, w.q, "again", contract.CodeInvalidCommand, 1, nil)
	dead := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "again"))
	ok(t, w.q.Forget(w.ctx, "again"))
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "again", Action: contract.ActionExport, State: contract.StateRefused, Command: contract.CommandRef{Seq: 2, Stream: "a stream"}}, 0))
	e := event("again", contract.StatusRefused)
	e.Data.Seq, e.Data.Stream = 2, "a stream"
	ok(t, w.q.PublishEvent(w.ctx, e))
	ok(t, w.q.PublishDead(w.ctx, dead)) // late, by a replica that stood still
	must[int](t)(w.q.ExpireTraces(w.ctx, time.Hour))
	_, err := w.q.DeadLetter(w.ctx, "again")
	is(t, err, contract.ErrNoMessage)
	if _, _, err := w.q.Job(w.ctx, "again"); err != nil {
		t.Errorf("the job of the next message: %v", err)
	}
	if _, err := w.q.Answer(w.ctx, "again"); err != nil {
		t.Errorf("the event of the next message: %v", err)
	}
}

// TestDuplicatesAreBounded stores more events of duplicates than are kept: the oldest go, and no
// other event does.
func TestDuplicatesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.q.rejects.Limits.Duplicates = 10
	ok(t, w.q.PublishEvent(w.ctx, event("a", contract.StatusCompleted)))
	for i := range uint64(300) {
		e := event(contract.SeqID(100+i), contract.StatusDuplicate)
		ok(t, w.q.PublishEvent(w.ctx, e))
	}
	if n := w.messages(t, "CV_EVENTS"); n > 1+10+256 {
		t.Errorf("%d events are kept between two looks", n)
	}
	must[int](t)(w.q.ExpireTraces(w.ctx, time.Hour))
	if n := w.messages(t, "CV_EVENTS"); n != 1+10 {
		t.Errorf("%d events are kept", n)
	}
	for id, kept := range map[string]bool{"a": true, "seq-389": false, "seq-390": true, "seq-399": true} {
		if _, err := w.q.Answer(w.ctx, id); errors.Is(err, contract.ErrNoMessage) == kept {
			t.Errorf("%s: %v", id, err)
		}
	}
}

// TestRejectsLeaveWhatStopsACopy refuses a signed delete that is too far ahead: what is removed
// when there are too many rejects leaves its job, which keeps a copy from being carried out later.
func TestRejectsLeaveWhatStopsACopy(t *testing.T) {
	w := newWorld(t)
	w.q.rejects.Limits = rejects.Limits{Letters: 1, Bytes: 1 << 30}
	w.refuse(t, w.q, "far", contract.CodeInvalidCommand, 1, nil)
	job, rev, err := w.q.Job(w.ctx, "far")
	ok(t, err)
	job.Command.SignedUntil = until(24 * time.Hour)
	must[uint64](t)(w.q.PutJob(w.ctx, job, rev))
	for i := range uint64(3) {
		w.refuse(t, w.q, fmt.Sprintf("other-%d", i), contract.CodeInvalidCommand, 2+i, nil)
	}
	must[int](t)(w.q.ExpireTraces(w.ctx, 0))
	if jobs, _ := w.traces(t); !slices.Equal(jobs, []string{"far"}) {
		t.Errorf("the jobs left are %v", jobs)
	}
}
