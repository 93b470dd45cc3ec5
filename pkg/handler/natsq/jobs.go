package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Job implements handler.JobStore; the revision is the entry's sequence in the bucket's stream. It
// fails with ErrNewer, too: when a newer version of the product wrote the job. With ErrNoJob and a
// Cancel, the revision is the one that a PutJob replaces.
func (q *Queue) Job(ctx context.Context, id string) (contract.Job, uint64, error) {
	if err := checkID(id); err != nil {
		return contract.Job{}, 0, fmt.Errorf("read job: %w", err)
	}
	s, err := q.api.ReadMessage(ctx, q.jobs, jsapi.MessageQuery{Last: q.jobSubject(id)})
	switch {
	case err != nil:
		return contract.Job{}, 0, fmt.Errorf("read job %s: %w", id, err)
	case s == nil || isDeleted(s):
		return contract.Job{}, 0, fmt.Errorf("read job %s: %w", id, contract.ErrNoJob)
	}
	j, err := contract.DecodeJob(s.Data)
	switch {
	case err != nil:
		return contract.Job{}, s.Seq, fmt.Errorf("read job %s: %w", id, err)
	case j.OnlyCancel():
		return j, s.Seq, fmt.Errorf("read job %s: %w", id, contract.ErrNoJob)
	}
	return j, s.Seq, nil
}

// PutJob implements handler.JobStore and returns the new revision. Success and ErrConflict are
// certain; after any other error, above all the end of ctx, the job may or may not be written.
// Where a deleted key is left, a new job is written over it.
func (q *Queue) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	if err := checkID(j.ID); err != nil {
		return 0, fmt.Errorf("write job: %w", err)
	}
	body, err := json.Marshal(j)
	if err != nil {
		return 0, fmt.Errorf("encode job %s: %w", j.ID, err)
	}
	w := jsapi.Write{Stream: q.jobs, Subject: q.jobSubject(j.ID), Body: body, Expect: rev}
	seq, last, err := q.api.CompareAndSet(ctx, w)
	if errors.Is(err, jsapi.ErrConflict) && rev == 0 && last != nil && isDeleted(last) {
		w.Expect = last.Seq // a deleted key counts as no job
		seq, _, err = q.api.CompareAndSet(ctx, w)
	}
	if errors.Is(err, jsapi.ErrConflict) {
		err = contract.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("write job %s: %w", j.ID, err)
	}
	return seq, nil
}

// Jobs implements handler.CollectorQueue. It lists the ids first, and then reads each job when its
// turn comes.
func (q *Queue) Jobs(ctx context.Context) iter.Seq2[contract.Job, error] {
	return func(yield func(contract.Job, error) bool) {
		ids, err := q.bucketKeys(ctx, q.jobs)
		if err != nil {
			yield(contract.Job{}, fmt.Errorf("list jobs: %w", err))
			return
		}
		for _, id := range ids {
			j, rev, err := q.Job(ctx, id)
			switch {
			case errors.Is(err, contract.ErrNoJob):
				continue
			case err != nil && rev == 0:
				yield(contract.Job{ID: id}, err)
				return
			case err != nil:
				j = contract.Job{ID: id}
			}
			if !yield(j, err) {
				return
			}
		}
	}
}

// WatchJob sends the job as it is now, if there is one, and then after each change, until ctx ends;
// then it closes the channel. A slow reader misses states in between, never the last one.
func (q *Queue) WatchJob(ctx context.Context, id string) (<-chan contract.Job, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("watch job: %w", err)
	}
	return watchSubject(ctx, q, q.jobs, q.jobSubject(id), func(s *jsapi.StoredMessage) (contract.Job, bool) {
		if isDeleted(s) {
			return contract.Job{}, false
		}
		j, err := contract.DecodeJob(s.Data)
		if err != nil {
			q.log.Warn().Err(err).Str("command_id", id).Msg("cannot decode a job")
		}
		return j, err == nil && !j.OnlyCancel()
	})
}

// DeleteJob removes a job and all traces of it from the bucket. It succeeds when there is none.
func (q *Queue) DeleteJob(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("delete job: %w", err)
	}
	if err := q.removeMessages(ctx, q.jobs, q.jobSubject(id)); err != nil {
		return fmt.Errorf("delete job %s: %w", id, err)
	}
	return nil
}
