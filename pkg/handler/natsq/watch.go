package natsq

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// A watch polls. After a hint it reads again within minPollInterval; without one the interval grows
// to maxPollInterval.
const (
	minPollInterval = 4 * time.Millisecond
	maxPollInterval = time.Second
)

// pollsUntilIdentityCheck is after how many polls without a message a watch checks whether the
// stream was created again.
const pollsUntilIdentityCheck = 16

// watchSubject sends what decode makes of the messages of a subject in a stream, beginning with
// those stored already, until ctx ends; then it closes the channel.
//
// It reads from the leader and needs no consumer, which a restart or an operator could remove. A
// message published on a subject is also sent to its subscribers as a core NATS message, slightly
// before the server stores or refuses it: that is the hint to read again soon. A lost hint costs
// maxPollInterval.
func watchSubject[T any](ctx context.Context, q *Queue, stream, subject string, decode func(*jsapi.StoredMessage) (T, bool)) (<-chan T, error) {
	hints := make(chan struct{}, 1)
	sub, err := q.nc.Subscribe(subject, func(*nats.Msg) {
		select {
		case hints <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	out := make(chan T)
	go func() {
		defer close(out)
		defer func() { _ = sub.Unsubscribe() }() // fails only when the connection is closed, and the subscription with it
		err := q.eachMessage(ctx, stream, subject, hints, func(s *jsapi.StoredMessage) {
			if v, ok := decode(s); ok {
				select {
				case out <- v:
				case <-ctx.Done():
				}
			}
		})
		// Permanent: the connection is closed, or the server refuses to read.
		if ctx.Err() == nil {
			q.log.Warn().Err(err).Str("subject", subject).Msg("watch ended")
		}
	}()
	return out, nil
}

// eachMessage calls handle with the messages of a subject, those stored already and then each new
// one, until ctx ends or reading fails.
func (q *Queue) eachMessage(ctx context.Context, stream, subject string, hints <-chan struct{}, handle func(*jsapi.StoredMessage)) error {
	next, interval, emptyPolls := uint64(1), minPollInterval, 0
	known, err := q.streamIdentity(ctx, stream)
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		s, err := q.api.ReadMessage(ctx, stream, jsapi.MessageQuery{Seq: next, Next: subject})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case s != nil:
			next, emptyPolls = s.Seq+1, 0
			handle(s)
			continue
		}
		if emptyPolls++; emptyPolls%pollsUntilIdentityCheck == 0 && q.streamReplaced(ctx, stream, &known) {
			next = 1
			continue
		}
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-hints:
			interval = minPollInterval
		case <-timer.C:
			interval = min(2*interval, maxPollInterval)
		}
		timer.Stop()
	}
	return context.Cause(ctx)
}

// streamReplaced reports whether the stream is not the known one any more, however many messages it
// has by now: it was deleted and created again. Then known becomes the new stream's identity.
func (q *Queue) streamReplaced(ctx context.Context, stream string, known *string) bool {
	info, err := q.streamInfoOnce(ctx, 0, stream)
	if err != nil || info.identity() == *known {
		return false
	}
	*known = info.identity()
	return true
}
