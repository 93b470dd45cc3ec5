package natsq

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/expiry"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// ExpireTraces removes the jobs and ledgers of commands that ended longer than keep ago, by the
// server's clock, and returns how many. Before, it removes the oldest traces of messages that were
// never carried out, where there are too many. Any number of replicas may do so at once.
func (q *Queue) ExpireTraces(ctx context.Context, keep time.Duration) (removed int, err error) {
	if err := q.rejects.Trim(ctx); err != nil {
		return 0, err //nolint:wrapcheck // it says what it does
	}
	t := expiry.Traces{API: q.api, Commands: q, Jobs: q.names.Jobs, Ledgers: q.names.Ledgers, JobPrefix: q.names.JobSubject(""), LedgerPrefix: q.names.LedgerSubject("")}
	return t.Expire(ctx, keep) //nolint:wrapcheck // it says what it does
}

// trace is where a stream may keep something of a command.
type trace struct{ stream, subject string }

// traces are where the streams may keep something of the command with a key, its job last.
func (q *Queue) traces(ctx context.Context, key string) ([]trace, error) {
	if err := names.CheckKey(key); err != nil {
		return nil, err
	}
	id, actions := contract.ParseKey(key)
	var all []trace
	if slices.Contains(actions, contract.ActionExport) {
		all = append(all, trace{q.names.Work, q.names.UnitSubjects(id)}, trace{q.names.Ledgers, q.names.LedgerSubject(id)})
	}
	for _, a := range actions {
		all = append(all, trace{q.names.Dead, q.names.DeadLetterSubject(a, id)})
	}
	for _, a := range actions {
		all = append(all, trace{q.names.Events, q.names.EventSubject(a, id, "*")})
	}
	jobs, err := q.jobSubjects(ctx, key)
	for _, subject := range jobs {
		all = append(all, trace{q.names.Jobs, subject})
	}
	return all, err
}

// HasTraces reports whether the streams keep anything of the command with a key: a job, a cancel
// that waits for it, events, dead letters, a ledger or queued units. Its message does not count. It
// looks for jobs and events first, which most users may read.
func (q *Queue) HasTraces(ctx context.Context, key string) (bool, error) {
	all, err := q.traces(ctx, key)
	if err != nil {
		return false, fmt.Errorf("look for traces of %s: %w", key, err)
	}
	for _, t := range slices.Backward(all) {
		s, err := q.api.ReadMessage(ctx, t.stream, jsapi.MessageQuery{Seq: 1, Next: t.subject})
		if err != nil {
			return false, fmt.Errorf("look for traces of %s: %w", key, err)
		}
		if s != nil && !isDeleted(s) {
			return true, nil
		}
	}
	return false, nil
}

// Forget removes what the streams keep of the command with a key: its job, events, dead letters,
// ledger and queued units. It leaves the command's message to its holder. It succeeds when nothing
// is kept.
func (q *Queue) Forget(ctx context.Context, key string) error {
	all, err := q.traces(ctx, key)
	if err != nil {
		return fmt.Errorf("forget %s: %w", key, err)
	}
	for _, t := range all {
		if err := q.removeMessages(ctx, t.stream, t.subject); err != nil {
			return fmt.Errorf("forget %s: %w", key, err)
		}
	}
	return nil
}
