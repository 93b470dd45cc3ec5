package handler

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// cancelOther carries a cancel out. The job of the command that it names decides, by
// compare-and-set: either it gets the cancel while it can still end cancelled, and its coordinator
// obeys, or it is too late. A command that has no job yet finds the cancel in the job's place.
func (r *run) cancelOther(ctx context.Context) (*settlement, error) {
	target := r.command.Data.CancelID
	end, settled, err := r.markTarget(ctx, target)
	if settled != nil || err != nil {
		return settled, err
	}
	if end.Outcome == contract.OutcomeKept {
		queued, err := r.h.order.Queued(ctx, r.command, target)
		if err != nil {
			return nil, err
		}
		if queued { // it has no job yet
			end.Outcome = ""
		}
	}
	if end.Status != contract.StatusCompleted {
		return r.end(ctx, end)
	}
	if err := r.h.cfg.Queue.Notices.NotifyOver(ctx, target); err != nil {
		r.log.Debug().Err(err).Msg("tell of a cancel")
	}
	settled, err = r.end(ctx, end)
	r.cancelWaiting(ctx, target)
	return settled, err
}

// markTarget puts this cancel into the target's job, and says how the cancel ends: completed, also
// where the job has a cancel already, with outcome kept where there is no job, or refused with the
// reason.
func (r *run) markTarget(ctx context.Context, target string) (end contract.EventData, settled *settlement, err error) {
	var refusal *contract.Refusal
	mark := &contract.Cancel{ID: r.command.ID, Time: r.command.Published}
	_, err = r.h.changeJob(ctx, target, nil, func(now jobAt, err error) (*contract.Job, error) {
		j := now.job
		end.Outcome = ""
		switch {
		case errors.Is(err, contract.ErrNewer):
			settled = r.h.newerVersion(err)
			return nil, nil
		case errors.Is(err, contract.ErrNoJob):
			end.Outcome = contract.OutcomeKept
			if j.Cancel != nil && !mark.Time.After(j.Cancel.Time) {
				return nil, nil
			}
			return &contract.Job{V: contract.FormatVersion, ID: target, Cancel: mark}, nil
		case err != nil:
			return nil, fmt.Errorf("read the job to cancel: %w", err)
		}
		if refusal = tooLate(r.command, j); refusal != nil || j.Cancel != nil {
			return nil, nil
		}
		j.Cancel, j.Updated = mark, r.h.cfg.Now().UTC()
		return &j, nil
	})
	end.Status = contract.StatusCompleted
	if refusal != nil {
		end = contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()}
	}
	return end, settled, err
}

// tooLate refuses a cancel of a job that cannot end cancelled any more; nil for one that can, or
// that will.
func tooLate(cancel contract.Command, j contract.Job) *contract.Refusal {
	switch {
	case j.State == contract.StateCancelled, j.Cancel != nil && !j.State.Terminal():
		return nil
	case j.State.Terminal():
		return cancel.Refuse(contract.CodeTooLate, "id", fmt.Sprintf("%s has ended: %s", j.ID, j.State))
	case j.Irrevocable:
		return cancel.Refuse(contract.CodeTooLate, "id", fmt.Sprintf("%s has begun what cannot be taken back (%s), and finishes", j.ID, j.Phase))
	case j.Phase == contract.PhaseEnding:
		return cancel.Refuse(contract.CodeTooLate, "id", j.ID+" is ending already")
	}
	return nil
}

// cancelWaiting ends a cancelled command that waits, here and now, and takes it out of the queue:
// its message may be delivered again only in a while, and others would wait for it. What fails is
// left to that delivery.
func (r *run) cancelWaiting(ctx context.Context, target string) {
	err := r.endWaiting(ctx, target)
	if err != nil && !errors.Is(err, contract.ErrNoJob) && !errors.Is(err, contract.ErrNoMessage) {
		r.log.Warn().Err(err).Str("target", target).Msg("a cancelled command ends at its next delivery")
	}
}

func (r *run) endWaiting(ctx context.Context, target string) error {
	job, rev, err := r.h.cfg.Queue.Jobs.Job(ctx, target)
	if err != nil || job.State.Terminal() || job.State != contract.StateAccepted && job.Waiting == nil {
		return err //nolint:wrapcheck // the caller says what it ends
	}
	message, err := r.h.messageOf(ctx, job)
	if err != nil {
		return err
	}
	command, err := contract.DecodeCommand(r.h.prefix(), message)
	if err != nil {
		return err //nolint:wrapcheck // it says what it decodes
	}
	t, err := r.h.newRun(ctx, command, message, r.log.With().Str("target", target).Logger())
	if err != nil {
		return err
	}
	t.job, t.rev = job, rev
	if err := t.knowJob(ctx); err != nil {
		return err
	}
	settled, err := t.cancelled(ctx)
	if errors.Is(err, errDecided) {
		settled, err = t.publishTerminal(ctx)
	}
	if err != nil || settled.Verb != delivery.Ack { // else its event is stored
		return err
	}
	return r.h.cfg.Queue.Commands.RemoveCommand(ctx, message) //nolint:wrapcheck // the caller says what it ends
}
