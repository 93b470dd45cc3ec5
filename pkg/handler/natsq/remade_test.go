package natsq

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// remake deletes a stream and creates it again.
func (w *world) remake(t *testing.T, stream string) {
	t.Helper()
	ok(t, w.js.DeleteStream(w.ctx, stream))
	w.open(t)
}

// beforeRequest calls something once, before the queue's first request to a subject that begins so.
func beforeRequest(q *Queue, prefix string, do func()) {
	send, once := q.api.Send, sync.Once{}
	q.api.Send = func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		if strings.HasPrefix(m.Subject, prefix) {
			once.Do(do)
		}
		return send(ctx, m)
	}
}

// The verdict on a message whose stream was deleted does not settle the message that has its
// sequence now, and is being handled as well.
func TestVerdictOnAMessageOfAnEarlierStream(t *testing.T) {
	for _, verb := range []delivery.Verb{delivery.Ack, delivery.Term} {
		t.Run(verb.String(), func(t *testing.T) {
			w := newWorld(t)
			leave, stay, seen := make(chan struct{}), make(chan struct{}), make(chan delivery.Delivery, 10)
			serving := serveCommands(t, w.q, Loop{Slots: 2, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
				seen <- d
				if string(d.Body) == "earlier" {
					<-leave
					return delivery.Disposition{Verb: verb}
				}
				<-stay
				return delivery.Disposition{Verb: delivery.Nak, Delay: time.Hour}
			}})
			must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "earlier")))
			earlier := receive(t, seen)
			w.remake(t, "CV_COMMANDS")
			seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("b", "later")))
			later := receive(t, seen)
			if earlier.Seq != seq || later.Seq != seq || earlier.Stream == "" || earlier.Stream == later.Stream {
				t.Fatalf("delivered: %d of %s, %d of %s", earlier.Seq, earlier.Stream, later.Seq, later.Stream)
			}
			close(leave)
			close(stay)
			serving.stop(delivery.ErrStopping)
			ok(t, receive(t, serving.done))
			if m := must[contract.Message](t)(w.q.Command(w.ctx, seq)); string(m.Body) != "later" {
				t.Errorf("the queue has %q", m.Body)
			}
		})
	}
}

// A message that was delivered just before its stream was created again is not handed over as one
// of the new stream.
func TestDeliveredFromAnEarlierStream(t *testing.T) {
	w := newWorld(t)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "earlier")))
	beforeRequest(w.q, "$JS.API.STREAM.MSG.GET.CV_COMMANDS", func() {
		w.remake(t, "CV_COMMANDS")
		must[uint64](t)(w.open(t).PublishCommand(w.ctx, command("b", "later")))
	})
	seen := make(chan delivery.Delivery, 10)
	serveCommands(t, w.q, settleWith(delivery.Disposition{Verb: delivery.Ack}, seen))
	now := must[string](t)(w.open(t).CommandStream(w.ctx))
	if d := receive(t, seen); string(d.Body) != "later" || d.Stream == "" {
		t.Errorf("delivered: %q of %s; the stream is %s", d.Body, d.Stream, now)
	}
}

// A sequence that was remembered leads to its message, and to nothing once the stream is another
// one.
func TestCommandInAnEarlierStream(t *testing.T) {
	w := newWorld(t)
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "earlier")))
	m := must[contract.Message](t)(w.q.Command(w.ctx, seq))
	if created := w.created(t); m.Stream != created {
		t.Errorf("the stream is %q, created at %q", m.Stream, created)
	}
	for _, stream := range []string{"", m.Stream} {
		if again := must[contract.Message](t)(w.q.CommandIn(w.ctx, stream, seq)); again.Stream != m.Stream || !again.Time.Equal(m.Time) || string(again.Body) != "earlier" {
			t.Errorf("read again in %q: %+v", stream, again)
		}
	}
	w.remake(t, "CV_COMMANDS")
	_, err := w.q.CommandIn(w.ctx, m.Stream, seq) // there is nothing
	is(t, err, contract.ErrNoMessage)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("b", "later")))
	_, err = w.q.CommandIn(w.ctx, m.Stream, seq)
	is(t, err, contract.ErrNoMessage)
	later := must[contract.Message](t)(w.q.Command(w.ctx, seq))
	if string(later.Body) != "later" || later.Stream == m.Stream {
		t.Errorf("read: %+v", later)
	}
	ok(t, w.q.RemoveCommand(w.ctx, m))
	must[contract.Message](t)(w.q.Command(w.ctx, seq))
	ok(t, w.q.RemoveCommand(w.ctx, later))
	_, err = w.q.Command(w.ctx, seq)
	is(t, err, contract.ErrNoMessage)
}

// created is when CV_COMMANDS was created, as nats.go reports it.
func (w *world) created(t *testing.T) string {
	t.Helper()
	s, err := w.js.Stream(w.ctx, "CV_COMMANDS")
	ok(t, err)
	return s.CachedInfo().Created.UTC().Format(time.RFC3339Nano)
}

// The stream is created again in the middle of a reading: the message that was read is not taken
// for one of the new stream.
func TestCommandWhileTheStreamIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "earlier")))
	before := must[contract.Message](t)(w.q.Command(w.ctx, seq))
	beforeRequest(w.q, "$JS.API.STREAM.INFO.CV_COMMANDS", func() { // between the message and the stream's info
		w.remake(t, "CV_COMMANDS")
		must[uint64](t)(w.open(t).PublishCommand(w.ctx, command("b", "later")))
	})
	m := must[contract.Message](t)(w.q.Command(w.ctx, seq))
	if string(m.Body) != "later" || m.Stream == before.Stream || m.Stream != w.created(t) {
		t.Errorf("read %q of %s; before, the stream was %s", m.Body, m.Stream, before.Stream)
	}
}

// A leader that was just elected may not have caught up. That it does not know of a sequence yet is
// no proof that the message is gone.
func TestCommandInWhileTheLeaderIsBehind(t *testing.T) {
	w := newWorld(t)
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	stream := must[string](t)(w.q.CommandStream(w.ctx))
	send, behind := w.q.api.Send, 3
	w.q.api.Send = func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		switch {
		case behind > 0 && strings.HasPrefix(m.Subject, "$JS.API.STREAM.MSG.GET."):
			b, err := json.Marshal(map[string]any{"error": jsapi.APIError{Code: 404, ErrCode: jsapi.CodeNoMessage}})
			return &nats.Msg{Data: b}, err
		case behind > 0 && strings.HasPrefix(m.Subject, "$JS.API.STREAM.INFO."):
			behind--
			return &nats.Msg{Data: fmt.Appendf(nil, `{"created":%q,"state":{"last_seq":%d}}`, stream, seq-1)}, nil
		}
		return send(ctx, m)
	}
	must[contract.Message](t)(w.q.CommandIn(w.ctx, stream, seq))
	if behind != 0 {
		t.Errorf("it was not behind: %d", behind)
	}
	_, err := w.q.CommandIn(w.ctx, stream, seq+1) // one that never was is believed at last
	is(t, err, contract.ErrNoMessage)
}

// The answer to a message that goes by its sequence takes the place of the answer to a message of
// an earlier stream, under every action, and never the other way round. What has an id of its own
// is never replaced.
func TestAnswersOfAnEarlierStream(t *testing.T) {
	w := newWorld(t)
	const first, second = "2026-01-02T03:04:05.1Z", "2026-01-02T03:04:05.1000001Z"
	refused := func(a contract.Action, id, stream string) contract.Event {
		return contract.NewEvent(contract.EventData{
			CommandID: id, Action: a, Status: contract.StatusRefused, Seq: 7, Stream: contract.Text(stream), Reference: contract.Text(stream),
		}, time.Unix(1700000000, 0), "")
	}
	answer := func(a contract.Action, id, stream string) {
		t.Helper()
		ok(t, w.q.PublishEvent(w.ctx, refused(a, id, stream)))
		ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{
			ID: id, Action: a, GivenID: "given", Error: contract.Error{Code: contract.CodeInvalidCommand},
			Message: contract.Message{Seq: 7, Stream: stream, Body: []byte(stream), Header: map[string][]string{"Cv-Stream": {"theirs"}, "cv-given-id": {"theirs"}}},
		}))
	}
	stored := func(a contract.Action, id, stream string) {
		t.Helper()
		e := must[contract.Event](t)(w.q.Event(w.ctx, a, id, contract.StatusRefused))
		if string(e.Data.Stream) != stream || string(e.Data.Reference) != stream {
			t.Errorf("%s: the event is of %s, want %s", id, e.Data.Stream, stream)
		}
		d := must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, id))
		if d.Action != a || d.Message.Stream != stream || string(d.Message.Body) != stream || d.Message.Seq != 7 || d.GivenID != "given" {
			t.Errorf("%s: the dead letter is %+v, want it of %s", id, d, stream)
		}
		if got := d.Message.Header; got["Cv-Stream"][0] != "theirs" || got["cv-given-id"][0] != "theirs" {
			t.Errorf("%s: the message's own headers are %q", id, got)
		}
	}
	answer(contract.ActionExport, "seq-7", first)
	answer(contract.ActionExport, "seq-7", second)
	stored(contract.ActionExport, "seq-7", second)
	answer(contract.ActionExport, "seq-7", first) // by a replica that stood still
	stored(contract.ActionExport, "seq-7", second)

	answer(contract.ActionDelete, "seq-8", first)
	answer(contract.ActionExport, "seq-8", second)
	stored(contract.ActionExport, "seq-8", second)
	_, err := w.q.Event(w.ctx, contract.ActionDelete, "seq-8", contract.StatusRefused)
	is(t, err, contract.ErrNoMessage)

	late := w.open(t) // one that answers for the earlier stream when there is nothing any more, just before the new answer
	beforeRequest(w.q, "cv.events.export.seq-9.", func() { ok(t, late.PublishEvent(w.ctx, refused(contract.ActionExport, "seq-9", first))) })
	answer(contract.ActionExport, "seq-9", second)
	stored(contract.ActionExport, "seq-9", second)

	answer(contract.ActionExport, "req-7", first)
	answer(contract.ActionExport, "req-7", second)
	stored(contract.ActionExport, "req-7", first)
	if n := w.messages(t, "CV_DEAD"); n != 4 {
		t.Errorf("there are %d dead letters", n)
	}
}

// A watch sees what is stored in a stream that was created again, also when that has more messages
// than the one before by the time at which it looks.
func TestWatchAStreamMadeAgain(t *testing.T) {
	w := newWorld(t)
	ok(t, w.q.PublishEvent(w.ctx, event("a", contract.StatusAccepted)))
	events := must[<-chan contract.Event](t)(w.q.WatchEvents(w.ctx, "a"))
	receive(t, events)
	w.remake(t, "CV_EVENTS")
	other := w.open(t)
	ok(t, other.PublishEvent(w.ctx, event("a", contract.StatusCompleted))) // the first, as the one that was seen
	for n := range 5 {
		ok(t, other.PublishEvent(w.ctx, event(fmt.Sprintf("b%d", n), contract.StatusCompleted)))
	}
	if e := receive(t, events); e.Data.Status != contract.StatusCompleted {
		t.Errorf("seen: %s", e.Data.Status)
	}
}

// The identity of a stream stays as long as the stream does: through restarts, changes of its
// configuration, and changes of its leader.
func TestStreamIdentityStays(t *testing.T) {
	test := func(t *testing.T, w *world, disturb map[string]func()) {
		before := must[string](t)(w.q.CommandStream(w.ctx))
		for what, do := range disturb {
			do()
			if now := must[string](t)(w.q.CommandStream(w.ctx)); now != before {
				t.Errorf("after %s the stream is %s, before it was %s", what, now, before)
			}
		}
	}
	change := func(t *testing.T, w *world) func() {
		return func() {
			for again := w.nc.StatusChanged(nats.CONNECTED); !w.nc.IsConnected(); { // after a restart
				<-again
			}
			config := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_COMMANDS")).CachedInfo().Config
			config.MaxBytes = 1 << 30
			must[jetstream.Stream](t)(w.js.UpdateStream(w.ctx, config))
		}
	}
	t.Run("one server", func(t *testing.T) {
		w := newWorld(t)
		test(t, w, map[string]func(){"a restart": func() { ok(t, w.server.Restart()) }, "a change": change(t, w)})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		c := natstest.NewCluster(t)
		w := &world{server: c.Servers[0], ctx: deadline(t)}
		w.nc = w.server.Dial(t)
		w.js = jetStream(t, w.nc)
		w.q = w.open(t, func(o *Options) { o.Replicas = 3 })
		leader := func() string {
			for w.ctx.Err() == nil {
				if s := c.StreamLeader("CV_COMMANDS"); s != nil {
					return s.Name()
				}
			}
			t.Fatal("no leader")
			return ""
		}
		test(t, w, map[string]func(){"a change": change(t, w), "another leader": func() {
			for former := leader(); leader() == former; {
				_ = natstest.StepDownStream(w.ctx, w.nc, "CV_COMMANDS") // there may be none just now
			}
		}})
	})
}
