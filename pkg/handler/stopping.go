package handler

import (
	"context"
	"fmt"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deletion"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// cancelled ends a command as cancelled.
func (r *run) cancelled(ctx context.Context) (*settlement, error) {
	return r.endWithoutBag(ctx, contract.StatusCancelled, nil)
}

// abort ends a command that fails for good.
func (r *run) abort(ctx context.Context, e *contract.Error) (*settlement, error) {
	return r.endWithoutBag(ctx, contract.StatusFailed, e)
}

// endWithoutBag ends a command that fails or is cancelled: what it stored is removed before its end
// is published. A bag that has its receipt is never taken away: then the end is what the receipt
// says.
func (r *run) endWithoutBag(ctx context.Context, status contract.Status, e *contract.Error) (*settlement, error) {
	r.bags.Fresh = false                           // what the attempt has left is looked for
	begun := r.job.State != contract.StateAccepted // else nothing was stored
	if !begun {
		var err error
		if begun, err = r.hasDestructiveCalls(ctx); err != nil { // by an attempt whose job was removed
			return nil, err
		}
	}
	if begun {
		if end, err := r.bags.Receipt(ctx, bag.KindOf(r.command.Action)); err != nil {
			return nil, err
		} else if end != nil {
			return r.concludeEarlier(ctx, *end)
		}
	}
	if err := r.Update(ctx, func(j *contract.Job) { j.Phase, j.Error = contract.PhaseEnding, e }); err != nil {
		return nil, err
	}
	end := contract.EventData{Status: status, Error: e}
	switch {
	case begun && r.command.Action == contract.ActionDelete:
		return r.finishDelete(ctx, end)
	case begun:
		if err := r.discard(ctx, sink.ExportBag); err != nil {
			return nil, err
		}
	}
	return r.end(ctx, end)
}

// finishDelete ends a delete that fails or is cancelled. Once it was begun, evidence of what was
// called and what is known is stored; before, nothing was changed, and all that it stored goes but
// a whole bag of export_first.
func (r *run) finishDelete(ctx context.Context, end contract.EventData) (*settlement, error) {
	earlier, err := deletion.LoadFailure(ctx, r.bags)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return r.concludeEarlier(ctx, *earlier)
	}
	if r.ledger == nil {
		if err := r.openLedger(ctx); err != nil {
			return nil, err
		}
	}
	failed, left, err := r.deleter().Fail(ctx, end.Error)
	if err != nil {
		return nil, err
	}
	if failed != nil {
		r.leftBehind = left
		return r.concludeEarlier(ctx, *failed)
	}
	exported, err := r.bags.Receipt(ctx, sink.ExportBag)
	if err != nil {
		return nil, err
	}
	kinds := []sink.BagKind{sink.DeleteBag}
	if exported != nil {
		end.ExportBundle = exported.Bundle
	} else {
		kinds = append(kinds, sink.ExportBag)
	}
	if err := r.discard(ctx, kinds...); err != nil {
		return nil, err
	}
	return r.end(ctx, end)
}

// discardPasses bounds how often what an ended command stored is removed. The last pass finds
// nothing; one more than two is for a write that was on its way.
const discardPasses = 4

// discard removes bags that a command began, and its working objects. The job already says that it
// ends, so no replica begins anything for it. discard first stops the workers and waits until no
// unit is in work: a worker settles a unit after its last write. What cannot be removed is recorded
// in the job for gc, and does not keep the command from ending. When ctx ends meanwhile it fails,
// and the next delivery repeats it.
func (r *run) discard(ctx context.Context, kinds ...sink.BagKind) error {
	if err := r.h.cfg.Queue.Notices.NotifyOver(ctx, r.command.ID); err != nil {
		r.log.Debug().Err(err).Msg("tell of the end")
	}
	r.h.activities.StopUnits(r.command.ID)
	if err := r.h.cfg.Queue.Units.DrainUnits(ctx, r.command.ID); err != nil {
		return fmt.Errorf("wait for the units of an ended command: %w", err)
	}
	var left []string
	for range discardPasses {
		removed := 0
		left = nil
		remove := func(store *sink.Store, below sink.Key) {
			n, err := store.RemoveAll(ctx, below)
			removed += n
			if err != nil && ctx.Err() == nil {
				r.log.Error().Err(err).Str("below", string(below)).Msg("objects of an ended command are left behind")
				left = append(left, store.URI(below)+": "+err.Error())
			}
		}
		for _, kind := range kinds {
			remove(r.bags.Store, r.bags.Layout.Bag(kind))
		}
		remove(r.bags.Work, r.bags.WorkKey(""))
		if ctx.Err() != nil {
			return fmt.Errorf("remove the objects of an ended command: %w", context.Cause(ctx))
		}
		if removed == 0 {
			break
		}
	}
	r.leftBehind = strings.Join(left, "; ")
	return nil
}
