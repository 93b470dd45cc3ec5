package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
)

// queueState is what is known of the connection and the streams: nothing yet, why they cannot be
// used, or the queue that uses them.
type queueState struct {
	mu      sync.Mutex
	nc      *nats.Conn   // nil until the first attempt to connect has ended
	attempt error        // why the last attempt to connect failed
	opening *natsq.Queue // looks for the streams
	found   *natsq.Queue // set before storage was checked
	queue   *natsq.Queue
	problem error // why the streams cannot be used
}

// connecting records how an attempt to connect ended.
func (o *queueState) connecting(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attempt = err
}

// connect records the connection, which goes on by itself if the first attempt failed.
func (o *queueState) connect(nc *nats.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.nc = nc
}

// close closes the connection, if there is one.
func (o *queueState) close() {
	o.mu.Lock()
	nc := o.nc
	o.mu.Unlock()
	if nc != nil {
		nc.Close()
	}
}

// notes are what natsconn.Notes says of the connection.
func (o *queueState) notes() []string {
	o.mu.Lock()
	nc, attempt := o.nc, o.attempt
	o.mu.Unlock()
	if nc == nil || attempt != nil {
		return nil
	}
	return natsconn.Notes(nc)
}

// open records that a queue looks for the streams.
func (o *queueState) open(q *natsq.Queue) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opening = q
}

// errStorageFirst is the problem of NATS until the prefix was first seen to be this deployment's:
// this process must not be ready before.
var errStorageFirst = errors.New("connected; waiting for the first check of the bucket's prefix")

// find records that the queue is there; no work is taken from it yet.
func (o *queueState) find(q *natsq.Queue) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.found, o.problem = q, errStorageFirst
}

// set records the queue from which work is taken, or why there is none.
func (o *queueState) set(q *natsq.Queue, problem error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.problem = q, problem
}

// secrets is where secrets are kept; nil before that is there.
func (o *queueState) secrets() *natsq.Queue {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}

// errOpening is the problem of NATS until something else is known.
var errOpening = errors.New("connecting, and looking for the streams")

// ping returns the problem with NATS, nil when there is none.
func (o *queueState) ping(ctx context.Context) error {
	o.mu.Lock()
	nc, q, opening, attempt, problem := o.nc, o.queue, o.opening, o.attempt, o.problem
	o.mu.Unlock()
	switch {
	case attempt != nil: // the connection is not asked, since it answers nothing while it tries again
		return fmt.Errorf("not connected: %w", attempt)
	case nc == nil:
		return errOpening
	}
	if err := natsconn.Check(nc); err != nil {
		return err //nolint:wrapcheck // it says what to change
	}
	if nc.Status() != nats.CONNECTED {
		return fmt.Errorf("not connected: %w", cmp.Or(nc.LastError(), errOpening))
	}
	if q != nil {
		return q.Ping(ctx)
	}
	if opening != nil && (problem == nil || errors.Is(problem, errStorageFirst)) {
		problem = cmp.Or(opening.Waiting(), problem)
	}
	return cmp.Or(problem, errOpening)
}

// queue is how the service's queue is opened.
func (c config) queue(log zerolog.Logger) natsq.Options {
	return natsq.Options{
		Prefix: c.NATS.Subjects, Domain: c.NATS.Domain, Replicas: c.Replicas, Provision: c.Provision, Retention: c.TraceRetention, MaxBytes: c.StreamMaxBytes, Log: log,
	}
}

// openQueue finds or makes the streams, and makes sure that the bucket's prefix is this
// deployment's, however long that takes. Streams with wrong settings are for the operator to
// correct: openQueue checks them again until they are right.
func (s *service) openQueue(ctx context.Context, nc *nats.Conn, opened *queueState) (*natsq.Queue, error) {
	q, err := natsq.New(nc, s.c.queue(s.log))
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	opened.open(q)
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-pause.C:
		}
		err := q.Provision(ctx)
		if err == nil {
			err = natsconn.Check(nc)
		}
		if err == nil {
			opened.find(q)
			return q, s.awaitPrefix(ctx, q, func() {
				opened.set(q, nil)
				s.monitor.found(delivery.DependencyNATS, nil)
			})
		}
		opened.set(nil, err)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.monitor.found(delivery.DependencyNATS, err)
		pause.Reset(s.intervals.storageRetry)
	}
}
