package natsq

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestDeletedConsumerIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	for n := range 3 {
		ok(t, w.js.DeleteConsumer(w.ctx, "CV_COMMANDS", exportsDurable))
		seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("b%d", n), "{}")))
		for receive(t, seen).Seq != seq { // the last acknowledgement may have met the deleted consumer
		}
		w.gone(t, seq)
	}
}

func TestDeletedStreamIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	for _, name := range w.q.streamNames() {
		ok(t, w.js.DeleteStream(w.ctx, name))
	}
	ok(t, w.q.PublishEvent(w.ctx, event("a", contract.StatusCompleted)))
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a"}, 0))
	must[uint64](t)(w.q.AppendLedger(w.ctx, "a", []byte("1\n"), 0))
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	for w.q.Ping(w.ctx) != nil { // the loop for cancels asks again within its pause
		if w.ctx.Err() != nil {
			t.Fatal("ping stays red")
		}
	}
}

// With Provision=false nothing is created again, and the loop waits until another process does
// that.
func TestDeletedConsumerIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	checking := w.open(t, func(o *Options) { o.Provision = false })
	ok(t, w.js.DeleteConsumer(w.ctx, "CV_COMMANDS", exportsDurable))
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, checking, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	for checking.Ping(w.ctx) == nil {
	}
	if err := checking.Ping(w.ctx); err == nil || !strings.Contains(err.Error(), "CV_COMMANDS > exports") {
		t.Fatalf("ping returns %v", err)
	}
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	w.open(t)
	receive(t, seen)
	for checking.Ping(w.ctx) != nil {
		if w.ctx.Err() != nil {
			t.Fatal("ping stays red")
		}
	}
}

// A consumer that takes all commands is changed to take its own, and leaves the others to theirs.
func TestConsumerThatTakesAllIsChanged(t *testing.T) {
	w := newWorld(t)
	ok(t, w.js.DeleteConsumer(w.ctx, "CV_COMMANDS", cancelsDurable))
	ok(t, w.js.DeleteConsumer(w.ctx, "CV_COMMANDS", deletesDurable))
	config := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable)).CachedInfo().Config
	config.FilterSubject = ""
	must[jetstream.Consumer](t)(w.js.UpdateConsumer(w.ctx, "CV_COMMANDS", config))
	w.open(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
}
