package jsapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// A try waits for its answer from MinTryTimeout to MaxTryTimeout, twice as long at each try: so a
// slow server is not taken for a dead one for ever.
const (
	MinTryTimeout = 2 * time.Second
	MaxTryTimeout = 16 * time.Second
)

// The backoff between tries grows from minBackoff to maxBackoff.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// Client asks JetStream's API, and repeats what may succeed later.
type Client struct {
	Send    func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) // sends one request and waits for its answer; tests inject faults here
	nc      *nats.Conn
	options Options
	denials *denials
	health  health
}

// Options configures a Client.
type Options struct {
	Domain     string                               // JetStream's; empty means that of the server
	FailDenied bool                                 // a request that is denied, or too large for the server, fails at once; else it is tried again until the operator grants it or raises the limit
	Recreate   func(ctx context.Context, err error) // is called after each failed try, to create what is missing
	Log        zerolog.Logger
}

// New makes a client of a connection.
func New(nc *nats.Conn, o Options) *Client {
	return &Client{
		Send: nc.RequestMsgWithContext, nc: nc, options: o, denials: watchDenials(nc),
		health: health{log: o.Log, problems: map[string]*problem{}},
	}
}

// Subject is the subject of a request of JetStream's API, in the domain of the client.
func (c *Client) Subject(request string) string {
	if c.options.Domain == "" {
		return "$JS.API." + request
	}
	return "$JS." + c.options.Domain + ".API." + request
}

// PublishSubject is the subject on which a message for a stream's subject is published. Entries of
// buckets do not pass from one domain to another under their own subject: the API carries them.
func (c *Client) PublishSubject(subject string) string {
	if c.options.Domain != "" && strings.HasPrefix(subject, "$KV.") {
		return c.Subject(subject)
	}
	return subject
}

// Denied returns why the server denied the last message on a subject that was published without
// waiting for an answer; nil when it did not, or said so before the last call.
func (c *Client) Denied(subject string) error { return c.denials.take(subject) }

// StartOperation begins an operation that needs an object. Nothing is recorded until a try fails.
func (c *Client) StartOperation(object string) *Operation { return c.health.StartOperation(object) }

// FirstProblem is the *Waiting of the first object, by name, that operations wait for; nil when
// they wait for none.
func (c *Client) FirstProblem() error { return c.health.FirstProblem() }

// RequestOnce sends one request and waits for its answer as long as that try may. It fails with
// ErrNoAnswer when none came, also because ctx ended, with a DeniedError when the server does not
// permit the request, or its answer, and with a PayloadError when the request is larger than the
// server takes.
func (c *Client) RequestOnce(ctx context.Context, try int, m *nats.Msg) (*nats.Msg, error) {
	once, cancel := context.WithTimeout(ctx, min(MaxTryTimeout, MinTryTimeout<<min(try, 8)))
	defer cancel()
	once, end := c.denials.begin(once, m.Subject)
	defer end()
	answer, err := c.Send(once, m)
	switch {
	case err == nil:
		return answer, nil
	case errors.Is(context.Cause(once), ErrDenied):
		return nil, context.Cause(once)
	case errors.Is(err, nats.ErrMaxPayload):
		return nil, &PayloadError{Bytes: m.Size() - len(m.Subject) - len(m.Reply), Limit: c.nc.MaxPayload()}
	case errors.Is(err, nats.ErrReconnectBufExceeded): // there is no such buffer: nothing is sent while there is no connection
		return nil, nats.ErrDisconnected
	case once.Err() != nil, errors.Is(err, nats.ErrTimeout):
		return nil, ErrNoAnswer
	default:
		return nil, err
	}
}

// APIRequestOnce asks JetStream's API once. request is sent as JSON, nothing when nil; the answer
// is decoded into answer.
func (c *Client) APIRequestOnce(ctx context.Context, try int, subject string, request, answer any) error {
	m := nats.NewMsg(c.Subject(subject))
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		m.Data = b
	}
	got, err := c.RequestOnce(ctx, try, m)
	if err != nil {
		return err
	}
	if bytes.Contains(got.Data, []byte(`"error"`)) {
		var failed struct {
			Error *APIError `json:"error"`
		}
		if err := json.Unmarshal(got.Data, &failed); err != nil {
			return fmt.Errorf("decode the answer to %s: %w: %w", subject, ErrForeignAnswer, err)
		}
		if failed.Error != nil {
			return failed.Error
		}
	}
	if err := json.Unmarshal(got.Data, answer); err != nil {
		return fmt.Errorf("decode the answer to %s: %w: %w", subject, ErrForeignAnswer, err)
	}
	return nil
}

// APIRequest is APIRequestOnce, repeated until there is an answer. object names the stream or
// consumer for health.
func (c *Client) APIRequest(ctx context.Context, object, subject string, request, answer any) error {
	return c.RetryUntilDone(ctx, object, func(try int) error {
		return TransientUnlessPermanent(c.APIRequestOnce(ctx, try, subject, request, answer))
	})
}

// RetryUntilDone calls f until it returns anything but a TransientError, or ctx ends: then the
// error has both ctx's cause and f's last one. object names the stream or consumer that f needs;
// one that is missing is created again, if Provision allows it. A request that the server denies,
// or that is larger than it takes, is tried again only without FailDenied.
func (c *Client) RetryUntilDone(ctx context.Context, object string, f func(try int) error) error {
	op := c.health.StartOperation(object)
	defer op.End()
	for try := 0; ; try++ {
		err := f(try)
		var again TransientError
		if !errors.As(err, &again) {
			return err
		}
		if c.options.FailDenied && (errors.Is(again.Err, ErrDenied) || errors.Is(again.Err, ErrTooLarge)) {
			return again.Err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w: %w", object, context.Cause(ctx), again.Err)
		}
		if try > 0 || !HasCode(err, CodeWrongLast, CodeWrongLastInDoubt) && !isDuplicate(err) { // two writers that meet are normal
			op.RecordFailure(again.Err)
		}
		c.options.Recreate(ctx, err)
		if err := Backoff(ctx, try); err != nil {
			return fmt.Errorf("%s: %w: %w", object, err, again.Err)
		}
	}
}

// Backoff waits before the next try, longer after each one, with jitter. Its error is ctx's cause.
func Backoff(ctx context.Context, try int) error {
	d := min(maxBackoff, minBackoff<<min(try, 8))
	return Wait(ctx, d/2+rand.N(d/2+1)) //nolint:gosec // jitter is no secret
}

// Wait waits for d, or until ctx ends, and returns ctx's cause then.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
