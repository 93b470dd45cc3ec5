package deletion

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Pauses between two looks at what should be gone.
const (
	minPoll = 500 * time.Millisecond
	maxPoll = 10 * time.Second
	// resend is after how many looks what is still there is searched for and deleted again.
	resend = 6
)

// removal is one project of a delete. It can be begun again at any point: a step whose record is
// stored is done.
type removal struct {
	d     *Deleter
	n     int // of the project in the plan
	plan  projectPlan
	facts projectFacts
	free  bool // of legal holds, when it was looked for
	step  string
}

// deletedLine is a line of deleted.jsonl.
type deletedLine struct {
	ID             uuid.UUID         `json:"id"`
	Category       contract.Category `json:"category"`
	How            string            `json:"how"` // the operation that removed it, or already_gone
	VerifiedAbsent time.Time         `json:"verified_absent"`
}

const alreadyGone = "already_gone"

// recordName is the working object that holds the lines of one step of a project.
func recordName(project int, step string) string {
	return fmt.Sprintf("deleted/%06d-%s.jsonl", project, step)
}

// steps are the steps of a removal, in the order that the service's traps ask for.
func steps() []string {
	return []string{"unpublish", "predictions", "images", "selection", "iterations", "tags", "project"}
}

// run removes what was planned of the project, step by step, each verified and recorded before the
// next.
func (m *removal) run(ctx context.Context) error {
	do := map[string]func(context.Context) ([]deletedLine, error){
		"unpublish": m.unpublish, "predictions": m.predictions, "images": m.images, "selection": m.selection,
		"iterations": m.iterations, "tags": m.tags, "project": m.project,
	}
	for _, step := range steps() {
		if !m.wants(step) {
			continue
		}
		m.step = step
		key := m.d.Bags.Layout.Work(recordName(m.n, step))
		switch _, err := m.d.Bags.Work.Head(ctx, key); {
		case err == nil:
			continue
		case !errors.Is(err, sink.ErrNotFound):
			return fmt.Errorf("look for the record of step %s of project %s: %w", step, m.plan.ID, err)
		}
		if err := m.checkLegalHold(ctx); err != nil {
			return err
		}
		lines, err := do[step](ctx)
		if err != nil {
			return err
		}
		if err := m.record(ctx, key, lines); err != nil {
			return err
		}
	}
	return nil
}

// checkLegalHold ends a delete of which a project was put under a legal hold after it was begun:
// what is not deleted yet stays. It looks once for each project.
func (m *removal) checkLegalHold(ctx context.Context) error {
	if m.free {
		return nil
	}
	held, err := m.d.Holds.Held(ctx, m.plan.ID.String())
	if err != nil {
		return fmt.Errorf("look for legal holds: %w", err)
	}
	if held {
		return &contract.Error{Code: contract.CodeLegalHold, Message: fmt.Sprintf("project %s was put under a legal hold after the delete was begun: what was not deleted yet stays", m.plan.ID)}
	}
	m.free = true
	return nil
}

func (m *removal) wants(step string) bool {
	p := m.plan
	switch step {
	case "unpublish", "iterations":
		return len(p.Iterations) > 0
	case "predictions":
		return takesPredictions(m.d.Command.Data)
	case "images":
		return len(p.Images) > 0
	case "selection":
		return selectsImages(m.d.Command.Data)
	case "tags":
		return len(p.Tags) > 0 && !p.Project
	default:
		return p.Project
	}
}

// record stores a step's lines, once what the step read is in the ledger.
func (m *removal) record(ctx context.Context, key sink.Key, lines []deletedLine) error {
	if err := errors.Join(m.d.Attempt.FlushCalls(ctx), m.d.keepCredential(ctx)); err != nil {
		return err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("record what was deleted: %w", err)
		}
	}
	if _, err := m.d.Bags.Work.Put(ctx, key, sink.Bytes(buf.Bytes(), "application/jsonl")); err != nil {
		return fmt.Errorf("record what was deleted: %w", err)
	}
	m.d.done += int64(len(lines))
	return m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt)
}

// progress is how much of what was planned is seen to be gone.
func (d *Deleter) progress() contract.Progress {
	total := int64(0)
	for _, f := range d.begun.Facts {
		total += int64(f.Images + f.Iterations + f.Tags)
	}
	return contract.Progress{Done: d.done, Total: max(d.done, total)} // predictions are done, and not planned
}

// absent are lines for things that are gone now.
func (m *removal) absent(c contract.Category, how string, ids ...uuid.UUID) []deletedLine {
	now := m.d.Now().UTC().Truncate(time.Millisecond)
	lines := make([]deletedLine, 0, len(ids))
	for _, id := range ids {
		lines = append(lines, deletedLine{ID: id, Category: c, How: how, VerifiedAbsent: now})
	}
	return lines
}

// removalMethod is how a thing went that one call deletes.
func removalMethod(operation string, already bool) string {
	if already {
		return alreadyGone
	}
	return operation
}

// verifyDeadline says since when something is waited for, and whether that is too long. It runs
// from the first time that anybody waited for it, in any attempt.
func (d *Deleter) verifyDeadline(ctx context.Context, project int, what string) (since time.Time, late bool, err error) {
	type wait struct {
		V  int       `json:"v"`
		At time.Time `json:"at"`
	}
	key := d.Bags.WorkKey(fmt.Sprintf("verify/%06d-%s.json", project, what))
	first, _, err := unit.Freeze(ctx, d.Bags.Work, key, false, func(context.Context) (wait, error) {
		return wait{contract.FormatVersion, d.Now().UTC().Round(0)}, nil
	})
	return first.At.UTC(), d.Now().After(first.At.Add(d.VerifyTimeout)), err
}

// pollUntilGone looks again and again, ever more slowly, until what was deleted is seen to be gone. look names something that is left; nothing when all is gone. Each thing has its own
// time: what went before it, however long that took, is none of it.
func (m *removal) pollUntilGone(ctx context.Context, what string, look func(context.Context) (left string, err error)) error {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		left, err := look(ctx)
		if err != nil || left == "" {
			return err
		}
		_, late, err := m.d.verifyDeadline(ctx, m.n, m.step+"-"+left)
		if err != nil {
			return err
		}
		if late {
			return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("%s of project %s could not be seen to be gone within %s (CONSUMER_VERIFY_TIMEOUT)", what, m.plan.ID, m.d.VerifyTimeout)}
		}
		if err := m.d.Attempt.FlushCalls(ctx); err != nil {
			return err
		}
		if err := m.d.Attempt.Progress(ctx, m.d.progress(), m.d.begun.StartedAt); err != nil {
			return err
		}
		if err := m.d.Wait(ctx, pause); err != nil {
			return err
		}
	}
}

// leftUnless names what is left, unless it is gone.
func leftUnless(gone bool, left string) string {
	if gone {
		return ""
	}
	return left
}

// training hands the command back while an iteration is in training: that cannot be stopped, and
// nobody can see or delete its copies of the images.
func (d *Deleter) training(ctx context.Context, number int, project, iteration uuid.UUID) error {
	since, late, err := d.verifyDeadline(ctx, number, "training-"+iteration.String())
	if err != nil {
		return err
	}
	if late {
		return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("iteration %s of project %s is still in training, which cannot be stopped", iteration, project)}
	}
	return &waitError{contract.Waiting{For: contract.WaitTraining, Detail: fmt.Sprintf("iteration %s of project %s is in training", iteration, project), Since: since}}
}

// unpublish takes published iterations out of use: neither they nor their project could be deleted.
// An iteration still in training is waited for: it cannot be stopped, and would keep its copies of
// the images.
func (m *removal) unpublish(ctx context.Context) ([]deletedLine, error) {
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
		_, _, err := m.d.destroy(ctx, func(ctx context.Context) error {
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
	return nil, nil
}

// existing is the iterations a project has now; none when it is gone.
func (d *Deleter) existing(ctx context.Context, project uuid.UUID) ([]cv.Iteration, error) {
	iterations, err := d.Client.GetIterations(ctx, project)
	if _, err := d.provenGone(ctx, err); err != nil {
		return nil, fmt.Errorf("read the iterations of project %s: %w", project, err)
	}
	return survey.Trained(iterations), nil
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
	return survey.ScopesOf(iterations), nil
}

// scopes is the workspace and every iteration that a project has now.
func (d *Deleter) scopes(ctx context.Context, project uuid.UUID) ([]uuid.UUID, error) {
	iterations, err := d.existing(ctx, project)
	if err != nil {
		return nil, err
	}
	return survey.ScopesOf(iterations), nil
}

// iterations deletes the planned iterations; their performance goes with them.
func (m *removal) iterations(ctx context.Context) ([]deletedLine, error) {
	var lines []deletedLine
	for _, it := range m.plan.Iterations {
		remove := func(ctx context.Context) error { return m.d.Client.DeleteIteration(ctx, m.plan.ID, it) }
		_, already, err := m.d.destroy(ctx, remove)
		if errors.Is(err, cv.ErrPublished) { // meanwhile
			if _, err := m.unpublish(ctx); err != nil {
				return nil, err
			}
			_, already, err = m.d.destroy(ctx, remove)
		}
		if err != nil {
			return nil, fmt.Errorf("delete iteration %s: %w", it, err)
		}
		err = m.pollUntilGone(ctx, "iteration "+it.String(), func(ctx context.Context) (string, error) {
			_, err := m.d.Client.GetIteration(ctx, m.plan.ID, it)
			gone, err := m.d.provenGone(ctx, err)
			return leftUnless(gone, it.String()), err
		})
		if err != nil {
			return nil, err
		}
		lines = append(lines, m.absent(contract.CategoryIterations, removalMethod("DeleteIteration", already), it)...)
		if slices.Contains(m.facts.Trained, it) {
			lines = append(lines, m.absent(contract.CategoryPerformance, removalMethod("DeleteIteration", already), it)...)
		}
	}
	return lines, nil
}

// tags deletes the planned tags of the workspace. Images that carried them stay; iterations keep
// their own copies.
func (m *removal) tags(ctx context.Context) ([]deletedLine, error) {
	var lines []deletedLine
	for _, tag := range m.plan.Tags {
		_, already, err := m.d.destroy(ctx, func(ctx context.Context) error { return m.d.Client.DeleteTag(ctx, m.plan.ID, tag) })
		if err != nil {
			return nil, fmt.Errorf("delete tag %s: %w", tag, err)
		}
		err = m.pollUntilGone(ctx, "tag "+tag.String(), func(ctx context.Context) (string, error) {
			_, err := m.d.Client.GetTag(ctx, m.plan.ID, tag, uuid.Nil)
			gone, err := m.d.provenGone(ctx, err)
			return leftUnless(gone, tag.String()), err
		})
		if err != nil {
			return nil, err
		}
		lines = append(lines, m.absent(contract.CategoryTags, removalMethod("DeleteTag", already), tag)...)
	}
	return lines, nil
}

// project deletes the project, which must be empty by now: what is left in it was planned by
// nobody.
func (m *removal) project(ctx context.Context) ([]deletedLine, error) {
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
	if _, err := m.d.provenGone(ctx, err); err != nil {
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
	_, already, err := m.d.destroy(ctx, func(ctx context.Context) error { return m.d.Client.DeleteProject(ctx, p.ID) })
	if err != nil {
		return nil, fmt.Errorf("delete project %s: %w", p.ID, err)
	}
	err = m.pollUntilGone(ctx, "project "+p.ID.String(), func(ctx context.Context) (string, error) {
		_, err := m.d.Client.GetProject(ctx, p.ID)
		if gone, err := m.d.provenGone(ctx, err); err != nil || !gone {
			return "itself", err
		}
		all, err := m.d.Client.GetProjects(ctx)
		if err != nil || slices.ContainsFunc(all, func(o cv.Project) bool { return o.ID == p.ID }) {
			return "itself", err
		}
		return "", m.d.checkAccount(ctx)
	})
	if err != nil {
		return nil, err
	}
	return append(m.absent(contract.CategoryTags, removalMethod("DeleteProject", already), p.Tags...), m.absent(contract.CategoryProjects, removalMethod("DeleteProject", already), p.ID)...), nil
}
