package deletion

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// deleteImages deletes the planned images everywhere, and looks until they are gone from the
// workspace and every iteration. What no call of this command can have removed was gone before.
func (m *removal) deleteImages(ctx context.Context) (lines, error) {
	var (
		every  = m.d.Command.Data.Narrowing() == contract.NarrowNone // all images of the project were planned
		missed bool                                                  // a call was refused because of ids that are gone
		by     string                                                // the operations that showed that they are gone
		err    error
	)
	first := m.d.Ledger.ProjectCalls(ledger.OpDeleteImages, m.plan.ID) == 0 // else an earlier attempt may have done a part
	if first {
		if missed, err = m.removeImages(ctx, m.plan.Images); err != nil {
			return nil, err
		}
	}
	look := 0
	err = m.pollUntilGone(ctx, "images", func(ctx context.Context) (string, error) {
		again := missed || look%resend == 0 && (look > 0 || !first)
		look++
		n, left, seenBy, err := m.left(ctx, again || !every)
		by = seenBy
		if err != nil {
			return "", err
		}
		if n == 0 || len(left) == 0 && (again || !every) {
			return "", nil
		}
		if again {
			missed, err = m.removeImages(ctx, left)
		}
		return "any", err
	})
	if err != nil {
		return nil, err
	}
	removed, all, err := m.d.Ledger.Removed(ctx, ledger.OpDeleteImages, m.plan.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	how := func(id uuid.UUID) string {
		return removalMethod(ledger.OpDeleteImages, !all && !has(removed, id))
	}
	return m.absentEach(contract.CategoryImages, how, by, m.plan.Images...), nil
}

// relistSelection lists the selection once more. An image in it that is not in the plan, and was
// made before the delete began, ends the delete as plan_changed; it is not deleted.
func (m *removal) relistSelection(ctx context.Context) (lines, error) {
	return joined(), m.pollUntilGone(ctx, "images", func(ctx context.Context) (string, error) {
		scopes, err := m.recentSnapshots(ctx)
		if err != nil {
			return "", err
		}
		found, err := m.survey(ctx).Images(ctx, scopes)
		// An iteration that went away meanwhile is a contradiction: the others were not looked at.
		if gone, err := m.d.Control.Gone(ctx, m.plan.ID, err); err != nil || gone {
			return "", err //nolint:wrapcheck // wrapped by the caller
		}
		for _, id := range found.IDs() {
			if has(m.plan.Images, id) {
				return id.String(), nil
			}
			if made := found[id]; made.IsZero() || !made.After(m.d.begun.BegunAt) {
				return "", &contract.Error{Code: contract.CodePlanChanged, Retryable: true, Message: fmt.Sprintf(
					"image %s of project %s belongs to the selection and is not in the plan: it was tagged or changed after it was looked for. "+
						"It was not deleted; publish the delete again under a new id", id, m.plan.ID)}
			}
		}
		return "", nil
	})
}

// survey finds the images of the project that the command selects.
func (m *removal) survey(ctx context.Context) survey.Survey {
	return survey.Survey{
		Client: m.d.Client, Project: m.plan.ID, Data: m.d.Command.Data, Gone: m.d.Control.Gone,
		Progress: func(int) error { return m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt) },
	}
}

// removeImages deletes images everywhere. missed: the service refused a call because it does not
// know some of its images.
func (m *removal) removeImages(ctx context.Context, ids []uuid.UUID) (missed bool, err error) {
	if m.d.Now().Sub(m.d.planned) >= recently { // else none was in training just now
		if _, err := m.recentSnapshots(ctx); err != nil {
			return false, err
		}
	}
	remove := func(q cv.DeleteImagesQuery) error {
		gone, _, err := m.destroy(ctx, cv.ThingImage, func(ctx context.Context) error {
			_, err := m.d.Client.DeleteImages(ctx, m.plan.ID, q)
			return err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("delete images: %w", err)
		}
		missed = missed || gone
		return m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt)
	}
	if data := m.d.Command.Data; m.plan.Project && data.ApprovedPlan == "" && !data.ExportFirst { // what was added since may go too
		err = remove(cv.DeleteImagesQuery{AllImages: true, AllIterations: true})
		return missed, err
	}
	err = inBatches(ids, cv.MaxPage, func(batch []uuid.UUID) error {
		return remove(cv.DeleteImagesQuery{IDs: batch, AllIterations: true})
	})
	return missed, err
}

// has reports whether an id is among ids, which are in byte order.
func has(ids []uuid.UUID, id uuid.UUID) bool {
	_, ok := slices.BinarySearchFunc(ids, id, contract.CompareIDs)
	return ok
}

// left counts the images that are still anywhere and, where search is set, says which of the
// planned ones are among them, by the operations in by. Where the service counts none, none are.
func (m *removal) left(ctx context.Context, search bool) (n int, left []uuid.UUID, by string, err error) {
	scopes, err := m.snapshots(ctx)
	if err != nil {
		return 0, nil, "", err
	}
	found := survey.Selected{}
	if search && len(m.plan.Images) == 1 { // to ask for it takes fewer calls than to count
		for _, scope := range scopes {
			_, gone, err := m.present(ctx, scope, found)
			if err != nil {
				return 0, nil, "", err
			}
			if gone {
				return 0, nil, bagfile.ByProject, nil
			}
		}
		return 1, found.IDs(), bagfile.ByIDs, nil
	}
	by = bagfile.ByCounts
	for _, scope := range scopes {
		counted, gone, err := m.count(ctx, scope)
		if err != nil {
			return 0, nil, "", err
		}
		if gone {
			return 0, nil, bagfile.ByProject, nil
		}
		n += counted
		if counted == 0 || !search {
			continue
		}
		listed, _, err := m.present(ctx, scope, found)
		if err != nil {
			return 0, nil, "", err
		}
		switch {
		case listed:
			by = bagfile.ByListings
		case by == bagfile.ByCounts:
			by = bagfile.ByIDs
		}
	}
	return n, found.IDs(), by, nil
}

// present adds the planned images that are in a scope; listed as of survey.Present. gone: the
// project is not there.
func (m *removal) present(ctx context.Context, scope uuid.UUID, found survey.Selected) (listed, gone bool, err error) {
	listed, err = m.survey(ctx).Present(ctx, scope, m.plan.Images, found)
	gone, err = m.d.Control.Gone(ctx, m.plan.ID, err)
	return listed, gone, err //nolint:wrapcheck // the callers' callers say what they look for
}

// count is how many images a scope has, tagged and untagged; none when the project is gone. A scope
// that is not there, though it was just listed, is a contradiction: the scopes are to be listed
// again.
func (m *removal) count(ctx context.Context, scope uuid.UUID) (total int, gone bool, err error) {
	for _, kind := range []survey.ListingKind{survey.Tagged, survey.Untagged} {
		n, err := survey.Count(ctx, m.d.Client, m.plan.ID, survey.Listing{Kind: kind, Scope: scope})
		if gone, err := m.d.Control.Gone(ctx, m.plan.ID, err); err != nil || gone {
			return 0, gone, err //nolint:wrapcheck // wrapped by the caller
		}
		total += n
	}
	return total, false, nil
}
