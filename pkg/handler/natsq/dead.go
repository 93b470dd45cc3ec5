package natsq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/letter"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// PublishDead implements handler.Publisher. The dead letter has the original body and headers, as
// letter.Encode keeps them. Of what never was a command the oldest letters make way, with their
// jobs and events, where there are too many.
func (q *Queue) PublishDead(ctx context.Context, d contract.DeadLetter) error {
	if err := names.CheckTokens(string(d.Action), d.ID); err != nil {
		return fmt.Errorf("publish dead letter: %w", err)
	}
	w := jsapi.Write{Stream: q.names.Dead, Subject: q.names.DeadLetterSubject(d.Action, d.ID)}
	streamOf := func(s *jsapi.StoredMessage) string { return letter.Stream(s.Header) }
	store := func(limit int64) error {
		w.Header, w.Body = letter.Encode(d, limit)
		w.Shrinks = len(w.Body) > 0
		return q.publishAnswer(ctx, w, d.ID, d.Message.Stream, q.names.DeadLetterSubject("*", d.ID), streamOf)
	}
	err := store(q.nc.MaxPayload())
	for errors.Is(err, ErrTooLarge) && w.Shrinks { // connected to another server meanwhile
		err = store(min(q.nc.MaxPayload(), int64(len(w.Body))))
	}
	if err != nil {
		return fmt.Errorf("publish dead letter %s: %w", w.Subject, err)
	}
	if d.NeverCommand() {
		q.warnOfRejects(q.rejects.StoredLetter(ctx))
	}
	return nil
}

// warnOfRejects logs that too much is kept of what was never carried out. It ends no command: the
// next look removes more.
func (q *Queue) warnOfRejects(err error) {
	if err != nil {
		q.log.Warn().Err(err).Msg("cannot remove the oldest traces of messages that were not carried out, trying again later")
	}
}

// DeadLetters yields all dead letters, by action and id. It ends at the first error.
func (q *Queue) DeadLetters(ctx context.Context) iter.Seq2[contract.DeadLetter, error] {
	return func(yield func(contract.DeadLetter, error) bool) {
		prefix := q.names.Prefix + ".dead."
		keys, err := q.api.SubjectSuffixes(ctx, q.names.Dead, prefix)
		if err != nil {
			yield(contract.DeadLetter{}, fmt.Errorf("list dead letters: %w", err))
			return
		}
		for _, key := range keys {
			s, err := q.api.ReadMessage(ctx, q.names.Dead, jsapi.MessageQuery{Last: prefix + key})
			if err != nil {
				yield(contract.DeadLetter{}, fmt.Errorf("read dead letter %s: %w", key, err))
				return
			}
			if s != nil && !yield(q.decodeDeadLetter(s), nil) { // nil: removed since it was listed
				return
			}
		}
	}
}

// DeadLetter reads the dead letter of a key from the leader. It fails with ErrNoMessage when there
// is none. The message is as it came, with the subject it was published on; its body is nil when
// PublishDead had to leave it out.
func (q *Queue) DeadLetter(ctx context.Context, key string) (contract.DeadLetter, error) {
	if err := names.CheckKey(key); err != nil {
		return contract.DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	id, actions := contract.ParseKey(key)
	for _, a := range actions {
		s, err := q.api.ReadMessage(ctx, q.names.Dead, jsapi.MessageQuery{Last: q.names.DeadLetterSubject(a, id)})
		if err != nil {
			return contract.DeadLetter{}, fmt.Errorf("read the dead letter of %s: %w", key, err)
		}
		if s != nil {
			return q.decodeDeadLetter(s), nil
		}
	}
	return contract.DeadLetter{}, fmt.Errorf("read the dead letter of %s: %w", key, contract.ErrNoMessage)
}

// RemoveDead removes the dead letter of a key. It succeeds when there is none.
func (q *Queue) RemoveDead(ctx context.Context, key string) error {
	if err := names.CheckKey(key); err != nil {
		return fmt.Errorf("remove dead letter: %w", err)
	}
	id, actions := contract.ParseKey(key)
	for _, a := range actions {
		if err := q.removeMessages(ctx, q.names.Dead, q.names.DeadLetterSubject(a, id)); err != nil {
			return fmt.Errorf("remove the dead letter of %s: %w", key, err)
		}
	}
	return nil
}

// decodeDeadLetter is the dead letter that PublishDead stored as s.
func (q *Queue) decodeDeadLetter(s *jsapi.StoredMessage) contract.DeadLetter {
	action, id, _ := strings.Cut(strings.TrimPrefix(s.Subject, q.names.Prefix+".dead."), ".")
	d := letter.Decode(s.Header, s.Data, s.Time)
	d.ID, d.Action, d.Message.Subject = id, contract.Action(action), q.names.CommandSubject(contract.Action(action))
	return d
}
