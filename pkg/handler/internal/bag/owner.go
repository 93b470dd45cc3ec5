package bag

import (
	"context"
	"errors"
	"fmt"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// ownerName is the working object that names the command to which the others belong. It is the
// first to be stored.
const ownerName = "owner.json"

// maxOwner bounds it, in bytes.
const maxOwner = 16 << 10

// Owner says to which life of a command its working objects belong. An id may have several: it is
// forgotten and used again, or its bucket is another deployment's. What one life froze, read or did
// is not to be taken for another one's.
type Owner struct {
	V          int             `json:"v"`
	Deployment string          `json:"deployment"`
	ID         string          `json:"id"`
	Action     contract.Action `json:"action"`
	Account    string          `json:"account"`
	Stream     contract.Text   `json:"stream"` // of the command's message, with Seq
	Seq        uint64          `json:"seq"`
	Digest     string          `json:"digest"` // of the command's data, with a salt: each job has its own
	Units      int             `json:"units"`  // the version of units: another one cuts an export into others
}

// Owner is what the working objects of this command are to be marked with, in a deployment: job is
// what the job remembers of the command, units the version of units.
func (b Bags) Owner(deployment string, job contract.CommandRef, units int) Owner {
	return Owner{
		V: contract.FormatVersion, Deployment: deployment, ID: b.Command.ID, Action: b.Command.Action, Account: b.Account,
		Stream: contract.Text(b.Command.Stream), Seq: b.Command.Seq, Digest: job.Digest, Units: units,
	}
}

// owns reports whether working objects with this mark belong to the same life as those marked now:
// they were stored under the same job or, where that was lost, for the same message.
func (o Owner) owns(b Bags, now Owner) bool {
	if o.Deployment != now.Deployment || o.ID != now.ID || o.Action != now.Action || o.Units != now.Units {
		return false
	}
	earlier := contract.CommandRef{Digest: o.Digest, Resource: b.Command.Data.Resource, Account: o.Account}
	return o.Digest == now.Digest || o.Stream == now.Stream && o.Seq == now.Seq &&
		b.Command.SameAs(contract.Job{ID: o.ID, Action: o.Action, Command: earlier}, b.Keys) && b.SameAccount(earlier)
}

// Own makes sure that the working objects are this life's. If they are not, it calls remove, which
// removes those of the earlier life and what was left of its bags. Then it stores this life's mark.
func (b Bags) Own(ctx context.Context, now Owner, remove func(context.Context) error) error {
	key := b.WorkKey(ownerName)
	raw, err := b.Work.ReadAll(ctx, key, maxOwner)
	var had Owner
	marked := !errors.Is(err, sink.ErrNotFound)
	switch {
	case !marked:
	case err != nil:
		return fmt.Errorf("read whose the working objects are: %w", err)
	default:
		err := contract.DecodeVersioned(raw, ownerName, &had)
		if errors.Is(err, contract.ErrNewer) {
			return err
		}
		if err == nil && had.owns(b, now) {
			return nil
		}
	}
	if err := remove(ctx); err != nil {
		return err
	}
	mark, err := contract.Marshal(now)
	if err != nil {
		return fmt.Errorf("encode the mark of the working objects: %w", err)
	}
	if marked {
		if err := b.Work.Remove(ctx, key); err != nil {
			return fmt.Errorf("remove the earlier mark of the working objects: %w", err)
		}
	}
	// After a crash before this object is stored the next attempt removes what there is again;
	// nothing of this life was stored.
	if _, err := b.Work.Put(ctx, key, sink.Bytes(mark, "application/json")); err != nil {
		return fmt.Errorf("mark the working objects: %w", err)
	}
	return nil
}

// Stored reports whether anything is stored under the command's id.
func (b Bags) Stored(ctx context.Context) (bool, error) {
	stores := []*sink.Store{b.Store}
	if b.Work != b.Store {
		stores = append(stores, b.Work)
	}
	for _, store := range stores {
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
