package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// doExports reads the exported models of one iteration: the list as exports.json, and the file of
// each that is done. It never asks the service to export one.
func (a *attempt) doExports(ctx context.Context) (unit.Summary, []unit.Record, error) {
	var (
		p, it = a.unit.Project, a.unit.Scope
		list  = func(ctx context.Context) ([]cv.Export, error) {
			exports, err := inScope(ctx, a, it, false, func(ctx context.Context, it uuid.UUID) ([]cv.Export, error) {
				return a.client.GetExports(ctx, p, it)
			})
			if errors.Is(err, cv.ErrUntrained) || errors.Is(err, errVanished) {
				return nil, nil
			}
			if err != nil {
				return nil, fmt.Errorf("list the exports of iteration %s: %w", it, err)
			}
			return exports, nil
		}
		fresh []cv.Export
	)
	r, mine, err := a.frozen(ctx, func(ctx context.Context) (reading, error) {
		var err error
		r := reading{}
		if fresh, err = list(ctx); errors.Is(err, delivery.ErrRefused) {
			r.fail(contract.CategoryExports, it.String(), err)
			return r, nil
		}
		if err != nil {
			return reading{}, err
		}
		for _, e := range fresh {
			raw, err := links.Cut(e.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read an export: %w", err)
			}
			r.Listed++
			r.Items = append(r.Items, item{Raw: raw})
		}
		return r, nil
	})
	if err != nil {
		return unit.Summary{}, nil, err
	}
	if len(r.Failures) > 0 {
		return r.summary(), r.failures(), nil
	}
	raws, models := make([]json.RawMessage, 0, len(r.Items)), make([]cv.Export, len(r.Items))
	for i, e := range r.Items {
		raws = append(raws, e.Raw)
		if err := json.Unmarshal(e.Raw, &models[i]); err != nil {
			return unit.Summary{}, nil, fmt.Errorf("read a frozen export: %w", err)
		}
	}
	e, err := a.putJSON(ctx, sink.IterationPath(p, it, "exports.json"), jsonArray(raws), contract.CategoryExports, it)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s, records := r.summary(), []unit.Record{{Entry: e}}
	ids, flavors := modelIDs(models), modelFlavors(models)
	for i, export := range models {
		if export.Status != statusDone {
			unfinished := bagfile.Unfinished{ID: it.String() + "/" + modelName(export), Status: export.Status}
			records = append(records, unit.Record{Entry: &unit.EntryRecord{Category: contract.CategoryExports, ID: it, Unfinished: &unfinished}})
			continue
		}
		export.Flavor = flavors[i]
		refresh := func(ctx context.Context) (string, error) {
			again, err := list(ctx)
			if err != nil {
				return "", err
			}
			uri := modelLink(ids[i], again)
			if uri == "" {
				return "", errNoLink
			}
			return uri, nil
		}
		var uri string
		if mine {
			uri = fresh[i].DownloadURI
		} else if uri, err = refresh(ctx); err != nil && !errors.Is(err, errNoLink) && !errors.Is(err, delivery.ErrRefused) {
			return unit.Summary{}, nil, err
		}
		m, err := a.model(ctx, cv.Link{Project: p, URI: uri, Refresh: refresh}, export, err)
		if err != nil {
			return unit.Summary{}, nil, err
		}
		records = append(records, unit.Record{Entry: m})
		if m.Failed != nil {
			s.Failed++
		}
		if m.Path != "" {
			s.Bytes += m.Bytes
		}
	}
	return s, records, nil
}

// model stores one exported model's file, of up to bagfile.MaxModel bytes. noLink is why there is
// no link to it.
func (a *attempt) model(ctx context.Context, link cv.Link, export cv.Export, noLink error) (*unit.EntryRecord, error) {
	stem := sink.ModelStem(a.unit.Project, a.unit.Scope, export.Platform, export.Flavor)
	d := &download{a: a, ctx: ctx, model: stem}
	defer d.close()
	record := &unit.EntryRecord{Category: contract.CategoryExports, ID: a.unit.Scope, Model: true}
	err := noLink
	if err == nil && link.URI == "" {
		err = errNoLink
	}
	if err == nil {
		err = a.fetchBlob(ctx, link, bagfile.MaxModel, d)
		var ofStore *sink.Error
		if errors.As(err, &ofStore) { // the model was streamed there: the failure is not the model's
			return nil, fmt.Errorf("keep the exported model %s: %w", modelName(export), ofStore)
		}
		err = a.judge(ctx, err, nil)
	}
	fail := func(b *bagfile.Blame) {
		failed := b.Of(a.unit.Scope.String() + "/" + modelName(export))
		record.Failed = &failed
	}
	if class := delivery.Classify(ctx, err); class == delivery.Gone || class == delivery.Permanent ||
		class == delivery.Retryable && errors.Is(err, cv.ErrUnavailable) && a.number >= a.w.MaxAttempts {
		fail(blameOf(err))
		return record, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the exported model %s: %w", modelName(export), err)
	}
	o, err := a.put(ctx, d, stem, nil, unit.CodeNotModel)
	if err != nil {
		return nil, fmt.Errorf("keep the exported model %s: %w", modelName(export), err)
	}
	if o.blame != nil {
		fail(o.blame)
	}
	if o.Key != "" {
		record.Path = strings.TrimPrefix(string(o.Key), string(a.layout.Bag(sink.ExportBag)))
		record.SHA256, record.Bytes = o.SHA256, o.Bytes
	}
	return record, nil
}

// statusDone is the status of a model that is made.
const statusDone = "Done"

// modelID is what a model is known by in every reading of an iteration's exports: its platform and
// flavor, the path of its file, and its place among those that have all of these in common. Its
// place in the whole list says nothing: the service may list in another order the next time, or a
// newer model before it.
type modelID struct {
	platform, flavor string
	path             string // without host and query
	nth              int    // from 1; 0 is a model that has no file
}

// modelIDs identifies the models of one reading, in its order.
func modelIDs(exports []cv.Export) []modelID {
	ids := make([]modelID, len(exports))
	seen := map[modelID]int{}
	for i, e := range exports {
		if !hasFile(e) {
			continue
		}
		id := modelID{platform: e.Platform, flavor: e.Flavor, path: linkPath(e.DownloadURI)}
		seen[id]++
		id.nth = seen[id]
		ids[i] = id
	}
	return ids
}

// hasFile reports whether the service offers a model's file.
func hasFile(e cv.Export) bool { return e.Status == statusDone && e.DownloadURI != "" }

// linkPath is the path of a link, which stays the same while its query is made again with every
// reading; empty for what is no URI.
func linkPath(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// modelLink finds a model's link in a later reading; it is empty when the model is not among those
// any more.
func modelLink(id modelID, exports []cv.Export) string {
	i := slices.Index(modelIDs(exports), id)
	if i < 0 || id.nth == 0 {
		return ""
	}
	return exports[i].DownloadURI
}

// modelFlavors are the flavors that the files of a reading's models are named by. The service lists
// one model a platform and flavor; if it ever lists two, the second one is numbered, and none is
// lost.
func modelFlavors(exports []cv.Export) []string {
	type name struct{ platform, flavor string }
	var (
		flavors = make([]string, len(exports))
		taken   = map[name]bool{}
		again   []int
	)
	for i, e := range exports {
		if e.Status != statusDone {
			continue
		}
		if flavors[i] = e.Flavor; taken[name{e.Platform, e.Flavor}] {
			again = append(again, i)
		}
		taken[name{e.Platform, e.Flavor}] = true
	}
	for _, i := range again {
		e := exports[i]
		for n := 2; taken[name{e.Platform, flavors[i]}]; n++ {
			flavors[i] = fmt.Sprintf("%s%d", e.Flavor, n)
		}
		taken[name{e.Platform, flavors[i]}] = true
	}
	return flavors
}

// modelName names a model for people, as its file is named.
func modelName(e cv.Export) string {
	if e.Flavor == "" {
		return e.Platform
	}
	return e.Platform + "-" + e.Flavor
}
