package worker

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Bounds of one run of predictions.
const (
	predictionCalls = 8
	predictionRun   = 256 // results a run
)

// doPredictions reads a run of stored predictions: some pages of the query, going on where the run
// before stopped, through the workspace and then each iteration, and the blobs of what it found.
func (a *attempt) doPredictions(ctx context.Context) (unit.Summary, []unit.Record, error) {
	r, mine, err := a.frozen(ctx, func(ctx context.Context) (reading, error) { return a.readPredictions(ctx) })
	if err != nil {
		return unit.Summary{}, nil, err
	}
	// There is no reading predictions by their ids: fresh links come from asking the same queries
	// again.
	again := func(ctx context.Context, _ []uuid.UUID) (map[uuid.UUID][]string, error) {
		fresh, err := a.readPredictions(ctx)
		if err != nil {
			return nil, err
		}
		links := map[uuid.UUID][]string{}
		for _, it := range fresh.Items {
			links[it.ID] = it.links
		}
		return links, nil
	}
	blobs, err := a.fetch(ctx, r.Items, mine, func(id uuid.UUID) sink.Path { return sink.PredictionStem(a.unit.Project, id) }, again)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s := r.summary()
	tally(&s, blobs)
	records := make([]unit.Record, 0, len(r.Items))
	for i, it := range r.Items {
		records = append(records, unit.Record{Prediction: it.Raw, ID: it.ID, Blob: &blobs[i]})
	}
	return s, records, nil
}

func (a *attempt) readPredictions(ctx context.Context) (reading, error) {
	r := reading{V: unit.Version, Scopes: a.unit.Scopes, Token: a.unit.Token}
	seen := map[uuid.UUID]bool{}
	for calls := 0; len(r.Scopes) > 0 && calls < predictionCalls && len(r.Items) < predictionRun; calls++ {
		scope := r.Scopes[0]
		query := survey.PredictionQuery{Scope: scope, Count: survey.PredictionPage}
		results, next, err := query.Page(ctx, a.client, a.unit.Project, r.Token)
		if a.vanished(err, scope) {
			r.Scopes, r.Token = r.Scopes[1:], nil
			continue
		}
		if err != nil {
			return reading{}, err
		}
		for _, p := range results {
			raw, err := links.Cut(p.Raw)
			if err != nil {
				return reading{}, fmt.Errorf("read prediction %s: %w", p.ID, err)
			}
			r.Listed++
			if seen[p.ID] {
				continue
			}
			seen[p.ID] = true
			r.Items = append(r.Items, item{
				ID: p.ID, Raw: raw, Later: scope != uuid.Nil || r.Token != nil,
				links: distinct(p.OriginalImageURI, p.ResizedImageURI),
			})
		}
		if r.Token = next; next == nil {
			r.Scopes = r.Scopes[1:]
		}
	}
	return r, nil
}
