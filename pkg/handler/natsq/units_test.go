package natsq

import (
	"context"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestUnits(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		for n := range 3 {
			ok(t, w.q.PublishUnit(w.ctx, "x", n, []byte("unit")))
		}
	}
	ok(t, w.q.PublishUnit(w.ctx, "xx", 0, nil))
	if n := w.messages(t, "CV_WORK"); n != 4 {
		t.Fatalf("%d units are queued", n)
	}
	ok(t, w.q.PurgeUnits(w.ctx, "x"))
	ok(t, w.q.PurgeUnits(w.ctx, "x"))
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Fatalf("%d units are left", n)
	}
	ok(t, w.q.PublishUnit(w.ctx, "x", 1, nil)) // a purged one may come again
	if n := w.messages(t, "CV_WORK"); n != 2 {
		t.Fatalf("%d units are queued again", n)
	}
}

// Units wait until they are delivered.
func TestWaitingUnits(t *testing.T) {
	w := newWorld(t)
	waiting := func(want int) { // the server counts a unit a little later than it stores it
		t.Helper()
		for last := 0; ; {
			n, err := w.q.WaitingUnits(w.ctx)
			if err != nil {
				t.Fatalf("%d units wait, not %d: %v", last, want, err)
			}
			if n == want {
				return
			}
			last = n
		}
	}
	waiting(0)
	for n := range 5 {
		ok(t, w.q.PublishUnit(w.ctx, []string{"a", "b"}[n%2], n, []byte("{}")))
	}
	waiting(5)
	r, release := holdTwoUnits(t, w.q)
	waiting(3)
	ok(t, w.q.PurgeUnits(w.ctx, "b"))
	waiting(2) // of a, whose third is at work
	r.stop(delivery.ErrStopping)
	release()
	ok(t, receive(t, r.done))
}

// Three units are at work, and the first worker dies. Then the second's command ends, whose units
// are removed, and the third is done: the first must come again. (A purge by subject makes
// nats-server 2.15 take it for acknowledged: it stays in the stream, and no worker gets it.)
func TestPurgedUnitsTakeNoOthersWithThem(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = time.Second })
	for _, id := range []string{"first", "second", "third"} {
		ok(t, w.q.PublishUnit(w.ctx, id, 0, []byte("{}")))
	}
	deliveries := make(chan delivery.UnitDelivery, 10)
	purged := make(chan struct{})
	r := serveUnits(t, w.q, UnitLoop{Slots: 3, Handle: func(_ context.Context, d delivery.UnitDelivery) delivery.Disposition {
		deliveries <- d
		if d.Command == "first" && d.Delivered == 1 {
			return delivery.Disposition{Verb: delivery.Abandon}
		}
		<-purged
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	for range 3 {
		receive(t, deliveries)
	}
	ok(t, w.q.PurgeUnits(w.ctx, "second"))
	close(purged)
	if d := receive(t, deliveries); d.Command != "first" || d.Delivered != 2 {
		t.Errorf("%s is delivered, for the %d. time", d.Command, d.Delivered)
	}
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
	if n := w.messages(t, "CV_WORK"); n != 0 {
		t.Errorf("%d units are left", n)
	}
}

// Units that are being worked on are waited for; after an ack wait what is left is removed. Those
// of other commands are let alone.
func TestDrainUnits(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = time.Second })
	ok(t, w.q.DrainUnits(w.ctx, "a")) // nothing there
	for _, id := range []string{"a", "b"} {
		ok(t, w.q.PublishUnit(w.ctx, id, 1, []byte("unit")))
	}
	r, release := holdTwoUnits(t, w.q)
	drained := make(chan error, 1)
	patient := w.open(t) // waits for an hour
	go func() { drained <- patient.DrainUnits(w.ctx, "a") }()
	ok(t, w.q.DrainUnits(w.ctx, "b")) // waits for a second
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Errorf("%d units are left", n)
	}
	select {
	case err := <-drained:
		t.Errorf("a unit was not waited for: %v", err)
	default:
	}
	release()
	ok(t, receive(t, drained))
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))

	ok(t, w.q.PublishUnit(w.ctx, "c", 1, []byte("unit")))
	gone, cancel := context.WithCancelCause(w.ctx)
	cancel(delivery.ErrStopping)
	is(t, w.q.DrainUnits(gone, "c"), delivery.ErrStopping)
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Errorf("%d units are left after a drain that was stopped", n)
	}
}
