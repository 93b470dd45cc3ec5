package natsq

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestServerRestart(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	for n := range 3 {
		seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("a%d", n), "{}")))
		for receive(t, seen).Seq != seq {
		}
		ok(t, w.server.Restart())
	}
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x"}, 0))
	// Away for a while: the ping fails, and a message that another process publishes afterwards is
	// taken.
	w.server.Stop()
	if err := w.q.Ping(w.ctx); err == nil {
		t.Fatal("ping succeeds without a server")
	}
	ok(t, w.server.Start())
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("back", "{}")))
	receive(t, seen)
	for w.q.Ping(w.ctx) != nil {
		if w.ctx.Err() != nil {
			t.Fatal("ping stays red")
		}
	}
}

// A publish waits for a full stream, and the ping names it.
func TestFullStream(t *testing.T) {
	w := newWorld(t)
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_EVENTS"))
	cfg := s.CachedInfo().Config
	cfg.MaxBytes = 10
	must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, cfg))
	published := make(chan error, 1)
	go func() { published <- w.q.PublishEvent(w.ctx, event("x", contract.StatusCompleted)) }()
	var err error
	for err == nil {
		err = w.q.Ping(w.ctx)
	}
	if !strings.Contains(err.Error(), "CV_EVENTS: maximum bytes exceeded") {
		t.Fatalf("ping returns %v", err)
	}
	if len(published) > 0 {
		t.Fatalf("published into a full stream: %v", <-published)
	}
	cfg.MaxBytes = -1
	must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, cfg))
	ok(t, receive(t, published))
	ok(t, w.q.Ping(w.ctx))
}
