package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
)

// A command waits for one before it as long as that is under way, not until its message was settled
// as well.
func TestAnEndedCommandIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	r := w.start(t, replicaOptions{idle: true})
	first := w.publish(t, "delete", "first", everything)
	second := w.publish(t, "delete", "second", `{"all_projects":true,"dry_run":true}`)
	m, err := w.queue.Command(t.Context(), second.seq)
	if err != nil {
		t.Fatal(err)
	}
	job, rev := handler.Job{ID: "first", Action: handler.ActionDelete, State: handler.StateRunning}, uint64(0)
	for _, c := range []struct {
		state handler.State
		verb  handler.Verb
	}{{handler.StateRunning, handler.Nak}, {handler.StateCancelled, handler.Ack}} {
		job.State = c.state
		if rev, err = w.queue.PutJob(t.Context(), job, rev); err != nil {
			t.Fatal(err)
		}
		if d := r.handler.Command(t.Context(), handler.Delivery{Message: m}); d.Verb != c.verb {
			t.Errorf("the first is %s: the second is settled with %s: %s", c.state, d.Verb, d.Reason)
		}
	}
	if _, err := w.queue.Command(t.Context(), first.seq); err != nil {
		t.Errorf("the first: %v", err)
	}
}
