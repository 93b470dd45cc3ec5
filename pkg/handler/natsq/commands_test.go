package natsq

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

func TestCommands(t *testing.T) {
	w := newWorld(t)
	var seqs []uint64
	for n := range 5 {
		seqs = append(seqs, must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}"))))
	}
	m := must[contract.Message](t)(w.q.Command(w.ctx, seqs[1]))
	if m.Subject != "cv.commands.export" || m.Header["Nats-Msg-Id"][0] != "c1" || string(m.Body) != "{}" || m.Seq != seqs[1] || m.Time.IsZero() {
		t.Fatalf("command is %+v", m)
	}
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_COMMANDS"))
	ok(t, s.DeleteMsg(w.ctx, seqs[2]))
	_, err := w.q.Command(w.ctx, seqs[2])
	is(t, err, contract.ErrNoMessage)
	_, err = w.q.Command(w.ctx, 0)
	is(t, err, contract.ErrNoMessage)
	between := func(from, to uint64) (got []uint64) {
		t.Helper()
		for m, err := range w.q.CommandsBetween(w.ctx, from, to) {
			ok(t, err)
			got = append(got, m.Seq)
		}
		return got
	}
	for _, c := range []struct {
		from, to uint64
		want     []uint64
	}{
		{0, 100, []uint64{1, 2, 4, 5}}, {2, 5, []uint64{2, 4}}, {3, 4, nil}, {4, 5, []uint64{4}}, {5, 5, nil}, {9, 3, nil}, {0, 0, nil}, {0, math.MaxUint64, []uint64{1, 2, 4, 5}},
	} {
		if got := between(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("between %d and %d: %d, want %d", c.from, c.to, got, c.want)
		}
	}
	if _, err := w.q.PublishCommand(w.ctx, contract.Message{Subject: "cv.events.export.x.completed"}); err == nil {
		t.Fatal("published on a subject that is none of commands")
	}
}

// The duplicate window swallows with a positive acknowledgement. A command must not be lost to it.
func TestCommandWithAUsedMessageID(t *testing.T) {
	w := newWorld(t)
	a := must[uint64](t)(w.q.PublishCommand(w.ctx, command("same", `{"a":1}`)))
	b := must[uint64](t)(w.q.PublishCommand(w.ctx, command("same", `{"b":2}`)))
	if a == b || w.messages(t, "CV_COMMANDS") != 2 {
		t.Fatalf("stored as %d and %d, %d messages", a, b, w.messages(t, "CV_COMMANDS"))
	}
	// The answer is lost: the second try finds the first one's message, or stores it again.
	injectFaults(w.q, func(m *nats.Msg, nth int) fault {
		if strings.HasPrefix(m.Subject, "cv.commands.") && nth == 1 {
			return loseAnswer
		}
		return none
	})
	c := must[uint64](t)(w.q.PublishCommand(w.ctx, command("once", `{"c":3}`)))
	if m := must[contract.Message](t)(w.q.Command(w.ctx, c)); string(m.Body) != `{"c":3}` {
		t.Fatalf("command is %s", m.Body)
	}
}

// A header block that cannot be parsed does not stop a reader of the messages after it.
func TestCommandWithUnreadableHeaders(t *testing.T) {
	w := newWorld(t)
	conn, err := w.server.InProcessConn()
	ok(t, err)
	defer conn.Close()
	head := "NATS/1.0\r\nno colon here\r\n\r\n"
	pong := make(chan struct{})
	go func() { // the connection is a pipe without a buffer: a goroutine must read what the server sends
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PONG" {
				close(pong)
			}
		}
	}()
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\nHPUB cv.commands.export %d %d\r\n%sbody\r\nPING\r\n", len(head), len(head)+4, head)
	ok(t, err)
	<-pong
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("next", "{}")))
	n := 0
	for m, err := range w.q.CommandsBetween(w.ctx, 0, 10) {
		ok(t, err)
		if n++; n == 1 && string(m.Body) != "body" {
			t.Fatalf("body is %q", m.Body)
		}
	}
	if n != 2 {
		t.Fatalf("%d commands", n)
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
			for range 2 { // the second time it is gone already
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
				t.Errorf("sent %q", word)
			}
		}
		if len(words) > 0 {
			t.Errorf("also sent %q", <-words)
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
