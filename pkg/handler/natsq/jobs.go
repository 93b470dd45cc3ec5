package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Job reads a job and its revision from the leader. It fails with ErrNoJob when there is none, and
// with ErrNewer when a newer version of the product wrote it. A cancel that came before its command
// is no job: with ErrNoJob, the Job has it in Cancel and the revision is what a PutJob replaces.
func (q *Queue) Job(ctx context.Context, id string) (contract.Job, uint64, error) {
	if err := checkID(id); err != nil {
		return contract.Job{}, 0, fmt.Errorf("read job: %w", err)
	}
	s, err := q.readMessage(ctx, q.jobs, messageQuery{Last: q.jobSubject(id)})
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

// PutJob writes a job when its revision still is rev (0: when there is none), and returns the new
// one. It fails with ErrConflict when somebody else wrote first; that is certain, and so is
// success. Any other error, ctx's end above all, leaves open whether the job was written.
func (q *Queue) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	if err := checkID(j.ID); err != nil {
		return 0, fmt.Errorf("write job: %w", err)
	}
	body, err := json.Marshal(j)
	if err != nil {
		return 0, fmt.Errorf("encode job %s: %w", j.ID, err)
	}
	w := write{stream: q.jobs, subject: q.jobSubject(j.ID), body: body, expect: rev}
	seq, last, err := q.compareAndSet(ctx, w)
	if errors.Is(err, errConflict) && rev == 0 && last != nil && isDeleted(last) {
		w.expect = last.Seq // a deleted key is none
		seq, _, err = q.compareAndSet(ctx, w)
	}
	if errors.Is(err, errConflict) {
		err = contract.ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("write job %s: %w", j.ID, err)
	}
	return seq, nil
}

// Jobs yields all jobs, by id, each as it is when its turn comes. A job that cannot be decoded is
// yielded as an error with a Job that has only its ID, and the next ones follow; after any other
// error nothing does.
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

// WatchJob sends the job as it is now, if there is one, and each time it changed, until ctx ends;
// then it closes the channel. Who reads slowly misses states in between, never the last one.
func (q *Queue) WatchJob(ctx context.Context, id string) (<-chan contract.Job, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("watch job: %w", err)
	}
	return watchSubject(ctx, q, q.jobs, q.jobSubject(id), func(s *storedMessage) (contract.Job, bool) {
		if isDeleted(s) {
			return contract.Job{}, false
		}
		j, err := contract.DecodeJob(s.Data)
		if err != nil {
			q.log.Warn().Err(err).Str("command_id", id).Msg("cannot read a job")
		}
		return j, err == nil && !j.OnlyCancel()
	})
}

// DeleteJob removes a job and all traces of it from the bucket. One that does not exist is well.
func (q *Queue) DeleteJob(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("delete job: %w", err)
	}
	if err := q.removeMessages(ctx, q.jobs, q.jobSubject(id)); err != nil {
		return fmt.Errorf("delete job %s: %w", id, err)
	}
	return nil
}
