package deletion

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// unpublishIterations takes published iterations out of use: neither they nor their project could
// be deleted. An iteration still in training is waited for: it cannot be stopped, and would keep
// its copies of the images.
func (m *removal) unpublishIterations(ctx context.Context) (lines, error) {
	iterations, err := m.d.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	planned := slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return !slices.Contains(m.plan.Iterations, it.ID) })
	for _, it := range planned {
		if it.Status == survey.StatusTraining {
			return nil, m.d.training(ctx, m.n, m.plan.ID, it.ID)
		}
	}
	for _, it := range planned {
		if !it.Published() {
			continue
		}
		if !m.d.Command.Data.Unpublish {
			return nil, &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("iteration %s was published after the plan was made", it.ID)}
		}
		_, _, err := m.destroy(ctx, cv.ThingIteration, func(ctx context.Context) error {
			err := m.d.Client.UnpublishIteration(ctx, m.plan.ID, it.ID)
			var api *cv.Error
			if errors.As(err, &api) && api.Code == "BadRequestIterationNotPublished" {
				return nil
			}
			return err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return nil, fmt.Errorf("unpublish iteration %s: %w", it.ID, err)
		}
	}
	return joined(), nil
}

// existing is the iterations a project has now; none when it is gone.
func (d *Deleter) existing(ctx context.Context, project uuid.UUID) ([]cv.Iteration, error) {
	iterations, err := d.Client.GetIterations(ctx, project)
	if _, err := d.Control.Gone(ctx, project, err); err != nil {
		return nil, fmt.Errorf("read the iterations of project %s: %w", project, err)
	}
	return survey.WithoutWorkspace(iterations), nil
}

// snapshots is where images can be: the workspace and every iteration that the project has now. One
// in training is waited for.
func (m *removal) snapshots(ctx context.Context) ([]uuid.UUID, error) {
	iterations, err := m.d.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	for _, it := range iterations {
		if it.Status == survey.StatusTraining {
			return nil, m.d.training(ctx, m.n, m.plan.ID, it.ID)
		}
	}
	m.scopes, m.scopesAt = survey.ScopesOf(iterations), m.d.Now()
	return m.scopes, nil
}

// recently is how long what this attempt read of a project's iterations is not read again.
const recently = 5 * time.Second

// recentSnapshots is snapshots, unless this attempt has just read them.
func (m *removal) recentSnapshots(ctx context.Context) ([]uuid.UUID, error) {
	if m.scopes != nil && m.d.Now().Sub(m.scopesAt) < recently {
		return m.scopes, nil
	}
	return m.snapshots(ctx)
}

// scopes is the workspace and every iteration that a project has now.
func (d *Deleter) scopes(ctx context.Context, project uuid.UUID) ([]uuid.UUID, error) {
	iterations, err := d.existing(ctx, project)
	if err != nil {
		return nil, err
	}
	return survey.ScopesOf(iterations), nil
}

// deleteIterations deletes the planned iterations; their performance goes with them.
func (m *removal) deleteIterations(ctx context.Context) (lines, error) {
	var gone []lines
	for _, it := range m.plan.Iterations {
		remove := func(ctx context.Context) error { return m.d.Client.DeleteIteration(ctx, m.plan.ID, it) }
		look := func(ctx context.Context) error {
			_, err := m.d.Client.GetIteration(ctx, m.plan.ID, it)
			return err //nolint:wrapcheck // wrapped below
		}
		already, err := m.removeOne(ctx, cv.ThingIteration, it, remove, look)
		if errors.Is(err, cv.ErrPublished) { // meanwhile
			if _, err := m.unpublishIterations(ctx); err != nil {
				return nil, err
			}
			already, err = m.removeOne(ctx, cv.ThingIteration, it, remove, look)
		}
		if err != nil {
			return nil, fmt.Errorf("delete iteration %s: %w", it, err)
		}
		gone = append(gone, m.absent(contract.CategoryIterations, removalMethod("DeleteIteration", already), bagfile.ByIteration, it))
		if slices.Contains(m.facts.Trained, it) {
			gone = append(gone, m.absent(contract.CategoryPerformance, removalMethod("DeleteIteration", already), bagfile.ByIteration, it))
		}
	}
	return joined(gone...), nil
}

// deleteTags deletes the planned tags of the workspace. Images that carried them stay; iterations
// keep their own copies.
func (m *removal) deleteTags(ctx context.Context) (lines, error) {
	var gone []lines
	for _, tag := range m.plan.Tags {
		already, err := m.removeOne(ctx, cv.ThingTag, tag,
			func(ctx context.Context) error { return m.d.Client.DeleteTag(ctx, m.plan.ID, tag) },
			func(ctx context.Context) error {
				_, err := m.d.Client.GetTag(ctx, m.plan.ID, tag, uuid.Nil)
				return err //nolint:wrapcheck // wrapped below
			})
		if err != nil {
			return nil, fmt.Errorf("delete tag %s: %w", tag, err)
		}
		gone = append(gone, m.absent(contract.CategoryTags, removalMethod("DeleteTag", already), bagfile.ByTag, tag))
	}
	return joined(gone...), nil
}

// removeOne deletes a thing and looks until it is gone. Where the service said that it is not
// there, and then shows it, it is deleted again. already: no call of this command can have removed
// it.
func (m *removal) removeOne(ctx context.Context, thing cv.Thing, id uuid.UUID, remove, look func(context.Context) error) (already bool, err error) {
	missed := true
	err = m.pollUntilGone(ctx, string(thing)+" "+id.String(), func(ctx context.Context) (_ string, err error) {
		if missed {
			if missed, already, err = m.destroy(ctx, thing, remove); err != nil {
				missed = true
				return "", err
			}
		}
		gone, err := m.d.Control.Gone(ctx, m.plan.ID, look(ctx), thing)
		return leftUnless(gone, id.String()), err //nolint:wrapcheck // wrapped by the caller
	})
	return already, err
}
