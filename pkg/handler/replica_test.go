package handler_test

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// replicaOptions say how a replica differs from the usual one.
type replicaOptions struct {
	fate      *fate                                         // when it dies; nil: never
	commands  int                                           // at once, default 4, none if it has units only
	units     int                                           // at once, default 4, none if it has commands only
	idle      bool                                          // it takes nothing from the queue: the test delivers to its handler
	faults    *sinktest.Faults                              // what it says to the store goes through these; those with an OnRequest keep it from the fate
	key       cv.Credential                                 // default the right one
	now       func() time.Time                              // its clock, default the world's
	configure func(*handler.Config)                         // changes its settings
	settles   func(delivery.Delivery, delivery.Disposition) // hears what becomes of each delivery of a command
}

// replica is one process of the consumer, as far as the world outside can tell.
type replica struct {
	handler *handler.Handler
	health  *health.Health
	faults  *sinktest.Faults // what it says to the store goes through these
	fate    *fate
	conn    *nats.Conn
	drain   func() // ends it as a signal would
	stop    func() // drains, and waits
}

// start starts a replica. It is stopped at the test's end, if not before.
func (w *world) start(t *testing.T, o replicaOptions) *replica {
	t.Helper()
	if o.fate == nil {
		o.fate = newFate("", false)
	}
	if o.commands == 0 && o.units == 0 && !o.idle {
		o.commands, o.units = 4, 4
	}
	switch {
	case o.faults != nil:
	case w.gate != nil:
		o.faults = sinktest.NewFaults(w.gate)
	default:
		o.faults = sinktest.NewFaults(nil)
	}
	if o.key == nil {
		o.key = cv.TrainingKey(w.api.Key())
	}
	if o.now == nil {
		o.now = w.o.now
	}
	f := o.fate
	server := nats.InProcessConnProvider(w.nats)
	if w.o.cluster {
		server = w.three
	}
	conn, err := w.nats.Connect(nats.InProcessServer(fateDialer{server, f}))
	if err != nil {
		t.Fatal(err)
	}
	queue := w.open(t, conn)
	r := &replica{faults: o.faults, fate: f, conn: conn}
	if r.faults.OnRequest == nil {
		r.faults.OnRequest = f.request
	}
	endpoint, clientOptions := w.api.URL(), cv.Options{
		MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, MaxAttempts: 8, Now: o.now,
		Wrap: func(next http.RoundTripper) http.RoundTripper { return fateTransport{next, f} },
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, // pauses between retries take no time
	}
	var transport *http.Transport
	if w.o.now != nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 64}
		endpoint, clientOptions.BlobHosts = steadyEndpoint, []string{"blobs.test"}
		clientOptions.Transport = redirect{transport, w.api.URL()}
	}
	client, err := cv.New(endpoint, o.key, clientOptions)
	if err != nil {
		t.Fatalf("make the client: %v", err)
	}
	store := w.o.store
	store.Log = zerolog.New(w.log)
	r.health = health.New(time.Now)
	config := handler.Config{
		Health: r.health,
		Queue:  parts(fateQueue{stampedQueue{queue, w}, f}), Resources: map[string]*cv.Client{contract.DefaultResource: client},
		Store: sink.NewStore(w.s3.FaultyClient(r.faults), store), SpoolDir: t.TempDir(),
		Version: "test", Now: o.now, Log: zerolog.New(w.log),
	}
	if o.configure != nil {
		o.configure(&config)
	}
	if r.handler, err = handler.New(config); err != nil {
		t.Fatalf("make the handler: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	f.onDeath(func() {
		cancel(errDead)
		conn.Close()
	})
	ready := func(ctx context.Context) error { return ctx.Err() }
	var loops sync.WaitGroup
	serve := func(slots int, loop func() error) {
		if slots == 0 {
			return
		}
		loops.Go(func() {
			if err := loop(); err != nil && !f.isDead() {
				t.Errorf("serve: %v", err)
			}
		})
	}
	serve(o.commands, func() error {
		return queue.ServeCommands(ctx, ctx, natsq.Loop{Slots: o.commands, Ready: ready, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
			w.stamp(&d.Message)
			verdict := r.handler.Command(ctx, d)
			if o.settles != nil {
				o.settles(d, verdict)
			}
			return f.settle(verdict)
		}})
	})
	serve(o.units, func() error {
		return queue.ServeUnits(ctx, ctx, natsq.UnitLoop{Slots: o.units, Ready: ready, Handle: func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
			return f.settle(r.handler.Unit(ctx, d))
		}})
	})
	r.drain = func() { cancel(delivery.ErrStopping) }
	r.stop = sync.OnceFunc(func() {
		r.drain()
		loops.Wait()
		f.wait()
		closed := conn.StatusChanged(nats.CLOSED)
		if !conn.IsClosed() {
			conn.Close()
			<-closed
		}
		client.CloseIdleConnections()
		if transport != nil {
			transport.CloseIdleConnections()
		}
	})
	t.Cleanup(r.stop)
	return r
}

// redirect sends everything to one server, whatever name it was meant for.
type redirect struct {
	next http.RoundTripper
	to   string
}

// RoundTrip implements http.RoundTripper.
func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	to, err := url.Parse(r.to)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.URL.Host = to.Host
	return r.next.RoundTrip(out)
}

// logbook is what replicas log. It is safe for concurrent use.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) tail(n int) string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
