package natsq

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

func TestOver(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	told, stop := must2[<-chan struct{}, func()](t)(w.q.Over("a"))
	defer stop()
	ok(t, w.q.nc.FlushWithContext(w.ctx)) // the server knows of the interest
	ok(t, other.NotifyOver(w.ctx, "ab"))
	ok(t, other.NotifyOver(w.ctx, "a"))
	receive(t, told)
	if len(told) != 0 {
		t.Error("told of another command")
	}
	if _, _, err := w.q.Over("*"); err == nil {
		t.Error("listens for every command")
	}
	if err := other.NotifyOver(w.ctx, "*"); err == nil {
		t.Error("tells nobody of anything")
	}
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

// Units that are being worked on are waited for; after an ack wait what is left is removed. Those
// of other commands are let alone.
func TestDrainUnits(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = time.Second })
	ok(t, w.q.DrainUnits(w.ctx, "a")) // nothing there
	for _, id := range []string{"a", "b"} {
		ok(t, w.q.PublishUnit(w.ctx, id, 1, []byte("unit")))
	}
	r, release := holdTwoUnits(t, w.q)
	drained := make(chan error, 1)
	patient := w.open(t) // waits for an hour
	go func() { drained <- patient.DrainUnits(w.ctx, "a") }()
	ok(t, w.q.DrainUnits(w.ctx, "b")) // waits for a second
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Errorf("%d units are left", n)
	}
	select {
	case err := <-drained:
		t.Errorf("a unit was not waited for: %v", err)
	default:
	}
	release()
	ok(t, receive(t, drained))
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))

	ok(t, w.q.PublishUnit(w.ctx, "c", 1, []byte("unit")))
	gone, cancel := context.WithCancelCause(w.ctx)
	cancel(delivery.ErrStopping)
	is(t, w.q.DrainUnits(gone, "c"), delivery.ErrStopping)
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Errorf("%d units are left by who was stopped", n)
	}
}

// A command is removed though it is delayed or held: its consumer forgets it, its holder's verdict
// finds nothing and is answered, and the next one comes.
func TestRemoveCommand(t *testing.T) {
	test := func(t *testing.T, w *world) {
		leave, seen := make(chan struct{}), make(chan delivery.Delivery, 10)
		words := w.words(t)
		serving := serveCommands(t, w.q, Loop{Slots: 2, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
			seen <- d
			switch string(d.Body) {
			case "delayed":
				return delivery.Disposition{Verb: delivery.Nak, Delay: time.Hour}
			case "held":
				<-leave
			}
			return delivery.Disposition{Verb: delivery.Ack}
		}})
		for _, body := range []string{"delayed", "held"} {
			seq := must[uint64](t)(w.q.PublishCommand(w.ctx, command(body, body)))
			receive(t, seen)
			if body == "delayed" {
				receive(t, words)
			}
			m := must[contract.Message](t)(w.q.Command(w.ctx, seq))
			for range 2 { // what is gone is well
				ok(t, w.q.RemoveCommand(w.ctx, m))
				_, err := w.q.Command(w.ctx, seq)
				is(t, err, contract.ErrNoMessage)
			}
		}
		next := must[uint64](t)(w.q.PublishCommand(w.ctx, command("next", "next")))
		receive(t, seen)
		w.gone(t, next)
		close(leave)
		serving.stop(delivery.ErrStopping)
		ok(t, receive(t, serving.done))
		for range 2 {
			if word := receive(t, words); word != wordAck {
				t.Errorf("said %q", word)
			}
		}
		if len(words) > 0 {
			t.Errorf("said besides: %q", <-words)
		}
		for {
			info := must[jetstream.Consumer](t)(w.js.Consumer(w.ctx, "CV_COMMANDS", exportsDurable)).CachedInfo()
			if info.NumAckPending == 0 && info.NumPending == 0 && info.NumRedelivered == 0 {
				break
			}
			if w.ctx.Err() != nil {
				t.Fatalf("the consumer still knows of them: %+v", info)
			}
		}
	}
	t.Run("one server", func(t *testing.T) { test(t, newWorld(t)) })
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		w := &world{server: natstest.NewCluster(t).Servers[0], ctx: deadline(t)}
		w.nc = w.server.Dial(t)
		w.js = jetStream(t, w.nc)
		w.q = w.open(t, func(o *Options) { o.Replicas = 3 })
		test(t, w)
	})
}

// A cancel that waits for its command is no job, but what a job replaces.
func TestCancelWithoutAJob(t *testing.T) {
	w := newWorld(t)
	mark := contract.Job{ID: "a", Cancel: &contract.Cancel{ID: "c", Time: time.Unix(1700000000, 0)}}
	rev := must[uint64](t)(w.q.PutJob(w.ctx, mark, 0))
	j, got, err := w.q.Job(w.ctx, "a")
	is(t, err, contract.ErrNoJob)
	if got != rev || j.Cancel == nil || j.Cancel.ID != "c" || !j.Cancel.Time.Equal(mark.Cancel.Time) {
		t.Errorf("revision %d of %d, job %+v", got, rev, j)
	}
	for j, err := range w.q.Jobs(w.ctx) {
		t.Errorf("listed: %+v, %v", j, err)
	}
	jobs := must[<-chan contract.Job](t)(w.q.WatchJob(w.ctx, "a"))
	if _, err := w.q.PutJob(w.ctx, contract.Job{ID: "a", State: contract.StateAccepted}, 0); !errors.Is(err, contract.ErrConflict) {
		t.Errorf("a job was made although there is a cancel: %v", err)
	}
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", State: contract.StateAccepted}, rev))
	if j := receive(t, jobs); j.State != contract.StateAccepted {
		t.Errorf("watched: %+v", j)
	}
}

// Cancels are taken though every slot is taken and nothing else may be.
func TestCancelsHaveSlotsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	seen := make(chan delivery.Delivery, 10)
	l := settleWith(delivery.Disposition{Verb: delivery.Ack}, seen)
	l.Ready = func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	serveCommands(t, w.q, l)
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("a", "{}")))
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, contract.Message{
		Subject: "cv.commands.cancel", Header: map[string][]string{"Nats-Msg-Id": {"c"}}, Body: []byte(`{"id":"a"}`),
	}))
	if d := receive(t, seen); d.Seq != seq {
		t.Errorf("command %d was taken", d.Seq)
	}
	w.gone(t, seq)
	if _, err := w.q.Command(w.ctx, seq-1); err != nil {
		t.Errorf("the other command: %v", err)
	}
}

// A delete is taken though exports hold every slot of theirs.
func TestDeletesHaveSlotsOfTheirOwn(t *testing.T) {
	w := newWorld(t)
	begun, leave := make(chan delivery.Delivery, 10), make(chan struct{})
	serveCommands(t, w.q, Loop{Slots: 1, Handle: func(_ context.Context, d delivery.Delivery) delivery.Disposition {
		begun <- d
		<-leave
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	defer close(leave)
	for _, id := range []string{"a", "b"} {
		must[uint64](t)(w.q.PublishCommand(w.ctx, command(id, "{}")))
	}
	receive(t, begun)
	seq := must[uint64](t)(w.q.PublishCommand(w.ctx, contract.Message{Subject: "cv.commands.delete", Header: map[string][]string{"Nats-Msg-Id": {"d"}}, Body: []byte("{}")}))
	if d := receive(t, begun); d.Seq != seq {
		t.Errorf("command %d was taken", d.Seq)
	}
}

// A consumer that takes all commands is changed to take its own, and leaves the others to theirs.
func TestConsumerThatTakesAllIsMended(t *testing.T) {
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
