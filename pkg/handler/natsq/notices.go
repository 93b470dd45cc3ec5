package natsq

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// NotifyOver implements handler.Notices: it tells every process that a command ends, or is to end.
// A process that misses the notice learns of it when it next looks at the job.
func (q *Queue) NotifyOver(_ context.Context, id string) error {
	if err := names.CheckID(id); err != nil {
		return fmt.Errorf("notify of an end: %w", err)
	}
	if err := q.nc.Publish(q.names.OverSubject(id), nil); err != nil {
		return fmt.Errorf("notify of the end of %s: %w", id, err)
	}
	return nil
}

// Over implements handler.Notices. The channel gets a value when any process called NotifyOver for
// the command since the last value; stop does not close it.
func (q *Queue) Over(id string) (notices <-chan struct{}, stop func(), err error) {
	if err := names.CheckID(id); err != nil {
		return nil, nil, fmt.Errorf("listen for an end: %w", err)
	}
	hints := make(chan struct{}, 1)
	sub, err := q.nc.Subscribe(q.names.OverSubject(id), func(*nats.Msg) {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the end of %s: %w", id, err)
	}
	return hints, func() { _ = sub.Unsubscribe() }, nil // fails only when the connection is closed, and the subscription with it
}

// resultsBuffer is how many notices of results a coordinator may lag behind; further ones are
// dropped.
const resultsBuffer = 1024

// NotifyResult implements handler.Notices: it tells every process that called Results; if this one
// did, it alone, since a command has one coordinator. One that misses the notice finds the result
// when it lists them, later.
func (q *Queue) NotifyResult(_ context.Context, id string, n int) error {
	if err := names.CheckID(id); err != nil {
		return fmt.Errorf("notify of a result: %w", err)
	}
	if q.listeners.Tell(id, n) {
		return nil
	}
	if err := q.nc.Publish(q.names.ResultSubject(id), []byte(strconv.Itoa(n))); err != nil {
		return fmt.Errorf("notify of a result of %s: %w", id, err)
	}
	return nil
}

// Results implements handler.UnitQueue: it yields the numbers that any process passes to
// NotifyResult from now on. Those that the reader is too slow for are dropped. stop closes the
// channel.
func (q *Queue) Results(ctx context.Context, id string) (<-chan int, func(), error) {
	if err := names.CheckID(id); err != nil {
		return nil, nil, fmt.Errorf("listen for results: %w", err)
	}
	numbers := make(chan int, resultsBuffer)
	remove := q.listeners.Add(id, numbers)
	sub, err := q.nc.Subscribe(q.names.ResultSubject(id), func(m *nats.Msg) {
		if n, err := strconv.Atoi(string(m.Data)); err == nil { // else not from NotifyResult
			q.listeners.TellOne(id, numbers, n)
		}
	})
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("listen for results of %s: %w", id, err)
	}
	stop := func() {
		_ = sub.Unsubscribe() // fails only when the connection is closed, and the subscription with it
		remove()
	}
	// The server must know the subscription before the first unit is published. A server that is
	// away learns it when it is back.
	once, cancel := context.WithTimeout(ctx, jsapi.MinTryTimeout)
	defer cancel()
	if err := q.nc.FlushWithContext(once); err != nil && ctx.Err() != nil {
		stop()
		return nil, nil, fmt.Errorf("listen for results of %s: %w", id, context.Cause(ctx))
	}
	return numbers, stop, nil
}
