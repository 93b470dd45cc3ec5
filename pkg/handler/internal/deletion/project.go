package deletion

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// deleteProject deletes the project, which must be empty by now: what is left in it was not
// planned.
func (m *removal) deleteProject(ctx context.Context) (lines, error) {
	p := m.plan
	if err := m.pollUntilGone(ctx, "what was planned", m.leftover); err != nil {
		return nil, err
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
	already, err := m.removeOne(ctx, cv.ThingProject, p.ID,
		func(ctx context.Context) error { return m.d.Client.DeleteProject(ctx, p.ID) },
		func(ctx context.Context) error {
			_, err := m.d.Client.GetProject(ctx, p.ID) // that it is not listed either is a part of the proof
			return err                                 //nolint:wrapcheck // wrapped below
		})
	if err != nil {
		return nil, fmt.Errorf("delete project %s: %w", p.ID, err)
	}
	how := removalMethod("DeleteProject", already)
	return joined(m.absent(contract.CategoryTags, how, bagfile.ByProject, p.Tags...), m.absent(contract.CategoryProjects, how, bagfile.ByProject, p.ID)), nil
}

// leftover looks for what is left in the project. What was planned was seen to be gone, by a direct
// read: a listing that still has it is behind, and is asked again. What was not planned ends the
// delete as plan_changed.
func (m *removal) leftover(ctx context.Context) (left string, err error) {
	p := m.plan
	changed := func(what string) error {
		return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("project %s has %s, added after the plan was made: the project itself was not deleted", p.ID, what)}
	}
	iterations, err := m.d.existing(ctx, p.ID)
	if err != nil {
		return "", err
	}
	for _, it := range iterations {
		if !has(p.Iterations, it.ID) {
			return "", changed("iteration " + it.ID.String())
		}
		left = "iteration " + it.ID.String()
	}
	n, _, err := m.count(ctx, uuid.Nil)
	if err != nil {
		return "", err
	}
	if n > 0 {
		found, err := m.survey(ctx).Images(ctx, []uuid.UUID{uuid.Nil})
		if gone, err := m.d.Control.Gone(ctx, p.ID, err); err != nil || gone {
			return "", err //nolint:wrapcheck // wrapped by the caller
		}
		for _, id := range found.IDs() {
			if !has(p.Images, id) {
				return "", changed(fmt.Sprintf("image %s and perhaps others, %d in all", id, n))
			}
		}
		left = "images"
	}
	tags, err := m.d.Client.GetTags(ctx, p.ID, uuid.Nil)
	if _, err := m.d.Control.Gone(ctx, p.ID, err); err != nil {
		return "", fmt.Errorf("read the tags of project %s: %w", p.ID, err)
	}
	for _, t := range tags { // those that were planned go with the project
		if !has(p.Tags, t.ID) {
			return "", changed("tag " + t.ID.String())
		}
	}
	return left, nil
}
