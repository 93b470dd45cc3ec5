package handler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
)

// progressEvery is the least time between two progress events of a command.
const progressEvery = 2 * time.Second

// errDecided says that the end of the command at hand was decided, by another holder or a cancel:
// its job is terminal.
var errDecided = errors.New("the end of the command is decided")

// jobAt is a job at a revision; what is written next has to follow it.
type jobAt struct {
	job contract.Job
	rev uint64
}

// changeJob changes a job by compare-and-set, and repeats that until no other replica wrote in
// between. change gets the job, or the error of reading it, and returns what to write; nil writes
// nothing. Without a known job it is read first.
func (h *Handler) changeJob(ctx context.Context, key string, known *jobAt, change func(now jobAt, err error) (*contract.Job, error)) (jobAt, error) {
	jobs := h.cfg.Queue.Jobs
	for {
		var err error
		if known == nil {
			known = &jobAt{}
			known.job, known.rev, err = jobs.Job(ctx, key)
		}
		next, err := change(*known, err)
		if next == nil || err != nil {
			return *known, err
		}
		rev, err := jobs.PutJob(ctx, *next, known.rev)
		if err == nil {
			return jobAt{*next, rev}, nil
		}
		if !errors.Is(err, contract.ErrConflict) {
			return *known, fmt.Errorf("write the job: %w", err)
		}
		known = nil
	}
}

// Update changes the job by compare-and-set. It fails with ErrFenced when another replica holds the
// job now, with ErrCancelled when it was cancelled meanwhile, and with errDecided when its end was
// decided.
func (r *run) Update(ctx context.Context, change func(*contract.Job)) error {
	first := true
	at, err := r.h.changeJob(ctx, r.command.Key(), &jobAt{r.job, r.rev}, func(now jobAt, err error) (*contract.Job, error) {
		if !first {
			if err := r.reread(now, err); err != nil {
				return nil, err
			}
		}
		first = false
		j := r.job
		change(&j)
		j.Irrevocable = j.Irrevocable || j.InIrrevocablePhase()
		j.Updated = r.h.cfg.Now().UTC()
		return &j, nil
	})
	if err != nil {
		return err
	}
	r.job, r.rev = at.job, at.rev
	return nil
}

// reread takes note of the job as another replica left it.
func (r *run) reread(now jobAt, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("read the job again: %w", err)
	case now.job.Holder != r.job.Holder:
		return fmt.Errorf("write the job: %w", delivery.ErrFenced)
	}
	cancelled := r.job.Cancel != nil
	r.job, r.rev = now.job, now.rev // only now: the attempt's end is written into the job that it knows
	switch {
	case r.job.State.Terminal():
		return fmt.Errorf("write the job: %w", errDecided)
	case r.job.Cancel != nil && !cancelled:
		return fmt.Errorf("write the job: %w", activity.ErrCancelled)
	}
	return nil
}

// refund takes back the count of this attempt, which ended with err or was not begun for it: by
// compare-and-set, in the job, which another replica may hold by now. Each holder takes back its
// own attempt; one that crashed or stood still cannot, or does not. It returns err.
func (r *run) refund(ctx context.Context, err error) error {
	r.lease.LostConnection() // returns when there is a connection, or when there will be none
	// Detached is safe here: a compare-and-set that only takes back this attempt's own count.
	late, cancel := delivery.Detached(ctx)
	defer cancel()
	counted := false
	_, failed := r.h.changeJob(late, r.command.Key(), nil, func(now jobAt, err error) (*contract.Job, error) {
		j := now.job
		if counted = err == nil && !j.State.Terminal() && j.RefundAttempt(r.nonce); !counted {
			return nil, err
		}
		return &j, nil
	})
	switch {
	case failed != nil:
		r.log.Warn().Err(failed).Msg("attempt counts: its refund failed")
	case counted:
		r.log.Info().Err(err).Msg("attempt refunded")
	}
	return err
}

// attempts is how many attempts the job counts now: a previous holder may have taken back its own.
func (r *run) attempts(ctx context.Context) int {
	if j, _, err := r.h.cfg.Queue.Jobs.Job(ctx, r.command.Key()); err == nil && j.Holder == r.job.Holder {
		return j.Attempt
	}
	return r.job.Attempt
}

// Progress updates the job and publishes progress, every two seconds at most.
func (r *run) Progress(ctx context.Context, progress contract.Progress, started time.Time) error {
	now := r.h.cfg.Now()
	if now.Sub(r.published) < progressEvery {
		return nil
	}
	r.published = now
	if err := r.Update(ctx, func(j *contract.Job) { j.Progress = progress }); err != nil {
		return err
	}
	data := r.eventData()
	data.Progress, data.StartedAt = &progress, &started
	r.events++
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewProgressEvent(data, r.events, now, tracing.Traceparent(ctx, r.command.Traceparent))); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// FlushCalls makes the coordinator's own calls durable in the ledger, even after the attempt's
// context ended.
func (r *run) FlushCalls(ctx context.Context) error {
	if r.ledger == nil { // no action has begun
		return nil
	}
	if errors.Is(context.Cause(ctx), delivery.ErrFenced) {
		return delivery.ErrFenced // a late line would fence out the replica that took over
	}
	// Detached is safe here: lines about calls that were made change nothing, and the fence refuses
	// them when another replica holds the command.
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	if err := r.ledger.Add(ctx, r.calls.Take()); err != nil {
		return err
	}
	return r.ledger.Flush(ctx)
}
