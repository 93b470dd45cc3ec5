package natsq

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// newPayloadWorld is a world on a server that takes messages of so many bytes. Another number
// counts from the server's next start.
func newPayloadWorld(t *testing.T, bytes int64) (w *world, limit *atomic.Int64) {
	t.Helper()
	t.Parallel()
	limit = &atomic.Int64{}
	limit.Store(bytes)
	w = &world{ctx: deadline(t)}
	w.server = natstest.NewWith(t, natstest.Options{Config: func() string { return fmt.Sprintf("max_payload: %d", limit.Load()) }})
	w.nc = w.server.Dial(t)
	w.js = jetStream(t, w.nc)
	w.q = w.open(t)
	return w, limit
}

// lines are n ledger lines of 1,000 bytes.
func lines(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%0999d\n", i)
	}
	return b.Bytes()
}

// ledger is all that the ledger of a command has, and in how many messages.
func (w *world) ledger(t *testing.T, id string) (all []byte, messages int) {
	t.Helper()
	for m, err := range w.q.Ledger(w.ctx, id, math.MaxUint64) {
		ok(t, err)
		all, messages = append(all, m...), messages+1
		if !bytes.HasSuffix(m, []byte("\n")) {
			t.Errorf("a message ends within a line: %.20q", m)
		}
	}
	return all, messages
}

// TestLedgerFollowsMaxPayload appends more lines than the server takes at once: they become several
// messages, each fenced by the one before.
func TestLedgerFollowsMaxPayload(t *testing.T) {
	w, _ := newPayloadWorld(t, 64<<10)
	first := must[uint64](t)(w.q.AppendLedger(w.ctx, "a", lines(1), 0))
	last := must[uint64](t)(w.q.AppendLedger(w.ctx, "a", lines(200), first))
	all, messages := w.ledger(t, "a")
	if want := append(lines(1), lines(200)...); !bytes.Equal(all, want) || messages != 1+4 {
		t.Errorf("%d bytes in %d messages, not %d in 5", len(all), messages, len(want))
	}
	_, tail, err := w.q.LedgerTail(w.ctx, "a")
	if ok(t, err); tail != last {
		t.Errorf("the ledger ends at %d, not %d", tail, last)
	}
	_, err = w.q.AppendLedger(w.ctx, "a", lines(200), first)
	is(t, err, delivery.ErrFenced)
}

// TestMaxPayloadShrinksOnTheWay appends to the ledger and publishes a dead letter, each while the
// connection changes to a server that takes less.
func TestMaxPayloadShrinksOnTheWay(t *testing.T) {
	for _, c := range []struct {
		name, subject string
		do            func(t *testing.T, w *world)
	}{
		{"ledger", "cv.ledger.a", func(t *testing.T, w *world) {
			must[uint64](t)(w.q.AppendLedger(w.ctx, "a", lines(200), 0))
			if all, messages := w.ledger(t, "a"); !bytes.Equal(all, lines(200)) || messages < 2 {
				t.Errorf("%d bytes in %d messages", len(all), messages)
			}
		}},
		{"dead letter of a command", "cv.dead.export.a", func(t *testing.T, w *world) {
			ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{ID: "a", Action: contract.ActionExport, Message: contract.Message{Body: lines(200)}}))
			if d := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "a")); d.Missing != "its payload of 200000 bytes was not kept" {
				t.Errorf("missing is %q", d.Missing)
			}
		}},
		{"dead letter of no command", "cv.dead.export.a", func(t *testing.T, w *world) {
			d := contract.DeadLetter{ID: "a", Action: contract.ActionExport, Error: contract.Error{Code: contract.CodeInvalidCommand}, Message: contract.Message{Body: lines(200)}}
			ok(t, w.q.PublishDead(w.ctx, d))
			d = must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "a"))
			if n := len(d.Message.Body); n < 60<<10 || !bytes.HasPrefix(lines(200), d.Message.Body) || d.Missing == "" {
				t.Errorf("%d bytes are kept, and missing is %q", n, d.Missing)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, limit := newPayloadWorld(t, 1<<20)
			send := w.q.api.Send
			w.q.api.Send = func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
				if m.Subject == c.subject && limit.Load() > 64<<10 {
					limit.Store(64 << 10)
					back := w.q.nc.StatusChanged(nats.CONNECTED)
					ok(t, w.server.Restart())
					receive(t, back)
				}
				return send(ctx, m)
			}
			c.do(t, w)
		})
	}
}

// TestTooLargeIsWaitedFor holds that the service waits with a message that the server does not
// take, and says which setting to change; a requester fails at once.
func TestTooLargeIsWaitedFor(t *testing.T) {
	w, limit := newPayloadWorld(t, 64<<10)
	says := func(err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "its max_payload is 65536; raise it there") {
			t.Errorf("says %v", err)
		}
	}
	requester := must[*Queue](t)(OpenRequester(w.ctx, w.nc, options(t)))
	_, err := requester.PublishCommand(w.ctx, command("a", string(lines(100))))
	is(t, err, ErrTooLarge)
	says(err)

	done := make(chan error, 1)
	go func() {
		_, err := w.q.PutJob(w.ctx, contract.Job{ID: "a", LeftBehind: contract.Text(strings.Repeat("x", 100_000))}, 0)
		done <- err
	}()
	for err = w.q.Ping(w.ctx); err == nil; err = w.q.Ping(w.ctx) {
		continue // until the first try
	}
	says(err)
	limit.Store(1 << 20)
	ok(t, w.server.Restart())
	ok(t, receive(t, done))
}
