package handler

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
)

// judge judges by whom a message is signed and approved, before everything else, and settles one
// that is not as it must be: refused under its sequence, so that it takes no id. A message that was
// accepted before keeps its job, though; its verdict has the refusal then.
func (h *Handler) judge(ctx context.Context, m contract.Message) (trust.Verdict, *settlement, error) {
	judged := h.cfg.Trust.Judge(h.prefix(), m)
	refusal := judged.Refusal
	if refusal == nil {
		return judged, nil, nil
	}
	c := contract.Command{ID: refusal.ID, Action: refusal.Action, Seq: m.Seq, Stream: m.Stream, Published: m.Time.UTC()}
	known, settled, err := h.knownAs(ctx, c, refusal.Given)
	switch {
	case known || settled != nil || err != nil:
		return judged, settled, err
	case refusal.Code != contract.CodeUnsigned:
		settled, err = h.refuseMessage(ctx, m, refusal, judged)
		return judged, settled, err
	}
	if settled = h.waitForRoom(ctx); settled != nil {
		return judged, settled, nil
	}
	r := &run{h: h, message: m, command: c, log: h.cfg.Log}
	if settled, err = r.refuseBySeq(ctx, contract.Text(refusal.Given), "", refusal); settled != nil && settled.cause == nil {
		settled.cause = judged.Detail
	}
	return judged, settled, err
}

// knownAs reports whether the job under the id that a message gives is this message's: it was
// accepted, or refused under its id, by a replica that trusts other keys.
func (h *Handler) knownAs(ctx context.Context, c contract.Command, given string) (bool, *settlement, error) {
	if given == "" {
		return false, nil, nil
	}
	job, _, err := h.cfg.Queue.Jobs.Job(ctx, contract.Key(c.Action, given))
	switch {
	case errors.Is(err, contract.ErrNewer):
		return false, h.newerVersion(err), nil
	case errors.Is(err, contract.ErrNoJob):
		return false, nil, nil
	case err != nil:
		return false, nil, fmt.Errorf("read the job: %w", err)
	}
	return job.Command.SameMessage(c), nil, nil
}

// refusedBefore settles a message that was refused under its sequence by a replica that trusts
// other keys: a message has one answer.
func (r *run) refusedBefore(ctx context.Context) (*settlement, error) {
	own := &run{h: r.h, command: r.command, message: r.message, log: r.log}
	own.command.ID = contract.SeqID(r.command.Seq)
	var err error
	own.job, own.rev, err = r.h.cfg.Queue.Jobs.Job(ctx, own.command.Key())
	switch {
	case errors.Is(err, contract.ErrNoJob):
		return nil, nil
	case errors.Is(err, contract.ErrNewer):
		return r.h.newerVersion(err), nil
	case err != nil:
		return nil, fmt.Errorf("look for an earlier refusal: %w", err)
	case !own.job.Command.SameMessage(own.command) || !own.job.State.Terminal():
		return nil, nil
	}
	return own.publishTerminal(ctx)
}

// revokedEnd is the end of a delete whose signature or approval counts no more, since a key was
// removed after it was accepted; nil once something was destroyed, since a delete that was done in
// part is worse than a whole one. The ledger is fenced, so that no previous holder begins it.
func (r *run) revokedEnd(ctx context.Context) (*contract.EventData, error) {
	if r.revoked == nil || r.command.Action != contract.ActionDelete || r.command.Data.DryRun || len(r.ledger.Destructive()) > 0 {
		return nil, nil
	}
	e := r.revoked.Reason()
	e.Message += "; the command was accepted before this service's keys were changed, and nothing was deleted"
	return &contract.EventData{Status: contract.StatusRefused, Error: e}, r.ledger.TakeOver(ctx, r.h.cfg.Now())
}
