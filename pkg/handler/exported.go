package handler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Predictions are in no plan: a delete takes all that are stored until it begins. A delete that
// exports first must not take one that the bundle does not have, so it looks each of them up there.
// Where it finds another, the plan is as good as changed.

// exportedPredictions is the ids of a project's predictions in the bundle of export_first.
func (r *run) exportedPredictions(ctx context.Context, project uuid.UUID) (map[uuid.UUID]struct{}, error) {
	exported := map[uuid.UUID]struct{}{}
	body, _, err := r.Store.Open(ctx, r.layout.Key(sink.ExportBag, sink.ProjectPath(project, predictionsFile)))
	if errors.Is(err, sink.ErrNotFound) {
		return exported, nil // there were none
	}
	if err != nil {
		return nil, fmt.Errorf("read the exported predictions of project %s: %w", project, err)
	}
	defer body.Close()
	dec := json.NewDecoder(bufio.NewReader(body))
	for {
		var line struct {
			Prediction struct{ ID uuid.UUID }
		}
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			return exported, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the exported predictions of project %s: %w", project, err)
		}
		exported[line.Prediction.ID] = struct{}{}
	}
}

// unexported looks whether the newest predictions of a project are in its bundle, and names one
// that is not. The zero id says that all are.
func (r *run) unexported(ctx context.Context, project uuid.UUID) (uuid.UUID, error) {
	exported, err := r.exportedPredictions(ctx, project)
	if err != nil {
		return uuid.Nil, err
	}
	scopes, err := r.scopes(ctx, project)
	if err != nil {
		return uuid.Nil, err
	}
	for _, scope := range scopes {
		query := predictionQuery(scope, cv.MaxPredictionIDs)
		query.OrderBy = cv.Newest
		result, err := r.client.QueryPredictions(ctx, project, query)
		if _, err := r.provenGone(ctx, err); err != nil {
			return uuid.Nil, fmt.Errorf("query the predictions of %s: %w", scopeName(scope), err)
		}
		for _, p := range result.Results {
			if _, ok := exported[p.ID]; !ok {
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
