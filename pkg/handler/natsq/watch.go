package natsq

import (
	"context"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// A watch polls: often at first, so that a short command is not waited for longer than it takes,
// and at last every maxPollInterval.
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
// It fails when the stream cannot be read. It asks the leader again and again, and needs neither a consumer, which a restart or an operator
// could remove, nor a subscription, which would need the right to listen to others' messages.
func watchSubject[T any](ctx context.Context, q *Queue, stream, subject string, decode func(*jsapi.StoredMessage) (T, bool)) (<-chan T, error) {
	known, err := q.streamIdentity(ctx, stream)
	if err != nil {
		return nil, err
	}
	// A user who may not read learns it here.
	if _, err := q.api.ReadMessage(ctx, stream, jsapi.MessageQuery{Seq: 1, Next: subject}); err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	out := make(chan T)
	go func() {
		defer close(out)
		err := q.eachMessage(ctx, stream, known, subject, func(s *jsapi.StoredMessage) {
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
// one, until ctx ends or reading fails. known is the stream's identity.
func (q *Queue) eachMessage(ctx context.Context, stream, known, subject string, handle func(*jsapi.StoredMessage)) error {
	next, interval, emptyPolls := uint64(1), minPollInterval, 0
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
		if err := jsapi.Wait(ctx, interval); err != nil {
			return err
		}
		interval = min(interval+interval/4, maxPollInterval)
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
