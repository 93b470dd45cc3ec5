package natsq

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// As many messages are taken as there are slots, not one more.
func TestSlots(t *testing.T) {
	w := newWorld(t)
	const slots = 3
	var now, most atomic.Int64
	step := make(chan struct{})
	started := make(chan struct{}, 100)
	serveCommands(t, w.q, Loop{Slots: slots, Handle: func(context.Context, delivery.Delivery) delivery.Disposition {
		most.Store(max(most.Load(), now.Add(1)))
		started <- struct{}{}
		<-step
		now.Add(-1)
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	const all = 20
	for n := range all {
		must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}")))
	}
	for range slots {
		receive(t, started)
	}
	c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable))
	info := must[*jetstream.ConsumerInfo](t)(c.Info(w.ctx))
	if info.NumAckPending != slots || info.NumWaiting != 0 {
		t.Fatalf("%d messages are held and %d requests wait, with %d slots", info.NumAckPending, info.NumWaiting, slots)
	}
	close(step)
	for range all - slots {
		receive(t, started)
	}
	if most.Load() > slots {
		t.Fatalf("%d at once", most.Load())
	}
}

// An idle loop keeps one request under way and asks for nothing more.
func TestIdleLoopRests(t *testing.T) {
	w := newWorld(t)
	requests := make(chan *nats.Msg, 100)
	must[*nats.Subscription](t)(w.nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.>", requests))
	ok(t, w.nc.FlushWithContext(w.ctx))
	serveCommands(t, w.q, settleWith(delivery.Disposition{}, make(chan delivery.Delivery, 1)))
	first := receive(t, requests)
	beats := make(chan *nats.Msg, 10)
	must[*nats.Subscription](t)(w.nc.ChanSubscribe(first.Reply, beats))
	receive(t, beats) // a heartbeat later
	if n := len(requests); n != 2 {
		t.Fatalf("%d more requests beside the first; the other actions have one each", n)
	}
}

func TestReadyHoldsPullingUp(t *testing.T) {
	w := newWorld(t)
	soon, never, asked := make(chan struct{}), make(chan struct{}), make(chan struct{}, 10)
	var ready atomic.Pointer[chan struct{}] // each action's loop asks
	ready.Store(&soon)
	seen := make(chan delivery.Delivery, 10)
	l := settleWith(delivery.Disposition{Verb: delivery.Ack}, seen)
	l.Ready = func(ctx context.Context) error {
		asked <- struct{}{}
		select {
		case <-*ready.Load():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r := serveCommands(t, w.q, l)
	receive(t, asked)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable))
	if info := must[*jetstream.ConsumerInfo](t)(c.Info(w.ctx)); info.NumWaiting != 0 || info.NumAckPending != 0 {
		t.Fatalf("pulled while not ready: %d requests", info.NumWaiting)
	}
	close(soon)
	receive(t, seen)
	// And a loop that is not ready ends like any other.
	ready.Store(&never)
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
}

// Cancels are taken though every slot is taken and nothing else may be.
func TestCancelsHaveSlotsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	l := settleWith(delivery.Disposition{Verb: delivery.Ack}, seen)
	l.Ready = func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	serveCommands(t, w.q, l)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, contract.Message{
		Subject: "cv.commands.cancel", Header: map[string][]string{"Nats-Msg-Id": {"c"}}, Body: []byte(`{"id":"a"}`),
	}))
	if d := receive(t, seen); d.Seq != seq {
		t.Errorf("command %d was taken", d.Seq)
	}
	w.gone(t, seq)
	if _, err := w.q.Command(w.ctx, seq-1); err != nil {
		t.Errorf("the other command: %v", err)
	}
}

// A delete is taken though exports hold every slot of theirs.
func TestDeletesHaveSlotsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	begun, leave := make(chan delivery.Delivery, 10), make(chan struct{})
	serveCommands(t, w.q, Loop{Slots: 1, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		begun <- d
		<-leave
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	defer close(leave)
	for _, id := range []string{"a", "b"} {
		must[uint64](t)(w.q.PublishCommand(w.ctx, command(id, "{}")))
	}
	receive(t, begun)
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, contract.Message{Subject: "cv.commands.delete", Header: map[string][]string{"Nats-Msg-Id": {"d"}}, Body: []byte("{}")}))
	if d := receive(t, begun); d.Seq != seq {
		t.Errorf("command %d was taken", d.Seq)
	}
}
