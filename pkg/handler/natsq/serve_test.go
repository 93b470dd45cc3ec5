package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

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

// words collects what is said to the server about deliveries: "+ACK", "-NAK", "+WPI", …
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
		t.Fatalf("said %q", got)
	}
	w.gone(t, seq)
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
		t.Fatalf("said %q", got)
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

// Whoever abandons a message says nothing, and it comes again after the ack wait.
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
		t.Fatalf("said %q first", got)
	}
}

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
	for range 3 * beatsPerWait { // three ack waits
		if got := receive(t, words); got != "+WPI" {
			t.Fatalf("said %q", got)
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

// Without a confirmed heartbeat the handler is told after one ack wait that NATS is to blame, and
// its Nak is kept back: the message is somebody else's by now.
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
			meddle(first, func(m *nats.Msg, _ int) fault {
				if string(m.Data) == wordInProgress {
					return loseRequest
				}
				return none
			})
			words := w.words(t)
			lost := make(chan error, 1)
			verdict := make(chan struct{})
			r := serveCommands(t, first, Loop{Slots: 1, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
				if d.Outage() {
					t.Error("an outage, without one")
				}
				<-ctx.Done()
				if !d.Outage() {
					t.Error("heartbeats had no answer, and it is no outage")
				}
				lost <- context.Cause(ctx)
				<-verdict
				return delivery.Disposition{Verb: c.verb}
			}})
			seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
			is(t, receive(t, lost), delivery.ErrLeaseLost)
			// Somebody else holds it now.
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

// As many messages are taken as there are slots, not one more.
func TestSlots(t *testing.T) {
	w := newWorld(t)
	const slots = 3
	var now, most atomic.Int64
	step := make(chan struct{})
	started := make(chan struct{}, 100)
	serveCommands(t, w.q, Loop{Slots: slots, Handle: func(context.Context, delivery.Delivery) delivery.Disposition {
		most.Store(max(most.Load(), now.Add(1)))
		started <- struct{}{}
		<-step
		now.Add(-1)
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	const all = 20
	for n := range all {
		must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}")))
	}
	for range slots {
		receive(t, started)
	}
	c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable))
	info := must[*jetstream.ConsumerInfo](t)(c.Info(w.ctx))
	if info.NumAckPending != slots || info.NumWaiting != 0 {
		t.Fatalf("%d messages are held and %d requests wait, with %d slots", info.NumAckPending, info.NumWaiting, slots)
	}
	close(step)
	for range all - slots {
		receive(t, started)
	}
	if most.Load() > slots {
		t.Fatalf("%d at once", most.Load())
	}
}

// An idle loop keeps one request under way and asks for nothing more.
func TestIdleLoopRests(t *testing.T) {
	w := newWorld(t)
	requests := make(chan *nats.Msg, 100)
	must[*nats.Subscription](t)(w.nc.ChanSubscribe("$JS.API.CONSUMER.MSG.NEXT.>", requests))
	ok(t, w.nc.FlushWithContext(w.ctx))
	serveCommands(t, w.q, settleWith(delivery.Disposition{}, make(chan delivery.Delivery, 1)))
	first := receive(t, requests)
	beats := make(chan *nats.Msg, 10)
	must[*nats.Subscription](t)(w.nc.ChanSubscribe(first.Reply, beats))
	receive(t, beats) // a heartbeat later
	if n := len(requests); n != 2 {
		t.Fatalf("%d more requests beside the first; the other actions have one each", n)
	}
}

func TestReadyHoldsPullingUp(t *testing.T) {
	w := newWorld(t)
	soon, never, asked := make(chan struct{}), make(chan struct{}), make(chan struct{}, 10)
	var ready atomic.Pointer[chan struct{}] // each action's loop asks
	ready.Store(&soon)
	seen := make(chan delivery.Delivery, 10)
	l := settleWith(delivery.Disposition{Verb: delivery.Ack}, seen)
	l.Ready = func(ctx context.Context) error {
		asked <- struct{}{}
		select {
		case <-*ready.Load():
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r := serveCommands(t, w.q, l)
	receive(t, asked)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	c := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable))
	if info := must[*jetstream.ConsumerInfo](t)(c.Info(w.ctx)); info.NumWaiting != 0 || info.NumAckPending != 0 {
		t.Fatalf("pulled while not ready: %d requests", info.NumWaiting)
	}
	close(soon)
	receive(t, seen)
	// And a loop that is not ready ends like any other.
	ready.Store(&never)
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
}

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
	serveds := 0
	for n := 0; n < all; {
		pull, stop := context.WithCancelCause(w.ctx)
		q := queues[serveds%len(queues)]
		serveds++
		ended := make(chan error, 1)
		go func() { ended <- q.ServeCommands(pull, w.ctx, l) }()
		for range min(5, all-n) {
			receive(t, acked)
			n++
		}
		stop(delivery.ErrStopping)
		ok(t, receive(t, ended))
	}
	t.Logf("%d loops", serveds)
}

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

// With Provision=false nothing is made again, and the loop waits until somebody does.
func TestDeletedConsumerIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	checking := w.open(t, func(o *Options) { o.Provision = false })
	ok(t, w.js.DeleteConsumer(w.ctx, "CV_COMMANDS", exportsDurable))
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, checking, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	for checking.Ping(w.ctx) == nil {
	}
	if err := checking.Ping(w.ctx); err == nil || !strings.Contains(err.Error(), "CV_COMMANDS > exports") {
		t.Fatalf("ping says %v", err)
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
	// Away for a while: the ping says so, and a message published by somebody else afterwards is
	// taken.
	w.server.Stop()
	if err := w.q.Ping(w.ctx); err == nil {
		t.Fatal("ping is well without a server")
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

// A handler is told whether NATS was lost while it was at work, once it is back; not when this
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
	if d.Outage() {
		t.Error("an outage, without one")
	}
	lost := q.nc.StatusChanged(nats.RECONNECTING)
	w.server.Stop()
	receive(t, lost)
	told := make(chan bool, 1)
	go func() { told <- d.Outage() }()
	ok(t, w.server.Start())
	if !receive(t, told) {
		t.Error("the server was away, and it is no outage")
	}
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("b", "{}")))
	for later := receive(t, deliveries); ; later = receive(t, deliveries) { // the first may come again
		if later.Header["Nats-Msg-Id"][0] == "b" {
			if later.Outage() {
				t.Error("what came after the outage was there in it")
			}
			break
		}
	}
	ahead.Store(int64(time.Hour)) // nobody saw this process for an hour
	for d.Outage() {
		if w.ctx.Err() != nil {
			t.Fatal("a process that stood still blames NATS")
		}
	}
	w.server.Stop()
	go func() { told <- d.Outage() }()
	r.kill(delivery.ErrStopping)
	if receive(t, told) {
		t.Error("an outage without an end")
	}
	ok(t, w.server.Start())
}

// The acknowledgement is repeated until the server confirms it.
func TestAckIsRepeated(t *testing.T) {
	w := newWorld(t)
	q := w.open(t)
	x := meddle(q, func(m *nats.Msg, nth int) fault {
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
		t.Fatalf("said %q", got)
	}
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
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

// A full stream is waited for, and the ping says which.
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
		t.Fatalf("ping says %v", err)
	}
	if len(published) > 0 {
		t.Fatalf("published into a full stream: %v", <-published)
	}
	cfg.MaxBytes = -1
	must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, cfg))
	ok(t, receive(t, published))
	ok(t, w.q.Ping(w.ctx))
}
