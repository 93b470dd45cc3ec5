package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
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
	job, rev := contract.Job{ID: "first", Action: contract.ActionDelete, State: contract.StateRunning}, uint64(0)
	for _, c := range []struct {
		state contract.State
		verb  delivery.Verb
	}{{contract.StateRunning, delivery.Nak}, {contract.StateCancelled, delivery.Ack}} {
		job.State = c.state
		if rev, err = w.queue.PutJob(t.Context(), job, rev); err != nil {
			t.Fatal(err)
		}
		if d := r.handler.Command(t.Context(), delivery.Delivery{Message: m}); d.Verb != c.verb {
			t.Errorf("the first is %s: the second is settled with %s: %s", c.state, d.Verb, d.Reason)
		}
	}
	if _, err := w.queue.Command(t.Context(), first.seq); err != nil {
		t.Errorf("the first: %v", err)
	}
}
