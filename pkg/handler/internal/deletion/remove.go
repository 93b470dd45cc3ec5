package deletion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
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
	for _, step := range steps() {
		if !m.wants(step) {
			continue
		}
		m.step = step
		key := m.d.Bags.WorkKey(recordName(m.n, step))
		switch _, err := m.d.Bags.Work.Head(ctx, key); {
		case err == nil:
			continue
		case !errors.Is(err, sink.ErrNotFound):
			return fmt.Errorf("look for the record of step %s of project %s: %w", step, m.plan.ID, err)
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
		if err := m.record(ctx, key, gone); err != nil {
			return err
		}
	}
	return nil
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
