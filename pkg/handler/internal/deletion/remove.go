package deletion

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// removal is one project of a delete. It can be begun again at any point: a step whose record is
// stored is done.
type removal struct {
	d           *Deleter
	n           int // of the project in the plan
	plan        bagfile.PlanProject
	facts       deleteplan.Facts
	holdChecked bool // of legal holds, when it was looked for
	step        string
	scopes      []uuid.UUID // as snapshots read them at scopesAt
	scopesAt    time.Time
}

// steps are the steps of a removal, in the order that the service's traps ask for.
func steps() []string {
	return []string{"unpublish", "predictions", "images", "selection", "iterations", "tags", "last-look", "project"}
}

// run removes what was planned of the project, step by step, each verified and recorded before the
// next.
func (m *removal) run(ctx context.Context) error {
	do := map[string]func(context.Context) (lines, error){
		"unpublish": m.unpublishIterations, "predictions": m.deletePredictions, "images": m.deleteImages, "selection": m.relistSelection,
		"iterations": m.deleteIterations, "tags": m.deleteTags, "last-look": m.relistSelection, "project": m.deleteProject,
	}
	resumed := false // some steps ended in an earlier attempt
	for _, step := range m.wanted() {
		m.step = step
		switch ended, err := m.ended(ctx); {
		case err != nil:
			return err
		case ended:
			resumed = true
			continue
		}
		if err := m.checkLegalHold(ctx); err != nil {
			return err
		}
		var gone lines
		// A step can be begun again at any point: it is where the service contradicts itself.
		if err := m.pollUntilGone(ctx, "what step "+step+" removes", func(ctx context.Context) (_ string, err error) {
			gone, err = do[step](ctx)
			return "", err
		}); err != nil {
			return err
		}
		if err := m.record(ctx, gone); err != nil {
			return err
		}
	}
	if !resumed {
		return nil
	}
	m.step = "again"
	return m.pollUntilGone(ctx, "what an earlier attempt deleted", m.stillThere)
}

// ended reports whether the step ended in an earlier attempt.
func (m *removal) ended(ctx context.Context) (bool, error) {
	if m.d.Bags.Fresh {
		return false, nil
	}
	return m.d.records().Ended(ctx, m.at(m.step)) //nolint:wrapcheck // it says what it reads
}

// stillThere looks once more for what the records of an earlier attempt say is gone, and names
// something that is there. It proves nothing: that the records do.
func (m *removal) stillThere(ctx context.Context) (left string, err error) {
	p := m.plan
	projects, err := m.d.Client.GetProjects(ctx)
	if err != nil {
		return "", fmt.Errorf("list the projects: %w", err)
	}
	if listed := slices.ContainsFunc(projects, func(project cv.Project) bool { return project.ID == p.ID }); !listed || p.Project {
		return leftUnless(!listed, "project"), nil
	}
	iterations, err := m.d.existing(ctx, p.ID)
	if err != nil {
		return "", err
	}
	for _, it := range iterations {
		if has(p.Iterations, it.ID) {
			return it.ID.String(), nil
		}
	}
	if len(p.Tags) > 0 {
		tags, err := m.d.Client.GetTags(ctx, p.ID, uuid.Nil)
		if _, err := m.d.Control.Gone(ctx, p.ID, err); err != nil {
			return "", fmt.Errorf("read the tags of project %s: %w", p.ID, err)
		}
		for _, t := range tags {
			if has(p.Tags, t.ID) {
				return t.ID.String(), nil
			}
		}
	}
	if len(p.Images) == 0 {
		return "", nil
	}
	_, images, _, err := m.left(ctx, true)
	return leftUnless(len(images) == 0, "images"), err
}

// checkLegalHold ends a delete of which a project was put under a legal hold after it was begun:
// what is not deleted yet stays. It looks once for each project.
func (m *removal) checkLegalHold(ctx context.Context) error {
	if m.holdChecked {
		return nil
	}
	held, err := m.d.Holds.Held(ctx, m.plan.ID.String())
	if err != nil {
		return fmt.Errorf("look for legal holds: %w", err)
	}
	if held {
		return &contract.Error{Code: contract.CodeLegalHold, Message: fmt.Sprintf("project %s was put under a legal hold after the delete was begun: what was not deleted yet stays", m.plan.ID)}
	}
	m.holdChecked = true
	return nil
}

// wanted are the steps that the removal has.
func (m *removal) wanted() []string {
	return slices.DeleteFunc(steps(), func(step string) bool { return !m.wants(step) })
}

func (m *removal) wants(step string) bool {
	p := m.plan
	switch step {
	case "unpublish", "iterations":
		return len(p.Iterations) > 0
	case "predictions":
		return deleteplan.TakesPredictions(m.d.Command.Data)
	case "images":
		return len(p.Images) > 0
	case "selection":
		return deleteplan.SelectsImages(m.d.Command.Data) || len(p.Images) > 0 && !p.Project // counts alone prove nothing
	case "last-look": // the selection once more, after the last step
		return deleteplan.SelectsImages(m.d.Command.Data) && len(p.Tags) > 0
	case "tags":
		return len(p.Tags) > 0 && !p.Project
	default:
		return p.Project
	}
}

// startedAt is when the delete was begun or, before that, accepted.
func (d *Deleter) startedAt() time.Time {
	if d.begun.StartedAt.IsZero() {
		return d.Job.Created
	}
	return d.begun.StartedAt
}

// progress is how much of what was planned is seen to be gone.
func (d *Deleter) progress() contract.Progress {
	total := int64(0)
	for _, f := range d.begun.Facts {
		total += int64(f.Images + f.Iterations + f.Tags)
	}
	return contract.Progress{Done: d.done, Total: max(d.done, total)} // predictions are done, and not planned
}
