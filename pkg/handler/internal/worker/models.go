package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/blob"
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
	e, err := a.putJSON(ctx, sink.IterationPath(p, it, "exports.json"), jsonscan.List(raws), contract.CategoryExports, it)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s, records := r.summary(), []unit.Record{{Entry: e}}
	ids, flavors := blob.ModelIDs(models), blob.ModelFlavors(models)
	for i, export := range models {
		if export.Status != blob.ModelDone {
			unfinished := bagfile.Unfinished{ID: it.String() + "/" + blob.ModelName(export), Status: export.Status}
			records = append(records, unit.Record{Entry: &unit.EntryRecord{Category: contract.CategoryExports, ID: it, Unfinished: &unfinished}})
			continue
		}
		export.Flavor = flavors[i]
		refresh := func(ctx context.Context) (string, error) {
			again, err := list(ctx)
			if err != nil {
				return "", err
			}
			uri := blob.ModelLink(ids[i], again)
			if uri == "" {
				return "", blob.ErrNoLink
			}
			return uri, nil
		}
		var uri string
		if mine {
			uri = fresh[i].DownloadURI
		} else if uri, err = refresh(ctx); err != nil && !errors.Is(err, blob.ErrNoLink) && !errors.Is(err, delivery.ErrRefused) {
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
		err = blob.ErrNoLink
	}
	if err == nil {
		err = a.fetchBlob(ctx, link, bagfile.MaxModel, d)
		var ofStore *sink.Error
		if errors.As(err, &ofStore) { // the model was streamed there: the failure is not the model's
			return nil, fmt.Errorf("keep the exported model %s: %w", blob.ModelName(export), ofStore)
		}
		err = a.judge(ctx, err, nil)
	}
	fail := func(b *bagfile.Blame) {
		failed := b.Of(a.unit.Scope.String() + "/" + blob.ModelName(export))
		record.Failed = &failed
	}
	if class := delivery.Classify(ctx, err); class == delivery.Gone || class == delivery.Permanent ||
		class == delivery.Retryable && errors.Is(err, cv.ErrUnavailable) && a.number >= a.w.MaxAttempts {
		fail(blob.BlameOf(err))
		return record, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fetch the exported model %s: %w", blob.ModelName(export), err)
	}
	o, err := a.put(ctx, d, stem, nil, unit.CodeNotModel)
	if err != nil {
		return nil, fmt.Errorf("keep the exported model %s: %w", blob.ModelName(export), err)
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
