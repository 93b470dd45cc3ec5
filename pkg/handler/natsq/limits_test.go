package natsq

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// newAccount is a world on a server with these settings whose account has these limits. Its queue
// is not opened yet.
func newAccount(t *testing.T, limits string, server ...string) *world {
	t.Helper()
	t.Parallel()
	w := &world{ctx: deadline(t)}
	w.server = natstest.NewWith(t, natstest.Options{Config: func() string {
		return fmt.Sprintf("%s\naccounts { A { jetstream { %s }, users: [ {user: a, password: a} ] } }", strings.Join(server, "\n"), limits)
	}})
	w.nc = w.server.Dial(t, nats.UserInfo("a", "a"))
	w.js = jetStream(t, w.nc)
	return w
}

// maxBytes are the limits of all streams.
func (w *world) maxBytes(t *testing.T) map[string]int64 {
	t.Helper()
	limits := map[string]int64{}
	list := w.js.ListStreams(w.ctx)
	for s := range list.Info() {
		limits[s.Config.Name] = s.Config.MaxBytes
	}
	ok(t, list.Err())
	return limits
}

// TestStreamMaxBytes opens queues in accounts of several kinds: one that demands a limit for each
// stream is told apart, and the queue of commands never has none.
func TestStreamMaxBytes(t *testing.T) {
	t.Run("without limits", func(t *testing.T) {
		w := newAccount(t, "max_file: -1")
		must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		for stream, limit := range w.maxBytes(t) {
			want := int64(-1)
			if stream == "CV_COMMANDS" {
				want = 256 << 20
			}
			if limit != want {
				t.Errorf("%s is limited to %d bytes, not %d", stream, limit, want)
			}
		}
	})
	t.Run("a small account", func(t *testing.T) {
		w := newAccount(t, "max_file: 100MB")
		must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		if limit := w.maxBytes(t)["CV_COMMANDS"]; limit != 25<<20 {
			t.Errorf("the queue is limited to %d bytes", limit)
		}
	})
	t.Run("a small server", func(t *testing.T) {
		w := newAccount(t, "max_file: -1", "jetstream { max_file: 100MB }")
		must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		if limit := w.maxBytes(t)["CV_COMMANDS"]; limit != 64<<20 {
			t.Errorf("the queue is limited to %d bytes", limit)
		}
	})
	t.Run("limits are demanded", func(t *testing.T) {
		w := newAccount(t, "max_file: 5GB, max_bytes_required: true")
		_, err := Open(w.ctx, w.nc, options(t))
		is(t, err, ErrMaxBytes)
		must[*Queue](t)(Open(w.ctx, w.nc, options(t, func(o *Options) { o.MaxBytes = 512 << 20 })))
		for stream, limit := range w.maxBytes(t) {
			want := map[string]int64{"CV_COMMANDS": 256 << 20, "KV_CV_HOLDS": 16 << 20, "KV_CV_SECRETS": 16 << 20}[stream]
			if want == 0 {
				want = 512 << 20
			}
			if limit != want {
				t.Errorf("%s is limited to %d bytes, not %d", stream, limit, want)
			}
		}
	})
	t.Run("more than there is", func(t *testing.T) {
		w := newAccount(t, "max_file: 1GB")
		_, err := Open(w.ctx, w.nc, options(t, func(o *Options) { o.MaxBytes = 1 << 30 }))
		is(t, err, ErrMaxBytes)
	})
	t.Run("a queue of an earlier version", func(t *testing.T) {
		w := newAccount(t, "max_file: -1")
		must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		change := func(bytes int64) {
			config := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_COMMANDS")).CachedInfo().Config
			config.MaxBytes = bytes
			must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, config))
		}
		change(-1)
		must[*Queue](t)(Open(w.ctx, w.nc, options(t, func(o *Options) { o.Provision = false }))) // who sets the streams decides
		q := must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		if limit := w.maxBytes(t)["CV_COMMANDS"]; limit != 256<<20 {
			t.Errorf("the queue is limited to %d bytes", limit)
		}
		change(1 << 20) // what an operator chose stays
		must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
		if limit := w.maxBytes(t)["CV_COMMANDS"]; limit != 1<<20 {
			t.Errorf("the queue is limited to %d bytes", limit)
		}
		must[uint64](t)(q.PublishCommand(w.ctx, command("a", "{}")))
	})
}

// TestRoom holds when new commands have to wait: while the account, or a stream that commands under
// way need, has too little left.
func TestRoom(t *testing.T) {
	w := newAccount(t, "max_file: 16MB")
	at := time.Unix(1700000000, 0)
	q := must[*Queue](t)(Open(w.ctx, w.nc, options(t, func(o *Options) { o.Now = func() time.Time { return at } })))
	later := func() { at = at.Add(time.Minute) }
	ok(t, q.Room(w.ctx))
	for i := range 15 {
		must[uint64](t)(q.AppendLedger(w.ctx, fmt.Sprint("a", i), make([]byte, 1_000_000), 0))
	}
	ok(t, q.Room(w.ctx)) // it was asked just now
	later()
	if err := q.Room(w.ctx); err == nil || !strings.Contains(err.Error(), "account holds") {
		t.Errorf("a full account: %v", err)
	}
	if err := q.Ping(w.ctx); err == nil || !strings.Contains(err.Error(), "account holds") {
		t.Errorf("the health of a full account: %v", err)
	}
	must[uint64](t)(q.PutJob(w.ctx, contract.Job{ID: "a"}, 0)) // what is under way uses the reserve
	for i := range 10 {
		ok(t, q.Forget(w.ctx, fmt.Sprint("a", i)))
	}
	later()
	ok(t, q.Room(w.ctx))
	config := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_LEDGER")).CachedInfo().Config
	config.MaxBytes = 5_100_000
	must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, config))
	later()
	if err := q.Room(w.ctx); err == nil || !strings.Contains(err.Error(), "stream CV_LEDGER holds") {
		t.Errorf("a full ledger: %v", err)
	}
}
