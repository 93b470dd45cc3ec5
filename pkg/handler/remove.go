package handler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// Pauses between two looks at what should be gone.
const (
	minPoll = time.Second
	maxPoll = 10 * time.Second
	// resend is after how many looks what is still there is deleted again.
	resend = 6
)

// removal is one project of a delete. It can be begun again at any point: what is gone already is done.
type removal struct {
	*deletion
	plan  projectPlan
	facts projectFacts
	done  map[uuid.UUID]string // how each id went
	lines []deletedLine
}

// run removes what was planned of the project, in the order that the service's traps ask for, and verifies each step.
func (m *removal) run(ctx context.Context) ([]deletedLine, error) {
	d := m.command.Data
	p := m.plan
	for _, step := range []struct {
		wanted bool
		do     func(context.Context) error
	}{
		{len(p.Iterations) > 0, m.unpublish},
		{p.Project || d.Has(CategoryPredictions) && d.Narrowing() == NarrowNone, m.predictions},
		{len(p.Images) > 0, m.images},
		{len(p.Iterations) > 0, m.iterations},
		{len(p.Tags) > 0 && !p.Project, m.tags},
		{p.Project, m.project},
	} {
		if !step.wanted {
			continue
		}
		if err := step.do(ctx); err != nil {
			return nil, err
		}
	}
	return m.lines, nil
}

// note records ids as gone now.
func (m *removal) note(c Category, ids []uuid.UUID, how string) {
	now := m.Now().UTC().Truncate(time.Millisecond)
	for _, id := range ids {
		h := how
		if own, ok := m.done[id]; ok {
			h = own
		}
		m.lines = append(m.lines, deletedLine{ID: id, Category: c, How: h, VerifiedAbsent: now})
	}
}

// until looks again and again, ever more slowly, until what was deleted is seen to be gone. again, when given, deletes what is still there.
func (m *removal) until(ctx context.Context, what string, absent func(context.Context) (bool, error), again func(context.Context) error) error {
	pause := minPoll
	for look := 1; ; look++ {
		ok, err := absent(ctx)
		if err != nil || ok {
			return err
		}
		if m.late() {
			return &Error{Code: CodeUnverified, Message: fmt.Sprintf("%s of project %s could not be verified as gone within %s", what, m.plan.ID, m.VerifyTimeout)}
		}
		if again != nil && look%resend == 0 {
			if err := again(ctx); err != nil {
				return err
			}
		}
		if err := m.Wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, maxPoll)
	}
}

func (m *removal) late() bool { return m.Now().After(m.begun.BegunAt.Add(m.VerifyTimeout)) }

// unpublish takes published iterations out of use: neither they nor their project could be deleted. An iteration still in training is
// waited for.
func (m *removal) unpublish(ctx context.Context) error {
	iterations, err := m.client.GetIterations(ctx, m.plan.ID)
	if already, err := gone(err); err != nil || already {
		return err
	}
	for _, it := range iterations {
		if !slices.Contains(m.plan.Iterations, it.ID) {
			continue
		}
		if it.Status == statusTraining {
			if m.late() {
				return &Error{Code: CodeUnverified, Message: fmt.Sprintf("iteration %s is still in training, which cannot be stopped", it.ID)}
			}
			return m.wait(ctx, WaitTraining, fmt.Sprintf("iteration %s is in training", it.ID), 0)
		}
		if !it.Published() {
			continue
		}
		if !m.command.Data.Unpublish {
			return &Error{Code: CodePlanChanged, Message: fmt.Sprintf("iteration %s was published after the plan was made", it.ID)}
		}
		err := m.destroy(ctx, func(ctx context.Context) error {
			err := m.client.UnpublishIteration(ctx, m.plan.ID, it.ID)
			var api *cv.Error
			if errors.As(err, &api) && api.Code == "BadRequestIterationNotPublished" {
				return nil
			}
			return err //nolint:wrapcheck // wrapped below
		})
		if _, err := gone(err); err != nil {
			return fmt.Errorf("unpublish iteration %s: %w", it.ID, err)
		}
	}
	return nil
}

// statusTraining is the status of an iteration that is being trained.
const statusTraining = "Training"

// predictions deletes the stored predictions up to the time the delete was begun, until the query for them is empty.
func (m *removal) predictions(ctx context.Context) error {
	for _, scope := range append([]uuid.UUID{uuid.Nil}, m.facts.Scopes...) {
		tried := map[uuid.UUID]bool{}
		if err := m.until(ctx, "predictions", func(ctx context.Context) (bool, error) { return m.predictionPages(ctx, scope, tried) }, nil); err != nil {
			return err
		}
	}
	m.note(CategoryPredictions, m.ledger.predictions[m.plan.ID], "DeletePrediction")
	return nil
}

// predictionPages deletes what the query gives until it gives nothing, or nothing new. It reports whether it gave nothing.
func (m *removal) predictionPages(ctx context.Context, scope uuid.UUID, tried map[uuid.UUID]bool) (bool, error) {
	query := cv.PredictionQueryToken{OrderBy: cv.Oldest, MaxCount: cv.MaxPredictionIDs, EndTime: cv.Time{Time: m.begun.BegunAt}}
	if scope != uuid.Nil {
		query.IterationID = &scope
	}
	for round := 0; ; round++ {
		result, err := m.client.QueryPredictions(ctx, m.plan.ID, query)
		if already, err := gone(err); err != nil || already {
			if err != nil {
				err = fmt.Errorf("query the predictions of %s: %w", scopeName(scope), err)
			}
			return already, err
		}
		if len(result.Results) == 0 {
			return true, nil
		}
		fresh := 0
		ids := make([]uuid.UUID, 0, len(result.Results))
		for _, p := range result.Results {
			ids = append(ids, p.ID)
			if !tried[p.ID] {
				tried[p.ID] = true
				fresh++
			}
		}
		if fresh == 0 && round > 0 {
			return false, nil // they take their time to vanish
		}
		for chunk := range slices.Chunk(ids, cv.MaxPredictionIDs) {
			err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeletePredictions(ctx, m.plan.ID, chunk) })
			if _, err := gone(err); err != nil {
				return false, fmt.Errorf("delete predictions: %w", err)
			}
		}
		if fresh == 0 {
			return false, nil
		}
	}
}

// images deletes the planned images everywhere, and looks until they are gone from the workspace and every iteration.
func (m *removal) images(ctx context.Context) error {
	p := m.plan
	todo := p.Images
	var err error
	if !m.fresh { // an earlier attempt may have done a part
		if todo, err = m.left(ctx); err != nil {
			return err
		}
	}
	d := m.command.Data
	all := p.Project && d.ApprovedPlan == "" && !d.ExportFirst
	how := "DeleteImages"
	remove := func(ctx context.Context, ids []uuid.UUID) error {
		if len(ids) == 0 {
			return nil
		}
		if all {
			return m.deleteImages(ctx, cv.DeleteImagesQuery{AllImages: true, AllIterations: true})
		}
		for chunk := range slices.Chunk(ids, cv.MaxPage) {
			if err := m.deleteImages(ctx, cv.DeleteImagesQuery{IDs: chunk, AllIterations: true}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := remove(ctx, todo); err != nil {
		return err
	}
	err = m.until(ctx, "images", func(ctx context.Context) (bool, error) {
		left, err := m.left(ctx)
		todo = left
		return len(left) == 0, err
	}, func(ctx context.Context) error { return remove(ctx, todo) })
	if err != nil {
		return err
	}
	m.note(CategoryImages, p.Images, how)
	return nil
}

func (m *removal) deleteImages(ctx context.Context, q cv.DeleteImagesQuery) error {
	err := m.destroy(ctx, func(ctx context.Context) error {
		_, err := m.client.DeleteImages(ctx, m.plan.ID, q)
		return err //nolint:wrapcheck // wrapped below
	})
	if _, err := gone(err); err != nil {
		return fmt.Errorf("delete images: %w", err)
	}
	return nil
}

// left is which planned images are still somewhere. Where the service counts none in a scope, none are there; else it is asked for them.
func (m *removal) left(ctx context.Context) ([]uuid.UUID, error) {
	found := map[uuid.UUID]struct{}{}
	for _, scope := range append([]uuid.UUID{uuid.Nil}, m.facts.Scopes...) {
		n, err := m.count(ctx, scope)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		if err := m.present(ctx, m.plan.ID, scope, m.plan.Images, found); err != nil {
			if already, err := gone(err); err != nil || !already {
				return nil, err
			}
		}
	}
	out := make([]uuid.UUID, 0, len(found))
	for id := range found {
		out = append(out, id)
	}
	return sorted(out), nil
}

// count is how many images a scope has, tagged and untagged; none when it is not there.
func (m *removal) count(ctx context.Context, scope uuid.UUID) (int, error) {
	total := 0
	for _, kind := range []ListingKind{Tagged, Untagged} {
		n, err := countListing(ctx, m.client, m.plan.ID, Listing{Kind: kind, Scope: scope})
		if already, err := gone(err); err != nil || already {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// iterations deletes the planned iterations; their performance goes with them.
func (m *removal) iterations(ctx context.Context) error {
	for _, it := range m.plan.Iterations {
		err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeleteIteration(ctx, m.plan.ID, it) })
		already, err := gone(err)
		if err != nil {
			return fmt.Errorf("delete iteration %s: %w", it, err)
		}
		if already && m.fresh {
			m.done[it] = alreadyGone
		}
		err = m.until(ctx, "iteration "+it.String(), func(ctx context.Context) (bool, error) {
			_, err := m.client.GetIteration(ctx, m.plan.ID, it)
			already, err := gone(err)
			return already, err
		}, nil)
		if err != nil {
			return err
		}
		m.note(CategoryIterations, []uuid.UUID{it}, "DeleteIteration")
	}
	return nil
}

// tags deletes the planned tags of the workspace. Images that carried them stay, untagged; iterations keep their own copies.
func (m *removal) tags(ctx context.Context) error {
	for _, tag := range m.plan.Tags {
		err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeleteTag(ctx, m.plan.ID, tag) })
		already, err := gone(err)
		if err != nil {
			return fmt.Errorf("delete tag %s: %w", tag, err)
		}
		if already && m.fresh {
			m.done[tag] = alreadyGone
		}
		err = m.until(ctx, "tag "+tag.String(), func(ctx context.Context) (bool, error) {
			_, err := m.client.GetTag(ctx, m.plan.ID, tag, uuid.Nil)
			already, err := gone(err)
			return already, err
		}, nil)
		if err != nil {
			return err
		}
		m.note(CategoryTags, []uuid.UUID{tag}, "DeleteTag")
	}
	return nil
}

// project deletes the project, which must be empty by now: what is left in it was planned by nobody.
func (m *removal) project(ctx context.Context) error {
	p := m.plan
	n, err := m.count(ctx, uuid.Nil)
	if err != nil {
		return err
	}
	if n > 0 {
		return &Error{Code: CodePlanChanged, Message: fmt.Sprintf("project %s holds %d images that were added after the plan was made; the project itself was not deleted", p.ID, n)}
	}
	iterations, err := m.client.GetIterations(ctx, p.ID)
	if _, err := gone(err); err != nil {
		return fmt.Errorf("look for what is left in project %s: %w", p.ID, err)
	}
	if len(iterations) > 0 {
		return &Error{Code: CodePlanChanged, Message: fmt.Sprintf("project %s has iteration %s, which was added after the plan was made; the project itself was not deleted", p.ID, iterations[0].ID)}
	}
	err = m.destroy(ctx, func(ctx context.Context) error { return m.client.DeleteProject(ctx, p.ID) })
	already, err := gone(err)
	if err != nil {
		return fmt.Errorf("delete project %s: %w", p.ID, err)
	}
	if already && m.fresh {
		m.done[p.ID] = alreadyGone
	}
	err = m.until(ctx, "project "+p.ID.String(), func(ctx context.Context) (bool, error) {
		_, err := m.client.GetProject(ctx, p.ID)
		if already, err := gone(err); err != nil || !already {
			return false, err
		}
		all, err := m.client.GetProjects(ctx)
		return !slices.ContainsFunc(all, func(o cv.Project) bool { return o.ID == p.ID }), err
	}, nil)
	if err != nil {
		return err
	}
	m.note(CategoryTags, p.Tags, "DeleteProject")
	m.note(CategoryProjects, []uuid.UUID{p.ID}, "DeleteProject")
	return nil
}
