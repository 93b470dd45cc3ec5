package natsq

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestHeartbeatsKeepAMessage(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = 600 * time.Millisecond })
	words := w.words(t)
	release := make(chan struct{})
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, Loop{Slots: 2, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
		seen <- d
		select {
		case <-release:
		case <-ctx.Done():
			t.Errorf("the lease ended: %v", context.Cause(ctx))
		}
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	receive(t, seen)
	for range 3 * heartbeatsPerAckWait { // three ack waits
		if got := receive(t, words); got != "+WPI" {
			t.Fatalf("sent %q", got)
		}
	}
	if len(seen) > 0 {
		t.Fatal("delivered again in spite of heartbeats")
	}
	close(release)
	for receive(t, words) != "+ACK" {
	}
	if len(seen) > 0 {
		t.Fatal("delivered again")
	}
}

// Without a confirmed heartbeat the handler learns after one ack wait that NATS is to blame, and
// its Nak is not sent: another replica has the message by now.
func TestLeaseLost(t *testing.T) {
	for _, c := range []struct {
		verb delivery.Verb
		want string // the first word that is not a heartbeat, by the first holder
	}{{delivery.Nak, "+ACK of the second"}, {delivery.Ack, "+ACK"}} {
		t.Run(c.verb.String(), func(t *testing.T) {
			w := newWorld(t, func(o *Options) { o.AckWait = 300 * time.Millisecond })
			now := time.Now()
			first := w.open(t, func(o *Options) {
				o.AckWait = 300 * time.Millisecond
				o.Now = func() time.Time { return now } // it never stood still
			})
			injectFaults(first, func(m *nats.Msg, _ int) fault {
				if string(m.Data) == wordInProgress {
					return loseRequest
				}
				return none
			})
			words := w.words(t)
			lost := make(chan error, 1)
			verdict := make(chan struct{})
			r := serveCommands(t, first, Loop{Slots: 1, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
				if d.Lease.Outage() {
					t.Error("an outage, without one")
				}
				<-ctx.Done()
				if !d.Lease.Outage() {
					t.Error("heartbeats had no answer, and it is no outage")
				}
				lost <- context.Cause(ctx)
				<-verdict
				return delivery.Disposition{Verb: c.verb}
			}})
			seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
			is(t, receive(t, lost), delivery.ErrLeaseLost)
			// Another replica gets the message.
			release := make(chan struct{})
			taken := make(chan delivery.Delivery, 10)
			serveCommands(t, w.q, Loop{Slots: 1, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
				taken <- d
				<-release
				return delivery.Disposition{Verb: delivery.Ack}
			}})
			r.stop(delivery.ErrStopping)
			receive(t, taken)
			close(verdict)
			ok(t, receive(t, r.done))
			if c.verb == delivery.Ack {
				w.gone(t, seq)
			}
			close(release)
			w.gone(t, seq)
			for word := receive(t, words); ; word = receive(t, words) {
				if strings.HasPrefix(word, wordNak) {
					t.Fatal("a Nak after the lease was lost")
				}
				if word == wordAck {
					break
				}
			}
		})
	}
}

// A handler learns whether NATS was away while it was at work, once NATS is back; not when this
// process stood still, nor when the process ends first.
func TestOutage(t *testing.T) {
	w := newWorld(t)
	var ahead atomic.Int64
	q := w.open(t, func(o *Options) {
		o.AckWait = 5 * time.Second
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	})
	deliveries, release := make(chan delivery.Delivery, 10), make(chan struct{})
	r := serveCommands(t, q, Loop{Slots: 4, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		deliveries <- d
		<-release
		return delivery.Disposition{Verb: delivery.Abandon}
	}})
	defer close(release)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	d := receive(t, deliveries)
	if d.Lease.Outage() {
		t.Error("an outage, without one")
	}
	lost := q.nc.StatusChanged(nats.RECONNECTING)
	w.server.Stop()
	receive(t, lost)
	answers := make(chan bool, 1)
	go func() { answers <- d.Lease.Outage() }()
	ok(t, w.server.Start())
	if !receive(t, answers) {
		t.Error("the server was away, and it is no outage")
	}
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("b", "{}")))
	for later := receive(t, deliveries); ; later = receive(t, deliveries) { // the first may come again
		if later.Header["Nats-Msg-Id"][0] == "b" {
			if later.Lease.Outage() {
				t.Error("what came after the outage was there in it")
			}
			break
		}
	}
	ahead.Store(int64(time.Hour)) // this process stood still for an hour
	for d.Lease.Outage() {
		if w.ctx.Err() != nil {
			t.Fatal("a process that stood still blames NATS")
		}
	}
	w.server.Stop()
	go func() { answers <- d.Lease.Outage() }()
	r.kill(delivery.ErrStopping)
	if receive(t, answers) {
		t.Error("an outage without an end")
	}
	ok(t, w.server.Start())
}
