package natsq

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// How long a watch waits before it looks again: shortly after a message passed by, else at leisure.
const (
	minPollInterval = 4 * time.Millisecond
	maxPollInterval = time.Second
)

// looksUntilCheck is after how many looks in vain a watch asks whether the stream was made again.
const pollsUntilIdentityCheck = 16

// follow sends what decode makes of the messages of a subject in a stream, those there first, until
// ctx ends; then it closes the channel.
//
// It reads from the leader and needs no consumer, which a restart or an operator could take away.
// What is published on a subject also passes by as a core NATS message, slightly before it is
// stored (or refused): that is the hint to look again soon. A lost hint costs a second.
func watchSubject[T any](ctx context.Context, q *Queue, stream, subject string, decode func(*storedMessage) (T, bool)) (<-chan T, error) {
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
		next, look, vain := uint64(1), minPollInterval, 0
		known, err := q.streamIdentity(ctx, stream)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			q.log.Warn().Err(err).Str("subject", subject).Msg("watching ends")
			return
		}
		for {
			s, err := q.readMessage(ctx, stream, messageQuery{Seq: next, Next: subject})
			switch {
			case ctx.Err() != nil:
				return
			case err == nil && s != nil:
				next, vain = s.Seq+1, 0
				if v, ok := decode(s); ok {
					select {
					case out <- v:
					case <-ctx.Done():
						return
					}
				}
				continue
			case err != nil: // final: the connection is closed, or the server refuses to read
				q.log.Warn().Err(err).Str("subject", subject).Msg("watching ends")
				return
			}
			if vain++; vain%pollsUntilIdentityCheck == 0 && q.streamReplaced(ctx, stream, &known) {
				next = 1
				continue
			}
			timer := time.NewTimer(look)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-hints:
				look = minPollInterval
			case <-timer.C:
				look = min(2*look, maxPollInterval)
			}
			timer.Stop()
		}
	}()
	return out, nil
}

// replaced reports whether the stream is another one than was known, however many messages it has
// by now: it was deleted and made again. Then that one is known.
func (q *Queue) streamReplaced(ctx context.Context, stream string, known *string) bool {
	info, err := q.streamInfoOnce(ctx, 0, stream)
	if err != nil || info.identity() == *known {
		return false
	}
	*known = info.identity()
	return true
}
