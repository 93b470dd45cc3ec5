package handler

import (
	"context"
	"fmt"
	"slices"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deletion"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/export"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// performAndCleanUp carries the command out, or loads how an earlier attempt ended it, and removes
// the working objects of a command that ends.
func (r *run) performAndCleanUp(ctx context.Context) (action.Result, error) {
	came, err := r.perform(ctx)
	if err == nil && came.End != nil {
		err = r.cleanUp(ctx, *came.End)
	}
	return came, err
}

// perform is the action itself.
func (r *run) perform(ctx context.Context) (action.Result, error) {
	if end, err := r.earlierEnd(ctx); end != nil || err != nil {
		return action.Result{End: end}, err
	}
	if w := r.previousWait; w != nil && w.For == contract.WaitTimestamp {
		if err := r.bags.AuthorityAnswers(ctx); err != nil {
			return action.Result{}, err
		}
	}
	if err := r.openLedger(ctx); err != nil {
		return action.Result{}, err
	}
	if end, err := r.revokedEnd(ctx); end != nil || err != nil {
		return action.Result{End: end}, err
	}
	if err := r.own(ctx); err != nil {
		return action.Result{}, err
	}
	switch r.command.Action {
	case contract.ActionExport:
		return r.exporter().Run(ctx)
	case contract.ActionDelete:
		return r.deleter().Run(ctx)
	default:
		return action.Result{}, &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("action %q has no implementation", r.command.Action)}
	}
}

// own makes sure that the working objects, and what there is of the bags, are this command's: what
// an earlier command with the same id left is removed. What a delete stored since it began stays in
// any case: its job or its ledger names it. So the first attempt at a delete without units marks
// nothing: until it has begun, a later attempt has no use for what it stored.
func (r *run) own(ctx context.Context) error {
	if r.bags.Alone() {
		return nil
	}
	return r.bags.Own(ctx, unit.Version, func(ctx context.Context) error {
		if r.job.Deletion != nil || len(r.ledger.Destructive()) > 0 {
			return nil
		}
		if stored, err := r.bags.Stored(ctx); !stored || err != nil {
			return err
		}
		r.log.Warn().Msg("objects of an earlier command with this id removed")
		if err := r.h.cfg.Queue.Units.DrainUnits(ctx, r.command.ID); err != nil {
			return fmt.Errorf("wait for the units of an earlier command: %w", err)
		}
		for _, kind := range slices.Compact([]sink.BagKind{sink.ExportBag, bag.KindOf(r.command.Action)}) {
			if err := r.bags.RemoveWithoutReceipt(ctx, kind); err != nil {
				return err
			}
		}
		return r.bags.ClearWork(ctx)
	})
}

// earlierEnd is the end that an earlier attempt left in storage: what the receipt of its bag tells,
// or the evidence of a delete that failed; nil when there is none.
func (r *run) earlierEnd(ctx context.Context) (*contract.EventData, error) {
	if r.bags.Fresh {
		return nil, nil
	}
	end, err := r.bags.Receipt(ctx, bag.KindOf(r.command.Action))
	if end != nil || err != nil || r.command.Action != contract.ActionDelete {
		return end, err
	}
	return deletion.LoadFailure(ctx, r.bags)
}

// concludeEarlier ends a command as an earlier attempt left it.
func (r *run) concludeEarlier(ctx context.Context, end contract.EventData) (*settlement, error) {
	if err := r.cleanUp(ctx, end); err != nil {
		return nil, err
	}
	return r.end(ctx, end)
}

// cleanUp removes the working objects of a command that ends so. Of one that is completed and has
// units the job says so first, so that no worker begins one of them.
//
// After a crash here the next attempt finds the end in storage, and cleans up again.
func (r *run) cleanUp(ctx context.Context, end contract.EventData) error {
	if end.Status == contract.StatusCompleted && r.hasUnits() {
		if err := r.Update(ctx, func(j *contract.Job) { j.Phase = contract.PhaseCleanUp }); err != nil {
			return err
		}
		if err := r.h.cfg.Queue.Units.PurgeUnits(ctx, r.command.ID); err != nil {
			return fmt.Errorf("remove queued units: %w", err)
		}
	}
	return r.bags.ClearWork(ctx)
}

// hasUnits reports whether the command is one that workers do units of.
func (r *run) hasUnits() bool {
	return r.command.Action == contract.ActionExport || r.command.Data.ExportFirst
}

// openLedger begins the command's ledger, or takes it over.
func (r *run) openLedger(ctx context.Context) (err error) {
	if r.bags.Fresh {
		r.ledger = ledger.Begin(r.h.cfg.Queue.Ledger, r.h.prefix(), r.command.ID)
		return nil
	}
	r.ledger, err = ledger.Open(ctx, r.h.cfg.Queue.Ledger, r.h.prefix(), r.command.ID, r.h.cfg.Now(), r.takenBefore)
	return err
}

// exporter exports what the command names; of a delete, before anything is deleted.
func (r *run) exporter() *export.Exporter {
	c := r.h.cfg
	return &export.Exporter{
		Settings: export.Settings{
			Window: c.Window, MaxAttempts: c.MaxAttempts, Threshold: c.Threshold, Overlap: c.Overlap, Version: c.Version, Pseudonym: c.Pseudonym, Now: c.Now,
		},
		Attempt: r, Units: c.Queue.Units, Client: r.client, Control: r.control, Ledger: r.ledger, Bags: r.bags, Results: &r.h.results,
		Command: r.command.AsExport(), Job: r.job.Command, Paused: r.paused,
	}
}

// paused is what this process waits for, of what the command needs, while it takes no work.
func (r *run) paused() *contract.Waiting {
	problems := r.h.cfg.Health.Blocking()
	if p, failing := problems[delivery.DependencyTraining(r.command.Data.Resource)]; failing {
		return &contract.Waiting{For: contract.WaitCredential, Detail: p.Reason, Since: p.Since}
	}
	for _, dependency := range []string{delivery.DependencyStorage, delivery.DependencyHost} {
		if p, failing := problems[dependency]; failing {
			return &contract.Waiting{For: contract.WaitStorage, Detail: p.Reason, Since: p.Since}
		}
	}
	return nil
}

// deleter deletes what the command names.
func (r *run) deleter() *deletion.Deleter {
	c := r.h.cfg
	return &deletion.Deleter{
		Settings: deletion.Settings{
			Deletes: c.Deletes, VerifyTimeout: c.VerifyTimeout, Version: c.Version, Pseudonym: c.Pseudonym, Now: c.Now, Wait: c.Wait,
		},
		Attempt: r, Exporter: r.exporter(), Holds: c.Queue.Holds,
		Client: r.client, Ledger: r.ledger, Calls: r.calls, Control: r.control, Bags: r.bags,
		Command: r.command, Job: r.job, Log: r.log,
	}
}
