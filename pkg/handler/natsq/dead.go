package natsq

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// DeadLetters yields all dead letters, by action and id. An error ends it.
func (q *Queue) DeadLetters(ctx context.Context) iter.Seq2[contract.DeadLetter, error] {
	return func(yield func(contract.DeadLetter, error) bool) {
		prefix := q.prefix + ".dead."
		keys, err := q.below(ctx, q.dead, prefix)
		if err != nil {
			yield(contract.DeadLetter{}, fmt.Errorf("list dead letters: %w", err))
			return
		}
		for _, key := range keys {
			s, err := q.read(ctx, q.dead, get{Last: prefix + key})
			if err != nil {
				yield(contract.DeadLetter{}, fmt.Errorf("read dead letter %s: %w", key, err))
				return
			}
			if s != nil && !yield(q.letter(s), nil) { // nil: removed since it was listed
				return
			}
		}
	}
}

// DeadLetter reads the dead letter of an id; ErrNoMessage when there is none. Its message is as it
// came, with the subject it was published on; the body is nil when PublishDead had to leave it out.
func (q *Queue) DeadLetter(ctx context.Context, id string) (contract.DeadLetter, error) {
	if err := checkID(id); err != nil {
		return contract.DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	s, err := q.read(ctx, q.dead, get{Seq: 1, Next: q.deadLetter("*", id)})
	if err == nil && s == nil {
		err = contract.ErrNoMessage
	}
	if err != nil {
		return contract.DeadLetter{}, fmt.Errorf("read the dead letter of %s: %w", id, err)
	}
	return q.letter(s), nil
}

// RemoveDead removes the dead letter of an id. One that does not exist is well.
func (q *Queue) RemoveDead(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("remove dead letter: %w", err)
	}
	if err := q.remove(ctx, q.dead, q.deadLetter("*", id)); err != nil {
		return fmt.Errorf("remove the dead letter of %s: %w", id, err)
	}
	return nil
}

// letter is what PublishDead made of a dead letter, undone.
func (q *Queue) letter(s *stored) contract.DeadLetter {
	action, id, _ := strings.Cut(strings.TrimPrefix(s.Subject, q.prefix+".dead."), ".")
	d := contract.DeadLetter{
		ID: id, GivenID: s.Header.Get(headerGivenID), Action: contract.Action(action),
		Error:   contract.Error{Code: s.Header.Get(headerErrorCode), Message: s.Header.Get(headerError)},
		Message: contract.Message{Subject: q.command(contract.Action(action)), Header: map[string][]string{}, Body: s.Data, Time: s.Time.UTC()},
		Time:    s.Time.UTC(),
	}
	d.Attempts, _ = strconv.Atoi(s.Header.Get(headerAttempts)) // put there by us; by others, it is none
	d.Message.Seq, _ = strconv.ParseUint(s.Header.Get(headerSeq), 10, 64)
	d.Message.Stream = s.Header.Get(headerStream)
	if t, err := time.Parse(time.RFC3339Nano, s.Header.Get(headerTime)); err == nil {
		d.Time = t
	}
	if s.Header.Get(headerTruncated) != "" {
		d.Message.Body = nil
	}
	for name, values := range s.Header {
		switch name {
		case headerErrorCode, headerError, headerAttempts, headerTime, headerTruncated, headerSeq, headerStream, headerGivenID, headerWrite, headerExpectedLast:
			continue
		}
		if original, ok := strings.CutPrefix(name, headerKept); ok {
			name = original
		}
		d.Message.Header[name] = values
	}
	return d
}
