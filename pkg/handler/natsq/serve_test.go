package natsq

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestServeHandsTheMessageOver(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	words := w.words(t)
	m := command("a", `{"all_projects":true}`)
	m.Header["Status"] = []string{"408"} // a header is no status message
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, m))
	d := receive(t, seen)
	if d.Subject != m.Subject || string(d.Body) != string(m.Body) || d.Seq != seq || d.Delivered != 1 || d.Header["Nats-Msg-Id"][0] != "a" || d.Time.IsZero() {
		t.Fatalf("delivered %+v", d)
	}
	if got := receive(t, words); got != "+ACK" {
		t.Fatalf("sent %q", got)
	}
	w.gone(t, seq)
}

func TestServeUnits(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.UnitDelivery, 10)
	r := serveUnits(t, w.q, UnitLoop{Slots: 2, Handle: func(_ context.Context, d delivery.UnitDelivery) delivery.Disposition {
		seen <- d
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	must[*jetstream.PubAck](t)(w.js.Publish(w.ctx, "cv.work.x.seven", nil)) // not ours
	must[*jetstream.PubAck](t)(w.js.Publish(w.ctx, "cv.work.x.007", nil))
	ok(t, w.q.PublishUnit(w.ctx, "x", 7, []byte("unit")))
	if d := receive(t, seen); d.Command != "x" || d.N != 7 || string(d.Body) != "unit" || d.Delivered != 1 {
		t.Fatalf("delivered %+v", d)
	}
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
	if n := w.messages(t, "CV_WORK"); n != 0 || len(seen) != 0 {
		t.Fatalf("%d messages are left, %d more were delivered", n, len(seen))
	}
}

func TestServeEndsWithItsConnection(t *testing.T) {
	w := newWorld(t)
	nc := w.server.Dial(t)
	q := must[*Queue](t)(Open(w.ctx, nc, options(t)))
	r := serveCommands(t, q, Loop{Slots: 1})
	nc.Close()
	is(t, receive(t, r.done), nats.ErrConnectionClosed)
	_, err := q.PutJob(w.ctx, contract.Job{ID: "x"}, 0)
	is(t, err, nats.ErrConnectionClosed)
	if err := w.q.ServeCommands(w.ctx, w.ctx, Loop{}); err == nil {
		t.Fatal("no slots, and no error")
	}
}
