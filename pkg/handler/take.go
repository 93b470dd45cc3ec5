package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// unknownHere is why this replica cannot go on with a command.
const unknownHere = "this replica does not know the resource"

// validate refuses a command that must not begin. Once an attempt was made it checks only that this
// replica knows the resource.
func (r *run) validate(ctx context.Context) (*settlement, error) {
	known := r.client != nil
	if r.job.Attempted {
		if !known {
			return handBack(delivery.MaxDelay, unknownHere), nil
		}
		return nil, nil
	}
	now := r.h.cfg.Now()
	if r.message.Time.After(now) {
		now = r.message.Time
	}
	refusal := cmp.Or(r.revoked, contract.RetentionOutOfRange(r.command, now))
	switch limit := r.command.Data.NotAfter; {
	case refusal != nil:
	case limit != nil && now.After(*limit):
		refusal = r.command.Refuse(contract.CodeExpired, "not_after", fmt.Sprintf("work would have begun at %s; publish again with a later time", now.UTC().Format(time.RFC3339)))
	case !known:
		refusal = r.command.Refuse(contract.CodeUnknownResource, "resource", "no such alias is configured; name one of the service's CONSUMER_RESOURCES")
	default:
		refusal = cmp.Or(contract.NotDeletable(r.command), r.h.cfg.Deletes.Refuse(r.command))
	}
	return r.refuse(ctx, refusal)
}

// refuse ends a command that must not begin; it goes on where there is no refusal. A command that
// was begun by an attempt whose job was removed goes on, too.
func (r *run) refuse(ctx context.Context, refusal *contract.Refusal) (*settlement, error) {
	if refusal == nil {
		return nil, nil
	}
	// A command that was carried out before its traces were forgotten keeps its end, even if it
	// would be refused today.
	end, err := r.earlierEnd(ctx)
	if err != nil {
		return nil, err
	}
	if end != nil {
		return r.concludeEarlier(ctx, *end)
	}
	begun, err := r.hasDestructiveCalls(ctx) // by an attempt whose job was removed
	switch {
	case err != nil:
		return nil, err
	case begun && r.client == nil:
		return handBack(delivery.MaxDelay, unknownHere), nil
	case begun:
		return nil, nil
	}
	return r.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()})
}

// checkObjectLock refuses a command that asks for a retention which the bucket cannot keep, before
// anything is stored. Where the service may not ask the bucket, the command waits for the operator.
func (r *run) checkObjectLock(ctx context.Context) (*settlement, error) {
	field := "retain_until"
	switch d := r.command.Data; {
	case r.job.Attempted, d.RetainUntil == nil && d.ExportRetainUntil == nil:
		return nil, nil
	case d.RetainUntil == nil:
		field = "export_retain_until"
	}
	locks, err := r.bags.Store.Locks(ctx)
	if errors.Is(err, sink.ErrMisconfigured) {
		return r.handBackWaiting(ctx, r.waitForOperator(err), err)
	}
	if err != nil {
		return nil, fmt.Errorf("look whether bundles can be locked: %w", err)
	}
	if locks {
		return nil, nil
	}
	return r.refuse(ctx, r.command.Refuse(contract.CodePreconditionFailed, field, fmt.Sprintf(
		"the bucket %s has no Object Lock, or does not keep it, so no retention can be set: leave the field out, or have the operator use a bucket with Object Lock", r.bags.Store.Bucket())))
}

// hasDestructiveCalls reports whether the command's ledger tells of destructive calls.
func (r *run) hasDestructiveCalls(ctx context.Context) (bool, error) {
	if r.command.Action != contract.ActionDelete || r.command.Data.DryRun {
		return false, nil
	}
	return ledger.HasDestructiveCalls(ctx, r.h.cfg.Queue.Ledger, r.h.prefix(), r.command.ID)
}

// publishAccepted says that the command will be carried out.
func (r *run) publishAccepted(ctx context.Context) (*settlement, error) {
	if r.job.Attempted || r.job.Waiting != nil {
		return nil, nil // it was said before
	}
	data := r.eventData()
	data.Status = contract.StatusAccepted
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewEvent(data, r.job.Created, tracing.Traceparent(ctx, r.command.Traceparent))); err != nil {
		return nil, fmt.Errorf("publish the accepted event: %w", err)
	}
	return nil, nil
}

// yieldToOwnAttempt leaves the delivery to the attempt that this process makes already for the same
// message.
func (r *run) yieldToOwnAttempt(context.Context) (*settlement, error) {
	switch same, other := r.h.activities.Coordinates(r.command); {
	case same:
		// The server took this process for dead, as after a restart of its own. What is at work
		// goes on, and its heartbeats are good for this delivery, too.
		return abandon("this process already works on it"), nil
	case other:
		return handBack(delivery.MinDelay, "this process is still stopping its attempt at an earlier message"), nil
	}
	return nil, nil
}

// take makes this run the command's only holder, and counts the attempt: a crash from here on is an
// attempt made.
func (r *run) take(ctx context.Context) (*settlement, error) {
	settled, err := r.tryTake(ctx)
	if settled == nil && err == nil {
		settled, err = r.claimNamed(ctx)
	}
	if err != nil {
		return nil, r.refund(ctx, err) // it may be stored that it was taken: the answer may be lost
	}
	return settled, nil
}

func (r *run) tryTake(ctx context.Context) (*settlement, error) {
	if r.job.Phase == contract.PhaseEnding && r.job.Error != nil {
		return r.abort(ctx, r.job.Error)
	}
	if r.job.Attempt >= r.h.cfg.MaxAttempts && r.job.Holder != "" {
		// How the last attempt ended is unknown: its holder may be alive and have lost only NATS.
		// It gets HolderGrace to refund its attempt.
		if err := r.Update(ctx, func(j *contract.Job) { j.Holder = "" }); err != nil {
			return nil, err
		}
		r.tellPreviousHolder(ctx)
		return handBack(delivery.HolderGrace, "attempts used up; waiting for the last holder to refund"), nil
	}
	if r.job.Attempt >= r.h.cfg.MaxAttempts {
		e := r.job.Error
		if e == nil {
			e = &contract.Error{Message: "every attempt was cut short by a crash or a lost connection"}
		}
		r.log.Warn().Int("attempt", r.job.Attempt).Msg("attempts are used up")
		return r.abort(ctx, &contract.Error{Code: contract.CodeExhausted, Message: fmt.Sprintf("%d attempts were made; the last: %s", r.job.Attempt, e.Message), RequestID: e.RequestID})
	}
	takenBefore := r.job.Attempted
	r.previousWait = r.job.Waiting
	claim, err := r.claimToTake(ctx)
	if err != nil {
		return nil, err
	}
	err = r.Update(ctx, func(j *contract.Job) {
		j.Claim = claim
		j.State, j.Phase, j.Waiting, j.Attempted = contract.StateRunning, contract.PhasePlan, nil, true
		j.CountAttempt(r.nonce)
	})
	r.log = r.log.With().Int("attempt", r.job.Attempt).Logger()
	r.bags.Log = r.log
	if err != nil {
		return nil, err
	}
	r.bags.Fresh = r.nothing && !takenBefore && r.job.Attempt == 1
	if r.takenBefore = takenBefore; takenBefore {
		r.tellPreviousHolder(ctx)
	}
	return nil, nil
}

// tellPreviousHolder has the previous holder, should it be alive, look at the job and stop.
func (r *run) tellPreviousHolder(ctx context.Context) {
	if err := r.h.cfg.Queue.Notices.NotifyOver(ctx, r.command.ID); err != nil {
		r.log.Debug().Err(err).Msg("notify the previous holder")
	}
}
