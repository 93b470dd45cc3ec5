package deletion

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// lines are what a step saw to be gone.
type lines = deleterecord.Lines

// records are the records of the delete.
func (d *Deleter) records() deleterecord.Records {
	r := deleterecord.Records{Bags: d.Bags, Ledger: d.Ledger, Kept: &d.kept, Log: d.Log}
	if d.Job.Deletion != nil {
		r.Begun = d.Job.Deletion.BegunSHA256
	}
	return r
}

// at is a step of the removal.
func (m *removal) at(step string) deleterecord.Step {
	return deleterecord.Step{N: m.n, Project: m.plan.ID, Name: step}
}

// record stores a step's lines, once what the step read is in the ledger.
func (m *removal) record(ctx context.Context, gone lines) error {
	if err := errors.Join(m.d.Attempt.FlushCalls(ctx), m.d.keepCredential(ctx)); err != nil {
		return err
	}
	done, err := m.d.records().Write(ctx, m.at(m.step), gone)
	if err != nil {
		return err //nolint:wrapcheck // it says what it stores
	}
	m.d.done += done
	return m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt)
}

// keepCredential has the job remember the credential in use, once that is proven: a later attempt
// may find no project any more that could prove it.
func (d *Deleter) keepCredential(ctx context.Context) error {
	if d.Job.Deletion == nil {
		return nil
	}
	used, err := d.Control.Fingerprint(ctx)
	if err != nil || used == "" || slices.Contains(d.Job.Deletion.Credentials, used) {
		return err //nolint:wrapcheck // it says what it reads
	}
	return d.update(ctx, func(j *contract.Job) {
		ref := *j.Deletion
		ref.Credentials = append(slices.Clone(ref.Credentials), used)
		j.Deletion = &ref
	})
}

// absent are lines for things that are gone now, as the operations in by showed.
func (m *removal) absent(c contract.Category, how, by string, ids ...uuid.UUID) lines {
	return m.absentEach(c, func(uuid.UUID) string { return how }, by, ids...)
}

// absentEach are lines for things that are gone now, with how each of them went.
func (m *removal) absentEach(c contract.Category, how func(uuid.UUID) string, by string, ids ...uuid.UUID) lines {
	now := latest(m.d.Now(), m.d.Ledger.Last()).UTC().Truncate(time.Millisecond)
	return func(yield func(bagfile.Deleted) bool) {
		for _, id := range ids {
			if !yield(bagfile.Deleted{ID: id, Category: string(c), How: how(id), VerifiedAbsent: now, VerifiedBy: by}) {
				return
			}
		}
	}
}

// joined are lines one after the other.
func joined(all ...lines) lines {
	return func(yield func(bagfile.Deleted) bool) {
		for _, some := range all {
			for l := range some {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// removalMethod is how a thing went that one call deletes.
func removalMethod(operation string, already bool) string {
	if already {
		return bagfile.AlreadyGone
	}
	return operation
}
