package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// A try waits for its answer from minTryTimeout to maxTryTimeout, twice as long at each try: so a
// slow server is not taken for a dead one for ever.
const (
	minTryTimeout = 2 * time.Second
	maxTryTimeout = 16 * time.Second
)

// The backoff between tries grows from minBackoff to maxBackoff.
const (
	minBackoff = 20 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// client asks JetStream's API, and repeats what may succeed later.
type client struct {
	send     func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) // sends one request and waits for its answer; tests inject faults here
	recreate func(ctx context.Context, err error)                      // is called after each failed try, to create what is missing
	health   health
}

// newClient makes a client of a connection.
func newClient(nc *nats.Conn, log zerolog.Logger, recreate func(ctx context.Context, err error)) *client {
	return &client{send: nc.RequestMsgWithContext, recreate: recreate, health: health{log: log, problems: map[string]*problem{}}}
}

// startOperation begins an operation that needs an object. Nothing is recorded until a try fails.
func (c *client) startOperation(object string) *operation { return c.health.startOperation(object) }

// firstProblem is the first object by name that operations are waiting for, with the reason; nil
// when they wait for none.
func (c *client) firstProblem() error { return c.health.firstProblem() }

// requestOnce sends one request and waits for its answer as long as that try may. It fails with
// errNoAnswer when none came, also because ctx ended.
func (c *client) requestOnce(ctx context.Context, try int, m *nats.Msg) (*nats.Msg, error) {
	once, cancel := context.WithTimeout(ctx, min(maxTryTimeout, minTryTimeout<<min(try, 8)))
	defer cancel()
	answer, err := c.send(once, m)
	switch {
	case err == nil:
		return answer, nil
	case once.Err() != nil, errors.Is(err, nats.ErrTimeout):
		return nil, errNoAnswer
	default:
		return nil, err
	}
}

// apiRequestOnce asks JetStream's API once. request is sent as JSON, nothing when nil; the answer
// is decoded into answer.
func (c *client) apiRequestOnce(ctx context.Context, try int, subject string, request, answer any) error {
	m := nats.NewMsg("$JS.API." + subject)
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		m.Data = b
	}
	got, err := c.requestOnce(ctx, try, m)
	if err != nil {
		return err
	}
	var failed struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(got.Data, &failed); err != nil {
		return fmt.Errorf("decode the answer to %s: %w: %w", subject, errForeignAnswer, err)
	}
	if failed.Error != nil {
		return failed.Error
	}
	if err := json.Unmarshal(got.Data, answer); err != nil {
		return fmt.Errorf("decode the answer to %s: %w: %w", subject, errForeignAnswer, err)
	}
	return nil
}

// apiRequest is apiRequestOnce, repeated until there is an answer. object names the stream or
// consumer for health.
func (c *client) apiRequest(ctx context.Context, object, subject string, request, answer any) error {
	return c.retryUntilDone(ctx, object, func(try int) error {
		return transientUnlessPermanent(c.apiRequestOnce(ctx, try, subject, request, answer))
	})
}

// retryUntilDone calls f until it returns anything but a transientError, or ctx ends: then the
// error has both ctx's cause and f's last one. object names the stream or consumer that f needs;
// one that is missing is created again, if Provision allows it.
func (c *client) retryUntilDone(ctx context.Context, object string, f func(try int) error) error {
	op := c.health.startOperation(object)
	defer op.end()
	for try := 0; ; try++ {
		err := f(try)
		var again transientError
		if !errors.As(err, &again) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w: %w", object, context.Cause(ctx), again.error)
		}
		if try > 0 || !hasCode(err, codeWrongLast, codeWrongLastInDoubt) { // two writers that meet are normal
			op.recordFailure(again.error)
		}
		c.recreate(ctx, err)
		if err := backOff(ctx, try); err != nil {
			return fmt.Errorf("%s: %w: %w", object, err, again.error)
		}
	}
}

// backOff waits before the next try, longer after each one, with jitter. Its error is ctx's cause.
func backOff(ctx context.Context, try int) error {
	d := min(maxBackoff, minBackoff<<min(try, 8))
	return wait(ctx, d/2+rand.N(d/2+1)) //nolint:gosec // jitter is no secret
}

// wait waits for d, or until ctx ends, and returns ctx's cause then.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
