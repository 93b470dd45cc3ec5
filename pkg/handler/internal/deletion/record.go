package deletion

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleterecord"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// lines are what a step saw to be gone.
type lines = deleterecord.Lines

// records are the records of the delete.
func (d *Deleter) records() deleterecord.Records {
	r := deleterecord.Records{Bags: d.Bags, Ledger: d.Ledger, Kept: &d.kept, Log: d.Log, Later: d.small}
	if d.Job.Deletion != nil {
		r.Begun = d.Job.Deletion.BegunSHA256
	}
	return r
}

// at is a step of the removal.
func (m *removal) at(step string) deleterecord.Step {
	return deleterecord.Step{N: m.n, Project: m.plan.ID, Name: step}
}

// maxSmall is how many things a small delete plans at most.
const maxSmall = 256

// isSmall reports whether the plan is of one project, which stays, and of few things in it. The
// records of its steps go into the cut: a later attempt that does not find them looks for all of it
// again with a few calls.
func (d *Deleter) isSmall(p bagfile.PlanProject) bool {
	return len(d.begun.Facts) == 1 && !p.Project && !deleteplan.TakesPredictions(d.Command.Data) && len(p.Images)+len(p.Iterations)+len(p.Tags) <= maxSmall
}

// record stores a step's lines, once what the step did and read is in the ledger; or it keeps them
// for the cut.
func (m *removal) record(ctx context.Context, gone lines) error {
	if !m.d.small {
		if err := m.d.Attempt.FlushCalls(ctx); err != nil {
			return err //nolint:wrapcheck // it says what it writes
		}
	}
	if err := m.d.keepCredential(ctx); err != nil {
		return err
	}
	done, err := m.d.records().Write(ctx, m.at(m.step), gone)
	if err != nil {
		return err //nolint:wrapcheck // it says what it stores
	}
	m.d.done += done
	return m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt)
}

// storeKept stores the records that were kept for the cut, since the attempt ends without it, with
// err: the next one need not repeat the steps, and the evidence of a failure has what they saw.
func (d *Deleter) storeKept(ctx context.Context, err error) {
	if delivery.Classify(ctx, err) == delivery.Fenced { // the other holder may have removed the working objects by now
		return
	}
	// Detached is safe here: a record says what was seen, and decides nothing for another holder
	// but that its step was done.
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	if err := d.records().StoreKept(ctx); err != nil {
		d.Log.Warn().Err(err).Msg("what was seen to be gone is not recorded")
	}
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
