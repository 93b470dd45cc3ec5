package bag

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// ownerName is the working object that marks the others as this command's. It is the first to be
// stored where others are for a later attempt to go by.
const ownerName = "owner.json"

// maxOwner bounds it, in bytes.
const maxOwner = 16 << 10

// owner is what its seal does not say: that names the command, its message and the deployment.
type owner struct {
	V       int    `json:"v"`
	Account string `json:"account"`
	Units   int    `json:"units"` // the version of units: another one cuts an export into others
}

// Own makes sure that the working objects are this command's, in this life of its id: that the mark
// with the right seal is there, of the same account and version of units. If it is not, it calls
// remove, which removes those of an earlier life and what was left of its bags. Then it stores the
// mark.
func (b Bags) Own(ctx context.Context, units int, remove func(context.Context) error) error {
	key := b.WorkKey(ownerName)
	if b.Fresh {
		if there, err := b.mark(ctx, units); err != nil || !there {
			return err
		}
	}
	raw, err := b.Work.ReadAll(ctx, key, maxOwner)
	marked := err == nil
	switch {
	case marked:
		var had owner
		if err := contract.DecodeVersioned(raw, ownerName, &had); err != nil {
			return err
		}
		earlier := contract.CommandRef{Resource: b.Command.Data.Resource, Account: had.Account}
		if had.Units == units && b.SameAccount(earlier) {
			return nil
		}
	case !errors.Is(err, sink.ErrNotFound):
		return fmt.Errorf("read whose the working objects are: %w", err)
	}
	if err := remove(ctx); err != nil {
		return err
	}
	if marked {
		if err := b.Work.Remove(ctx, key); err != nil {
			return fmt.Errorf("remove the earlier mark of the working objects: %w", err)
		}
	}
	// After a crash before this object is stored the next attempt removes what there is again;
	// nothing of this life was stored.
	return b.Mark(ctx, units)
}

// Mark stores the mark, unless one is there.
func (b Bags) Mark(ctx context.Context, units int) error {
	_, err := b.mark(ctx, units)
	return err
}

// mark is Mark, and reports whether one was there.
func (b Bags) mark(ctx context.Context, units int) (there bool, err error) {
	mark, err := contract.Marshal(owner{V: contract.FormatVersion, Account: b.Account, Units: units})
	if err != nil {
		return false, fmt.Errorf("encode the mark of the working objects: %w", err)
	}
	o, err := b.Work.Put(ctx, b.WorkKey(ownerName), sink.Bytes(mark, "application/json"))
	if err != nil {
		return false, fmt.Errorf("mark the working objects: %w", err)
	}
	return o.Adopted, nil
}

// Stored reports whether anything is stored under the command's id.
func (b Bags) Stored(ctx context.Context) (bool, error) {
	stores := []*sink.Store{b.Store}
	if !b.Work.SameBucket(b.Store) {
		stores = append(stores, b.Work)
	}
	for _, store := range stores {
		if store.PlainlyEmpty(ctx, b.Layout.Root()) { // as for nearly every command
			continue
		}
		for _, err := range store.List(ctx, b.Layout.Root()) {
			if err != nil {
				return false, fmt.Errorf("list what is stored: %w", err)
			}
			return true, nil
		}
	}
	return false, nil
}

// RemoveWithoutReceipt removes a bag of the command that has no receipt of its own.
func (b Bags) RemoveWithoutReceipt(ctx context.Context, kind sink.BagKind) error {
	end, err := b.Receipt(ctx, kind)
	if end != nil || err != nil {
		return err
	}
	if _, err := b.Store.RemoveAll(ctx, b.Layout.Bag(kind)); err != nil {
		return fmt.Errorf("remove what an earlier command left of its bundle: %w", err)
	}
	return nil
}
