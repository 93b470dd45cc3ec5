package natsq

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
)

// NotifyOver tells every process that a command ends, or is to end. It may get lost: whoever works
// for the command looks at its job now and then.
func (q *Queue) NotifyOver(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("notify of an end: %w", err)
	}
	if err := q.nc.Publish(q.overSubject(id), nil); err != nil {
		return fmt.Errorf("notify of the end of %s: %w", id, err)
	}
	return nil
}

// Over gives a channel that gets a value when NotifyOver was called for the command since the last
// one, by any process. stop ends it; the channel stays open.
func (q *Queue) Over(id string) (told <-chan struct{}, stop func(), err error) {
	if err := checkID(id); err != nil {
		return nil, nil, fmt.Errorf("listen for an end: %w", err)
	}
	hints := make(chan struct{}, 1)
	sub, err := q.nc.Subscribe(q.overSubject(id), func(*nats.Msg) {
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

// resultsBuffer is how many results a coordinator may lag behind before further ones are dropped.
const resultsBuffer = 1024

// NotifyResult tells whoever listens with Results that unit n of a command has a result. It may get
// lost: it is only faster than listing.
func (q *Queue) NotifyResult(_ context.Context, id string, n int) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("notify of a result: %w", err)
	}
	if err := q.nc.Publish(q.resultSubject(id), []byte(strconv.Itoa(n))); err != nil {
		return fmt.Errorf("notify of a result of %s: %w", id, err)
	}
	return nil
}

// Results yields the numbers told by NotifyResult from now on, by any process. What the reader is
// too slow for is dropped. stop ends it and closes the channel.
func (q *Queue) Results(ctx context.Context, id string) (<-chan int, func(), error) {
	if err := checkID(id); err != nil {
		return nil, nil, fmt.Errorf("listen for results: %w", err)
	}
	numbers := make(chan int, resultsBuffer)
	var mu sync.Mutex
	stopped := false
	sub, err := q.nc.Subscribe(q.resultSubject(id), func(m *nats.Msg) {
		n, err := strconv.Atoi(string(m.Data))
		if err != nil {
			return // not ours
		}
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return
		}
		select {
		case numbers <- n:
		default:
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("listen for results of %s: %w", id, err)
	}
	stop := func() {
		_ = sub.Unsubscribe() // fails only when the connection is closed, and the subscription with it
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			stopped = true
			close(numbers)
		}
	}
	// The server must know of the interest before the first unit is published. Away servers learn
	// it when they are back.
	once, cancel := context.WithTimeout(ctx, minTryTimeout)
	defer cancel()
	if err := q.nc.FlushWithContext(once); err != nil && ctx.Err() != nil {
		stop()
		return nil, nil, fmt.Errorf("listen for results of %s: %w", id, context.Cause(ctx))
	}
	return numbers, stop, nil
}
