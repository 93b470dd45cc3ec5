package natsq

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestNakWithDelay(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	words := w.words(t)
	serveCommands(t, w.q, Loop{Slots: 1, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		seen <- d
		if d.Delivered == 1 {
			return delivery.Disposition{Verb: delivery.Nak, Delay: 200 * time.Millisecond}
		}
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	start := time.Now()
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	if got := receive(t, words); got != `-NAK {"delay":200000000}` {
		t.Fatalf("sent %q", got)
	}
	if d := receive(t, seen); d.Delivered != 2 || time.Since(start) < 200*time.Millisecond {
		t.Fatalf("delivery %d came after %s", d.Delivered, time.Since(start))
	}
}

func TestTermWithReason(t *testing.T) {
	w := newWorld(t)
	advisories := make(chan *nats.Msg, 1)
	must[*nats.Subscription](t)(w.nc.ChanSubscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>", advisories))
	ok(t, w.nc.FlushWithContext(w.ctx))
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Term, Reason: "no\ngood"}, seen))
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	var advisory struct{ Reason string }
	ok(t, json.Unmarshal(receive(t, advisories).Data, &advisory))
	if advisory.Reason != "no good" {
		t.Fatalf("reason is %q", advisory.Reason)
	}
	w.gone(t, seq)
}

// For an abandoned message the worker sends nothing, and the server delivers it again after the ack
// wait.
func TestAbandonSaysNothing(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = 300 * time.Millisecond })
	words := w.words(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, Loop{Slots: 2, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		seen <- d
		if d.Delivered == 1 {
			return delivery.Disposition{Verb: delivery.Abandon}
		}
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	if d := receive(t, seen); d.Delivered != 2 {
		t.Fatalf("delivery %d", d.Delivered)
	}
	if got := receive(t, words); got != "+ACK" {
		t.Fatalf("sent %q first", got)
	}
}

// The acknowledgement is repeated until the server confirms it.
func TestAckIsRepeated(t *testing.T) {
	w := newWorld(t)
	q := w.open(t)
	x := injectFaults(q, func(m *nats.Msg, nth int) fault {
		if string(m.Data) == wordAck && nth <= 2 {
			return []fault{loseRequest, loseAnswer}[nth-1]
		}
		return none
	})
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	w.gone(t, seq)
	for x.requests("$JS.ACK.") < 3 {
		if w.ctx.Err() != nil {
			t.Fatalf("acknowledged %d times", x.requests("$JS.ACK."))
		}
	}
	if len(seen) > 0 {
		t.Fatal("delivered again")
	}
}

func TestPanicHandsBack(t *testing.T) {
	w := newWorld(t)
	words := w.words(t)
	r := serveCommands(t, w.q, Loop{Slots: 1, Handle: func(context.Context, delivery.Delivery) delivery.Disposition { panic("defect") }})
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	if got := receive(t, words); got != `-NAK {"delay":30000000000}` {
		t.Fatalf("sent %q", got)
	}
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
}
