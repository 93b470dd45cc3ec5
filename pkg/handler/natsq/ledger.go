package natsq

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// LedgerTail implements handler.LedgerQueue; the message is read from the leader, and nil when
// there is none.
func (q *Queue) LedgerTail(ctx context.Context, id string) ([]byte, uint64, error) {
	if err := checkID(id); err != nil {
		return nil, 0, fmt.Errorf("read the ledger: %w", err)
	}
	s, err := q.api.ReadMessage(ctx, q.ledgers, jsapi.MessageQuery{Last: q.ledgerSubject(id)})
	if err != nil {
		return nil, 0, fmt.Errorf("read the ledger of %s: %w", id, err)
	}
	if s == nil {
		return nil, 0, nil
	}
	return s.Data, s.Seq, nil
}

// AppendLedger implements handler.LedgerQueue and returns the new message's sequence; after 0 it
// appends the first one. It is the fence: of all callers that append after the same message,
// exactly one succeeds. ErrFenced may be due to the caller's own message, from an earlier call that
// failed. After any other error the lines may or may not be appended.
func (q *Queue) AppendLedger(ctx context.Context, id string, lines []byte, after uint64) (uint64, error) {
	if err := checkID(id); err != nil {
		return 0, fmt.Errorf("append to the ledger: %w", err)
	}
	seq, _, err := q.api.CompareAndSet(ctx, jsapi.Write{Stream: q.ledgers, Subject: q.ledgerSubject(id), Body: lines, Expect: after})
	if errors.Is(err, jsapi.ErrConflict) {
		err = delivery.ErrFenced
	}
	if err != nil {
		return 0, fmt.Errorf("append to the ledger of %s: %w", id, err)
	}
	return seq, nil
}

// Ledger implements handler.LedgerQueue; the messages are read from the leader, and the one with
// sequence upTo is the last. It fails when that one is not found. An upTo of math.MaxUint64 yields
// all messages.
func (q *Queue) Ledger(ctx context.Context, id string, upTo uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := checkID(id); err != nil {
			yield(nil, fmt.Errorf("read the ledger: %w", err))
			return
		}
		var last uint64
		for s, err := range q.api.MessagesBetween(ctx, q.ledgers, q.ledgerSubject(id), 0, upTo) {
			if err != nil {
				yield(nil, fmt.Errorf("read the ledger of %s: %w", id, err))
				return
			}
			if last = s.Seq; !yield(s.Data, nil) {
				return
			}
		}
		if last != upTo && upTo != jsapi.MaxSequence {
			yield(nil, fmt.Errorf("read the ledger of %s: it ends at sequence %d, before %d", id, last, upTo))
		}
	}
}
