package natsq

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Every write that decides something, with every way in which its answer can mislead.
func TestWritesUnderFaults(t *testing.T) {
	body := []byte("line\n")
	writes := []struct {
		name    string
		subject string
		stream  string
		do      func(ctx context.Context, q *Queue, round string) error
		lost    error // of a second one; nil when it succeeds
	}{
		{"job", "$KV.CV_JOBS.x", "KV_CV_JOBS", func(ctx context.Context, q *Queue, _ string) error {
			_, err := q.PutJob(ctx, contract.Job{ID: "x"}, 0)
			return err
		}, contract.ErrConflict},
		{"ledger", "cv.ledger.x", "CV_LEDGER", func(ctx context.Context, q *Queue, _ string) error {
			_, err := q.AppendLedger(ctx, "x", body, 0)
			return err
		}, delivery.ErrFenced},
		{"event", "cv.events.export.x.completed", "CV_EVENTS", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishEvent(ctx, event("x", contract.StatusCompleted))
		}, nil},
		{"accepted", "cv.events.export.x.accepted", "CV_EVENTS", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishEvent(ctx, event("x", contract.StatusAccepted))
		}, nil},
		{"unit", "cv.work.x.7", "CV_WORK", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishUnit(ctx, "x", 7, body)
		}, nil},
		{"dead letter", "cv.dead.export.x", "CV_DEAD", func(ctx context.Context, q *Queue, round string) error { // its Nats-Msg-Id is remembered for 100 ms, purged or not
			return q.PublishDead(ctx, contract.DeadLetter{ID: "x", Action: contract.ActionExport, Message: command(round, "{}")})
		}, nil},
	}
	faults := []struct {
		name  string
		first fault
		reads int // how many reads of the leader fail, too
	}{
		{"answer lost", loseAnswer, 0},
		{"request lost", loseRequest, 0},
		{"in doubt", doubt, 0},
		{"refused for nothing", refuse, 0},
		{"answer lost, leader silent", loseAnswer, 2},
		{"in doubt, leader silent", doubt, 1},
	}
	w := newWorld(t)
	for _, write := range writes {
		for _, f := range faults {
			t.Run(write.name+"/"+f.name, func(t *testing.T) {
				ok(t, must[jetstream.Stream](t)(w.js.Stream(w.ctx, write.stream)).Purge(w.ctx))
				q := w.open(t)
				hits := 0
				x := injectFaults(q, func(m *nats.Msg, nth int) fault {
					switch {
					case m.Subject == write.subject && nth == 1:
						hits++
						return f.first
					case strings.HasPrefix(m.Subject, "$JS.API.STREAM.MSG.GET.") && nth <= f.reads:
						hits++
						return loseAnswer
					}
					return none
				})
				if err := write.do(w.ctx, q, f.name); err != nil {
					t.Fatal(err)
				}
				if hits != 1+f.reads {
					t.Fatalf("%d faults were hit, want %d", hits, 1+f.reads)
				}
				if n := w.messages(t, write.stream); n != 1 {
					t.Fatalf("%s has %d messages", write.stream, n)
				}
				// The same from another process.
				if err := write.do(w.ctx, w.open(t), f.name); !errors.Is(err, write.lost) {
					t.Fatalf("the second time: %v, want %v", err, write.lost)
				}
				if n := w.messages(t, write.stream); n != 1 {
					t.Fatalf("%s has %d messages after the second", write.stream, n)
				}
				if n := x.requests("$JS.API.DIRECT"); n > 0 {
					t.Fatalf("%d direct reads", n)
				}
			})
		}
	}
}

// A write whose answer is lost, and which another writer replaced before the leader was read, is
// lost.
func TestAnswerLostAndOvertaken(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	injectFaults(w.q, func(m *nats.Msg, nth int) fault {
		if m.Subject == "cv.ledger.x" && nth == 1 {
			return loseAnswer
		}
		if strings.HasPrefix(m.Subject, "$JS.API.STREAM.MSG.GET.") && nth == 1 {
			_, seq, err := other.LedgerTail(w.ctx, "x")
			ok(t, err)
			must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("takeover\n"), seq))
		}
		return none
	})
	_, err := w.q.AppendLedger(w.ctx, "x", []byte("line\n"), 0)
	is(t, err, delivery.ErrFenced)
}

// When ctx ends, the error has both the cause and the last failure, and is not a decision.
func TestWriteGivesUpWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(w.ctx)
	injectFaults(w.q, func(m *nats.Msg, nth int) fault {
		if m.Subject != "cv.ledger.x" {
			return none
		}
		if nth == 3 {
			cancel(delivery.ErrStopping)
		}
		return loseRequest
	})
	_, err := w.q.AppendLedger(ctx, "x", nil, 0)
	is(t, err, delivery.ErrStopping)
	is(t, err, jsapi.ErrNoAnswer)
	if errors.Is(err, delivery.ErrFenced) {
		t.Fatal("an undecided write is reported as lost")
	}
}

// When another product's stream has taken a subject, publishing fails instead of waiting.
func TestForeignStream(t *testing.T) {
	w := newWorld(t)
	ok(t, w.js.DeleteStream(w.ctx, "CV_EVENTS"))
	must[jetstream.Stream](t)(w.js.CreateStream(w.ctx, jetstream.StreamConfig{Name: "THEIRS", Subjects: []string{"cv.events.>"}}))
	is(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusCompleted)), jsapi.ErrForeignAnswer)
}
