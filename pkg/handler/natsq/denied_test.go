package natsq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// newLimitedWorld is a world on a server where the user "limited" lacks the permission to publish
// on one subject, or to subscribe to one, while denied is true and the server is started.
func newLimitedWorld(t *testing.T, permission, subject string) (w *world, denied *atomic.Bool) {
	t.Helper()
	t.Parallel()
	return newDeniedWorld(t, permission, subject)
}

// newDeniedWorld is newLimitedWorld for one of several worlds of a test.
func newDeniedWorld(t *testing.T, permission, subject string) (w *world, denied *atomic.Bool) {
	t.Helper()
	denied = &atomic.Bool{}
	denied.Store(true)
	w = &world{ctx: deadline(t)}
	config := func() string {
		deny := ""
		if denied.Load() {
			deny = fmt.Sprintf(`permissions { %s { deny: [%q] } }`, permission, subject)
		}
		return fmt.Sprintf(`accounts { A { jetstream: enabled, users: [ {user: all, password: all}, {user: limited, password: limited, %s} ] } }`, deny)
	}
	w.server = natstest.NewWith(t, natstest.Options{Config: config})
	w.nc = w.server.Dial(t, nats.UserInfo("all", "all"))
	w.js = jetStream(t, w.nc)
	w.q = must[*Queue](t)(Open(w.ctx, w.nc, options(t)))
	return w, denied
}

// limited is a connection of the limited user.
func (w *world) limited(t *testing.T) *nats.Conn {
	return w.server.Dial(t, nats.UserInfo("limited", "limited"), nats.CustomInboxPrefix("_INBOX_limited"))
}

// TestRequesterIsDenied holds that what the server denies to a requester is an error at once, which
// names the permission and the subject.
func TestRequesterIsDenied(t *testing.T) {
	for _, c := range []struct {
		permission, subject, says string
		do                        func(context.Context, *Queue) error
	}{
		{"publish", "cv.commands.export", `publish on "cv.commands.export"`, func(ctx context.Context, q *Queue) error {
			_, err := q.PublishCommand(ctx, command("a", "{}"))
			return err
		}},
		{"publish", "$KV.CV_HOLDS.>", `publish on "$KV.CV_HOLDS.p"`, func(ctx context.Context, q *Queue) error { return q.PutHold(ctx, "p", nil) }},
		{"publish", "$JS.API.STREAM.PURGE.>", `publish on "$JS.API.STREAM.PURGE.KV_CV_JOBS"`, func(ctx context.Context, q *Queue) error { return q.Forget(ctx, "cancel.a") }},
		{"publish", "$JS.API.STREAM.MSG.GET.>", `publish on "$JS.API.STREAM.MSG.GET.CV_EVENTS"`, func(ctx context.Context, q *Queue) error {
			_, err := q.WatchEvents(ctx, "a")
			return err
		}},
	} {
		t.Run(c.subject, func(t *testing.T) {
			w, _ := newLimitedWorld(t, c.permission, c.subject)
			q := must[*Queue](t)(OpenRequester(w.ctx, w.limited(t), options(t)))
			err := c.do(w.ctx, q)
			if is(t, err, ErrDenied); !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v does not say that it may not %s", err, c.says)
			}
		})
	}
	t.Run("the inbox", func(t *testing.T) {
		w, _ := newLimitedWorld(t, "subscribe", "_INBOX_limited.>")
		_, err := OpenRequester(w.ctx, w.limited(t), options(t))
		if is(t, err, ErrDenied); !strings.Contains(err.Error(), `subscribe to "_INBOX_limited.`) {
			t.Errorf("says %v", err)
		}
	})
}

// TestRequesterProvisionsNothing holds that a requester neither makes what is missing nor needs to
// ask about what it does not use.
func TestRequesterProvisionsNothing(t *testing.T) {
	t.Parallel()
	server := natstest.New(t)
	_, err := OpenRequester(deadline(t), server.Dial(t), options(t))
	var drift *DriftError
	if !errors.As(err, &drift) || !strings.Contains(err.Error(), "CV_EVENTS is missing") {
		t.Errorf("without streams: %v", err)
	}
	for name := range jetStream(t, server.Dial(t)).StreamNames(deadline(t)).Name() {
		t.Errorf("%s was created", name)
	}
}

// TestServiceIsDenied holds that the service says what it is denied, when it opens and later, waits
// for it, and goes on when it is granted.
func TestServiceIsDenied(t *testing.T) {
	t.Run("at start", func(t *testing.T) {
		w, denied := newLimitedWorld(t, "publish", "$JS.API.STREAM.INFO.CV_LEDGER")
		nc := w.limited(t)
		_, err := Open(w.ctx, nc, options(t))
		if is(t, err, ErrDenied); !strings.Contains(err.Error(), `publish on "$JS.API.STREAM.INFO.CV_LEDGER"`) {
			t.Errorf("says %v", err)
		}
		denied.Store(false)
		ok(t, w.server.Restart())
		must[*Queue](t)(Open(w.ctx, nc, options(t)))
	})
	t.Run("the account's limits", func(t *testing.T) {
		w, _ := newLimitedWorld(t, "publish", "$JS.API.INFO")
		q := must[*Queue](t)(Open(w.ctx, w.limited(t), options(t)))
		ok(t, q.Room(w.ctx)) // it is not known to be short
	})
	t.Run("notices", func(t *testing.T) {
		for _, c := range []struct{ permission, subject, says string }{
			{"publish", "cv-signal.>", `publish on "cv-signal.*"`},
			{"publish", "cv-over.*", `publish on "cv-over.*"`},
			{"subscribe", "cv-signal.*", `subscribe to "cv-signal.*"`},
			{"subscribe", "cv-over.>", `subscribe to "cv-over.*"`},
		} {
			w, denied := newDeniedWorld(t, c.permission, c.subject)
			nc := w.limited(t)
			q := must[*Queue](t)(Open(w.ctx, nc, options(t)))
			for range 2 { // it stays so
				if err := q.Ping(w.ctx); !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("without the right to %s %s: the health says %v", c.permission, c.subject, err)
				}
			}
			denied.Store(false)
			ok(t, w.server.Restart())
			for q.Ping(w.ctx) != nil {
				if w.ctx.Err() != nil {
					t.Fatalf("%s: the health stays red", c.subject)
				}
			}
		}
	})
	for subject, do := range map[string]func(context.Context, *Queue) error{
		"$JS.ACK.>": acknowledgeOne,
		"$KV.CV_JOBS.a": func(ctx context.Context, q *Queue) error {
			_, err := q.PutJob(ctx, contract.Job{ID: "a"}, 0)
			return err
		},
		"$JS.API.CONSUMER.MSG.NEXT.CV_COMMANDS.exports": acknowledgeOne,
	} {
		t.Run(subject, func(t *testing.T) {
			w, denied := newLimitedWorld(t, "publish", subject)
			q := must[*Queue](t)(Open(w.ctx, w.limited(t), options(t)))
			done := make(chan error, 1)
			go func() { done <- do(w.ctx, q) }()
			for {
				if err := q.Ping(w.ctx); err != nil {
					if !strings.Contains(err.Error(), `publish on "`+strings.TrimSuffix(subject, ">")) {
						t.Errorf("the health says %v", err)
					}
					break
				}
			}
			denied.Store(false)
			ok(t, w.server.Restart())
			ok(t, receive(t, done))
		})
	}
}

// acknowledgeOne publishes a command, takes it and acknowledges it.
func acknowledgeOne(ctx context.Context, q *Queue) error {
	taken := make(chan struct{}, 1)
	pull, stop := context.WithCancel(ctx)
	defer stop()
	if _, err := q.PublishCommand(ctx, command("a", "{}")); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- q.ServeCommands(pull, ctx, Loop{Slots: 1, Handle: func(context.Context, delivery.Delivery) delivery.Disposition {
			taken <- struct{}{}
			return delivery.Disposition{Verb: delivery.Ack}
		}})
	}()
	select {
	case <-taken:
	case <-ctx.Done():
	}
	stop()
	return <-ended
}
