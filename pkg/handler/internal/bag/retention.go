package bag

import (
	"context"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// lockingTime is what must be left of a retention for a bag to be locked: the objects are locked
// one after the other, and a store refuses a time that is over.
const lockingTime = 15 * time.Minute

// retentionField is the field by which a command asks for the retention of one of its bags.
func retentionField(action contract.Action, kind sink.BagKind) string {
	if action == contract.ActionDelete && kind == sink.ExportBag {
		return "export_retain_until"
	}
	return "retain_until"
}

// lock locks a bag that a receipt says is kept. What is put into it afterwards is locked as it is
// written.
func (b Bags) lock(ctx context.Context, kind sink.BagKind, out *sink.Bag, kept *sink.ReceiptRetention) error {
	if kept == nil || kept.Lapsed {
		return nil
	}
	if err := out.Retain(ctx, sink.Retention{Mode: kept.Mode, Until: kept.RetainUntil}); err != nil {
		return fmt.Errorf("lock the bundle until its %s: %w", retentionField(b.Command.Action, kind), err)
	}
	return nil
}

// retention is what the receipt of a sealed bag says of its retention; nil when the command asks
// for none.
func (b Bags) retention(kind sink.BagKind, sealed sink.SealedBag) *sink.ReceiptRetention {
	until := b.Command.Data.RetainUntil
	if retentionField(b.Command.Action, kind) == "export_retain_until" {
		until = b.Command.Data.ExportRetainUntil
	}
	if until == nil {
		return nil
	}
	kept := &sink.ReceiptRetention{Mode: b.LockMode, RetainUntil: *until}
	if kept.Lapsed = until.Before(b.Now().Add(lockingTime)); !kept.Lapsed {
		kept.Objects = sealed.Objects - 1 // all but the receipt
	}
	return kept
}
