package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// countListing asks how many items a listing has. It is 0 where the service refuses that: the
// listing is asked for all the same.
func (a *attempt) countListing(ctx context.Context, r *reading, l survey.Listing) (int, error) {
	n, err := survey.Count(ctx, a.client, a.unit.Project, l)
	err = a.judge(ctx, a.absent(ctx, err, l.Scope), a.elsewhere(l.Scope, l.Kind != survey.Performances, func(ctx context.Context, scope uuid.UUID) error {
		_, err := survey.Count(ctx, a.client, a.unit.Project, survey.Listing{Kind: l.Kind, Scope: scope})
		return err //nolint:wrapcheck // only its kind is looked at
	}))
	if errors.Is(err, delivery.ErrRefused) {
		c := contract.CategoryImages
		if l.Kind == survey.Performances {
			c = contract.CategoryPerformance
		}
		r.fail(c, survey.ScopeID(l.Scope), err)
		return 0, nil
	}
	return n, err //nolint:wrapcheck // it says what was counted
}

func (a *attempt) readIterations(ctx context.Context, r *reading) ([]cv.Iteration, error) {
	data, p := a.command.Data, a.unit.Project
	if data.Narrowing() != contract.NarrowIterations {
		if len(data.Categories) == 1 && data.Has(contract.CategoryProjects) {
			return nil, nil
		}
		iterations, err := inProject(ctx, a, a.client.GetIterations)
		if errors.Is(err, delivery.ErrRefused) {
			r.fail(contract.CategoryIterations, p.String(), err)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the iterations of project %s: %w", p, err)
		}
		return iterations, nil
	}
	var iterations []cv.Iteration
	for _, id := range data.IterationIDs {
		it, err := inScope(ctx, a, id, false, func(ctx context.Context, id uuid.UUID) (cv.Iteration, error) {
			return a.client.GetIteration(ctx, p, id)
		})
		if errors.Is(err, errVanished) {
			continue
		}
		if errors.Is(err, delivery.ErrRefused) {
			r.fail(contract.CategoryIterations, id.String(), err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read iteration %s of project %s: %w", id, p, err)
		}
		iterations = append(iterations, it)
	}
	return iterations, nil
}

func (a *attempt) readTags(ctx context.Context, r *reading, named map[uuid.UUID][]uuid.UUID) error {
	data := a.command.Data
	wanted := map[uuid.UUID]bool{} // false until found
	for _, id := range data.TagIDs {
		wanted[id] = false
	}
	read := func(scope uuid.UUID) ([]json.RawMessage, error) {
		tags, err := inScope(ctx, a, scope, true, func(ctx context.Context, scope uuid.UUID) ([]cv.Tag, error) {
			return a.client.GetTags(ctx, a.unit.Project, scope)
		})
		if errors.Is(err, delivery.ErrRefused) {
			r.fail(contract.CategoryTags, survey.ScopeID(scope), err)
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the tags of %s: %w", survey.ScopeName(scope), err)
		}
		raws := []json.RawMessage{}
		for _, t := range tags {
			if _, ok := wanted[t.ID]; len(wanted) > 0 && !ok {
				continue
			}
			if len(wanted) > 0 {
				wanted[t.ID] = true
				named[scope] = append(named[scope], t.ID)
			}
			raw, err := links.Cut(t.Raw)
			if err != nil {
				return nil, fmt.Errorf("read tag %s: %w", t.ID, err)
			}
			raws = append(raws, raw)
		}
		return raws, nil
	}
	var err error
	if data.Narrowing() != contract.NarrowIterations {
		if r.Tags, err = read(uuid.Nil); err != nil {
			return err
		}
	}
	for i := range r.Iterations {
		it := &r.Iterations[i]
		if it.Tags, err = read(it.ID); err != nil {
			return err
		}
	}
	for _, id := range data.TagIDs {
		if !wanted[id] && !a.tolerant() && len(r.Failures) == 0 {
			if !a.again {
				a.again = true
				return a.lookAgain(ctx, fmt.Errorf("%w: tag %s", errVanished, id))
			}
			return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("tag_ids: the project has no tag %s, neither in its workspace nor in an iteration", id)}
		}
	}
	return nil
}

func (a *attempt) readPerformance(ctx context.Context, r *reading, it *iterationReading) error {
	if !it.Trained {
		return nil
	}
	with := unit.Measure{Threshold: a.w.Threshold, Overlap: a.w.Overlap} // of a unit that an older version cut
	if a.unit.Measure != nil {
		with = *a.unit.Measure
	}
	performance, err := inScope(ctx, a, it.ID, false, func(ctx context.Context, id uuid.UUID) (cv.IterationPerformance, error) {
		return a.client.GetIterationPerformance(ctx, a.unit.Project, id, with.Threshold, with.Overlap)
	})
	if errors.Is(err, cv.ErrUntrained) {
		it.Trained = false
		return nil
	}
	switch {
	case errors.Is(err, delivery.ErrRefused):
		r.fail(contract.CategoryPerformance, it.ID.String(), err)
	case err == nil:
		it.Performance, err = links.Cut(performance.Raw)
	}
	if err != nil && !errors.Is(err, delivery.ErrRefused) {
		return fmt.Errorf("read the performance of iteration %s: %w", it.ID, err)
	}
	l := survey.Listing{Kind: survey.Performances, Scope: it.ID}
	if l.Count, err = a.countListing(ctx, r, l); err != nil {
		return err
	}
	r.Listings = append(r.Listings, l)
	return nil
}
