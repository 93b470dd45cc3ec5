package natsq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// LedgerTail implements handler.LedgerQueue; the message is read from the leader, and nil when
// there is none.
func (q *Queue) LedgerTail(ctx context.Context, id string) ([]byte, uint64, error) {
	if err := names.CheckID(id); err != nil {
		return nil, 0, fmt.Errorf("read the ledger: %w", err)
	}
	s, err := q.api.ReadMessage(ctx, q.names.Ledgers, jsapi.MessageQuery{Last: q.names.LedgerSubject(id)})
	if err != nil {
		return nil, 0, fmt.Errorf("read the ledger of %s: %w", id, err)
	}
	if s == nil {
		return nil, 0, nil
	}
	return s.Data, s.Seq, nil
}

// maxAppendHeaders is more than the headers of a ledger message take, in bytes.
const maxAppendHeaders = 512

// AppendLedger implements handler.LedgerQueue and returns the new message's sequence; after 0 it
// appends the first one. Lines that are larger than the server takes at once become several
// messages, one after the other. It is the fence: of all callers that append after the same
// message, exactly one succeeds. ErrFenced may be due to the caller's own message, from an earlier
// call that failed. After any other error the lines may be appended, none of them, or the first
// ones.
func (q *Queue) AppendLedger(ctx context.Context, id string, lines []byte, after uint64) (uint64, error) {
	if err := names.CheckID(id); err != nil {
		return 0, fmt.Errorf("append to the ledger: %w", err)
	}
	for limit := q.ledgerRoom(); ; {
		part := wholeLines(lines, limit)
		w := jsapi.Write{Stream: q.names.Ledgers, Subject: q.names.LedgerSubject(id), Body: part, Expect: after}
		w.Shrinks = len(wholeLines(part, 1)) < len(part)
		seq, _, err := q.api.CompareAndSet(ctx, w)
		if errors.Is(err, ErrTooLarge) && w.Shrinks { // connected to another server meanwhile
			limit = min(q.ledgerRoom(), len(part)/2)
			continue
		}
		if errors.Is(err, jsapi.ErrConflict) {
			err = delivery.ErrFenced
		}
		if err != nil {
			return 0, fmt.Errorf("append to the ledger of %s: %w", id, err)
		}
		if after, lines = seq, lines[len(part):]; len(lines) == 0 {
			return after, nil
		}
	}
}

// ledgerRoom is how many bytes of lines the connected server takes with one message.
func (q *Queue) ledgerRoom() int {
	if limit := q.nc.MaxPayload(); limit > 0 {
		return int(limit) - maxAppendHeaders
	}
	return math.MaxInt // not connected yet
}

// wholeLines is as many lines from the beginning as have no more than limit bytes, but at least
// one.
func wholeLines(lines []byte, limit int) []byte {
	if len(lines) <= limit {
		return lines
	}
	if end := bytes.LastIndexByte(lines[:max(limit, 0)], '\n'); end >= 0 {
		return lines[:end+1]
	}
	if end := bytes.IndexByte(lines, '\n'); end >= 0 {
		return lines[:end+1]
	}
	return lines
}

// Ledger implements handler.LedgerQueue; the messages are read from the leader, and the one with
// sequence upTo is the last. It fails when that one is not found. An upTo of math.MaxUint64 yields
// all messages.
func (q *Queue) Ledger(ctx context.Context, id string, upTo uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := names.CheckID(id); err != nil {
			yield(nil, fmt.Errorf("read the ledger: %w", err))
			return
		}
		var last uint64
		for s, err := range q.api.MessagesBetween(ctx, q.names.Ledgers, q.names.LedgerSubject(id), 0, upTo) {
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
