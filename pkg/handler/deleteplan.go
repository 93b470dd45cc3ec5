package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// selection is what of a command a plan's digest covers. The fields are in the order of their names, so that the JSON is canonical.
type selection struct {
	AllProjects   bool                `json:"all_projects"`
	ImageIDs      []uuid.UUID         `json:"image_ids"`
	ImageMetadata []map[string]string `json:"image_metadata"` // pseudonyms
	IterationIDs  []uuid.UUID         `json:"iteration_ids"`
	ProjectIDs    []uuid.UUID         `json:"project_ids"`
	TagIDs        []uuid.UUID         `json:"tag_ids"`
}

// projectPlan is what a delete will remove of one project: ids in byte order. The fields are in the order of their names.
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
	spool *sink.Spool
	facts []projectFacts
}

func (p *deletePlan) digest() string { return p.spool.SHA256() }

func (p *deletePlan) images() int {
	n := 0
	for _, f := range p.facts {
		n += f.Images
	}
	return n
}

// planDelete reads what the selection holds and writes it down as canonical JSON. What is gone already is not in it. The caller closes the
// plan's spool.
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
	}
	projects = sorted(projects)
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
				if b, err = marshal(v); err != nil {
					return fmt.Errorf("encode the plan: %w", err)
				}
			}
			if _, err := spool.Write(b); err != nil {
				return fmt.Errorf("spool the plan: %w", err)
			}
		}
		return nil
	}
	categories := slices.Sorted(slices.Values(d.Categories))
	if err := write(`{"api_version":"`+cv.APIVersion+`","categories":`, categories, `,"host":`, json.RawMessage(quote(r.client.Host())), `,"projects":[`); err != nil {
		return nil, err
	}
	for _, id := range projects {
		p, facts, found, err := r.planProject(ctx, id)
		if err != nil {
			return nil, err
		}
		if !found {
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
	redacted := r.Pseudonym.Redact(d)
	err = write(`],"selection":`, selection{
		AllProjects: d.AllProjects, ImageIDs: sorted(d.ImageIDs), ImageMetadata: append([]map[string]string{}, redacted.ImageMetadata...),
		IterationIDs: sorted(d.IterationIDs), ProjectIDs: sorted(d.ProjectIDs), TagIDs: sorted(d.TagIDs),
	}, `,"unpublish":`, d.Unpublish, `,"v":`, FormatVersion, "}\n")
	if err != nil {
		return nil, err
	}
	return plan, nil
}

func quote(s string) []byte {
	b, err := marshal(s)
	if err != nil {
		return []byte(`""`) // a string always encodes
	}
	return b
}

// sorted is a sorted set of ids, which is an empty list in JSON when there are none.
func sorted(ids []uuid.UUID) []uuid.UUID {
	return append([]uuid.UUID{}, sortedSet(ids, compareIDs)...)
}

// planProject reads what a project holds of the selection. found is false when the project is gone. What goes away while it is read makes the plan worth
// making again.
func (r *run) planProject(ctx context.Context, id uuid.UUID) (p projectPlan, f projectFacts, found bool, err error) {
	defer func() {
		if errors.Is(err, cv.ErrGone) {
			err = fmt.Errorf("%w: it changed while it was planned: %w", cv.ErrUnavailable, err)
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
	iterations, err := r.client.GetIterations(ctx, id)
	if err != nil {
		return p, f, false, fmt.Errorf("read the iterations of project %s: %w", id, err)
	}
	iterations = trained(iterations)
	whole := d.Has(CategoryProjects) && d.Narrowing() == NarrowNone
	p = projectPlan{ID: id, Project: whole, Images: []uuid.UUID{}, Iterations: []uuid.UUID{}, Tags: []uuid.UUID{}}
	f = projectFacts{ID: id, name: project.Name, readOnly: project.DRModeEnabled}
	scopes := scopesOf(iterations)
	for _, it := range iterations {
		if it.Status == statusTraining && (whole || d.Has(CategoryImages)) {
			f.training = it.ID
		}
		named := d.Narrowing() == NarrowIterations && slices.Contains(d.IterationIDs, it.ID)
		all := d.Narrowing() == NarrowNone && d.Has(CategoryIterations)
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
	if whole || d.Has(CategoryTags) || d.Narrowing() == NarrowTags {
		tags, err := r.client.GetTags(ctx, id, uuid.Nil)
		if err != nil {
			return p, f, false, fmt.Errorf("read the tags of project %s: %w", id, err)
		}
		for _, t := range tags {
			if whole || d.Has(CategoryTags) && (d.Narrowing() == NarrowNone || slices.Contains(d.TagIDs, t.ID)) {
				p.Tags = append(p.Tags, t.ID)
			}
		}
	}
	if whole || d.Has(CategoryImages) {
		if p.Images, err = r.planImages(ctx, id, scopes); err != nil {
			return p, f, false, err
		}
	}
	predictions := d.takesPredictions()
	if d.DryRun && predictions {
		if f.Predictions, err = r.countPredictions(ctx, id, scopes); err != nil {
			return p, f, false, err
		}
	}
	p.Images, p.Iterations, p.Tags = sorted(p.Images), sorted(p.Iterations), sorted(p.Tags)
	f.Images, f.Iterations, f.Tags = len(p.Images), len(p.Iterations), len(p.Tags)
	f.touched = !p.empty() || predictions
	f.Kept = f.Tags > 0 && f.Iterations < len(iterations)
	return p, f, true, nil
}

// trained is iterations without the workspace, which old services list among them with status New: it cannot be deleted by itself.
func trained(iterations []cv.Iteration) []cv.Iteration {
	return slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return it.Status == "New" })
}

// takesPredictions says whether a delete takes the stored predictions of its projects.
func (d Data) takesPredictions() bool {
	return d.Narrowing() == NarrowNone && (d.Has(CategoryProjects) || d.Has(CategoryPredictions))
}

// planImages is the ids of the selected images, in the workspace and in every iteration.
func (r *run) planImages(ctx context.Context, p uuid.UUID, scopes []uuid.UUID) ([]uuid.UUID, error) {
	d := r.command.Data
	found := map[uuid.UUID]struct{}{}
	for _, scope := range scopes {
		var err error
		switch d.Narrowing() {
		case NarrowImages:
			err = r.present(ctx, p, scope, d.ImageIDs, found)
		case NarrowTags:
			err = r.planTagged(ctx, p, scope, found)
		default:
			if err = r.list(ctx, p, Listing{Kind: Tagged, Scope: scope}, found); err == nil {
				err = r.list(ctx, p, Listing{Kind: Untagged, Scope: scope}, found)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	out := make([]uuid.UUID, 0, len(found))
	for id := range found {
		out = append(out, id)
	}
	return out, nil
}

// planTagged finds the images of a scope that carry any of the named tags.
func (r *run) planTagged(ctx context.Context, p, scope uuid.UUID, found map[uuid.UUID]struct{}) error {
	tags, err := r.client.GetTags(ctx, p, scope)
	if errors.Is(err, cv.ErrUntrained) || scope != uuid.Nil && errors.Is(err, cv.ErrGone) {
		return nil // such an iteration holds nothing
	}
	if err != nil {
		return fmt.Errorf("read the tags of %s: %w", scopeName(scope), err)
	}
	var here []uuid.UUID
	for _, t := range tags {
		if slices.Contains(r.command.Data.TagIDs, t.ID) {
			here = append(here, t.ID)
		}
	}
	for chunk := range slices.Chunk(here, cv.MaxTagIDs) {
		if err := r.list(ctx, p, Listing{Kind: Tagged, Scope: scope, Tags: chunk}, found); err != nil {
			return err
		}
	}
	return nil
}

// present adds the ids that a scope has.
func (r *run) present(ctx context.Context, p, scope uuid.UUID, ids []uuid.UUID, found map[uuid.UUID]struct{}) error {
	for chunk := range slices.Chunk(ids, cv.MaxPage) {
		images, err := r.client.GetImagesByIDs(ctx, p, scope, chunk)
		if errors.Is(err, cv.ErrUntrained) || scope != uuid.Nil && errors.Is(err, cv.ErrGone) {
			return nil // such an iteration holds nothing
		}
		if err != nil {
			return fmt.Errorf("look for images in %s: %w", scopeName(scope), err)
		}
		for _, image := range images {
			found[image.ID] = struct{}{}
		}
	}
	return nil
}

// list adds the ids of a listing's images that match, after reading it whole and holding it against its count before and after.
func (r *run) list(ctx context.Context, p uuid.UUID, l Listing, found map[uuid.UUID]struct{}) error {
	count := func() (int, error) {
		n, err := countListing(ctx, r.client, p, l)
		if l.Scope != uuid.Nil && errors.Is(err, cv.ErrGone) {
			return 0, nil
		}
		return n, err
	}
	fetch := func(ctx context.Context, skip, take int) ([]cv.Image, error) {
		q := cv.ImageQuery{Scope: l.Scope, TagIDs: l.Tags, OrderBy: cv.Oldest, Take: take, Skip: skip}
		if l.Kind == Tagged {
			return r.client.GetTaggedImages(ctx, p, q)
		}
		return r.client.GetUntaggedImages(ctx, p, q)
	}
	before, err := count()
	if err != nil {
		return err
	}
	for range maxReadings {
		listed, moved := 0, false
		if before > 0 {
			for page, err := range cv.EachPage(ctx, fetch) {
				if errors.Is(err, cv.ErrUnstable) {
					moved = true
					break
				}
				if err != nil {
					return fmt.Errorf("list the %s images of %s: %w", l.Kind, scopeName(l.Scope), err)
				}
				listed += len(page)
				if err := r.tell(ctx, Progress{Done: int64(len(found))}, r.job.Created); err != nil {
					return err
				}
				for _, image := range page {
					if matches(image.Metadata, r.command.Data.ImageMetadata) {
						found[image.ID] = struct{}{}
					}
				}
			}
		}
		after, err := count()
		if err != nil {
			return err
		}
		if !moved && listed == before && after == before {
			return nil
		}
		before = after
	}
	return fmt.Errorf("list the %s images of %s: %w: %w", l.Kind, scopeName(l.Scope), cv.ErrUnavailable, cv.ErrUnstable)
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

// planProjects yields the projects of a stored plan, one at a time.
func planProjects(r io.Reader) iter.Seq2[projectPlan, error] {
	return func(yield func(projectPlan, error) bool) {
		d := json.NewDecoder(r)
		depth := 0
	reading:
		for {
			token, err := d.Token()
			if err != nil {
				yield(projectPlan{}, fmt.Errorf("read the plan: %w", err))
				return
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
			if depth == 1 && token == "projects" {
				break reading
			}
		}
		if _, err := d.Token(); err != nil {
			yield(projectPlan{}, fmt.Errorf("read the plan: %w", err))
			return
		}
		for d.More() {
			var p projectPlan
			if err := d.Decode(&p); err != nil {
				yield(projectPlan{}, fmt.Errorf("read the plan: %w", err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}
