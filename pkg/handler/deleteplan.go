package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// selection is what of a command a plan's digest covers. The fields are in the order of their
// names, so that the JSON is canonical.
type selection struct {
	AllProjects   bool                `json:"all_projects"`
	ImageIDs      []uuid.UUID         `json:"image_ids"`
	ImageMetadata []map[string]string `json:"image_metadata"` // pseudonyms
	IterationIDs  []uuid.UUID         `json:"iteration_ids"`
	ProjectIDs    []uuid.UUID         `json:"project_ids"`
	TagIDs        []uuid.UUID         `json:"tag_ids"`
}

// planHead is a plan but for its projects. The fields are in the order of their names.
type planHead struct {
	APIVersion string              `json:"api_version"`
	Categories []contract.Category `json:"categories"`
	Host       string              `json:"host"`
	Selection  selection           `json:"selection"`
	Unpublish  bool                `json:"unpublish"`
	V          int                 `json:"v"`
}

// newPlanHead is the head that the command's plan has now, at the host of the Training API.
func (r *run) newPlanHead(host string) planHead {
	d := r.command.Data
	return planHead{
		APIVersion: cv.APIVersion, Categories: slices.Sorted(slices.Values(d.Categories)), Host: host,
		Selection: selection{
			AllProjects: d.AllProjects, ImageIDs: contract.SortedIDs(d.ImageIDs),
			ImageMetadata: append([]map[string]string{}, r.Pseudonym.Redact(d).ImageMetadata...),
			IterationIDs:  contract.SortedIDs(d.IterationIDs), ProjectIDs: contract.SortedIDs(d.ProjectIDs), TagIDs: contract.SortedIDs(d.TagIDs),
		},
		Unpublish: d.Unpublish, V: contract.FormatVersion,
	}
}

// projectPlan is what a delete will remove of one project: ids in byte order. The fields are in the
// order of their names.
type projectPlan struct {
	ID         uuid.UUID   `json:"id"`
	Images     []uuid.UUID `json:"images"`
	Iterations []uuid.UUID `json:"iterations"`
	Project    bool        `json:"project"` // the project itself goes, and everything with it
	Tags       []uuid.UUID `json:"tags"`
}

func (p projectPlan) empty() bool {
	return !p.Project && len(p.Images)+len(p.Iterations)+len(p.Tags) == 0 // but for predictions
}

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

// planDelete reads what the selection holds and writes it down as canonical JSON. What is gone
// already is not in it. The caller closes the plan's spool.
func (r *run) planDelete(ctx context.Context) (_ *deletePlan, err error) {
	d := r.command.Data
	projects := d.ProjectIDs
	if d.AllProjects {
		all, err := r.client.GetProjects(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the projects: %w", err)
		}
		for _, p := range all {
			projects = append(projects, p.ID)
		}
		r.account.expect(projects...)
	}
	projects = contract.SortedIDs(projects)
	spool, err := sink.NewSpool(r.SpoolDir)
	if err != nil {
		return nil, fmt.Errorf("open a spool: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, spool.Close())
		}
	}()
	plan := &deletePlan{spool: spool}
	write := func(parts ...any) error {
		for _, part := range parts {
			var b []byte
			switch v := part.(type) {
			case string:
				b = []byte(v)
			default:
				if b, err = contract.Marshal(v); err != nil {
					return fmt.Errorf("encode the plan: %w", err)
				}
			}
			if _, err := spool.Write(b); err != nil {
				return fmt.Errorf("spool the plan: %w", err)
			}
		}
		return nil
	}
	head := r.newPlanHead(r.client.Host())
	if err := write(`{"api_version":`, quoted(head.APIVersion), `,"categories":`, head.Categories, `,"host":`, quoted(head.Host), `,"projects":[`); err != nil {
		return nil, err
	}
	for _, id := range projects {
		p, facts, found, err := r.planProject(ctx, id)
		if err != nil {
			return nil, err
		}
		if !found {
			plan.notFound.Projects = append(plan.notFound.Projects, id)
			continue
		}
		comma := ""
		if len(plan.facts) > 0 {
			comma = ","
		}
		if err := write(comma, p); err != nil {
			return nil, err
		}
		plan.facts = append(plan.facts, facts)
	}
	if err := r.recheckNotFound(ctx, plan); err != nil {
		return nil, err
	}
	if err = write(`],"selection":`, head.Selection, `,"unpublish":`, head.Unpublish, `,"v":`, head.V, "}\n"); err != nil {
		return nil, err
	}
	return plan, nil
}

// recheckNotFound looks again for the projects that the plan did not find. It fails, so that the
// plan is made again, when one of them is there now; it waits when the account that answers is not
// the planned one.
func (r *run) recheckNotFound(ctx context.Context, plan *deletePlan) error {
	absent := plan.notFound.Projects
	if len(absent) == 0 {
		return nil
	}
	moved := func(id uuid.UUID) error {
		return fmt.Errorf("%w: project %s came or went while it was planned", cv.ErrUnavailable, id)
	}
	if len(plan.facts) > 0 || r.command.Data.AllProjects {
		for _, id := range absent {
			_, err := r.client.GetProject(ctx, id)
			gone, err := r.provenGone(ctx, err)
			if err != nil {
				return fmt.Errorf("look for project %s again: %w", id, err)
			}
			if !gone || r.command.Data.AllProjects {
				return moved(id)
			}
		}
	}
	projects, err := r.client.GetProjects(ctx)
	if err != nil {
		return fmt.Errorf("list the projects: %w", err)
	}
	for _, p := range projects {
		if slices.Contains(absent, p.ID) {
			return moved(p.ID)
		}
	}
	plan.notFound.Listed = len(projects)
	return nil
}

// quoted is a string that a plan writes as JSON, where a plain string is written as it is.
type quoted string

// planProject reads what a project holds of the selection. found is false when the project is gone.
// What goes away while it is read makes the plan worth making again.
func (r *run) planProject(ctx context.Context, id uuid.UUID) (p projectPlan, f projectFacts, found bool, err error) {
	defer func() {
		said := err
		var gone bool
		if gone, err = r.provenGone(ctx, said); gone {
			err = fmt.Errorf("%w: it changed while it was planned: %w", cv.ErrUnavailable, said)
		}
	}()
	d := r.command.Data
	project, err := r.client.GetProject(ctx, id)
	if errors.Is(err, cv.ErrGone) {
		return p, f, false, nil
	}
	if err != nil {
		return p, f, false, fmt.Errorf("read project %s: %w", id, err)
	}
	r.account.expect(id)
	iterations, err := r.client.GetIterations(ctx, id)
	if err != nil {
		return p, f, false, fmt.Errorf("read the iterations of project %s: %w", id, err)
	}
	iterations = trained(iterations)
	whole := d.Has(contract.CategoryProjects) && d.Narrowing() == contract.NarrowNone
	p = projectPlan{ID: id, Project: whole, Images: []uuid.UUID{}, Iterations: []uuid.UUID{}, Tags: []uuid.UUID{}}
	f = projectFacts{ID: id, name: project.Name, readOnly: project.DRModeEnabled}
	scopes := scopesOf(iterations)
	for _, it := range iterations {
		if it.Status == statusTraining && (whole || d.Has(contract.CategoryImages)) {
			f.training = it.ID
		}
		named := d.Narrowing() == contract.NarrowIterations && slices.Contains(d.IterationIDs, it.ID)
		all := d.Narrowing() == contract.NarrowNone && d.Has(contract.CategoryIterations)
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
	if whole || d.Has(contract.CategoryTags) || d.Narrowing() == contract.NarrowTags {
		tags, err := r.client.GetTags(ctx, id, uuid.Nil)
		if err != nil {
			return p, f, false, fmt.Errorf("read the tags of project %s: %w", id, err)
		}
		for _, t := range tags {
			if whole || d.Has(contract.CategoryTags) && (d.Narrowing() == contract.NarrowNone || slices.Contains(d.TagIDs, t.ID)) {
				p.Tags = append(p.Tags, t.ID)
			}
		}
	}
	if whole || d.Has(contract.CategoryImages) {
		images, err := r.selectImages(ctx, id, scopes, func(found selected) error {
			return r.tell(ctx, contract.Progress{Done: int64(len(found))}, r.job.Created)
		})
		if err != nil {
			return p, f, false, err
		}
		p.Images = images.ids()
	}
	predictions := takesPredictions(d)
	if d.DryRun && predictions {
		if f.Predictions, err = r.countPredictions(ctx, id, scopes); err != nil {
			return p, f, false, err
		}
	}
	p.Iterations, p.Tags = contract.SortedIDs(p.Iterations), contract.SortedIDs(p.Tags)
	f.Images, f.Iterations, f.Tags = len(p.Images), len(p.Iterations), len(p.Tags)
	f.touched = !p.empty() || predictions
	f.Kept = f.Tags > 0 && f.Iterations < len(iterations)
	return p, f, true, nil
}

// trained is iterations without the workspace, which old services list among them with status New:
// it cannot be deleted by itself.
func trained(iterations []cv.Iteration) []cv.Iteration {
	return slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return it.Status == "New" })
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

// selected is the images that a selection holds, with the time when each was made.
type selected map[uuid.UUID]time.Time

func (s selected) add(image cv.Image) { s[image.ID] = image.Created.Time }

// ids are the images' ids, in byte order.
func (s selected) ids() []uuid.UUID {
	return contract.SortedIDs(slices.Collect(maps.Keys(s)))
}

// selectImages finds the selected images of a project, in these scopes. It calls read now and then,
// with what is found so far.
func (r *run) selectImages(ctx context.Context, p uuid.UUID, scopes []uuid.UUID, read func(selected) error) (selected, error) {
	d := r.command.Data
	found := selected{}
	for _, scope := range scopes {
		var err error
		switch d.Narrowing() {
		case contract.NarrowImages:
			err = r.present(ctx, p, scope, d.ImageIDs, found)
		case contract.NarrowTags:
			err = r.selectTagged(ctx, p, scope, found, read)
		default:
			err = r.list(ctx, p, []Listing{{Kind: Tagged, Scope: scope}, {Kind: Untagged, Scope: scope}}, found, read)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// selectTagged finds the images of a scope that carry any of the named tags.
func (r *run) selectTagged(ctx context.Context, p, scope uuid.UUID, found selected, read func(selected) error) error {
	tags, err := r.client.GetTags(ctx, p, scope)
	none, err := r.holdsNothing(ctx, scope, err)
	if err != nil {
		return fmt.Errorf("read the tags of %s: %w", scopeName(scope), err)
	}
	if none {
		return nil
	}
	var here []uuid.UUID
	for _, t := range tags {
		if slices.Contains(r.command.Data.TagIDs, t.ID) {
			here = append(here, t.ID)
		}
	}
	var listings []Listing
	for chunk := range slices.Chunk(here, cv.MaxTagIDs) {
		listings = append(listings, Listing{Kind: Tagged, Scope: scope, Tags: chunk})
	}
	return r.list(ctx, p, listings, found, read)
}

// holdsNothing reports whether err says that a scope holds nothing: an iteration that was never
// trained, or that is gone. Every other error it returns.
func (r *run) holdsNothing(ctx context.Context, scope uuid.UUID, err error) (bool, error) {
	if errors.Is(err, cv.ErrUntrained) {
		return true, nil
	}
	if scope == uuid.Nil {
		return false, err
	}
	return r.provenGone(ctx, err)
}

// present adds the ids that a scope has. A batch that fails for an image that is not there is asked
// in halves: the answer says nothing of the others, nor of the scope.
func (r *run) present(ctx context.Context, p, scope uuid.UUID, ids []uuid.UUID, found selected) error {
	for chunk := range slices.Chunk(ids, cv.MaxPage) {
		images, err := r.client.GetImagesByIDs(ctx, p, scope, chunk)
		if isCode(err, "NotFoundImage") {
			if len(chunk) > 1 {
				half := len(chunk) / 2
				err = r.present(ctx, p, scope, chunk[:half], found)
				if err == nil {
					err = r.present(ctx, p, scope, chunk[half:], found)
				}
			} else {
				_, err = r.provenGone(ctx, err)
			}
			if err != nil {
				return err
			}
			continue
		}
		none, err := r.holdsNothing(ctx, scope, err)
		if err != nil {
			return fmt.Errorf("look for images in %s: %w", scopeName(scope), err)
		}
		if none {
			return nil
		}
		for _, image := range images {
			found.add(image)
		}
	}
	return nil
}

// list adds the matching images of the listings of one scope, after reading them whole. All are
// counted before the first is read and after the last: an image that moves from one to the other
// meanwhile, as one that is tagged does, may be in neither. When a count moved all are read again.
func (r *run) list(ctx context.Context, p uuid.UUID, listings []Listing, found selected, read func(selected) error) error {
	if len(listings) == 0 {
		return nil
	}
	before, err := r.countAll(ctx, p, listings)
	if err != nil {
		return err
	}
	for range maxReadings {
		listed := make([]int, len(listings))
		moved := false
		for i, l := range listings { // each one, whatever its count says
			n, err := r.readListing(ctx, p, l, found, read)
			if errors.Is(err, cv.ErrUnstable) {
				moved = true
				break
			}
			if _, err := r.holdsNothing(ctx, l.Scope, err); err != nil {
				return fmt.Errorf("list the %s images of %s: %w", l.Kind, scopeName(l.Scope), err)
			}
			listed[i] = n
		}
		after, err := r.countAll(ctx, p, listings)
		if err != nil {
			return err
		}
		if !moved && slices.Equal(listed, before) && slices.Equal(after, before) {
			return nil
		}
		before = after
	}
	return fmt.Errorf("list the images of %s: %w: %w", scopeName(listings[0].Scope), cv.ErrUnavailable, cv.ErrUnstable)
}

// countAll counts what listings hold.
func (r *run) countAll(ctx context.Context, p uuid.UUID, listings []Listing) ([]int, error) {
	counts := make([]int, 0, len(listings))
	for _, l := range listings {
		n, err := countListing(ctx, r.client, p, l)
		none, err := r.holdsNothing(ctx, l.Scope, err)
		if err != nil {
			return nil, err
		}
		if none {
			n = 0
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// readListing reads a listing once, and returns how many images it listed, matching or not.
func (r *run) readListing(ctx context.Context, p uuid.UUID, l Listing, found selected, read func(selected) error) (listed int, err error) {
	fetch := func(ctx context.Context, skip, take int) ([]cv.Image, error) {
		q := cv.ImageQuery{Scope: l.Scope, TagIDs: l.Tags, OrderBy: cv.Oldest, Take: take, Skip: skip}
		if l.Kind == Tagged {
			return r.client.GetTaggedImages(ctx, p, q)
		}
		return r.client.GetUntaggedImages(ctx, p, q)
	}
	for page, err := range cv.EachPage(ctx, fetch) {
		if err != nil {
			return listed, err //nolint:wrapcheck // the caller says what it lists
		}
		listed += len(page)
		for _, image := range page {
			if matches(image.Metadata, r.command.Data.ImageMetadata) {
				found.add(image)
			}
		}
		if err := read(found); err != nil {
			return listed, err
		}
	}
	return listed, nil
}

// countPredictions counts the stored predictions: the service has no operation for it.
func (r *run) countPredictions(ctx context.Context, p uuid.UUID, scopes []uuid.UUID) (int, error) {
	seen := map[uuid.UUID]struct{}{}
	for _, scope := range scopes {
		query := predictionQuery(scope, predictionPage)
		for {
			result, err := r.client.QueryPredictions(ctx, p, query)
			if err != nil {
				return 0, fmt.Errorf("query the predictions of %s: %w", scopeName(scope), err)
			}
			for _, prediction := range result.Results {
				seen[prediction.ID] = struct{}{}
			}
			if !result.Token.More() || len(result.Results) == 0 {
				break
			}
			query.Session, query.Continuation = result.Token.Session, result.Token.Continuation
		}
	}
	return len(seen), nil
}

// planProjects yields the projects of a stored plan, one at a time. After the last one head is what
// else the plan says.
func planProjects(r io.Reader, head *planHead) iter.Seq2[projectPlan, error] {
	errStop := errors.New("stop")
	return func(yield func(projectPlan, error) bool) {
		d := json.NewDecoder(r)
		skipToken := func() error {
			_, err := d.Token()
			return err //nolint:wrapcheck // wrapped below
		}
		projects := func() error {
			if err := skipToken(); err != nil {
				return err
			}
			for d.More() {
				var p projectPlan
				if err := d.Decode(&p); err != nil {
					return err
				}
				if !yield(p, nil) {
					return errStop
				}
			}
			return skipToken() // the list ends
		}
		err := skipToken()
		for err == nil && d.More() {
			var name json.Token
			if name, err = d.Token(); err != nil {
				break
			}
			switch name {
			case "projects":
				err = projects()
			case "api_version":
				err = d.Decode(&head.APIVersion)
			case "categories":
				err = d.Decode(&head.Categories)
			case "host":
				err = d.Decode(&head.Host)
			case "selection":
				err = d.Decode(&head.Selection)
			case "unpublish":
				err = d.Decode(&head.Unpublish)
			case "v":
				err = d.Decode(&head.V)
			default:
				err = fmt.Errorf("unknown member %v", name)
			}
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(projectPlan{}, fmt.Errorf("read the plan: %w", err))
		}
	}
}
