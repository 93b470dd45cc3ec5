package deletion

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// deletePredictions deletes the stored predictions up to the time the delete was begun, until the
// query for them is empty.
func (m *removal) deletePredictions(ctx context.Context) (lines, error) {
	scopes, err := m.d.scopes(ctx, m.plan.ID)
	if err != nil {
		return nil, err
	}
	var exported []uuid.UUID
	if m.d.begun.Export != nil {
		if exported, err = m.d.exportedPredictions(ctx, m.plan.ID); err != nil {
			return nil, err
		}
	}
	for _, scope := range scopes {
		var last []uuid.UUID
		if err := m.pollUntilGone(ctx, "predictions", func(ctx context.Context) (string, error) { return m.predictionPages(ctx, scope, exported, &last) }); err != nil {
			return nil, err
		}
	}
	removed, _, err := m.d.Ledger.Removed(ctx, ledger.OpDeletePrediction, m.plan.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	return m.absent(contract.CategoryPredictions, ledger.OpDeletePrediction, bagfile.ByPredictions, removed...), nil
}

// predictionPages deletes what the query gives until it gives nothing, or nothing but what it gave
// just before: then left is the oldest that is still there. Of a delete that exported first, it
// deletes only what is in exported. It keeps the last page, however many predictions there are.
func (m *removal) predictionPages(ctx context.Context, scope uuid.UUID, exported []uuid.UUID, last *[]uuid.UUID) (left string, err error) {
	query := survey.PredictionQuery{Scope: scope, Count: cv.MaxPredictionIDs, Until: m.d.begun.BegunAt}
	for {
		results, _, err := query.Page(ctx, m.d.Client, m.plan.ID, nil)
		if gone, err := m.d.Control.Gone(ctx, m.plan.ID, err); err != nil || gone {
			return "", err //nolint:wrapcheck // wrapped by the caller
		}
		if len(results) == 0 {
			return "", nil
		}
		fresh := false
		ids := make([]uuid.UUID, 0, len(results))
		for _, p := range results {
			if m.d.begun.Export != nil && !has(exported, p.ID) {
				return "", notExported(m.plan.ID, p.ID)
			}
			ids = append(ids, p.ID)
			fresh = fresh || !slices.Contains(*last, p.ID)
		}
		*last = ids
		err = inBatches(ids, cv.MaxPredictionIDs, func(batch []uuid.UUID) error {
			_, _, err := m.destroy(ctx, cv.ThingPrediction, func(ctx context.Context) error { return m.d.Client.DeletePredictions(ctx, m.plan.ID, batch) })
			return err
		})
		if err != nil {
			return "", fmt.Errorf("delete predictions: %w", err)
		}
		if !fresh {
			return ids[0].String(), nil // they take their time to vanish
		}
	}
}

// Predictions are in no plan: a delete takes all that are stored until it begins. A delete that
// exports first must not take one that the bundle does not have, so it looks each of them up there.
// If it finds one that is not there, the delete ends plan_changed.

// exportedPredictions is the ids of a project's predictions in the bundle of export_first, in byte
// order: 16 bytes each.
func (d *Deleter) exportedPredictions(ctx context.Context, project uuid.UUID) ([]uuid.UUID, error) {
	var exported []uuid.UUID
	body, _, err := d.Bags.Store.OfAnyMessage().Open(ctx, d.Bags.Layout.Key(sink.ExportBag, sink.ProjectPath(project, bag.PredictionsFile)))
	if errors.Is(err, sink.ErrNotFound) {
		return exported, nil // there were none
	}
	if err != nil {
		return nil, fmt.Errorf("read the exported predictions of project %s: %w", project, err)
	}
	defer body.Close()
	type line struct {
		Prediction struct{ ID uuid.UUID }
	}
	for l, err := range unit.Lines[line](unit.Scan(body)) {
		if err != nil {
			return nil, fmt.Errorf("read the exported predictions of project %s: %w", project, err)
		}
		exported = append(exported, l.Prediction.ID)
	}
	slices.SortFunc(exported, contract.CompareIDs)
	return exported, nil
}

// unexported looks whether the newest predictions of a project are in its bundle, and names one
// that is not. The zero id says that all are.
func (d *Deleter) unexported(ctx context.Context, project uuid.UUID) (uuid.UUID, error) {
	exported, err := d.exportedPredictions(ctx, project)
	if err != nil {
		return uuid.Nil, err
	}
	scopes, err := d.scopes(ctx, project)
	if err != nil {
		return uuid.Nil, err
	}
	for _, scope := range scopes {
		query := survey.PredictionQuery{Scope: scope, Count: cv.MaxPredictionIDs, Newest: true}
		results, _, err := query.Page(ctx, d.Client, project, nil)
		if _, err := d.Control.Gone(ctx, project, err); err != nil {
			return uuid.Nil, err //nolint:wrapcheck // wrapped by the caller
		}
		for _, p := range results {
			if !has(exported, p.ID) {
				return p.ID, nil
			}
		}
	}
	return uuid.Nil, nil
}

// notExported is the end of a delete that finds a prediction which is not in its bundle.
func notExported(project, prediction uuid.UUID) *contract.Error {
	return &contract.Error{Code: contract.CodePlanChanged, Message: fmt.Sprintf(
		"prediction %s of project %s was stored after the export, so it is not deleted; publish the delete again under a new id", prediction, project)}
}
