package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// A server that stops while its cluster moves a stream leaves a goroutine of the file store behind,
// and with it the clock all file stores share.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// world is a server and a queue on it.
type world struct {
	server *natstest.Server
	nc     *nats.Conn
	js     jetstream.JetStream
	q      *Queue
	ctx    context.Context
}

// within bounds what a test waits for: far beyond what it takes, far below the test binary's own
// limit.
const testTimeout = 5 * time.Minute

// newWorld starts a server with a queue and lets the test run beside others: most of them mostly
// wait.
func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	t.Parallel()
	w := &world{server: natstest.New(t)}
	w.ctx = deadline(t)
	w.nc = w.server.Dial(t)
	w.js = jetStream(t, w.nc)
	w.q = w.open(t, change...)
	return w
}

// open opens another queue on the same server, as another process would: with a connection of its
// own. Its ack wait is longer than any test may take: so a message that is not handed back, or a
// wait in vain, fails the test.
func (w *world) open(t *testing.T, change ...func(*Options)) *Queue {
	t.Helper()
	long := func(o *Options) { o.AckWait = time.Hour }
	q, err := Open(w.ctx, w.server.Dial(t), options(t, slices.Insert(change, 0, long)...))
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func options(t *testing.T, change ...func(*Options)) Options {
	o := Options{Provision: true, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel)}
	for _, c := range change {
		c(&o)
	}
	return o
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

func jetStream(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// receive takes one value from a channel.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("the channel is closed")
		}
		return v
	case <-time.After(testTimeout):
		t.Fatal("waited in vain")
	}
	panic("unreachable")
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// messages counts what a stream holds.
func (w *world) messages(t *testing.T, stream string) uint64 {
	t.Helper()
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, stream))
	return s.CachedInfo().State.Msgs
}

// bytes counts what a stream holds in bytes.
func (w *world) bytes(t *testing.T, stream string) uint64 {
	t.Helper()
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, stream))
	return s.CachedInfo().State.Bytes
}

func command(id string, body string) contract.Message {
	return contract.Message{Subject: "cv.commands.export", Header: map[string][]string{"Nats-Msg-Id": {id}}, Body: []byte(body)}
}

func event(id string, s contract.Status) contract.Event {
	return contract.NewEvent(contract.EventData{CommandID: id, Action: contract.ActionExport, Status: s}, time.Unix(1700000000, 0), "")
}

// usualAckWait is for tests of what is provisioned.
func usualAckWait(o *Options) { o.AckWait = DefaultAckWait }

// fault is what a test does to one request.
type fault int

const (
	none       fault = iota
	loseAnswer       // the request is carried out, its answer is lost
	loseRequest
	doubt  // answered with 10164, not carried out
	refuse // answered with 10071, not carried out
)

// faultInjector stands between a queue and its connection.
type faultInjector struct {
	mu    sync.Mutex
	hit   func(m *nats.Msg, nth int) fault // nth counts from 1 the requests with the same subject
	count map[string]int
	seen  []string // subjects of requests
}

// injectFaults passes the queue's requests through hit. Lost ones time out at once.
func injectFaults(q *Queue, hit func(m *nats.Msg, nth int) fault) *faultInjector {
	x := &faultInjector{hit: hit, count: map[string]int{}}
	send := q.api.Send
	q.api.Send = func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		x.mu.Lock()
		x.count[m.Subject]++
		nth := x.count[m.Subject]
		x.seen = append(x.seen, m.Subject)
		x.mu.Unlock()
		switch x.hit(m, nth) {
		case loseRequest:
			return nil, nats.ErrTimeout
		case loseAnswer:
			if _, err := send(ctx, m); err != nil {
				return nil, err
			}
			return nil, nats.ErrTimeout
		case doubt:
			return apiAnswer(jsapi.CodeWrongLastInDoubt), nil
		case refuse:
			return apiAnswer(jsapi.CodeWrongLast), nil
		default:
			return send(ctx, m)
		}
	}
	return x
}

func apiAnswer(code int) *nats.Msg {
	b, err := json.Marshal(map[string]any{"error": jsapi.APIError{Code: 400, ErrCode: code, Description: "scripted"}})
	if err != nil {
		panic(err)
	}
	return &nats.Msg{Data: b}
}

func (x *faultInjector) requests(prefix string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := 0
	for _, s := range x.seen {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func count(won []bool) int {
	n := 0
	for _, w := range won {
		if w {
			n++
		}
	}
	return n
}

func must2[A, B any](t *testing.T) func(a A, b B, err error) (A, B) {
	return func(a A, b B, err error) (A, B) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// running serves a queue until the test, or stop, ends it.
type running struct {
	stop func(cause error) // ends pulling
	kill func(cause error) // ends work
	done chan error
}

func serveCommands(t *testing.T, q *Queue, l Loop) *running {
	t.Helper()
	return startServing(t, func(pull, work context.Context) error { return q.ServeCommands(pull, work, l) })
}

func serveUnits(t *testing.T, q *Queue, l UnitLoop) *running {
	t.Helper()
	return startServing(t, func(pull, work context.Context) error { return q.ServeUnits(pull, work, l) })
}

// holdTwoUnits serves two units at once. When it returns, two were taken; they and those after them
// stay until release.
func holdTwoUnits(t *testing.T, q *Queue) (r *running, release func()) {
	t.Helper()
	taken, released := make(chan struct{}, 10), make(chan struct{})
	r = serveUnits(t, q, UnitLoop{Slots: 2, Handle: func(ctx context.Context, _ delivery.UnitDelivery) delivery.Disposition {
		taken <- struct{}{}
		select {
		case <-released:
		case <-ctx.Done(): // the test failed
		}
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	receive(t, taken)
	receive(t, taken)
	return r, func() { close(released) }
}

func startServing(t *testing.T, serve func(pull, work context.Context) error) *running {
	t.Helper()
	pull, stop := context.WithCancelCause(context.Background())
	work, kill := context.WithCancelCause(context.Background())
	r := &running{stop: stop, kill: kill, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- serve(pull, work)
	}()
	t.Cleanup(func() {
		kill(delivery.ErrStopping)
		stop(delivery.ErrStopping)
		<-ended
	})
	return r
}

// words collects what is sent to the server about deliveries: "+ACK", "-NAK", "+WPI", …
func (w *world) words(t *testing.T) <-chan string {
	t.Helper()
	words := make(chan string, 1000)
	nc := w.server.Dial(t)
	must[*nats.Subscription](t)(nc.Subscribe("$JS.ACK.>", func(m *nats.Msg) { words <- string(m.Data) }))
	ok(t, nc.FlushWithContext(w.ctx))
	return words
}

func settleWith(d delivery.Disposition, seen chan<- delivery.Delivery) Loop {
	return Loop{Slots: 4, Handle: func(_ context.Context, m delivery.Delivery) delivery.Disposition {
		seen <- m
		return d
	}}
}

// gone waits until a command left its stream.
func (w *world) gone(t *testing.T, seq uint64) {
	t.Helper()
	for {
		_, err := w.q.Command(w.ctx, seq)
		if errors.Is(err, contract.ErrNoMessage) {
			return
		}
		ok(t, err)
	}
}
