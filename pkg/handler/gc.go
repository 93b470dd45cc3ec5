package handler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// CollectorQueue is what a Collector needs of JetStream.
type CollectorQueue interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandsBetween yields the messages with from ≤ sequence < to, in order.
	CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error]
	// Job and PutJob are those of a JobStore.
	Job(ctx context.Context, key string) (contract.Job, uint64, error)
	PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error)
	// Jobs yields all jobs, by key. A job that cannot be read is an error with a Job that has only
	// its ID; after any other error nothing follows.
	Jobs(ctx context.Context) iter.Seq2[contract.Job, error]
}

// Collector finds and removes what ended commands left in storage: working objects, and bags
// without a receipt or evidence of a failed delete. It touches nothing of a command that has not
// ended.
type Collector struct {
	Queue  CollectorQueue
	Store  *sink.Store // holds the bags
	Work   *sink.Store // holds the working objects
	Prefix string      // of every key
}

// Leftover is what one command left.
type Leftover struct {
	ID      string        `json:"id"`
	State   contract.Text `json:"state"` // of its job, null when there is none
	Where   []string      `json:"where"` // URIs that end in a slash
	Objects int           `json:"objects"`
	Bytes   int64         `json:"bytes"`

	places []place
}

// place is where a command may have left something.
type place struct {
	store *sink.Store
	below sink.Key
}

// Find yields what ended commands left. An error about one job is yielded with a Leftover that has
// only its ID, and the others follow.
//
// With orphans, it also yields what is there of ids that JetStream knows nothing of: their traces
// were forgotten, or have expired. That is for buckets where no one else keeps anything below the
// prefix: another deployment's commands would be among them.
func (c Collector) Find(ctx context.Context, orphans bool) iter.Seq2[Leftover, error] {
	return func(yield func(Leftover, error) bool) {
		for job, err := range c.Queue.Jobs(ctx) {
			if err != nil {
				if !yield(Leftover{ID: job.ID}, err) || job.ID == "" {
					return
				}
				continue
			}
			found, err := c.ofJob(ctx, job)
			if err == nil && found.Objects == 0 && job.LeftBehind == "" {
				continue
			}
			if !yield(found, err) {
				return
			}
		}
		if !orphans {
			return
		}
		ids, err := c.unknown(ctx)
		if err != nil {
			yield(Leftover{}, err)
			return
		}
		for _, id := range ids {
			found, err := c.ofJob(ctx, contract.Job{ID: id})
			if err == nil && found.Objects == 0 {
				continue
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

// unknown lists the ids that have objects but neither a job nor a command in the queue.
func (c Collector) unknown(ctx context.Context) ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, store := range []*sink.Store{c.Store, c.Work} {
		for folder, err := range store.Folders(ctx, sink.Key(c.Prefix)) {
			if err != nil {
				return nil, fmt.Errorf("list the bundles: %w", err)
			}
			if !seen[folder] && contract.ValidID(folder) {
				seen[folder] = true
				ids = append(ids, folder)
			}
		}
	}
	// The queue is read after the folders and before the jobs: a command that stored something is
	// in it, or has a job.
	for m, err := range c.Queue.CommandsBetween(ctx, 0, math.MaxUint64) {
		if err != nil {
			return nil, fmt.Errorf("read the queue: %w", err)
		}
		if command, err := contract.DecodeCommand(c.Queue.Prefix(), m); err == nil {
			seen[command.Key()] = false // a cancel stores nothing, and has the key of no folder
		}
	}
	var unknown []string
	for _, id := range ids {
		switch _, _, err := c.Queue.Job(ctx, id); {
		case err == nil, !seen[id]:
		case errors.Is(err, contract.ErrNoJob):
			unknown = append(unknown, id)
		default:
			return nil, fmt.Errorf("look for the job of %s: %w", id, err)
		}
	}
	return unknown, nil
}

// ofJob looks what a job left where it should have nothing; a job without a state is none.
func (c Collector) ofJob(ctx context.Context, job contract.Job) (Leftover, error) {
	found := Leftover{ID: job.ID, State: contract.Text(job.State), Where: []string{}}
	if job.State != "" && (!job.State.Terminal() || job.Action == contract.ActionCancel) || !contract.ValidID(job.ID) { // an id that we gave has stored nothing
		return found, nil
	}
	layout, err := sink.NewLayout(c.Prefix, job.ID)
	if err != nil {
		return found, fmt.Errorf("name the objects of %s: %w", job.ID, err)
	}
	places := []place{{c.Work, layout.Work("")}}
	if job.State != contract.StateCompleted {
		for _, kind := range []sink.BagKind{sink.ExportBag, sink.DeleteBag} {
			if kind == sink.DeleteBag && job.Action == contract.ActionExport {
				continue
			}
			left, err := c.leftOf(ctx, layout, job, kind)
			if err != nil {
				return found, fmt.Errorf("look for a receipt of %s: %w", job.ID, err)
			}
			places = append(places, left...)
		}
	}
	for _, p := range places {
		before := found.Objects
		for o, err := range p.store.List(ctx, p.below) {
			if err != nil {
				return found, fmt.Errorf("list what %s left: %w", job.ID, err)
			}
			found.Objects++
			found.Bytes += max(o.Bytes, 0) // as far as the store says it
		}
		if found.Objects > before || job.LeftBehind != "" {
			found.places = append(found.places, p)
			found.Where = append(found.Where, p.store.URI(p.below))
		}
	}
	return found, nil
}

// leftOf is what there is to remove of a bag. A bag with its receipt stays, unless its command
// ended without one: then the receipt came late, or belongs to another command. Of a delete that
// failed half-way the evidence stays, and a receipt beside it does not.
func (c Collector) leftOf(ctx context.Context, layout sink.Layout, job contract.Job, kind sink.BagKind) ([]place, error) {
	all := []place{{c.Store, layout.Bag(kind)}}
	if kind == sink.DeleteBag {
		switch _, err := c.Store.Head(ctx, layout.Key(kind, sink.FailureFile)); {
		case err == nil:
			return []place{{c.Store, layout.Key(kind, sink.ReceiptFile)}}, nil
		case !errors.Is(err, sink.ErrNotFound):
			return nil, err //nolint:wrapcheck // the caller says what for
		}
	}
	if job.State != "" && bag.KindOf(job.Action) == kind {
		return all, nil
	}
	whole, err := bag.Whole(ctx, c.Store, layout, c.Prefix, kind)
	if whole || err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	return all, nil
}

// Remove removes what Find found of a command, by version, and takes note of that in its job. It
// looks again before: a command that was begun meanwhile is let alone.
func (c Collector) Remove(ctx context.Context, l Leftover) error {
	job, rev, err := c.Queue.Job(ctx, l.ID)
	known := err == nil
	switch {
	case err != nil && !errors.Is(err, contract.ErrNoJob):
		return fmt.Errorf("read the job of %s: %w", l.ID, err)
	case known && (contract.State(l.State) != job.State || !job.State.Terminal()):
		return fmt.Errorf("remove what %s left: %w", l.ID, contract.ErrConflict)
	}
	for _, p := range l.places {
		if _, err := p.store.RemoveAll(ctx, p.below); err != nil {
			return fmt.Errorf("remove what %s left: %w", l.ID, err)
		}
	}
	if !known || job.LeftBehind == "" {
		return nil
	}
	job.LeftBehind = ""
	if _, err := c.Queue.PutJob(ctx, job, rev); err != nil && !errors.Is(err, contract.ErrConflict) { // on a conflict the job was forgotten meanwhile, or another collector was quicker
		return fmt.Errorf("note in the job that %s left nothing: %w", l.ID, err)
	}
	return nil
}
