package deletion

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// destroy makes a destructive call under the fence: its intent goes into the ledger first, which
// fails when another replica holds the command; its result after, with what is appended next: the
// next intent, or the calls of a step that looks or has ended. Each try of the call has its own.
// gone: the service answered not found. already: no earlier try, of any attempt, can have removed
// it. about is what the call removes.
func (m *removal) destroy(ctx context.Context, about cv.Thing, call func(ctx context.Context) error) (gone, already bool, err error) {
	d := m.d
	var (
		broken   error
		made     ledger.Call // the last one that was intended
		intended time.Time   // when the last intent was sent
	)
	fresh := func() bool { return isFresh(intended, d.Now()) }
	traced := cv.WithTrace(ctx, cv.Trace{
		Before: func(ctx context.Context, c cv.Call) error {
			for {
				intended = d.Now()
				// After a crash behind this append the call may have been made or not: the next
				// holder waits until it is surely over, and then looks.
				made = ledger.CallOf(c, intended)
				if err := d.Ledger.Intend(ctx, d.Calls.Take(), made); err != nil {
					return err
				}
				if fresh() {
					return nil
				}
				// Too much time went by, as when this process stood still: this call is not made,
				// and the next intent shows whether this process still holds the command.
				if err := d.Ledger.Write(ledger.CallOf(c, d.Now()).Line(sink.LedgerResult)); err != nil {
					return err
				}
			}
		},
		Fresh: fresh,
		// After a crash before this line is appended the intent stays unanswered: the next holder
		// takes the call for possibly carried out, and waits until it must be over.
		After: func(c cv.Call) {
			d.Control.Note(c)
			broken = errors.Join(broken, d.Ledger.Write(ledger.CallOf(c, d.Now()).Line(sink.LedgerResult)))
		},
	})
	if err = call(traced); broken != nil {
		return false, false, errors.Join(err, broken)
	}
	gone, err = d.Control.Gone(ctx, m.plan.ID, err, about)
	return gone, gone && d.Ledger.Possible(made.Operation, made.Target) == 0, err //nolint:wrapcheck // the caller says what it deletes
}

// isFresh reports whether a call may still go out for an intent. The monotonic clock stands still
// while a machine is suspended, and the wall clock may be set: the intent has to be fresh by both.
func isFresh(intended, now time.Time) bool {
	wall := now.Round(0).Sub(intended.Round(0))
	return now.Sub(intended) < intentFresh && wall < intentFresh && wall > -intentFresh
}

// inBatches removes ids, so many at once at most. A batch that the service refuses as too big is
// halved, and so are those that follow.
func inBatches(ids []uuid.UUID, most int, remove func(batch []uuid.UUID) error) error {
	for len(ids) > 0 {
		n := min(most, len(ids))
		err := remove(ids[:n])
		switch {
		case errors.Is(err, cv.ErrBatchTooBig) && n > 1:
			most = n / 2
		case err != nil:
			return err
		default:
			ids = ids[n:]
		}
	}
	return nil
}
