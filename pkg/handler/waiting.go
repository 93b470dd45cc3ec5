package handler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/turn"
)

// waitForTurn waits for the commands before this one that must not overlap with it. A command that
// waits holds nothing: its message goes back, and the job says what it waits for.
func (r *run) waitForTurn(ctx context.Context) (*settlement, error) {
	ahead, err := r.h.order.Conflicts(ctx, r.command)
	if ahead.ID == "" || err != nil {
		return nil, err
	}
	waiting := r.waitFor(ahead.ID, "was published before")
	if err := r.recordWait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.TurnDelay(ahead.Count), "waits for "+waiting.For), nil
}

// waitFor is the wait for another command that concerns a common project.
func (r *run) waitFor(id, why string) *contract.Waiting {
	return &contract.Waiting{
		For: contract.WaitCommand, Detail: "waits for " + id + ", which " + why + " and concerns a common project", Since: r.h.cfg.Now().UTC(),
	}
}

// waitForOperator is the wait for the end of a Misconfigured error. It says what the operator can
// do, as /readyz does.
func (r *run) waitForOperator(err error) *contract.Waiting {
	problem := r.h.cfg.Health.Explain(delivery.ProblemOf(err, r.command.Data.Resource))
	return &contract.Waiting{For: delivery.WaitFor(err), Detail: problem.Error(), Since: r.h.cfg.Now().UTC()}
}

// waitForPlans has a command that names its projects wait for those that take every project of an
// account under another name, if their plans have one of these projects. Once this command has
// begun, they wait for it.
func (r *run) waitForPlans(ctx context.Context) (*settlement, error) {
	if r.command.Data.AllProjects || r.hadTurn() {
		return nil, nil
	}
	overlap, err := r.h.order.Overlap(ctx, r.command, r.command.Data.ProjectIDs)
	if err != nil || overlap.ID == "" {
		return nil, err
	}
	waiting := r.waitFor(overlap.ID, "is at work")
	if err := r.recordWait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.WaitDelay(waiting.Since, r.h.cfg.Now()), "waits for "+waiting.For), nil
}

// hadTurn reports whether an earlier attempt had its turn.
func (r *run) hadTurn() bool {
	j := r.job
	return j.Attempted && (j.Waiting == nil || j.Waiting.For != contract.WaitCommand) && (j.Claim == nil || j.Claim.Held)
}

// claimToTake is the claim that the job gets as this command takes its turn. A command that names
// its projects needs one only where the plans of other commands decide whether it has to wait; that
// claim has to be held before it begins.
func (r *run) claimToTake(ctx context.Context) (*contract.Claim, error) {
	if r.command.Data.AllProjects || r.hadTurn() {
		return r.job.Claim, nil
	}
	uncertain, err := r.h.order.Uncertain(ctx, r.command)
	if err != nil || !uncertain {
		return nil, err
	}
	return &contract.Claim{Projects: r.command.Data.ProjectIDs}, nil
}

// claimNamed looks once more for the commands that waitForPlans waits for, now that the job says
// that this command is at work: one that planned in between did not see it.
func (r *run) claimNamed(ctx context.Context) (*settlement, error) {
	if r.job.Claim == nil || r.job.Claim.Held || r.command.Data.AllProjects {
		return nil, nil
	}
	settled, err := r.waitForPlans(ctx)
	if settled != nil || err != nil {
		return settled, err
	}
	return nil, r.Update(ctx, func(j *contract.Job) { j.Claim = &contract.Claim{Projects: j.Claim.Projects, Held: true} })
}

// Claim implements action.Attempt. The projects of a command that names them are known to all. Of
// one that takes every project they are written into the job first. Then Claim looks for commands
// under another account's name that are at work on one of them, and fails with an action.WaitError
// if there is one.
func (r *run) Claim(ctx context.Context, projects []uuid.UUID) error {
	if err := r.stillQueued(ctx); err != nil || !r.command.Data.AllProjects {
		return err
	}
	claim := contract.Claim{Projects: contract.SortedIDs(projects)}
	if had := r.job.Claim; had != nil {
		claim.Projects = contract.SortedIDs(slices.Concat(claim.Projects, had.Projects))
		if had.Held && len(claim.Projects) == len(had.Projects) {
			return nil
		}
	}
	claimed := func(c *contract.Claim) error { return r.Update(ctx, func(j *contract.Job) { j.Claim = c }) }
	if err := claimed(&claim); err != nil {
		return err
	}
	overlap, err := r.h.order.Overlap(ctx, r.command, claim.Projects)
	switch {
	case err != nil:
		return err
	case overlap == turn.Overlap{}:
		return claimed(&contract.Claim{Projects: claim.Projects, Held: true})
	case overlap.First:
		if err := claimed(nil); err != nil {
			return err
		}
	}
	return &action.WaitError{Waiting: *r.waitFor(overlap.ID, "is at work")}
}

// stillQueued fails with ErrMessageGone when the command's message is not in the queue. A message
// that is there was there all the time, so every later command waited its turn.
func (r *run) stillQueued(ctx context.Context) error {
	_, err := r.h.cfg.Queue.Commands.CommandIn(ctx, r.command.Stream, r.command.Seq)
	if errors.Is(err, contract.ErrNoMessage) {
		return fmt.Errorf("%w: %w", activity.ErrMessageGone, err)
	}
	if err != nil {
		return fmt.Errorf("look for the command's message: %w", err)
	}
	return nil
}

// recordWait says in the job and in a progress event what the command waits for, unless they say so
// already. An attempt that was begun does not count.
func (r *run) recordWait(ctx context.Context, waiting *contract.Waiting) error {
	w := r.job.Waiting
	if w != nil && w.For == waiting.For {
		waiting.Since = w.Since
		if w.Detail == waiting.Detail {
			return nil
		}
	}
	if err := r.Update(ctx, func(j *contract.Job) {
		j.Waiting = waiting
		j.RefundAttempt(r.nonce)
	}); err != nil {
		return err
	}
	data := r.eventData()
	data.Waiting, data.Progress = waiting, &r.job.Progress
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewProgressEvent(data, r.rev, r.h.cfg.Now().UTC(), tracing.Traceparent(ctx, r.command.Traceparent))); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// pause makes the calls of an attempt durable and hands the command back until something outside
// changes.
func (r *run) pause(ctx context.Context, waiting *contract.Waiting) (*settlement, error) {
	if err := r.FlushCalls(ctx); err != nil {
		return nil, err
	}
	return r.handBackWaiting(ctx, waiting, nil)
}

// handBackWaiting refunds the attempt, says in job and event what the command waits for, and hands
// it back: after a delay that grows with the time it has waited, and not before the other side
// asked for it. cause is the error that it waits for the end of; nil where there is none.
func (r *run) handBackWaiting(ctx context.Context, waiting *contract.Waiting, cause error) (*settlement, error) {
	if r.previousWait != nil && r.previousWait.For == waiting.For && r.previousWait.Since.Before(waiting.Since) {
		waiting.Since = r.previousWait.Since
	}
	if err := r.recordWait(ctx, waiting); err != nil {
		return nil, err
	}
	settled := handBack(max(delivery.WaitDelay(waiting.Since, r.h.cfg.Now()), delivery.RetryAfter(cause)), "waits for "+waiting.For)
	settled.cause = cause
	return settled, nil
}
