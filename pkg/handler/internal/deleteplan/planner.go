package deleteplan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Planner reads what the selection of a delete holds.
type Planner struct {
	Client  *cv.Client
	Control *account.Control
	Data    contract.Data
	// ServiceTime is the service's clock, as its latest answer had it; zero before.
	ServiceTime func() time.Time
	// Claim says that the command is about to work on these projects, of which all that the account
	// lists are selected.
	Claim func(ctx context.Context, projects []uuid.UUID) error
	// Progress hears now and then how many images of a project are found so far.
	Progress func(ctx context.Context, found int) error
}

// Plan is a plan as it was made.
type Plan struct {
	Spool    *sink.Spool // its canonical bytes
	Facts    []Facts     // in the order of the plan's projects
	NotFound NotFound
	Others   []uuid.UUID // of the account, not planned; see account.Control.Others
	At       time.Time   // by the service's clock, when the planner began to read; zero if it is not known
}

// Facts is what a project of a plan was judged by, and what the plan does not cover.
type Facts struct {
	ID          uuid.UUID   `json:"id"`
	Images      int         `json:"images"`
	Iterations  int         `json:"iterations"`
	Tags        int         `json:"tags"`
	Trained     []uuid.UUID `json:"trained"`     // of the planned iterations, those with a performance
	Predictions int         `json:"predictions"` // counted, of a dry run only
	Learned     []uuid.UUID `json:"learned"`     // iterations that stay and were trained, and that have planned images
	Name        string      `json:"name"`        // the project's
	Kept        bool        `json:"kept"`        // iterations stay, and with them their copies of the planned tags

	ReadOnly  bool        `json:"-"`
	Touched   bool        `json:"-"` // something of it is to be deleted
	Published []uuid.UUID `json:"-"` // of what is planned
	Training  uuid.UUID   `json:"-"` // an iteration whose images could not be read, as it is in training
}

// NotFound is the projects that a command names and that were not found when it was planned.
// Nothing is known of them: they may never have been there.
type NotFound struct {
	Projects []uuid.UUID `json:"projects"`
	Listed   int         `json:"listed"` // how many projects the account listed then
}

// Digest is the digest of the plan, which requesters approve.
func (p *Plan) Digest() string { return p.Spool.SHA256() }

// Projects are the ids of the plan's projects.
func (p *Plan) Projects() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(p.Facts))
	for _, f := range p.Facts {
		ids = append(ids, f.ID)
	}
	return ids
}

// Images is how many images are planned.
func (p *Plan) Images() int {
	n := 0
	for _, f := range p.Facts {
		n += f.Images
	}
	return n
}

// Counts is what would be deleted of a project.
func (f Facts) Counts(p bagfile.PlanProject) bagfile.Counts {
	c := bagfile.Counts{
		Images: int64(f.Images), Iterations: int64(f.Iterations), Tags: int64(f.Tags), Performance: int64(len(f.Trained)), Predictions: int64(f.Predictions),
	}
	if p.Project {
		c.Projects = 1
	}
	return c
}

// Write reads what the selection holds and writes it to the spool as canonical JSON. What is gone
// already is not in it. It fails with account.ErrContradiction when something comes or goes
// meanwhile, so that the plan is to be made again, and with cv.ErrUnstable when images come and go
// all the time.
func (r Planner) Write(ctx context.Context, spool *sink.Spool, head bagfile.Plan) (*Plan, error) {
	plan := &Plan{Spool: spool}
	projects := r.Data.ProjectIDs
	if r.Data.AllProjects {
		all, err := r.Client.GetProjects(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the projects: %w", err)
		}
		plan.At = r.ServiceTime()
		for _, p := range all {
			projects = append(projects, p.ID)
		}
		r.Control.Listed(projects...)
		if err := r.Claim(ctx, projects); err != nil {
			return nil, err
		}
	}
	out, err := NewWriter(spool, head)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Compact(contract.SortedIDs(projects)) {
		project, err := r.Client.GetProject(ctx, id)
		if plan.At.IsZero() {
			plan.At = r.ServiceTime()
		}
		switch {
		case cv.Missing(err) == cv.ThingProject:
			plan.NotFound.Projects = append(plan.NotFound.Projects, id)
			continue
		case err != nil:
			return nil, fmt.Errorf("read project %s: %w", id, err)
		}
		p, facts, err := r.project(ctx, project)
		if err != nil {
			return nil, r.wentAway(ctx, id, err)
		}
		if err := out.Add(p); err != nil {
			return nil, err
		}
		plan.Facts = append(plan.Facts, facts)
	}
	if err := r.recheckNotFound(ctx, plan); err != nil {
		return nil, err
	}
	if len(plan.Facts) > 0 && !r.Data.AllProjects && !r.Data.DryRun {
		if plan.Others, err = r.Control.Others(ctx, plan.Projects()); err != nil {
			return nil, err //nolint:wrapcheck // it says what it lists
		}
	}
	return plan, out.Close()
}

// wentAway is the error of planning a project of which something was not found: it went away, or
// the answers contradict each other.
func (r Planner) wentAway(ctx context.Context, project uuid.UUID, err error) error {
	if !errors.Is(err, cv.ErrGone) {
		return err
	}
	if gone, err := r.Control.Gone(ctx, project, err); err != nil || !gone {
		return err //nolint:wrapcheck // it says what it looked for
	}
	return fmt.Errorf("%w: project %s went away while it was planned", account.ErrContradiction, project)
}

// recheckNotFound looks again for the projects that were not found. It fails with
// account.ErrContradiction when one of them is there now.
func (r Planner) recheckNotFound(ctx context.Context, plan *Plan) (err error) {
	absent := plan.NotFound.Projects
	if len(absent) == 0 {
		return nil
	}
	plan.NotFound.Listed, err = r.Control.NotListed(ctx, absent)
	if err == nil && r.Data.AllProjects { // it was listed when the plan was begun
		return fmt.Errorf("%w: project %s went away while it was planned", account.ErrContradiction, absent[0])
	}
	return err //nolint:wrapcheck // it says what it asked for
}

// project reads what a project holds of the selection.
func (r Planner) project(ctx context.Context, project cv.Project) (bagfile.PlanProject, Facts, error) {
	id := project.ID
	r.Control.Expect(id)
	iterations, err := r.Client.GetIterations(ctx, id)
	if err != nil {
		return bagfile.PlanProject{}, Facts{}, fmt.Errorf("read the iterations of project %s: %w", id, err)
	}
	whole := r.Data.Has(contract.CategoryProjects) && r.Data.Narrowing() == contract.NarrowNone
	if r.lacksIterations(iterations, whole) {
		if iterations, err = lookAgain(ctx, r, "iterations", iterations, func(ctx context.Context) ([]cv.Iteration, error) { return r.Client.GetIterations(ctx, id) }); err != nil {
			return bagfile.PlanProject{}, Facts{}, err
		}
	}
	iterations = survey.WithoutWorkspace(iterations)
	p := bagfile.PlanProject{ID: id, Project: whole, Images: []uuid.UUID{}, Iterations: []uuid.UUID{}, Tags: []uuid.UUID{}}
	f := Facts{ID: id, Name: project.Name, ReadOnly: project.DRModeEnabled}
	for _, it := range iterations {
		if it.Status == survey.StatusTraining && (whole || r.Data.Has(contract.CategoryImages)) {
			f.Training = it.ID
		}
		if !whole && !r.takesIteration(it.ID) {
			continue
		}
		p.Iterations = append(p.Iterations, it.ID)
		if it.Published() {
			f.Published = append(f.Published, it.ID)
		}
		if !it.TrainedAt.IsZero() {
			f.Trained = append(f.Trained, it.ID)
		}
	}
	if p.Tags, err = r.tags(ctx, id, whole); err != nil {
		return p, f, err
	}
	scopes := survey.ScopesOf(iterations)
	if whole || r.Data.Has(contract.CategoryImages) {
		images := survey.Selected{}
		for _, scope := range scopes {
			here, err := survey.Survey{
				Client: r.Client, Project: id, Data: r.Data, Gone: r.Control.Gone, Progress: func(found int) error { return r.Progress(ctx, len(images)+found) },
			}.Images(ctx, []uuid.UUID{scope})
			if err != nil {
				return p, f, err //nolint:wrapcheck // it says what it reads
			}
			if len(here) > 0 && !slices.Contains(p.Iterations, scope) && slices.ContainsFunc(iterations, func(it cv.Iteration) bool { return it.ID == scope && !it.TrainedAt.IsZero() }) {
				f.Learned = append(f.Learned, scope)
			}
			maps.Copy(images, here)
		}
		p.Images = images.IDs()
	}
	predictions := TakesPredictions(r.Data)
	if r.Data.DryRun && predictions {
		if f.Predictions, err = survey.CountPredictions(ctx, r.Client, id, scopes); err != nil {
			return p, f, err //nolint:wrapcheck // it says what it reads
		}
	}
	p.Iterations = contract.SortedIDs(p.Iterations)
	f.Images, f.Iterations, f.Tags = len(p.Images), len(p.Iterations), len(p.Tags)
	f.Touched = !p.Empty() || predictions
	f.Kept = f.Tags > 0 && f.Iterations < len(iterations)
	return p, f, nil
}

// lacksIterations reports whether the service lists none of the iterations, or not all of the named
// ones, that a delete which keeps the project takes.
func (r Planner) lacksIterations(listed []cv.Iteration, whole bool) bool {
	if r.Data.Narrowing() != contract.NarrowIterations {
		return !whole && r.takesIteration(uuid.Nil) && len(listed) == 0
	}
	return slices.ContainsFunc(r.Data.IterationIDs, func(id uuid.UUID) bool {
		return !slices.ContainsFunc(listed, func(it cv.Iteration) bool { return it.ID == id })
	})
}

// lacksTags reports whether the service does not list all named tags.
func (r Planner) lacksTags(listed []cv.Tag) bool {
	return slices.ContainsFunc(r.Data.TagIDs, func(id uuid.UUID) bool {
		return !slices.ContainsFunc(listed, func(t cv.Tag) bool { return t.ID == id })
	})
}

// lookAgain lists again, a while later, where what is selected was not listed: one replica of the
// service that lags behind is no proof. It fails with account.ErrContradiction when more is listed
// then, as what was read by the first listing is to be read again.
func lookAgain[T any](ctx context.Context, r Planner, what string, first []T, list func(context.Context) ([]T, error)) ([]T, error) {
	if err := r.Control.Wait(ctx, account.Recheck); err != nil {
		return nil, fmt.Errorf("wait to list the %s again: %w", what, err)
	}
	second, err := list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the %s again: %w", what, err)
	}
	if len(second) > len(first) {
		return nil, fmt.Errorf("%w: %d %s are listed, and %d before", account.ErrContradiction, len(second), what, len(first))
	}
	return second, nil
}

// takesIteration reports whether a delete that keeps the project takes an iteration of it.
func (r Planner) takesIteration(id uuid.UUID) bool {
	switch r.Data.Narrowing() {
	case contract.NarrowIterations:
		return slices.Contains(r.Data.IterationIDs, id)
	case contract.NarrowNone:
		return r.Data.Has(contract.CategoryIterations)
	default:
		return false
	}
}

// tags are those that are to be deleted of the workspace.
func (r Planner) tags(ctx context.Context, project uuid.UUID, whole bool) ([]uuid.UUID, error) {
	planned := []uuid.UUID{}
	if !whole && !r.Data.Has(contract.CategoryTags) && r.Data.Narrowing() != contract.NarrowTags {
		return planned, nil
	}
	tags, err := r.Client.GetTags(ctx, project, uuid.Nil)
	if err != nil {
		return nil, fmt.Errorf("read the tags of project %s: %w", project, err)
	}
	if r.Data.Narrowing() == contract.NarrowTags && r.lacksTags(tags) {
		if tags, err = lookAgain(ctx, r, "tags", tags, func(ctx context.Context) ([]cv.Tag, error) { return r.Client.GetTags(ctx, project, uuid.Nil) }); err != nil {
			return nil, err
		}
	}
	for _, t := range tags {
		if whole || r.Data.Has(contract.CategoryTags) && (r.Data.Narrowing() == contract.NarrowNone || slices.Contains(r.Data.TagIDs, t.ID)) {
			planned = append(planned, t.ID)
		}
	}
	return contract.SortedIDs(planned), nil
}

// SelectsImages reports whether a delete takes images by what they are or carry: their ids, tags or
// metadata.
func SelectsImages(d contract.Data) bool {
	n := d.Narrowing()
	return d.Has(contract.CategoryImages) && (n == contract.NarrowImages || n == contract.NarrowTags || n == contract.NarrowMetadata)
}

// TakesPredictions reports whether a delete takes the stored predictions of its projects.
func TakesPredictions(d contract.Data) bool {
	return d.Narrowing() == contract.NarrowNone && (d.Has(contract.CategoryProjects) || d.Has(contract.CategoryPredictions))
}
