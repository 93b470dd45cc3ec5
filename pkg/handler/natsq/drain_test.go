package natsq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// Draining: nothing more is taken, what is handed back is at once with others, and the loop returns
// when its handlers have.
func TestDrainHandsBackAtOnce(t *testing.T) {
	w := newWorld(t)
	holding := make(chan struct{}, 10)
	first := w.open(t)
	r := serveCommands(t, first, Loop{Slots: 8, Handle: func(ctx context.Context, _ delivery.Delivery) delivery.Disposition {
		holding <- struct{}{}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), delivery.ErrStopping) {
			t.Errorf("cause is %v", context.Cause(ctx))
		}
		return delivery.Disposition{Verb: delivery.Nak}
	}})
	var seqs []uint64
	for n := range 4 {
		seqs = append(seqs, must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}"))))
		receive(t, holding)
	}
	r.stop(delivery.ErrStopping)
	r.kill(delivery.ErrStopping)
	ok(t, receive(t, r.done))
	seqs = append(seqs, must[uint64](t)(w.q.PublishCommand(w.ctx, command("late", "{}"))))
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	for range seqs {
		if d := receive(t, seen); d.Seq == seqs[4] && d.Delivered != 1 {
			t.Errorf("the late one was delivered %d times", d.Delivered)
		}
	}
	for _, seq := range seqs {
		w.gone(t, seq)
	}
	if len(holding) > 0 {
		t.Fatal("taken after the end of pulling")
	}
}

// Loops that come and go under a stream of commands lose none to an ack wait.
func TestDrainUnderLoad(t *testing.T) {
	w := newWorld(t)
	const all = 300
	go func() {
		for n := range all {
			if _, err := w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}")); err != nil {
				t.Error(err)
			}
		}
	}()
	var done sync.Map
	acked := make(chan struct{}, all)
	l := Loop{Slots: 4, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		if _, again := done.LoadOrStore(d.Seq, true); again {
			return delivery.Disposition{Verb: delivery.Ack}
		}
		acked <- struct{}{}
		return delivery.Disposition{Verb: delivery.Ack}
	}}
	queues := []*Queue{w.open(t), w.open(t)}
	loops := 0
	for n := 0; n < all; {
		pull, stop := context.WithCancelCause(w.ctx)
		q := queues[loops%len(queues)]
		loops++
		ended := make(chan error, 1)
		go func() { ended <- q.ServeCommands(pull, w.ctx, l) }()
		for range min(5, all-n) {
			receive(t, acked)
			n++
		}
		stop(delivery.ErrStopping)
		ok(t, receive(t, ended))
	}
	t.Logf("%d loops", loops)
}
