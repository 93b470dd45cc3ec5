package jsapi

import (
	"context"
	"fmt"
	"time"
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

// Watch sends what decode makes of the messages of a subject in a stream, beginning with
// those stored already, until ctx ends; then it closes the channel.
//
// It fails when the stream cannot be read. It asks the leader again and again, and needs neither a
// consumer, which a restart or an operator could remove, nor a subscription, which would need the
// right to listen to the messages of others.
func Watch[T any](ctx context.Context, c *Client, stream, subject string, decode func(*StoredMessage) (T, bool)) (<-chan T, error) {
	known, err := c.StreamIdentity(ctx, stream)
	if err != nil {
		return nil, err
	}
	// A user who may not read learns it here.
	if _, err := c.ReadMessage(ctx, stream, MessageQuery{Seq: 1, Next: subject}); err != nil {
		return nil, fmt.Errorf("read %s: %w", subject, err)
	}
	out := make(chan T)
	go func() {
		defer close(out)
		err := c.eachMessage(ctx, stream, known, subject, func(s *StoredMessage) {
			if v, ok := decode(s); ok {
				select {
				case out <- v:
				case <-ctx.Done():
				}
			}
		})
		// Permanent: the connection is closed, or the server refuses to read.
		if ctx.Err() == nil {
			c.health.log.Warn().Err(err).Str("subject", subject).Msg("watch ended")
		}
	}()
	return out, nil
}

// eachMessage calls handle with the messages of a subject, those stored already and then each new
// one, until ctx ends or reading fails. known is the stream's identity.
func (c *Client) eachMessage(ctx context.Context, stream, known, subject string, handle func(*StoredMessage)) error {
	next, interval, emptyPolls := uint64(1), minPollInterval, 0
	for ctx.Err() == nil {
		s, err := c.ReadMessage(ctx, stream, MessageQuery{Seq: next, Next: subject})
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
		if emptyPolls++; emptyPolls%pollsUntilIdentityCheck == 0 && c.streamReplaced(ctx, stream, &known) {
			next = 1
			continue
		}
		if err := Wait(ctx, interval); err != nil {
			return err
		}
		interval = min(interval+interval/4, maxPollInterval)
	}
	return context.Cause(ctx)
}

// streamReplaced reports whether the stream is not the known one any more, however many messages it
// has by now: it was deleted and created again. Then known becomes the new stream's identity.
func (c *Client) streamReplaced(ctx context.Context, stream string, known *string) bool {
	info, err := c.StreamInfoOnce(ctx, 0, stream)
	if err != nil || info.Identity() == *known {
		return false
	}
	*known = info.Identity()
	return true
}
