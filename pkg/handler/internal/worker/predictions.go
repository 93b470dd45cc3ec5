package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/blob"
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
	r, mine, err := a.frozen(ctx, a.readPredictions)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	stem := func(id uuid.UUID) sink.Path { return sink.PredictionStem(a.unit.Project, id) }
	again := func(ctx context.Context, _ []uuid.UUID) (map[uuid.UUID][]string, error) {
		return a.predictionLinks(ctx, r)
	}
	blobs, err := a.fetch(ctx, r.Items, mine, stem, again)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s := r.summary()
	s.Tally(blobs)
	records := r.failures()
	for i, it := range r.Items {
		records = append(records, unit.Record{Prediction: it.Raw, ID: it.ID, Blob: &blobs[i]})
	}
	return s, records, nil
}

func (a *attempt) readPredictions(ctx context.Context) (reading, error) {
	r := reading{Scopes: a.unit.Scopes, Token: a.unit.Token}
	seen := map[uuid.UUID]bool{}
	for calls := 0; len(r.Scopes) > 0 && calls < predictionCalls && len(r.Items) < predictionRun; calls++ {
		scope := r.Scopes[0]
		query := survey.PredictionQuery{Scope: scope, Count: survey.PredictionPage}
		results, next, err := query.Page(ctx, a.client, a.unit.Project, r.Token)
		if !errors.Is(err, survey.ErrEndless) {
			err = a.judge(ctx, a.absent(ctx, err, scope), a.elsewhere(scope, true, func(ctx context.Context, scope uuid.UUID) error {
				query := survey.PredictionQuery{Scope: scope, Count: 1}
				_, _, err := query.Page(ctx, a.client, a.unit.Project, nil)
				return err //nolint:wrapcheck // only its kind is looked at
			}))
		}
		switch {
		case errors.Is(err, errVanished):
		case errors.Is(err, survey.ErrEndless), errors.Is(err, delivery.ErrRefused):
			r.fail(contract.CategoryPredictions, survey.ScopeID(scope), err)
		case err != nil:
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
				links: blob.Candidates(p.OriginalImageURI, p.ResizedImageURI),
			})
		}
		if r.Token = next; next == nil {
			r.Scopes = r.Scopes[1:]
		}
	}
	return r, nil
}

// clockSlack widens the time in which predictions are looked for again, as the service may keep
// times less exactly than it shows them.
const clockSlack = time.Second

// predictionLinks asks for fresh links of the predictions of a reading. There is no reading
// predictions by their ids, and the token that the run began with may have expired: so those that
// were stored between the first and the last of them are queried.
func (a *attempt) predictionLinks(ctx context.Context, r reading) (map[uuid.UUID][]string, error) {
	var (
		links   = map[uuid.UUID][]string{}
		missing = map[uuid.UUID]bool{}
		from    time.Time
		until   time.Time
		timed   = true
	)
	for _, it := range r.Items {
		var p cv.StoredImagePrediction
		if err := json.Unmarshal(it.Raw, &p); err != nil {
			return nil, fmt.Errorf("read a frozen prediction: %w", err)
		}
		missing[it.ID] = true
		timed = timed && !p.Created.IsZero()
		if from.IsZero() || p.Created.Before(from) {
			from = p.Created.Time
		}
		if p.Created.After(until) {
			until = p.Created.Time
		}
	}
	for _, scope := range a.unit.Scopes {
		query := survey.PredictionQuery{Scope: scope, Count: survey.PredictionPage}
		if timed {
			query.From, query.Until = from.Add(-clockSlack), until.Add(clockSlack)
		}
		for page, err := range query.Each(ctx, a.client, a.unit.Project) {
			if err != nil {
				if errors.Is(err, survey.ErrEndless) {
					break
				}
				if err = a.judge(ctx, a.absent(ctx, err, scope), nil); errors.Is(err, errVanished) {
					break
				}
				return nil, fmt.Errorf("ask for fresh links: %w", err)
			}
			for _, p := range page.Results {
				if missing[p.ID] {
					delete(missing, p.ID)
					links[p.ID] = blob.Candidates(p.OriginalImageURI, p.ResizedImageURI)
				}
			}
			if len(missing) == 0 {
				return links, nil
			}
		}
	}
	return links, nil
}
