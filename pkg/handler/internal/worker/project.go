package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// doProject reads the few things of a project, counts the many, and stores the files of the few.
func (a *attempt) doProject(ctx context.Context) (unit.Summary, []unit.Record, error) {
	r, _, err := a.frozen(ctx, func(ctx context.Context) (reading, error) {
		for n := 0; ; n++ {
			// An iteration that is deleted while it is read is not there at the next reading.
			if r, err := a.readProject(ctx); n >= survey.MaxPasses || !errors.Is(err, errVanished) {
				return r, err
			}
		}
	})
	if err != nil {
		return unit.Summary{}, nil, err
	}
	var (
		s       = unit.Summary{Listings: r.Listings, Proven: r.Proven}
		records []unit.Record
		tags    = map[uuid.UUID]struct{}{}
		data    = a.command.Data
		p       = a.unit.Project
	)
	put := func(path sink.Path, content json.RawMessage, c contract.Category, id uuid.UUID) error {
		e, err := a.putJSON(ctx, path, content, c, id)
		if err != nil {
			return err
		}
		records = append(records, unit.Record{Entry: e})
		return nil
	}
	records = r.failures()
	if data.Has(contract.CategoryProjects) && r.Project != nil {
		if err := put(sink.ProjectPath(p, "project.json"), r.Project, contract.CategoryProjects, p); err != nil {
			return unit.Summary{}, nil, err
		}
	}
	countTags := func(raws []json.RawMessage) error {
		for _, raw := range raws {
			var tag struct {
				ID uuid.UUID `json:"id"`
			}
			if err := json.Unmarshal(raw, &tag); err != nil {
				return fmt.Errorf("read a tag's id: %w", err)
			}
			tags[tag.ID] = struct{}{}
		}
		return nil
	}
	if data.Has(contract.CategoryTags) {
		if err := countTags(r.Tags); err != nil {
			return unit.Summary{}, nil, err
		}
		if data.Narrowing() != contract.NarrowIterations && !r.lacks("GetTags", survey.ScopeID(uuid.Nil)) {
			if err := put(sink.ProjectPath(p, "tags.json"), jsonscan.List(r.Tags), contract.CategoryTags, uuid.Nil); err != nil {
				return unit.Summary{}, nil, err
			}
		}
	}
	if data.Has(contract.CategoryIterations) && !r.lacks("GetIterations", p.String()) {
		raws := make([]json.RawMessage, 0, len(r.Iterations))
		for _, it := range r.Iterations {
			raws = append(raws, it.Raw)
		}
		if err := put(sink.ProjectPath(p, "iterations.json"), jsonscan.List(raws), contract.CategoryIterations, uuid.Nil); err != nil {
			return unit.Summary{}, nil, err
		}
	}
	for _, it := range r.Iterations {
		s.Iterations = append(s.Iterations, unit.IterationInfo{ID: it.ID, Trained: it.Trained, Performance: it.Performance != nil})
		if data.Has(contract.CategoryIterations) {
			if err := put(sink.IterationPath(p, it.ID, "iteration.json"), it.Raw, contract.CategoryIterations, it.ID); err != nil {
				return unit.Summary{}, nil, err
			}
		}
		if data.Has(contract.CategoryTags) && !r.lacks("GetTags", it.ID.String()) {
			if err := countTags(it.Tags); err != nil {
				return unit.Summary{}, nil, err
			}
			if err := put(sink.IterationPath(p, it.ID, "tags.json"), jsonscan.List(it.Tags), contract.CategoryTags, it.ID); err != nil {
				return unit.Summary{}, nil, err
			}
		}
		if it.Performance != nil {
			if err := put(sink.IterationPath(p, it.ID, "performance.json"), it.Performance, contract.CategoryPerformance, it.ID); err != nil {
				return unit.Summary{}, nil, err
			}
		}
	}
	s.Tags = len(tags)
	return s, records, nil
}

// readProject makes the calls of a project unit, each once: GetProject; GetIterations, or
// GetIteration for each named one; GetTags in every scope; GetIterationPerformance and
// GetImagePerformanceCount of every trained iteration; the counts of every listing.
func (a *attempt) readProject(ctx context.Context) (reading, error) {
	var (
		data = a.command.Data
		p    = a.unit.Project
		r    reading
	)
	project, err := inProject(ctx, a, a.client.GetProject)
	switch {
	case errors.Is(err, delivery.ErrRefused):
		r.fail(contract.CategoryProjects, p.String(), err)
	case err == nil:
		r.Project, err = links.Cut(project.Raw)
	}
	if err != nil && !errors.Is(err, delivery.ErrRefused) {
		return reading{}, fmt.Errorf("read project %s: %w", p, err)
	}
	if r.Project != nil {
		a.control.Expect(p)
		if r.Proven, err = a.control.Fingerprint(ctx); err != nil {
			return reading{}, err //nolint:wrapcheck // it says what could not be read
		}
	}
	iterations, err := a.readIterations(ctx, &r)
	if err != nil {
		return reading{}, err
	}
	ids := make([]uuid.UUID, 0, len(iterations))
	for _, it := range iterations {
		ids = append(ids, it.ID)
		if !survey.Settled(it) {
			r.Failures = append(r.Failures, failure{contract.CategoryIterations, bagfile.Failure{
				ID: it.ID.String(), Code: "training", Message: fmt.Sprintf("the iteration's status is %q: its images and its performance cannot be seen yet", it.Status),
			}})
		}
		raw, err := links.Cut(it.Raw)
		if err != nil {
			return reading{}, fmt.Errorf("read iteration %s: %w", it.ID, err)
		}
		r.Iterations = append(r.Iterations, iterationReading{ID: it.ID, Raw: raw, Trained: !it.TrainedAt.IsZero()})
	}
	tags := map[uuid.UUID][]uuid.UUID{} // the named tags that a scope has
	if data.Has(contract.CategoryTags) || data.Narrowing() == contract.NarrowTags {
		if err := a.readTags(ctx, &r, tags); err != nil {
			return reading{}, err
		}
	}
	if data.Has(contract.CategoryPerformance) {
		for i := range r.Iterations {
			if err := a.readPerformance(ctx, &r, &r.Iterations[i]); err != nil {
				return reading{}, err
			}
		}
	}
	if !data.Has(contract.CategoryImages) || data.Narrowing() == contract.NarrowImages {
		return r, nil
	}
	for _, scope := range survey.ScopesFor(data, ids) {
		listings := survey.ImageListings(scope)
		if data.Narrowing() == contract.NarrowTags {
			listings = survey.TagListings(scope, tags[scope])
		}
		for _, l := range listings {
			if l.Count, err = a.countListing(ctx, &r, l); err != nil {
				return reading{}, err
			}
			r.Listings = append(r.Listings, l)
		}
	}
	return r, nil
}

// tolerant says that what was named need not be there: the export goes before a delete, to which
// what is gone is done.
func (a *attempt) tolerant() bool { return a.command.Action == contract.ActionDelete }

// doCounts counts the listings again, after they were read.
func (a *attempt) doCounts(ctx context.Context) (unit.Summary, []unit.Record, error) {
	r, _, err := a.frozen(ctx, func(ctx context.Context) (reading, error) {
		r := reading{}
		for _, l := range a.unit.Listings {
			n, err := a.countListing(ctx, &r, l)
			if errors.Is(err, errVanished) {
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
		return unit.Summary{}, nil, err
	}
	return unit.Summary{Listings: r.Listings}, r.failures(), nil
}

// doPerformances reads one page of image performances. They have no blobs of their own: their
// images are the iteration's.
func (a *attempt) doPerformances(ctx context.Context) (unit.Summary, []unit.Record, error) {
	r, _, err := a.frozen(ctx, func(ctx context.Context) (reading, error) {
		r := reading{}
		l := *a.unit.Listing
		page, err := survey.PerformancePage(ctx, a.client, a.unit.Project, l, a.unit.Skip, cv.MaxPage)
		err = a.judge(ctx, a.absent(ctx, err, l.Scope), a.elsewhere(l.Scope, false, func(ctx context.Context, scope uuid.UUID) error {
			_, err := survey.PerformancePage(ctx, a.client, a.unit.Project, survey.Listing{Kind: l.Kind, Scope: scope}, 0, 1)
			return err //nolint:wrapcheck // only its kind is looked at
		}))
		switch {
		case errors.Is(err, delivery.ErrRefused):
			r.fail(contract.CategoryPerformance, survey.ScopeID(l.Scope), err)
		case err != nil && !errors.Is(err, errVanished):
			return reading{}, err
		}
		for _, ip := range page {
			raw, err := links.Cut(ip.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read the performance of image %s: %w", ip.ID, err)
			}
			if !r.list(ip.ID) {
				continue
			}
			r.Items = append(r.Items, item{ID: ip.ID, Raw: raw})
		}
		return r, nil
	})
	if err != nil {
		return unit.Summary{}, nil, err
	}
	records := r.failures()
	for _, it := range r.Items {
		records = append(records, unit.Record{Performance: it.Raw, ID: it.ID})
	}
	return r.summary(), records, nil
}

// putJSON stores a file of the bag that a unit makes whole.
func (a *attempt) putJSON(ctx context.Context, path sink.Path, content []byte, c contract.Category, id uuid.UUID) (*unit.EntryRecord, error) {
	content = append(slices.Clip(content), '\n')
	o, err := a.store.Put(ctx, a.layout.Key(sink.ExportBag, path), sink.Bytes(content, "application/json"))
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	return &unit.EntryRecord{Path: string(path), SHA256: o.SHA256, Bytes: o.Bytes, Category: c, ID: id}, nil
}
