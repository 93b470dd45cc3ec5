package handler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/google/uuid"
)

// claim is what a command that waits its turn, or is at work, has to do with which projects.
type claim struct {
	seq      uint64
	id       string
	host     string      // of the Training API: two aliases of one account conflict
	all      bool        // every project of the account
	projects []uuid.UUID // sorted
	deletes  bool
	whole    bool // deletes projects or iterations
}

// claimOf is a command's claim; a dry run only reads, and a cancel claims nothing but its id.
func (h *Handler) claimOf(c Command) claim {
	d := c.Data
	k := claim{seq: c.Seq, id: c.ID, host: d.Resource, all: d.AllProjects, projects: d.ProjectIDs}
	if client, ok := h.Resources[d.Resource]; ok {
		k.host = client.Host()
	}
	if c.Action == ActionDelete && !d.DryRun {
		k.deletes = true
		k.whole = d.Has(CategoryProjects) || d.Has(CategoryIterations)
	}
	return k
}

// conflicts says whether the later of two commands must wait for the earlier: an export and a delete of a common project never
// overlap, a delete of projects or iterations overlaps with nothing, and other deletes do not mind each other.
func (k claim) conflicts(o claim) bool {
	if !k.deletes && !o.deletes {
		return false
	}
	if k.deletes && o.deletes && !k.whole && !o.whole {
		return false
	}
	return k.shares(o)
}

// sameID says that the later of two commands must wait for the earlier because of its id.
func (k claim) sameID(o claim) bool { return k.id == o.id }

func (k claim) shares(o claim) bool {
	if k.host != o.host {
		return false
	}
	if k.all || o.all {
		return true
	}
	return slices.ContainsFunc(k.projects, func(p uuid.UUID) bool { return slices.Contains(o.projects, p) })
}

// pending remembers the claims of the commands in the queue, so that each is read from it once.
type pending struct {
	mu     sync.Mutex
	next   uint64  // the first sequence not read yet
	claims []claim // by sequence
}

// load reads what the queue holds below sequence upTo, and forgets what it holds no more at its front.
func (p *pending) load(ctx context.Context, h *Handler, upTo uint64) error {
	if len(p.claims) > 0 {
		front := upTo
		for m, err := range h.Queue.CommandsBetween(ctx, p.claims[0].seq, upTo) {
			if err != nil {
				return fmt.Errorf("read the queue's front: %w", err)
			}
			front = m.Seq
			break
		}
		p.claims = slices.DeleteFunc(p.claims, func(k claim) bool { return k.seq < front })
	}
	for m, err := range h.Queue.CommandsBetween(ctx, p.next, upTo) {
		if err != nil {
			return fmt.Errorf("read the commands before: %w", err)
		}
		p.next = m.Seq + 1
		c, err := DecodeCommand(h.prefix(), m)
		if err != nil {
			continue
		}
		p.claims = append(p.claims, h.claimOf(c))
	}
	p.next = max(p.next, upTo)
	return nil
}

// blocker is the first command before c that is still under way and that stands in its way.
func (p *pending) blocker(ctx context.Context, h *Handler, c Command, inTheWay func(k, mine claim) bool) (claim, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.load(ctx, h, c.Seq); err != nil {
		return claim{}, false, err
	}
	mine := h.claimOf(c)
	for i := 0; i < len(p.claims) && p.claims[i].seq < c.Seq; {
		k := p.claims[i]
		if !inTheWay(k, mine) {
			i++
			continue
		}
		switch over, err := h.settledOrOver(ctx, k); {
		case err != nil:
			return claim{}, false, err
		case !over:
			return k, true, nil
		}
		p.claims = slices.Delete(p.claims, i, i+1)
	}
	return claim{}, false, nil
}

// settledOrOver tells whether a command is out of everybody's way: its message is gone, or only waits to be settled because its job has ended.
func (h *Handler) settledOrOver(ctx context.Context, k claim) (bool, error) {
	if _, err := h.Queue.Command(ctx, k.seq); err != nil {
		if errors.Is(err, ErrNoMessage) {
			return true, nil
		}
		return false, fmt.Errorf("look for the command before: %w", err)
	}
	job, _, err := h.Queue.Job(ctx, k.id)
	return err == nil && job.State.Terminal(), nil // one that has no job, or none that can be read, may be under way
}
