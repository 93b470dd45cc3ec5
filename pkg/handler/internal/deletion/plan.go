package deletion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deleteplan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// projectFacts is what a plan was judged by, and what it does not cover.
type projectFacts struct {
	ID          uuid.UUID   `json:"id"`
	Images      int         `json:"images"`
	Iterations  int         `json:"iterations"`
	Tags        int         `json:"tags"`
	Trained     []uuid.UUID `json:"trained"`     // of the planned iterations, those with a performance
	Predictions int         `json:"predictions"` // counted, of a dry run only
	Kept        bool        `json:"kept"`        // iterations stay, and with them their copies of the planned tags

	name      string
	readOnly  bool
	touched   bool        // something of it is to be deleted
	published []uuid.UUID // of what is planned
	training  uuid.UUID   // an iteration whose images could not be read, as it is in training
}

// deletePlan is a plan as it was made: its canonical bytes are in a temporary file.
type deletePlan struct {
	spool    *sink.Spool
	facts    []projectFacts
	notFound notFound
}

// notFound is the projects that a command names and that were not found when it was planned.
// Nothing is known of them: they may never have been there.
type notFound struct {
	Projects []uuid.UUID `json:"projects"`
	Listed   int         `json:"listed"` // how many projects the account listed then
}

func (p *deletePlan) digest() string { return p.spool.SHA256() }

func (p *deletePlan) images() int {
	n := 0
	for _, f := range p.facts {
		n += f.Images
	}
	return n
}

// planHead is the head that the command's plan has now, at the host of the Training API.
func (d *Deleter) planHead(host string) deleteplan.Head {
	return deleteplan.NewHead(d.Pseudonym.Redact(d.Command.Data), host)
}

// planDelete reads what the selection holds and writes it down as canonical JSON. What is gone
// already is not in it. The caller closes the plan's spool.
func (d *Deleter) planDelete(ctx context.Context) (_ *deletePlan, err error) {
	data := d.Command.Data
	projects := data.ProjectIDs
	if data.AllProjects {
		all, err := d.Client.GetProjects(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the projects: %w", err)
		}
		for _, p := range all {
			projects = append(projects, p.ID)
		}
		d.Control.Expect(projects...)
	}
	projects = contract.SortedIDs(projects)
	spool, err := sink.NewSpool(d.Bags.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("open a spool: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, spool.Close())
		}
	}()
	plan := &deletePlan{spool: spool}
	out, err := deleteplan.NewWriter(spool, d.planHead(d.Client.Host()))
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it writes
	}
	for _, id := range projects {
		p, facts, found, err := d.planProject(ctx, id)
		if err != nil {
			return nil, err
		}
		if !found {
			plan.notFound.Projects = append(plan.notFound.Projects, id)
			continue
		}
		if err := out.Add(p); err != nil {
			return nil, err //nolint:wrapcheck // it says what it writes
		}
		plan.facts = append(plan.facts, facts)
	}
	if err := d.recheckNotFound(ctx, plan); err != nil {
		return nil, err
	}
	if err = out.Close(); err != nil {
		return nil, err //nolint:wrapcheck // it says what it writes
	}
	return plan, nil
}

// recheckNotFound looks again for the projects that the plan did not find. It fails with
// account.ErrContradiction, so that the plan is made again, when one of them is there now.
func (d *Deleter) recheckNotFound(ctx context.Context, plan *deletePlan) error {
	absent := plan.notFound.Projects
	if len(absent) == 0 {
		return nil
	}
	listed, err := d.Control.NotListed(ctx, absent)
	if err == nil && d.Command.Data.AllProjects { // it was listed when the plan was begun
		err = fmt.Errorf("%w: project %s went away while it was planned", account.ErrContradiction, absent[0])
	}
	plan.notFound.Listed = listed
	return err //nolint:wrapcheck // it says what it asked for
}

// planProject reads what a project holds of the selection. found is false when the project is gone.
// What goes away while it is read makes the plan worth making again.
func (d *Deleter) planProject(ctx context.Context, id uuid.UUID) (p deleteplan.Project, f projectFacts, found bool, err error) {
	defer func() {
		if errors.Is(err, cv.ErrGone) {
			said := err
			var gone bool
			if gone, err = d.Control.Gone(ctx, id, said); gone {
				err = fmt.Errorf("%w: it went away while it was planned: %v", account.ErrContradiction, said)
			}
		}
	}()
	data := d.Command.Data
	project, err := d.Client.GetProject(ctx, id)
	if cv.Missing(err) == cv.ThingProject {
		return p, f, false, nil
	}
	if err != nil {
		return p, f, false, fmt.Errorf("read project %s: %w", id, err)
	}
	d.Control.Expect(id)
	iterations, err := d.Client.GetIterations(ctx, id)
	if err != nil {
		return p, f, false, fmt.Errorf("read the iterations of project %s: %w", id, err)
	}
	iterations = survey.WithoutWorkspace(iterations)
	whole := data.Has(contract.CategoryProjects) && data.Narrowing() == contract.NarrowNone
	p = deleteplan.Project{ID: id, Project: whole, Images: []uuid.UUID{}, Iterations: []uuid.UUID{}, Tags: []uuid.UUID{}}
	f = projectFacts{ID: id, name: project.Name, readOnly: project.DRModeEnabled}
	scopes := survey.ScopesOf(iterations)
	for _, it := range iterations {
		if it.Status == survey.StatusTraining && (whole || data.Has(contract.CategoryImages)) {
			f.training = it.ID
		}
		named := data.Narrowing() == contract.NarrowIterations && slices.Contains(data.IterationIDs, it.ID)
		all := data.Narrowing() == contract.NarrowNone && data.Has(contract.CategoryIterations)
		if !whole && !named && !all {
			continue
		}
		p.Iterations = append(p.Iterations, it.ID)
		if it.Published() {
			f.published = append(f.published, it.ID)
		}
		if !it.TrainedAt.IsZero() {
			f.Trained = append(f.Trained, it.ID)
		}
	}
	if whole || data.Has(contract.CategoryTags) || data.Narrowing() == contract.NarrowTags {
		tags, err := d.Client.GetTags(ctx, id, uuid.Nil)
		if err != nil {
			return p, f, false, fmt.Errorf("read the tags of project %s: %w", id, err)
		}
		for _, t := range tags {
			if whole || data.Has(contract.CategoryTags) && (data.Narrowing() == contract.NarrowNone || slices.Contains(data.TagIDs, t.ID)) {
				p.Tags = append(p.Tags, t.ID)
			}
		}
	}
	if whole || data.Has(contract.CategoryImages) {
		images, err := d.survey(id, func(found int) error {
			return d.Attempt.Progress(ctx, contract.Progress{Done: int64(found)}, d.Job.Created)
		}).Images(ctx, scopes)
		if err != nil {
			return p, f, false, err
		}
		p.Images = images.IDs()
	}
	predictions := takesPredictions(data)
	if data.DryRun && predictions {
		if f.Predictions, err = survey.CountPredictions(ctx, d.Client, id, scopes); err != nil {
			return p, f, false, err
		}
	}
	p.Iterations, p.Tags = contract.SortedIDs(p.Iterations), contract.SortedIDs(p.Tags)
	f.Images, f.Iterations, f.Tags = len(p.Images), len(p.Iterations), len(p.Tags)
	f.touched = !p.Empty() || predictions
	f.Kept = f.Tags > 0 && f.Iterations < len(iterations)
	return p, f, true, nil
}

// selectsImages reports whether a delete takes images by what they are or carry: their ids, tags or
// metadata.
func selectsImages(d contract.Data) bool {
	n := d.Narrowing()
	return d.Has(contract.CategoryImages) && (n == contract.NarrowImages || n == contract.NarrowTags || n == contract.NarrowMetadata)
}

// takesPredictions reports whether a delete takes the stored predictions of its projects.
func takesPredictions(d contract.Data) bool {
	return d.Narrowing() == contract.NarrowNone && (d.Has(contract.CategoryProjects) || d.Has(contract.CategoryPredictions))
}

// survey finds the images of a project that the command selects. progress hears how many are found
// so far.
func (d *Deleter) survey(project uuid.UUID, progress func(found int) error) survey.Survey {
	return survey.Survey{Client: d.Client, Project: project, Data: d.Command.Data, Progress: progress,
		Gone: func(ctx context.Context, err error, about ...cv.Thing) (bool, error) {
			return d.Control.Gone(ctx, project, err, about...) //nolint:wrapcheck // the survey says what it asked for
		},
	}
}
