package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// reading is what one unit read from the service, frozen before anything is made of it: all later
// attempts of the unit work on it, so that two attempts cannot mix two truths. Its JSON is as
// received but for the queries of URIs.
type reading struct {
	V int `json:"v"`

	// Of a project.
	Project    json.RawMessage    `json:"project,omitempty"`
	Iterations []iterationReading `json:"iterations,omitempty"`
	Tags       []json.RawMessage  `json:"tags,omitempty"` // of the workspace
	Listings   []Listing          `json:"listings,omitempty"`

	// Of pages, batches, exports and predictions.
	Listed int         `json:"listed,omitempty"`
	First  string      `json:"first,omitempty"`
	Last   string      `json:"last,omitempty"`
	Absent packed      `json:"absent,omitempty"`
	Items  []item      `json:"items,omitempty"`
	Scopes []uuid.UUID `json:"scopes,omitempty"` // what a run of predictions leaves to read
	Token  *tokenState `json:"token,omitempty"`
}

// item is one thing of a listing.
type item struct {
	ID    uuid.UUID       `json:"id,omitzero"`
	Raw   json.RawMessage `json:"raw"`
	Later bool            `json:"later,omitempty"` // a prediction of a scope after the first: its blob may be there already

	links []string // where its blob is, best first; with their queries, so never stored
}

type iterationReading struct {
	ID          uuid.UUID         `json:"id"`
	Raw         json.RawMessage   `json:"raw"`
	Trained     bool              `json:"trained"`
	Tags        []json.RawMessage `json:"tags,omitempty"`
	Performance json.RawMessage   `json:"performance,omitempty"`
}

// project reads the few things of a project, counts the many, and stores the files of the few.
func (w *work) project(ctx context.Context) (Summary, []Record, error) {
	r, _, err := w.frozen(ctx, func(ctx context.Context) (reading, error) {
		for n := 0; ; n++ {
			// An iteration that somebody deletes while it is read is not there at the next reading.
			if r, err := w.readProject(ctx); n >= maxReadings || !w.changed(err) {
				return r, err
			}
		}
	})
	if err != nil {
		return Summary{}, nil, err
	}
	var (
		s       = Summary{Listings: r.Listings}
		records []Record
		tags    = map[uuid.UUID]struct{}{}
		data    = w.command.Data
		p       = w.unit.Project
	)
	put := func(path sink.Path, content json.RawMessage, c contract.Category, id uuid.UUID) error {
		e, err := w.putJSON(ctx, path, content, c, id)
		if err != nil {
			return err
		}
		records = append(records, Record{Entry: e})
		return nil
	}
	if data.Has(contract.CategoryProjects) {
		if err := put(sink.ProjectPath(p, "project.json"), r.Project, contract.CategoryProjects, p); err != nil {
			return Summary{}, nil, err
		}
	}
	countTags := func(raws []json.RawMessage) error {
		for _, raw := range raws {
			id, err := idOf(raw)
			if err != nil {
				return err
			}
			tags[id] = struct{}{}
		}
		return nil
	}
	if data.Has(contract.CategoryTags) {
		if err := countTags(r.Tags); err != nil {
			return Summary{}, nil, err
		}
		if data.Narrowing() != contract.NarrowIterations {
			if err := put(sink.ProjectPath(p, "tags.json"), jsonArray(r.Tags), contract.CategoryTags, uuid.Nil); err != nil {
				return Summary{}, nil, err
			}
		}
	}
	if data.Has(contract.CategoryIterations) {
		raws := make([]json.RawMessage, 0, len(r.Iterations))
		for _, it := range r.Iterations {
			raws = append(raws, it.Raw)
		}
		if err := put(sink.ProjectPath(p, "iterations.json"), jsonArray(raws), contract.CategoryIterations, uuid.Nil); err != nil {
			return Summary{}, nil, err
		}
	}
	for _, it := range r.Iterations {
		s.Iterations = append(s.Iterations, IterationInfo{ID: it.ID, Trained: it.Trained, Performance: it.Performance != nil})
		if data.Has(contract.CategoryIterations) {
			if err := put(sink.IterationPath(p, it.ID, "iteration.json"), it.Raw, contract.CategoryIterations, it.ID); err != nil {
				return Summary{}, nil, err
			}
		}
		if data.Has(contract.CategoryTags) {
			if err := countTags(it.Tags); err != nil {
				return Summary{}, nil, err
			}
			if err := put(sink.IterationPath(p, it.ID, "tags.json"), jsonArray(it.Tags), contract.CategoryTags, it.ID); err != nil {
				return Summary{}, nil, err
			}
		}
		if it.Performance != nil {
			if err := put(sink.IterationPath(p, it.ID, "performance.json"), it.Performance, contract.CategoryPerformance, it.ID); err != nil {
				return Summary{}, nil, err
			}
		}
	}
	s.Tags = len(tags)
	return s, records, nil
}

// readProject makes the calls of a project unit, each once: GetProject; GetIterations, or
// GetIteration for each named one; GetTags in every scope; GetIterationPerformance and
// GetImagePerformanceCount of every trained iteration; the counts of every listing.
func (w *work) readProject(ctx context.Context) (reading, error) {
	var (
		data = w.command.Data
		p    = w.unit.Project
		r    = reading{V: unitVersion}
	)
	project, err := w.client.GetProject(ctx, p)
	if err != nil {
		return reading{}, fmt.Errorf("read project %s: %w", p, err)
	}
	if r.Project, err = cv.StripQueries(project.Raw); err != nil {
		return reading{}, fmt.Errorf("read project %s: %w", p, err)
	}
	iterations, err := w.readIterations(ctx)
	if err != nil {
		return reading{}, err
	}
	for _, it := range iterations {
		raw, err := cv.StripQueries(it.Raw)
		if err != nil {
			return reading{}, fmt.Errorf("read iteration %s: %w", it.ID, err)
		}
		r.Iterations = append(r.Iterations, iterationReading{ID: it.ID, Raw: raw, Trained: !it.TrainedAt.IsZero()})
	}
	tags := map[uuid.UUID][]uuid.UUID{} // the named tags that a scope has
	if data.Has(contract.CategoryTags) || data.Narrowing() == contract.NarrowTags {
		if err := w.readTags(ctx, &r, tags); err != nil {
			return reading{}, err
		}
	}
	if data.Has(contract.CategoryPerformance) {
		for i := range r.Iterations {
			if err := w.readPerformance(ctx, &r, &r.Iterations[i]); err != nil {
				return reading{}, err
			}
		}
	}
	if !data.Has(contract.CategoryImages) || data.Narrowing() == contract.NarrowImages {
		return r, nil
	}
	for _, scope := range w.scopes(r) {
		listings := []Listing{{Kind: Tagged, Scope: scope}, {Kind: Untagged, Scope: scope}}
		if data.Narrowing() == contract.NarrowTags {
			listings = nil
			for chunk := range slices.Chunk(tags[scope], cv.MaxTagIDs) {
				listings = append(listings, Listing{Kind: Tagged, Scope: scope, Tags: chunk})
			}
		}
		for _, l := range listings {
			if l.Count, err = countListing(ctx, w.client, w.unit.Project, l); err != nil {
				return reading{}, err
			}
			r.Listings = append(r.Listings, l)
		}
	}
	return r, nil
}

// tolerant says that what was named need not be there: the export goes before a delete, to which
// what is gone is done.
func (w *work) tolerant() bool { return w.command.Action == contract.ActionDelete }

// scopes are where images, tags and predictions are looked for: the workspace and every iteration,
// or only the named iterations.
func (w *work) scopes(r reading) []uuid.UUID {
	var scopes []uuid.UUID
	if w.command.Data.Narrowing() != contract.NarrowIterations {
		scopes = append(scopes, uuid.Nil)
	}
	for _, it := range r.Iterations {
		scopes = append(scopes, it.ID)
	}
	return scopes
}

func (w *work) readIterations(ctx context.Context) ([]cv.Iteration, error) {
	data, p := w.command.Data, w.unit.Project
	if data.Narrowing() != contract.NarrowIterations {
		if len(data.Categories) == 1 && data.Has(contract.CategoryProjects) {
			return nil, nil
		}
		iterations, err := w.client.GetIterations(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("read the iterations of project %s: %w", p, err)
		}
		return iterations, nil
	}
	var iterations []cv.Iteration
	for _, id := range data.IterationIDs {
		it, err := w.client.GetIteration(ctx, p, id)
		if errors.Is(err, cv.ErrGone) && w.tolerant() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read iteration %s of project %s: %w", id, p, err)
		}
		iterations = append(iterations, it)
	}
	return iterations, nil
}

func (w *work) readTags(ctx context.Context, r *reading, named map[uuid.UUID][]uuid.UUID) error {
	data := w.command.Data
	wanted := map[uuid.UUID]bool{} // false until found
	for _, id := range data.TagIDs {
		wanted[id] = false
	}
	read := func(scope uuid.UUID) ([]json.RawMessage, error) {
		tags, err := w.client.GetTags(ctx, w.unit.Project, scope)
		if err != nil {
			return nil, fmt.Errorf("read the tags of %s: %w", scopeName(scope), err)
		}
		raws := []json.RawMessage{}
		for _, t := range tags {
			if _, ok := wanted[t.ID]; len(wanted) > 0 && !ok {
				continue
			}
			if len(wanted) > 0 {
				wanted[t.ID] = true
				named[scope] = append(named[scope], t.ID)
			}
			raw, err := cv.StripQueries(t.Raw)
			if err != nil {
				return nil, fmt.Errorf("read tag %s: %w", t.ID, err)
			}
			raws = append(raws, raw)
		}
		return raws, nil
	}
	var err error
	if data.Narrowing() != contract.NarrowIterations {
		if r.Tags, err = read(uuid.Nil); err != nil {
			return err
		}
	}
	for i := range r.Iterations {
		it := &r.Iterations[i]
		if it.Tags, err = read(it.ID); err != nil {
			return err
		}
	}
	for _, id := range data.TagIDs {
		if !wanted[id] && !w.tolerant() {
			return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("tag_ids: the project has no tag %s, neither in its workspace nor in an iteration", id)}
		}
	}
	return nil
}

func (w *work) readPerformance(ctx context.Context, r *reading, it *iterationReading) error {
	if !it.Trained {
		return nil
	}
	performance, err := w.client.GetIterationPerformance(ctx, w.unit.Project, it.ID, w.Threshold, w.Overlap)
	if errors.Is(err, cv.ErrUntrained) {
		it.Trained = false
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the performance of iteration %s: %w", it.ID, err)
	}
	if it.Performance, err = cv.StripQueries(performance.Raw); err != nil {
		return fmt.Errorf("read the performance of iteration %s: %w", it.ID, err)
	}
	l := Listing{Kind: Performances, Scope: it.ID}
	if l.Count, err = countListing(ctx, w.client, w.unit.Project, l); err != nil {
		return err
	}
	r.Listings = append(r.Listings, l)
	return nil
}

// countListing asks the service how many items a listing has.
func countListing(ctx context.Context, client *cv.Client, p uuid.UUID, l Listing) (n int, err error) {
	switch l.Kind {
	case Tagged:
		n, err = client.GetTaggedImageCount(ctx, p, l.Scope, l.Tags)
	case Untagged:
		n, err = client.GetUntaggedImageCount(ctx, p, l.Scope)
	case Performances:
		n, err = client.GetImagePerformanceCount(ctx, p, l.Scope)
	}
	if errors.Is(err, cv.ErrUntrained) {
		return 0, nil // an iteration that was never trained has no snapshot
	}
	if err != nil {
		return 0, fmt.Errorf("count the %s images of %s: %w", l.Kind, scopeName(l.Scope), err)
	}
	return n, nil
}

// vanished says that err only tells that an iteration which nobody named went away while the export
// was reading: it holds nothing now.
func (w *work) vanished(err error, scope uuid.UUID) bool {
	return scope != uuid.Nil && w.changed(err)
}

// changed says that err tells of something in the project that went away while the export was
// reading, and that nobody had named.
func (w *work) changed(err error) bool {
	return errors.Is(err, cv.ErrGone) && !projectGone(err) && w.command.Data.Narrowing() != contract.NarrowIterations
}

// projectGone says that the whole project is not there.
func projectGone(err error) bool {
	var api *cv.Error
	return errors.Is(err, cv.ErrGone) && errors.As(err, &api) && (api.Op == "GetProject" || api.Code == "NotFoundProject")
}

// counts counts the listings again, after they were read.
func (w *work) counts(ctx context.Context) (Summary, error) {
	r, _, err := w.frozen(ctx, func(ctx context.Context) (reading, error) {
		r := reading{V: unitVersion}
		for _, l := range w.unit.Listings {
			n, err := countListing(ctx, w.client, w.unit.Project, l)
			if w.vanished(err, l.Scope) {
				n, err = 0, nil
			}
			if err != nil {
				return reading{}, err
			}
			l.Count = n
			r.Listings = append(r.Listings, l)
		}
		return r, nil
	})
	if err != nil {
		return Summary{}, err
	}
	return Summary{Listings: r.Listings}, nil
}

// performances reads one page of image performances. They have no blobs of their own: their images
// are the iteration's.
func (w *work) performances(ctx context.Context) (Summary, []Record, error) {
	r, _, err := w.frozen(ctx, func(ctx context.Context) (reading, error) {
		page, err := w.client.GetImagePerformances(ctx, w.unit.Project, w.unit.Listing.Scope,
			cv.PageQuery{OrderBy: cv.Oldest, Take: w.unit.pageSize(), Skip: w.unit.Skip})
		if err != nil && !w.vanished(err, w.unit.Listing.Scope) {
			return reading{}, fmt.Errorf("list the image performances of iteration %s: %w", w.unit.Listing.Scope, err)
		}
		r := reading{V: unitVersion}
		for _, ip := range page {
			raw, err := cv.StripQueries(ip.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read the performance of image %s: %w", ip.ID, err)
			}
			r.list(ip.ID)
			r.Items = append(r.Items, item{ID: ip.ID, Raw: raw})
		}
		return r, nil
	})
	if err != nil {
		return Summary{}, nil, err
	}
	records := make([]Record, 0, len(r.Items))
	for _, it := range r.Items {
		records = append(records, Record{Performance: it.Raw, ID: it.ID})
	}
	return r.summary(), records, nil
}

// list notes that the service listed id, in this order.
func (r *reading) list(id uuid.UUID) {
	if r.Listed == 0 {
		r.First = id.String()
	}
	r.Listed++
	r.Last = id.String()
}

// summary is what a reading of items says to the coordinator.
func (r *reading) summary() Summary {
	s := Summary{Listed: r.Listed, First: r.First, Last: r.Last, Absent: r.Absent, Scopes: r.Scopes, Token: r.Token}
	for _, it := range r.Items {
		if it.ID != uuid.Nil {
			s.IDs = append(s.IDs, it.ID)
		}
	}
	return s
}

// images reads one page or batch of images and, where the unit says so, their blobs.
func (w *work) images(ctx context.Context) (Summary, []Record, error) {
	r, mine, err := w.frozen(ctx, w.readImages)
	if err != nil {
		return Summary{}, nil, err
	}
	s := r.summary()
	if !w.unit.Fetch {
		records := make([]Record, 0, len(r.Items))
		for _, it := range r.Items {
			records = append(records, Record{Image: it.Raw, ID: it.ID})
		}
		return s, records, nil
	}
	own := slices.DeleteFunc(slices.Clone(r.Items), func(it item) bool { return w.unit.shares(it.ID, r.First) })
	blobs, err := w.fetch(ctx, own, mine, func(id uuid.UUID) sink.Path { return sink.ImageStem(w.unit.Project, id) }, w.imageLinks)
	if err != nil {
		return Summary{}, nil, err
	}
	s.tally(blobs)
	fetched := map[uuid.UUID]*BlobRecord{}
	for i, it := range own {
		fetched[it.ID] = &blobs[i]
	}
	records := make([]Record, 0, len(r.Items))
	for _, it := range r.Items {
		records = append(records, Record{Image: it.Raw, ID: it.ID, Blob: fetched[it.ID]})
	}
	return s, records, nil
}

func (s *Summary) tally(blobs []BlobRecord) {
	for _, b := range blobs {
		if b.Error != nil {
			s.Failed++
		}
		if b.File != "" {
			s.Blobs++
			s.Bytes += b.Bytes
		}
	}
}

func (w *work) readImages(ctx context.Context) (reading, error) {
	var (
		u      = w.unit
		images []cv.Image
		err    error
		what   string
		scope  = u.Scope
	)
	switch {
	case u.Kind == KindBatch:
		what = "read images by their ids in " + scopeName(scope)
		images, err = w.client.GetImagesByIDs(ctx, u.Project, scope, u.IDs)
	case u.Listing.Kind == Tagged:
		scope = u.Listing.Scope
		what = "list the tagged images of " + scopeName(scope)
		images, err = w.client.GetTaggedImages(ctx, u.Project, w.pageQuery())
	default:
		scope = u.Listing.Scope
		what = "list the untagged images of " + scopeName(scope)
		images, err = w.client.GetUntaggedImages(ctx, u.Project, w.pageQuery())
	}
	if err != nil && !w.vanished(err, scope) {
		return reading{}, fmt.Errorf("%s: %w", what, err)
	}
	r := reading{V: unitVersion}
	seen := map[uuid.UUID]bool{}
	for _, image := range images {
		r.list(image.ID)
		if seen[image.ID] {
			continue
		}
		seen[image.ID] = true
		if u.Kind == KindPage && !matches(image.Metadata, w.command.Data.ImageMetadata) {
			continue
		}
		raw, err := cv.StripQueries(image.Raw)
		if err != nil {
			return reading{}, fmt.Errorf("read image %s: %w", image.ID, err)
		}
		r.Items = append(r.Items, item{ID: image.ID, Raw: raw, links: linksOf(image)})
	}
	for _, id := range u.IDs {
		if !seen[id] {
			r.Absent = append(r.Absent, id)
		}
	}
	return r, nil
}

func (w *work) pageQuery() cv.ImageQuery {
	u := w.unit
	return cv.ImageQuery{Scope: u.Listing.Scope, TagIDs: u.Listing.Tags, OrderBy: cv.Oldest, Take: u.pageSize(), Skip: u.Skip}
}

// imageLinks reads the images again, for fresh links: an image that is not there any more is
// absent.
func (w *work) imageLinks(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]string, error) {
	scope := w.unit.Scope
	if w.unit.Listing != nil {
		scope = w.unit.Listing.Scope
	}
	links := map[uuid.UUID][]string{}
	for chunk := range slices.Chunk(ids, cv.MaxPage) {
		images, err := w.client.GetImagesByIDs(ctx, w.unit.Project, scope, chunk)
		if err != nil {
			return nil, fmt.Errorf("ask for fresh links: %w", err)
		}
		for _, image := range images {
			links[image.ID] = linksOf(image)
		}
	}
	return links, nil
}

// linksOf says where an image's blob is: the original, else the resized one.
func linksOf(image cv.Image) []string { return distinct(image.OriginalImageURI, image.ResizedImageURI) }

// distinct is the links that are there, each once: the two of an image that needed no resizing are
// the same.
func distinct(original, resized string) []string {
	if resized == original {
		resized = ""
	}
	return []string{original, resized}
}

// matches says whether an image's metadata equals all pairs of any of the objects; no objects match
// everything.
func matches(metadata map[string]string, objects []map[string]string) bool {
	if len(objects) == 0 {
		return true
	}
	return slices.ContainsFunc(objects, func(pairs map[string]string) bool {
		for k, v := range pairs {
			if have, ok := metadata[k]; !ok || have != v {
				return false
			}
		}
		return true
	})
}

// putJSON stores a file of the bag that a unit makes whole.
func (w *work) putJSON(ctx context.Context, path sink.Path, content []byte, c contract.Category, id uuid.UUID) (*EntryRecord, error) {
	content = append(slices.Clip(content), '\n')
	o, err := w.Store.Put(ctx, w.layout.Key(sink.ExportBag, path), sink.Bytes(content, "application/json"))
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return &EntryRecord{Path: string(path), SHA256: o.SHA256, Bytes: o.Bytes, Category: c, ID: id}, nil
}

func jsonArray(raws []json.RawMessage) json.RawMessage {
	out := []byte{'['}
	for i, raw := range raws {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, raw...)
	}
	return append(out, ']')
}

func idOf(raw json.RawMessage) (uuid.UUID, error) {
	var v struct {
		ID uuid.UUID `json:"id"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return uuid.Nil, fmt.Errorf("read an id: %w", err)
	}
	return v.ID, nil
}

// scopeName names a scope for people.
func scopeName(scope uuid.UUID) string {
	if scope == uuid.Nil {
		return "the workspace"
	}
	return "iteration " + scope.String()
}
