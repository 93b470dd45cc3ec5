package turn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// An account may have several names: a regional endpoint and a custom sub-domain, or two aliases
// without the setting that says they are one. So a command that takes every project of its account
// may have projects in common with commands of other names, and only its plan tells which. It
// writes them into its job, then looks for other commands at work on them, and goes on when it
// finds none. A command that names such a project, and begins beside it, looks after it has said in
// its job that it is at work. So one of the two sees the other, whatever the order of their writes.

// Overlap is a command under another account's name that is at work on a common project.
type Overlap struct {
	ID string // empty when there is none
	// First says that both take every project, and this one was published before. Two that wait for
	// each other would wait for ever: the later one gives up what it has claimed.
	First bool
}

// Overlap looks for a command under another account's name that is in the way of c, which concerns
// these projects: one published before, or one that has begun.
func (p *Order) Overlap(ctx context.Context, c contract.Command, projects []uuid.UUID) (Overlap, error) {
	others, err := p.foreign(ctx, c, projects)
	if err != nil {
		return Overlap{}, err
	}
	for _, k := range others {
		atWork, err := p.atWork(ctx, c, *k, projects)
		if err != nil {
			return Overlap{}, err
		}
		if atWork {
			return Overlap{ID: k.key, First: c.Data.AllProjects && k.all && k.seq < c.Seq}, nil
		}
	}
	return Overlap{}, nil
}

// Uncertain reports whether what c must wait for depends on the plans of earlier commands.
func (p *Order) Uncertain(ctx context.Context, c contract.Command) (bool, error) {
	others, err := p.foreign(ctx, c, c.Data.ProjectIDs)
	return len(others) > 0, err
}

// foreign are the claims under other accounts' names that may be in the way of c: those that take
// every project and, where c takes every project, those that name one of these. Claims after c do
// not matter where c names its projects: their commands wait for c.
func (p *Order) foreign(ctx context.Context, c contract.Command, projects []uuid.UUID) ([]*claim, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := p.claimOf(c)
	before := c.Seq + 1
	if mine.all {
		before = math.MaxUint64
	}
	if err := p.load(ctx, c, before); err != nil {
		return nil, err
	}
	var found []*claim
	for _, other := range mine.excluded() {
		found = append(found, p.index[indexKey{kind: other, project: everyProject}]...)
		if mine.all {
			for _, id := range projects {
				found = append(found, p.index[indexKey{kind: other, project: id}]...)
			}
		}
	}
	found = slices.DeleteFunc(found, func(k *claim) bool { return k.account == mine.account || k.key == mine.key || k.seq >= before })
	slices.SortFunc(found, func(a, b *claim) int { return cmp.Compare(a.seq, b.seq) })
	return slices.Compact(found), nil
}

// atWork reports whether a claim's command is in the way of c on these projects.
func (p *Order) atWork(ctx context.Context, c contract.Command, k claim, projects []uuid.UUID) (bool, error) {
	job, _, err := p.jobs.Job(ctx, k.key)
	switch {
	case errors.Is(err, contract.ErrNoJob):
		job = contract.Job{}
	case err != nil:
		return false, fmt.Errorf("read the job of %s: %w", k.key, err)
	case job.State.Terminal():
		p.forget(c.Stream, k.seq, k.seq+1)
		return false, nil
	}
	switch {
	case k.all:
		if !job.Claim.Has(projects) {
			return false, nil
		}
	case k.seq > c.Seq:
		return job.Attempted && (job.Waiting == nil || job.Waiting.For != contract.WaitCommand), nil
	}
	if k.seq > c.Seq {
		return true, nil
	}
	gone, err := p.gone(ctx, k.seq, c)
	return !gone, err
}
