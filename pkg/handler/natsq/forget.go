package natsq

import (
	"context"
	"fmt"
)

// Forget removes what the streams keep of one id: its job, events, dead letters, ledger and queued
// units. It leaves the command's message to its holder.
func (q *Queue) Forget(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	for _, one := range []struct{ stream, subject string }{
		{q.work, q.unitSubjects(id)}, {q.ledgers, q.ledgerSubject(id)}, {q.dead, q.deadLetterSubject("*", id)}, {q.events, q.eventSubjects(id)}, {q.jobs, q.jobSubject(id)},
	} {
		if err := q.removeMessages(ctx, one.stream, one.subject); err != nil {
			return fmt.Errorf("forget %s: %w", id, err)
		}
	}
	return nil
}
