package deletion

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// deleteProject deletes the project, which must be empty by now: what is left in it was not
// planned.
func (m *removal) deleteProject(ctx context.Context) ([]deletedLine, error) {
	p := m.plan
	changed := func(what string) error {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("project %s has %s, added after the plan was made: the project itself was not deleted", p.ID, what)}
	}
	n, err := m.count(ctx, uuid.Nil)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		return nil, changed(fmt.Sprintf("%d images", n))
	}
	iterations, err := m.d.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	if len(iterations) > 0 {
		return nil, changed("iteration " + iterations[0].ID.String())
	}
	tags, err := m.d.Client.GetTags(ctx, p.ID, uuid.Nil)
	if _, err := m.d.Control.Gone(ctx, p.ID, err); err != nil {
		return nil, fmt.Errorf("read the tags of project %s: %w", p.ID, err)
	}
	for _, t := range tags {
		if _, planned := slices.BinarySearchFunc(p.Tags, t.ID, contract.CompareIDs); !planned {
			return nil, changed("tag " + t.ID.String())
		}
	}
	if m.d.begun.Export != nil {
		prediction, err := m.d.unexported(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		if prediction != uuid.Nil {
			return nil, notExported(p.ID, prediction)
		}
	}
	if err := m.d.keepCredential(ctx); err != nil { // after this call nothing may be there to prove it
		return nil, err
	}
	_, already, err := m.destroy(ctx, cv.ThingProject, func(ctx context.Context) error { return m.d.Client.DeleteProject(ctx, p.ID) })
	if err != nil {
		return nil, fmt.Errorf("delete project %s: %w", p.ID, err)
	}
	err = m.pollUntilGone(ctx, "project "+p.ID.String(), func(ctx context.Context) (string, error) {
		_, err := m.d.Client.GetProject(ctx, p.ID)
		gone, err := m.d.Control.Gone(ctx, p.ID, err) // which looks into the list of projects, too
		return leftUnless(gone, "itself"), err        //nolint:wrapcheck // wrapped by the caller
	})
	if err != nil {
		return nil, err
	}
	return append(m.absent(contract.CategoryTags, removalMethod("DeleteProject", already), p.Tags...), m.absent(contract.CategoryProjects, removalMethod("DeleteProject", already), p.ID)...), nil
}
