package natsq

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// An earlier version kept the job of a cancel under its bare id, where the job of a command with
// that id is now. Such an entry is read under the cancel's key, and written there when it changes.
// Under the bare id it counts as no job, and the job of a command replaces it.

// Job implements handler.JobStore; the revision is the entry's sequence in the bucket's stream. It
// fails with ErrNewer, too: when a newer version of the product wrote the job. With ErrNoJob, the
// revision is the one that a PutJob replaces.
func (q *Queue) Job(ctx context.Context, key string) (contract.Job, uint64, error) {
	if err := names.CheckKey(key); err != nil {
		return contract.Job{}, 0, fmt.Errorf("read job: %w", err)
	}
	j, rev, err := q.jobEntry(ctx, key)
	switch id, _ := contract.ParseKey(key); {
	case err == nil && j.OnlyCancel():
		err = contract.ErrNoJob
	case err == nil && j.Key() != key:
		j, err = contract.Job{}, contract.ErrNoJob
	case errors.Is(err, contract.ErrNoJob) && id != key:
		if old, _, oldErr := q.jobEntry(ctx, id); oldErr == nil && old.Key() == key {
			j, err = old, nil
		}
	}
	if err != nil {
		err = fmt.Errorf("read job %s: %w", key, err)
	}
	return j, rev, err
}

// jobEntry reads the entry under a key from the leader, whatever job it is.
func (q *Queue) jobEntry(ctx context.Context, key string) (contract.Job, uint64, error) {
	s, err := q.api.ReadMessage(ctx, q.names.Jobs, jsapi.MessageQuery{Last: q.names.JobSubject(key)})
	switch {
	case err != nil:
		return contract.Job{}, 0, err
	case s == nil || isDeleted(s):
		return contract.Job{}, 0, contract.ErrNoJob
	}
	j, err := contract.DecodeJob(s.Data)
	return j, s.Seq, err //nolint:wrapcheck // callers say what they read
}

// jobSubjects are the subjects of the entries that belong to a key.
func (q *Queue) jobSubjects(ctx context.Context, key string) ([]string, error) {
	id, _ := contract.ParseKey(key)
	j, rev, err := q.jobEntry(ctx, id)
	switch owner := j.Key(); {
	case err != nil && rev == 0 && !errors.Is(err, contract.ErrNoJob):
		return nil, err
	case err != nil || owner == id: // an entry that cannot be read is the command's
		return []string{q.names.JobSubject(key)}, nil
	case owner == key:
		return []string{q.names.JobSubject(key), q.names.JobSubject(id)}, nil
	}
	return nil, nil
}

// PutJob implements handler.JobStore and returns the new revision. Success and ErrConflict are
// certain; after any other error, above all the end of ctx, the job may or may not be written.
// Where a deleted key is left, a new job is written over it.
func (q *Queue) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	key := j.Key()
	if err := names.CheckKey(key); err != nil {
		return 0, fmt.Errorf("write job: %w", err)
	}
	body, err := j.MarshalJSON() // json.Marshal would look through it once more
	if err != nil {
		return 0, fmt.Errorf("encode job %s: %w", key, err)
	}
	w := jsapi.Write{Stream: q.names.Jobs, Subject: q.names.JobSubject(key), Body: body, Expect: rev}
	seq, last, err := q.api.CompareAndSet(ctx, w)
	if errors.Is(err, jsapi.ErrConflict) && rev == 0 && last != nil && isDeleted(last) {
		w.Expect = last.Seq // a deleted key counts as no job
		seq, _, err = q.api.CompareAndSet(ctx, w)
	}
	if errors.Is(err, jsapi.ErrConflict) {
		err = contract.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("write job %s: %w", key, err)
	}
	return seq, nil
}

// Jobs implements handler.CollectorQueue. It lists the keys first, and then reads each job when its
// turn comes.
func (q *Queue) Jobs(ctx context.Context) iter.Seq2[contract.Job, error] {
	return func(yield func(contract.Job, error) bool) {
		keys, err := q.bucketKeys(ctx, q.names.Jobs)
		if err != nil {
			yield(contract.Job{}, fmt.Errorf("list jobs: %w", err))
			return
		}
		for _, key := range keys {
			j, rev, err := q.jobEntry(ctx, key)
			switch {
			case errors.Is(err, contract.ErrNoJob), err == nil && (j.OnlyCancel() || j.Key() != key && slices.Contains(keys, j.Key())):
				continue
			case err != nil && rev == 0:
				yield(contract.Job{}, fmt.Errorf("read job %s: %w", key, err))
				return
			case err != nil:
				j, err = contract.Job{ID: key}, fmt.Errorf("read job %s: %w", key, err)
			}
			if !yield(j, err) {
				return
			}
		}
	}
}
