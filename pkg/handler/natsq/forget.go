package natsq

import (
	"context"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/expiry"
)

// ExpireTraces removes the jobs and ledgers of commands that ended longer than keep ago, by the
// server's clock, and returns how many. Any number of replicas may do so at once.
func (q *Queue) ExpireTraces(ctx context.Context, keep time.Duration) (removed int, err error) {
	t := expiry.Traces{API: q.api, Commands: q, Jobs: q.jobs, Ledgers: q.ledgers, JobPrefix: q.jobSubject(""), LedgerPrefix: q.ledgerSubject("")}
	return t.Expire(ctx, keep) //nolint:wrapcheck // it says what it does
}

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
