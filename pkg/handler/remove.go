package handler

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
	*deletion
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
		key := m.layout.Work(recordName(m.n, step))
		switch _, err := m.Work.Head(ctx, key); {
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
	held, err := m.Queue.Held(ctx, m.plan.ID.String())
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
		return takesPredictions(m.command.Data)
	case "images":
		return len(p.Images) > 0
	case "selection":
		return selectsImages(m.command.Data)
	case "tags":
		return len(p.Tags) > 0 && !p.Project
	default:
		return p.Project
	}
}

// record stores a step's lines, once what the step read is in the ledger.
func (m *removal) record(ctx context.Context, key sink.Key, lines []deletedLine) error {
	if err := errors.Join(m.keepCalls(ctx), m.keepCredential(ctx)); err != nil {
		return err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return fmt.Errorf("record what was deleted: %w", err)
		}
	}
	if _, err := m.Work.Put(ctx, key, sink.Bytes(buf.Bytes(), "application/jsonl")); err != nil {
		return fmt.Errorf("record what was deleted: %w", err)
	}
	m.done += int64(len(lines))
	return m.tell(ctx, m.progress(), m.begun.StartedAt)
}

// progress is how much of what was planned is seen to be gone.
func (d *deletion) progress() contract.Progress {
	total := int64(0)
	for _, f := range d.begun.Facts {
		total += int64(f.Images + f.Iterations + f.Tags)
	}
	return contract.Progress{Done: d.done, Total: max(d.done, total)} // predictions are done, and not planned
}

// absent are lines for things that are gone now.
func (m *removal) absent(c contract.Category, how string, ids ...uuid.UUID) []deletedLine {
	now := m.Now().UTC().Truncate(time.Millisecond)
	lines := make([]deletedLine, 0, len(ids))
	for _, id := range ids {
		lines = append(lines, deletedLine{ID: id, Category: c, How: how, VerifiedAbsent: now})
	}
	return lines
}

// removalMethod is removalMethod a thing went that one call deletes.
func removalMethod(operation string, already bool) string {
	if already {
		return alreadyGone
	}
	return operation
}

// verifyDeadline says since when something is waited for, and whether that is too long. It runs
// from the first time that anybody waited for it, in any attempt.
func (d *deletion) verifyDeadline(ctx context.Context, project int, what string) (since time.Time, late bool, err error) {
	var first struct {
		V  int       `json:"v"`
		At time.Time `json:"at"`
	}
	err = d.freeze(ctx, fmt.Sprintf("verify/%06d-%s.json", project, what), &first, func(context.Context) (any, error) {
		return map[string]any{"v": contract.FormatVersion, "at": d.Now().UTC()}, nil
	})
	return first.At.UTC(), d.Now().After(first.At.Add(d.VerifyTimeout)), err
}

// pollUntilGone looks again and again, ever more slowly, pollUntilGone what was deleted is seen to
// be gone. look names something that is left; nothing when all is gone. Each thing has its own
// time: what went before it, however long that took, is none of it.
func (m *removal) pollUntilGone(ctx context.Context, what string, look func(context.Context) (left string, err error)) error {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		left, err := look(ctx)
		if err != nil || left == "" {
			return err
		}
		_, late, err := m.verifyDeadline(ctx, m.n, m.step+"-"+left)
		if err != nil {
			return err
		}
		if late {
			return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("%s of project %s could not be seen to be gone within %s (CONSUMER_VERIFY_TIMEOUT)", what, m.plan.ID, m.VerifyTimeout)}
		}
		if err := m.keepCalls(ctx); err != nil {
			return err
		}
		if err := m.tell(ctx, m.progress(), m.begun.StartedAt); err != nil {
			return err
		}
		if err := m.Wait(ctx, pause); err != nil {
			return err
		}
	}
}

// unless is what is left when it is not gone.
func unless(gone bool, left string) string {
	if gone {
		return ""
	}
	return left
}

// statusTraining is the status of an iteration that is being trained.
const statusTraining = "Training"

// training hands the command back while an iteration is in training: that cannot be stopped, and
// nobody can see or delete its copies of the images.
func (d *deletion) training(ctx context.Context, number int, project, iteration uuid.UUID) error {
	since, late, err := d.verifyDeadline(ctx, number, "training-"+iteration.String())
	if err != nil {
		return err
	}
	if late {
		return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("iteration %s of project %s is still in training, which cannot be stopped", iteration, project)}
	}
	return d.pause(ctx, &contract.Waiting{For: contract.WaitTraining, Detail: fmt.Sprintf("iteration %s of project %s is in training", iteration, project), Since: since})
}

// unpublish takes published iterations out of use: neither they nor their project could be deleted.
// An iteration still in training is waited for: it cannot be stopped, and would keep its copies of
// the images.
func (m *removal) unpublish(ctx context.Context) ([]deletedLine, error) {
	iterations, err := m.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	planned := slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return !slices.Contains(m.plan.Iterations, it.ID) })
	for _, it := range planned {
		if it.Status == statusTraining {
			return nil, m.training(ctx, m.n, m.plan.ID, it.ID)
		}
	}
	for _, it := range planned {
		if !it.Published() {
			continue
		}
		if !m.command.Data.Unpublish {
			return nil, &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf("iteration %s was published after the plan was made", it.ID)}
		}
		_, _, err := m.destroy(ctx, func(ctx context.Context) error {
			err := m.client.UnpublishIteration(ctx, m.plan.ID, it.ID)
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
func (r *run) existing(ctx context.Context, project uuid.UUID) ([]cv.Iteration, error) {
	iterations, err := r.client.GetIterations(ctx, project)
	if _, err := r.provenGone(ctx, err); err != nil {
		return nil, fmt.Errorf("read the iterations of project %s: %w", project, err)
	}
	return trained(iterations), nil
}

// snapshots is where images can be: the workspace and every iteration that the project has now. One
// in training is waited for.
func (m *removal) snapshots(ctx context.Context) ([]uuid.UUID, error) {
	iterations, err := m.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	for _, it := range iterations {
		if it.Status == statusTraining {
			return nil, m.training(ctx, m.n, m.plan.ID, it.ID)
		}
	}
	return scopesOf(iterations), nil
}

// scopes is the workspace and every iteration that a project has now.
func (r *run) scopes(ctx context.Context, project uuid.UUID) ([]uuid.UUID, error) {
	iterations, err := r.existing(ctx, project)
	if err != nil {
		return nil, err
	}
	return scopesOf(iterations), nil
}

// scopesOf is the workspace and iterations.
func scopesOf(iterations []cv.Iteration) []uuid.UUID {
	scopes := []uuid.UUID{uuid.Nil}
	for _, it := range iterations {
		scopes = append(scopes, it.ID)
	}
	return scopes
}

// predictions deletes the stored predictions up to the time the delete was begun, until the query
// for them is empty.
func (m *removal) predictions(ctx context.Context) ([]deletedLine, error) {
	scopes, err := m.scopes(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	var exported map[uuid.UUID]struct{}
	if m.begun.Export != nil {
		if exported, err = m.exportedPredictions(ctx, m.plan.ID); err != nil {
			return nil, err
		}
	}
	for _, scope := range scopes {
		tried := map[uuid.UUID]bool{}
		if err := m.pollUntilGone(ctx, "predictions", func(ctx context.Context) (string, error) { return m.predictionPages(ctx, scope, exported, tried) }); err != nil {
			return nil, err
		}
	}
	return m.absent(contract.CategoryPredictions, opDeletePrediction, m.ledger.fates.predictionsGone(m.plan.ID)...), nil
}

// predictionPages deletes what the query gives until it gives nothing, or nothing new: then left is
// the oldest that is still there. Of a delete that exported first, it deletes only what is in
// exported.
func (m *removal) predictionPages(ctx context.Context, scope uuid.UUID, exported map[uuid.UUID]struct{}, tried map[uuid.UUID]bool) (left string, err error) {
	query := predictionQuery(scope, cv.MaxPredictionIDs)
	query.EndTime = cv.Time{Time: m.begun.BegunAt}
	for {
		result, err := m.client.QueryPredictions(ctx, m.plan.ID, query)
		if already, err := m.provenGone(ctx, err); err != nil || already {
			if err != nil {
				err = fmt.Errorf("query the predictions of %s: %w", scopeName(scope), err)
			}
			return "", err
		}
		if len(result.Results) == 0 {
			return "", nil
		}
		fresh := false
		ids := make([]uuid.UUID, 0, len(result.Results))
		for _, p := range result.Results {
			if _, ok := exported[p.ID]; m.begun.Export != nil && !ok {
				return "", notExported(m.plan.ID, p.ID)
			}
			ids = append(ids, p.ID)
			fresh = fresh || !tried[p.ID]
			tried[p.ID] = true
		}
		for chunk := range slices.Chunk(ids, cv.MaxPredictionIDs) {
			if _, _, err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeletePredictions(ctx, m.plan.ID, chunk) }); err != nil {
				return "", fmt.Errorf("delete predictions: %w", err)
			}
		}
		if !fresh {
			return ids[0].String(), nil // they take their time to vanish
		}
	}
}

// images deletes the planned images everywhere, and looks until they are gone from the workspace
// and every iteration.
func (m *removal) images(ctx context.Context) ([]deletedLine, error) {
	var (
		every  = m.command.Data.Narrowing() == contract.NarrowNone // all images of the project were planned
		missed bool                                                // a call was refused because of ids that are gone
		inVain []uuid.UUID                                         // what the first calls of all named, and were refused
		before = map[uuid.UUID]struct{}{}                          // of those, what was gone before
		err    error
	)
	first := m.ledger.fates.images[m.plan.ID] == 0 // else an earlier attempt may have done a part
	if first {
		if missed, inVain, err = m.removeImages(ctx, m.plan.Images); err != nil {
			return nil, err
		}
	}
	look := 0
	err = m.pollUntilGone(ctx, "images", func(ctx context.Context) (string, error) {
		again := missed || look%resend == 0 && (look > 0 || !first)
		look++
		n, left, err := m.left(ctx, again || !every)
		if err != nil {
			return "", err
		}
		for _, id := range inVain {
			if _, there := slices.BinarySearchFunc(left, id, contract.CompareIDs); !there {
				before[id] = struct{}{}
			}
		}
		inVain = nil
		if n == 0 || len(left) == 0 && (again || !every) {
			return "", nil
		}
		if again {
			missed, _, err = m.removeImages(ctx, left)
		}
		return "any", err
	})
	if err != nil {
		return nil, err
	}
	lines := m.absent(contract.CategoryImages, opDeleteImages, m.plan.Images...)
	for i := range lines {
		if _, ok := before[lines[i].ID]; ok {
			lines[i].How = alreadyGone
		}
	}
	return lines, nil
}

// selection lists the selection once more. An image in it that is not in the plan, and was made
// before the delete began, ends the delete as plan_changed; it is not deleted.
func (m *removal) selection(ctx context.Context) ([]deletedLine, error) {
	return nil, m.pollUntilGone(ctx, "images", func(ctx context.Context) (string, error) {
		scopes, err := m.snapshots(ctx)
		if err != nil {
			return "", err
		}
		found, err := m.selectImages(ctx, m.plan.ID, scopes, func(selected) error {
			return m.tell(ctx, m.progress(), m.begun.StartedAt)
		})
		gone, absent := m.provenGone(ctx, err)
		switch {
		case absent != nil:
			return "", absent
		case gone && projectGone(err):
			return "", nil
		case gone: // an iteration, say, that went away meanwhile: the others were not looked at
			return "listing", nil
		}
		for _, id := range found.ids() {
			if _, planned := slices.BinarySearchFunc(m.plan.Images, id, contract.CompareIDs); planned {
				return id.String(), nil
			}
			if made := found[id]; made.IsZero() || !made.After(m.begun.BegunAt) {
				return "", &contract.Error{Code: contract.CodePlanChanged, Retryable: true, Message: fmt.Sprintf(
					"image %s of project %s belongs to the selection and is not in the plan: it was tagged or changed after it was looked for. "+
						"It was not deleted; publish the delete again under a new id", id, m.plan.ID)}
			}
		}
		return "", nil
	})
}

// removeImages deletes images everywhere. missed says that the service refused a call because it
// does not know some or all of the images; inVain is what such calls named, where no earlier call
// like them can be why.
func (m *removal) removeImages(ctx context.Context, ids []uuid.UUID) (missed bool, inVain []uuid.UUID, err error) {
	if _, err := m.snapshots(ctx); err != nil {
		return false, nil, err
	}
	remove := func(named []uuid.UUID, q cv.DeleteImagesQuery) error {
		gone, already, err := m.destroy(ctx, func(ctx context.Context) error {
			_, err := m.client.DeleteImages(ctx, m.plan.ID, q)
			return err //nolint:wrapcheck // wrapped below
		})
		if err != nil {
			return fmt.Errorf("delete images: %w", err)
		}
		missed = missed || gone
		if already {
			inVain = append(inVain, named...)
		}
		return m.tell(ctx, m.progress(), m.begun.StartedAt)
	}
	if d := m.command.Data; m.plan.Project && d.ApprovedPlan == "" && !d.ExportFirst { // what was added since may go too
		err = remove(ids, cv.DeleteImagesQuery{AllImages: true, AllIterations: true})
		return missed, inVain, err
	}
	for chunk := range slices.Chunk(ids, cv.MaxPage) {
		if err := remove(chunk, cv.DeleteImagesQuery{IDs: chunk, AllIterations: true}); err != nil {
			return false, nil, err
		}
	}
	return missed, inVain, nil
}

// left counts the images that are still anywhere and, where search is set, says which of the
// planned ones are among them. Where the service counts none, none are.
func (m *removal) left(ctx context.Context, search bool) (n int, left []uuid.UUID, err error) {
	scopes, err := m.snapshots(ctx)
	if err != nil {
		return 0, nil, err
	}
	found := selected{}
	for _, scope := range scopes {
		counted, err := m.count(ctx, scope)
		if err != nil {
			return 0, nil, err
		}
		n += counted
		if counted == 0 || !search {
			continue
		}
		err = m.present(ctx, m.plan.ID, scope, m.plan.Images, found)
		if _, err := m.provenGone(ctx, err); err != nil {
			return 0, nil, err
		}
	}
	return n, found.ids(), nil
}

// count is how many images a scope has, tagged and untagged; none when it is not there.
func (m *removal) count(ctx context.Context, scope uuid.UUID) (int, error) {
	total := 0
	for _, kind := range []ListingKind{Tagged, Untagged} {
		n, err := countListing(ctx, m.client, m.plan.ID, Listing{Kind: kind, Scope: scope})
		if gone, err := m.provenGone(ctx, err); err != nil || gone {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// iterations deletes the planned iterations; their performance goes with them.
func (m *removal) iterations(ctx context.Context) ([]deletedLine, error) {
	var lines []deletedLine
	for _, it := range m.plan.Iterations {
		remove := func(ctx context.Context) error { return m.client.DeleteIteration(ctx, m.plan.ID, it) }
		_, already, err := m.destroy(ctx, remove)
		if errors.Is(err, cv.ErrPublished) { // meanwhile
			if _, err := m.unpublish(ctx); err != nil {
				return nil, err
			}
			_, already, err = m.destroy(ctx, remove)
		}
		if err != nil {
			return nil, fmt.Errorf("delete iteration %s: %w", it, err)
		}
		err = m.pollUntilGone(ctx, "iteration "+it.String(), func(ctx context.Context) (string, error) {
			_, err := m.client.GetIteration(ctx, m.plan.ID, it)
			gone, err := m.provenGone(ctx, err)
			return unless(gone, it.String()), err
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
		_, already, err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeleteTag(ctx, m.plan.ID, tag) })
		if err != nil {
			return nil, fmt.Errorf("delete tag %s: %w", tag, err)
		}
		err = m.pollUntilGone(ctx, "tag "+tag.String(), func(ctx context.Context) (string, error) {
			_, err := m.client.GetTag(ctx, m.plan.ID, tag, uuid.Nil)
			gone, err := m.provenGone(ctx, err)
			return unless(gone, tag.String()), err
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
	iterations, err := m.existing(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	if len(iterations) > 0 {
		return nil, changed("iteration " + iterations[0].ID.String())
	}
	tags, err := m.client.GetTags(ctx, p.ID, uuid.Nil)
	if _, err := m.provenGone(ctx, err); err != nil {
		return nil, fmt.Errorf("read the tags of project %s: %w", p.ID, err)
	}
	for _, t := range tags {
		if _, planned := slices.BinarySearchFunc(p.Tags, t.ID, contract.CompareIDs); !planned {
			return nil, changed("tag " + t.ID.String())
		}
	}
	if m.begun.Export != nil {
		prediction, err := m.unexported(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		if prediction != uuid.Nil {
			return nil, notExported(p.ID, prediction)
		}
	}
	if err := m.keepCredential(ctx); err != nil { // after this call nothing may be there to prove it
		return nil, err
	}
	_, already, err := m.destroy(ctx, func(ctx context.Context) error { return m.client.DeleteProject(ctx, p.ID) })
	if err != nil {
		return nil, fmt.Errorf("delete project %s: %w", p.ID, err)
	}
	err = m.pollUntilGone(ctx, "project "+p.ID.String(), func(ctx context.Context) (string, error) {
		_, err := m.client.GetProject(ctx, p.ID)
		if gone, err := m.provenGone(ctx, err); err != nil || !gone {
			return "itself", err
		}
		all, err := m.client.GetProjects(ctx)
		if err != nil || slices.ContainsFunc(all, func(o cv.Project) bool { return o.ID == p.ID }) {
			return "itself", err
		}
		return "", m.checkAccount(ctx)
	})
	if err != nil {
		return nil, err
	}
	return append(m.absent(contract.CategoryTags, removalMethod("DeleteProject", already), p.Tags...), m.absent(contract.CategoryProjects, removalMethod("DeleteProject", already), p.ID)...), nil
}
