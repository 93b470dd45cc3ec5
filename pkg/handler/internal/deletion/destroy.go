package deletion

import (
	"context"
	"errors"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// destroy makes a destructive call under the fence: its intent goes into the ledger first, which
// fails when another replica holds the command; its result after. Each try of the call has its own.
// gone: the service answered not found. already: no earlier try, of any attempt, can have removed
// it. about is what the call removes.
func (m *removal) destroy(ctx context.Context, about cv.Thing, call func(ctx context.Context) error) (gone, already bool, err error) {
	d := m.d
	var (
		broken   error
		made     ledger.Call // the last one that was intended
		intended time.Time   // when the last intent was sent
	)
	fresh := func() bool { return d.Now().Sub(intended) < intentFresh }
	traced := cv.WithTrace(ctx, cv.Trace{
		Before: func(ctx context.Context, c cv.Call) error {
			for {
				intended = d.Now()
				// After a crash behind this append the call may have been made or not: the next
				// holder waits until it is surely over, and then looks.
				made = ledger.CallOf(c, intended) // the next holder reckons from its time how long the call may be under way
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
		// After a crash before this line is flushed the intent stays unanswered: the next holder
		// takes the call for possibly carried out.
		After: func(c cv.Call) {
			d.Control.Note(c)
			broken = errors.Join(broken, d.Ledger.Write(ledger.CallOf(c, d.Now()).Line(sink.LedgerResult)))
		},
	})
	err = call(traced)
	// Detached is safe here: the line says what was answered, and the fence refuses it when another
	// replica holds the command.
	late, cancel := delivery.Detached(ctx)
	defer cancel()
	if kept := errors.Join(broken, d.Ledger.Flush(late)); kept != nil {
		return false, false, errors.Join(err, kept)
	}
	gone, err = d.Control.Gone(ctx, m.plan.ID, err, about)
	return gone, gone && d.Ledger.Possible(made.Operation, made.Target) == 0, err //nolint:wrapcheck // the caller says what it deletes
}
