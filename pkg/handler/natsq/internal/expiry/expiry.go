package expiry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Traces are where jobs and ledgers are kept, one subject each.
type Traces struct {
	API                     *jsapi.Client
	Jobs, Ledgers           string // streams
	JobPrefix, LedgerPrefix string // of their subjects, before the key, or the id
	Commands                Commands
}

// Commands has the commands that have not been settled yet.
type Commands interface {
	Prefix() string
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
	CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error]
}

// Expire removes the job and the ledger of each command whose job was last written, with its end,
// longer than keep ago, and returns how many it removed. That of a signed delete stays at least for
// as long as a copy of its message counts. All times are the server's. Any number of
// replicas may do this at once, and it may be cut short: a job goes last, and each removal spares
// what was written since the look at it.
func (t Traces) Expire(ctx context.Context, keep time.Duration) (removed int, err error) {
	var info struct {
		Now time.Time `json:"ts"`
	}
	if err := t.API.APIRequest(ctx, t.Jobs, "STREAM.INFO."+t.Jobs, nil, &info); err != nil {
		return 0, fmt.Errorf("ask the server for its time: %w", err)
	}
	before := info.Now.Add(-keep)
	for s, err := range t.API.MessagesBetween(ctx, t.Jobs, t.JobPrefix+">", 0, jsapi.MaxSequence) {
		if err != nil {
			return removed, fmt.Errorf("read the jobs: %w", err)
		}
		if s.Time.After(before) { // so are all that follow: each was written later
			break
		}
		done, err := t.expireJob(ctx, s, info.Now)
		if err != nil {
			return removed, err
		}
		if done {
			removed++
		}
	}
	lone, err := t.expireLone(ctx, before)
	return removed + lone, err
}

// expireJob removes a job and its ledger, if its command has ended and left the queue.
func (t Traces) expireJob(ctx context.Context, s *jsapi.StoredMessage, now time.Time) (done bool, err error) {
	id := strings.TrimPrefix(s.Subject, t.JobPrefix)
	if len(s.Data) > 0 { // else its key was deleted by hand
		j, err := contract.DecodeJob(s.Data)
		switch {
		case err != nil: // of a newer version, which will remove it
			return false, nil
		case j.OnlyCancel() && now.Sub(s.Time) < contract.CancelKept, !j.OnlyCancel() && !j.State.Terminal(), j.Command.CopyCounts(now):
			return false, nil
		}
		_, err = t.Commands.CommandIn(ctx, string(j.Command.Stream), j.Command.Seq)
		if !errors.Is(err, contract.ErrNoMessage) { // still queued: its event may not be stored yet
			return false, err //nolint:wrapcheck // it says what it reads
		}
	}
	// The ledger's tail is read before the job is looked at again: while the job is the one that
	// ended, nothing is appended for another command of this id.
	tail, err := t.last(ctx, t.Ledgers, t.LedgerPrefix+id)
	if err != nil {
		return false, err
	}
	job, err := t.last(ctx, t.Jobs, s.Subject)
	if err != nil || job == nil || job.Seq != s.Seq {
		return false, err
	}
	if tail != nil {
		if err := t.purge(ctx, t.Ledgers, tail); err != nil {
			return false, err
		}
	}
	return true, t.purge(ctx, t.Jobs, job)
}

// expireLone removes the ledgers of ids that have neither a job nor a message in the queue: their
// jobs expired under an earlier version, or were lost.
func (t Traces) expireLone(ctx context.Context, before time.Time) (removed int, err error) {
	ids, err := t.API.SubjectSuffixes(ctx, t.Ledgers, t.LedgerPrefix)
	if err != nil {
		return 0, fmt.Errorf("list the ledgers: %w", err)
	}
	jobs, err := t.API.SubjectSuffixes(ctx, t.Jobs, t.JobPrefix) // after the ledgers: a job is there before its ledger
	if err != nil {
		return 0, fmt.Errorf("list the jobs: %w", err)
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		_, known := slices.BinarySearch(jobs, id)
		return known
	})
	if len(ids) == 0 {
		return 0, nil
	}
	queued := map[string]bool{}
	for m, err := range t.Commands.CommandsBetween(ctx, 0, jsapi.MaxSequence) {
		if err != nil {
			return 0, fmt.Errorf("read the queue: %w", err)
		}
		if c, err := contract.DecodeCommand(t.Commands.Prefix(), m); err == nil {
			queued[c.Key()] = true
		}
	}
	for _, id := range ids {
		tail, err := t.last(ctx, t.Ledgers, t.LedgerPrefix+id)
		if err != nil {
			return removed, err
		}
		if tail == nil || tail.Time.After(before) || queued[id] {
			continue
		}
		if err := t.purge(ctx, t.Ledgers, tail); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// last is the last message of a subject; nil when there is none.
func (t Traces) last(ctx context.Context, stream, subject string) (*jsapi.StoredMessage, error) {
	s, err := t.API.ReadMessage(ctx, stream, jsapi.MessageQuery{Last: subject})
	if err != nil {
		return nil, fmt.Errorf("read the last message of %s: %w", subject, err)
	}
	return s, nil
}

// purge removes the messages of a subject up to this one, and none that was stored after it.
func (t Traces) purge(ctx context.Context, stream string, upTo *jsapi.StoredMessage) error {
	if err := t.API.Purge(ctx, stream, upTo); err != nil {
		return fmt.Errorf("remove what is expired of %s: %w", upTo.Subject, err)
	}
	return nil
}
