package deletion

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// recordName is the working object that holds the lines of one step of a project.
func recordName(project int, step string) string {
	return fmt.Sprintf("deleted/%06d-%s.jsonl", project, step)
}

// lines are what a step saw to be gone, one after the other: there may be millions.
type lines = iter.Seq[bagfile.Deleted]

// record stores a step's lines, once what the step read is in the ledger.
func (m *removal) record(ctx context.Context, key sink.Key, gone lines) error {
	if err := errors.Join(m.d.Attempt.FlushCalls(ctx), m.d.keepCredential(ctx)); err != nil {
		return err
	}
	done := int64(0)
	err := m.d.Bags.Spooled(func(s *sink.Spool) error {
		enc := json.NewEncoder(s)
		for l := range gone {
			if err := enc.Encode(l); err != nil {
				return err
			}
			done++
		}
		// After a crash before this object is stored the next attempt repeats the step: what is
		// gone already is seen to be gone. Behind it the step is done.
		_, err := m.d.Bags.Work.Put(ctx, key, s.Body("application/jsonl"))
		return err
	})
	if err != nil {
		return fmt.Errorf("record what was deleted: %w", err)
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

// recorded reads the lines that one step of a project stored; stored is false when the step has not
// ended.
func (d *Deleter) recorded(ctx context.Context, n int, step string, each func(bagfile.Deleted) error) (stored bool, err error) {
	body, _, err := d.Bags.Work.Open(ctx, d.Bags.WorkKey(recordName(n, step)))
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read what was deleted: %w", err)
	}
	defer body.Close()
	for l, err := range unit.Lines[bagfile.Deleted](body) {
		if err == nil {
			err = each(l)
		}
		if err != nil {
			return false, fmt.Errorf("read what was deleted: %w", err)
		}
	}
	return true, nil
}
