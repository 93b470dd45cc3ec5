package handler

import (
	"context"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// waitForTurn waits for the commands before this one that must not overlap with it. A command that
// waits holds nothing: its message goes back, and the job says what it waits for.
func (r *run) waitForTurn(ctx context.Context) (*settlement, error) {
	ahead, err := r.h.order.Conflicts(ctx, r.command)
	if ahead.ID == "" || err != nil {
		return nil, err
	}
	detail := "waits for " + ahead.ID + ", which was published before and concerns a common project"
	waiting := &contract.Waiting{For: contract.WaitCommand, Detail: detail, Since: r.h.cfg.Now().UTC()}
	if err := r.recordWait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.TurnDelay(ahead.Count), "waits for "+waiting.For), nil
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
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewProgressEvent(data, r.rev, r.h.cfg.Now().UTC(), r.command.Traceparent)); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// pause refunds the attempt and hands the command back until something outside changes. The delay
// grows with the time it has waited.
func (r *run) pause(ctx context.Context, waiting *contract.Waiting) (*settlement, error) {
	if err := r.FlushCalls(ctx); err != nil {
		return nil, err
	}
	if r.previousWait != nil && r.previousWait.For == waiting.For && r.previousWait.Since.Before(waiting.Since) {
		waiting.Since = r.previousWait.Since
	}
	if err := r.recordWait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.WaitDelay(waiting.Since, r.h.cfg.Now()), "waits for "+waiting.For), nil
}
