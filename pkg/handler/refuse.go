package handler

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// refuseMessage refuses a message that is no command: under the id that it gives, when nothing else
// has that, so that its publisher finds the answer; else under its sequence.
func (h *Handler) refuseMessage(ctx context.Context, m contract.Message, refusal *contract.Refusal, judged trust.Verdict) (*settlement, error) {
	if settled := h.waitForRoom(ctx); settled != nil {
		return settled, nil
	}
	r := &run{
		h: h, message: m, log: h.cfg.Log,
		command: contract.Command{
			ID: refusal.ID, Action: refusal.Action, Seq: m.Seq, Stream: m.Stream, Published: m.Time.UTC(),
			Signer: judged.Signer, Approver: judged.Approver, Data: contract.Data{NotAfter: judged.NotAfter},
		},
	}
	if refusal.Given == "" {
		return r.refuseBySeq(ctx, "", "", refusal)
	}
	var err error
	if r.bags, err = h.bags(ctx, r.command, zerolog.Nop()); err != nil {
		return nil, err
	}
	var settled *settlement
	vacant := false
	_, err = h.changeJob(ctx, r.command.Key(), nil, func(now jobAt, err error) (*contract.Job, error) {
		if vacant, settled, err = r.idIsFree(ctx, now, err); !vacant || settled != nil || err != nil {
			return nil, err
		}
		return r.refused(ctx, "", "", refusal), nil
	})
	switch {
	case settled != nil || err != nil:
		return settled, err
	case !vacant:
		return r.refuseBySeq(ctx, contract.Text(refusal.Given), "", refusal)
	}
	return r.publishTerminal(ctx)
}

// idIsFree reports whether a refused message may use the id that it gives: no other message has a
// job or an earlier place in the queue under it, and no forgotten command left a bundle. The rules
// are those for a command that gets a job. A message that was refused under this id before finds
// that refusal, which settles it.
func (r *run) idIsFree(ctx context.Context, now jobAt, err error) (bool, *settlement, error) {
	job := now.job
	switch {
	case errors.Is(err, contract.ErrNewer):
		return false, r.h.newerVersion(err), nil
	case err == nil && job.Command.SameMessage(r.command) && job.State.Terminal():
		r.job, r.rev = job, now.rev
		settled, err := r.publishTerminal(ctx)
		return false, settled, err
	case err == nil && job.Command.SameMessage(r.command):
		return false, handBack(delivery.MaxDelay, "another version has begun what this one cannot read"), nil
	case err == nil:
		return false, nil, nil
	case !errors.Is(err, contract.ErrNoJob):
		return false, nil, fmt.Errorf("read the job: %w", err)
	}
	// A cancel may wait for this id: there is nothing to cancel.
	if settled, err := r.waitForSameID(ctx); settled != nil || err != nil {
		return false, settled, err
	}
	event, err := r.h.cfg.Queue.Events.Answer(ctx, r.command.Key()) // of a command whose job was lost
	switch {
	case err == nil && r.isAbout(event.Data):
		return false, acknowledge("its end was published"), nil
	case err == nil:
		return false, nil, nil
	case !errors.Is(err, contract.ErrNoMessage):
		return false, nil, fmt.Errorf("look for an earlier end: %w", err)
	}
	if r.command.Action == contract.ActionCancel { // a cancel has no bundle, and needs no storage
		return true, nil, nil
	}
	exists, _, err := r.bags.EarlierRequest(ctx)
	return !exists, nil, err
}

// refuseBySeq refuses a message under its sequence: given is the id that it gave and cannot have,
// conflictsWith the command that has it. What a message of an earlier stream, with the same
// sequence, has there makes way.
func (r *run) refuseBySeq(ctx context.Context, given, conflictsWith contract.Text, refusal *contract.Refusal) (*settlement, error) {
	own := &run{h: r.h, command: r.command, message: r.message, log: r.log}
	own.command.ID = contract.SeqID(r.command.Seq)
	var (
		later bool // the id is a later stream's
	)
	_, err := r.h.changeJob(ctx, own.command.Key(), nil, func(now jobAt, err error) (*contract.Job, error) {
		job := now.job
		later = false
		switch {
		case err == nil && job.Command.SameMessage(own.command) && job.State.Terminal():
			own.job, own.rev = job, now.rev
			return nil, nil
		case err == nil && contract.EarlierStream(own.command.Stream, string(job.Command.Stream)):
			later = true
			return nil, nil
		case err != nil && !errors.Is(err, contract.ErrNoJob):
			return nil, fmt.Errorf("read the job: %w", err)
		}
		return own.refused(ctx, given, conflictsWith, refusal), nil
	})
	switch {
	case err != nil:
		return nil, err
	case later:
		return abandon("the message's stream is gone"), nil
	}
	return own.publishTerminal(ctx)
}

// refused makes a job of the message, which ends refused.
func (r *run) refused(ctx context.Context, given, conflictsWith contract.Text, refusal *contract.Refusal) *contract.Job {
	now := r.h.cfg.Now().UTC()
	r.job = contract.Job{
		V: contract.FormatVersion, ID: r.command.ID, Action: r.command.Action, State: contract.StateAccepted, Created: now, Updated: now,
		GivenID: given, Command: contract.CommandRef{}.WithMessage(r.command),
	}
	r.terminalChange(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason(), ConflictsWith: conflictsWith})(&r.job)
	j := r.job
	return &j
}
