package handler

import (
	"context"
	"errors"
	"fmt"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// undecoded refuses a message that is no command: under the id that it gives, when nothing else has
// that, so that its publisher finds the answer; else under its sequence.
func (h *Handler) undecoded(ctx context.Context, m contract.Message, refusal *contract.Refusal) error {
	r := &run{
		Handler: h, message: m, log: h.Log,
		command: contract.Command{ID: refusal.ID, Action: refusal.Action, Seq: m.Seq, Stream: m.Stream, Published: m.Time.UTC()},
	}
	if refusal.Given == "" {
		return r.refuseBySeq(ctx, "", "", refusal)
	}
	var err error
	if r.layout, err = h.layout(refusal.Given); err != nil {
		return err
	}
	for {
		vacant, err := r.vacant(ctx)
		if err != nil {
			return err
		}
		if !vacant {
			return r.refuseBySeq(ctx, contract.Text(refusal.Given), "", refusal)
		}
		if err := r.refuse(ctx, "", "", refusal); !errors.Is(err, contract.ErrConflict) {
			return err
		}
	}
}

// vacant reports whether a refused message may have the id that it gives. It may not when another
// message has a job there, or is before it in the queue, or left a bundle before its traces were
// forgotten: the rules are those for a command that gets a job. A message that was refused under
// this id before finds that refusal, which ends the matter.
func (r *run) vacant(ctx context.Context) (bool, error) {
	job, rev, err := r.Queue.Job(ctx, r.command.ID)
	switch {
	case errors.Is(err, contract.ErrNewer):
		r.Health.Fail("version", err)
		return false, handBack(delivery.MaxDelay, "newer version")
	case err == nil && job.Command.SameMessage(r.command) && job.State.Terminal():
		r.job, r.rev = job, rev
		return false, r.publishTerminal(ctx)
	case err == nil && job.Command.SameMessage(r.command):
		return false, handBack(delivery.MaxDelay, "another version has begun what this one cannot read")
	case err == nil:
		return false, nil
	case !errors.Is(err, contract.ErrNoJob):
		return false, fmt.Errorf("read the job: %w", err)
	}
	r.rev = rev // of a cancel that waits for this id, if there is one: there is nothing to cancel
	if err := r.first(ctx); err != nil {
		return false, err
	}
	if r.command.Action == contract.ActionCancel { // a cancel has no bundle, and needs no storage
		return true, nil
	}
	exists, _, err := r.sameRequest(ctx)
	return !exists, err
}

// refuseBySeq refuses a message under its sequence: given is the id that it gave and cannot have,
// conflictsWith the command that has it. What a message of an earlier stream, with the same
// sequence, has there makes way.
func (r *run) refuseBySeq(ctx context.Context, given, conflictsWith contract.Text, refusal *contract.Refusal) error {
	own := &run{Handler: r.Handler, command: r.command, message: r.message, log: r.log}
	own.command.ID = contract.SeqID(r.command.Seq)
	for {
		job, rev, err := r.Queue.Job(ctx, own.command.ID)
		switch {
		case err == nil && job.Command.SameMessage(own.command) && job.State.Terminal():
			own.job, own.rev = job, rev
			return own.publishTerminal(ctx)
		case err == nil && contract.EarlierStream(own.command.Stream, string(job.Command.Stream)):
			return &decision{Disposition: delivery.Disposition{Verb: delivery.Abandon, Reason: "the message's stream is gone"}}
		case err != nil && !errors.Is(err, contract.ErrNoJob):
			return fmt.Errorf("read the job: %w", err)
		}
		own.rev = rev
		if err := own.refuse(ctx, given, conflictsWith, refusal); !errors.Is(err, contract.ErrConflict) {
			return err
		}
	}
}

// refuse makes a job of the message, which ends refused, in the place of what has revision r.rev
// there, and makes that known. It fails with ErrConflict when something else is there by now.
func (r *run) refuse(ctx context.Context, given, conflictsWith contract.Text, refusal *contract.Refusal) error {
	now := r.Now().UTC()
	r.job = contract.Job{
		V: contract.FormatVersion, ID: r.command.ID, Action: r.command.Action, State: contract.StateAccepted, Created: now, Updated: now,
		GivenID: given, Command: contract.CommandRef{}.WithMessage(r.command),
	}
	r.ended(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason(), ConflictsWith: conflictsWith})(&r.job)
	rev, err := r.Queue.PutJob(ctx, r.job, r.rev)
	if err != nil {
		return fmt.Errorf("write the job: %w", err)
	}
	r.rev = rev
	return r.publishTerminal(ctx)
}
