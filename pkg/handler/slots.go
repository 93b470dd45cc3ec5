package handler

import (
	"context"

	"github.com/cvconsumer/cvconsumer/internal/share"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// newSlots makes the slots of attempts, which the resources share: exports and deletes have slots
// of their own, and cancels need none.
func newSlots(c Config) map[contract.Action]*share.Pool {
	return map[contract.Action]*share.Pool{
		contract.ActionExport: share.NewPool(int64(c.Commands), len(c.Resources)),
		contract.ActionDelete: share.NewPool(int64(c.Commands), len(c.Resources)),
	}
}

// takeSlot hands the command back while the attempts at other commands of its resource have the
// slots that they may have. A resource whose service is slow keeps them for long.
func (r *run) takeSlot(context.Context) (*settlement, error) {
	slots, resource := r.h.slots[r.command.Action], r.command.Data.Resource
	if !slots.TryAcquire(resource, 1) {
		return handBack(delivery.ShareDelay(r.delivered), "other commands of its resource have their share of the slots"), nil
	}
	r.releaseSlot = func() { slots.Release(resource, 1) }
	return nil, nil
}
