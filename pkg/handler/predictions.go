package handler

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// predictionPage is how many predictions a query asks for, as other clients are known to.
const predictionPage = 128

// tokenState is where a query for predictions goes on.
type tokenState struct {
	Session      string `json:"session"`
	Continuation string `json:"continuation"`
}

// predictionQuery asks for the stored predictions of a scope, which is the workspace or an
// iteration.
type predictionQuery struct {
	scope  uuid.UUID
	count  int       // of results a page
	newest bool      // first; else the oldest
	until  time.Time // none stored later; zero for all
}

// page reads the page where at says, nil being the first. next is nil after the last one.
func (q predictionQuery) page(ctx context.Context, client *cv.Client, project uuid.UUID, at *tokenState) (results []cv.StoredImagePrediction, next *tokenState, err error) {
	ask := cv.PredictionQueryToken{OrderBy: cv.Oldest, MaxCount: q.count, EndTime: cv.Time{Time: q.until}}
	if q.newest {
		ask.OrderBy = cv.Newest
	}
	if q.scope != uuid.Nil {
		ask.IterationID = &q.scope
	}
	if at != nil {
		ask.Session, ask.Continuation = at.Session, at.Continuation
	}
	answer, err := client.QueryPredictions(ctx, project, ask)
	if err != nil {
		return nil, nil, fmt.Errorf("query the predictions of %s: %w", scopeName(q.scope), err)
	}
	if answer.Token.More() && len(answer.Results) > 0 {
		next = &tokenState{Session: answer.Token.Session, Continuation: answer.Token.Continuation}
	}
	return answer.Results, next, nil
}

// countPredictions counts the distinct predictions stored in some scopes: the service has no
// operation for it.
func countPredictions(ctx context.Context, client *cv.Client, project uuid.UUID, scopes []uuid.UUID) (int, error) {
	seen := map[uuid.UUID]struct{}{}
	for _, scope := range scopes {
		query := predictionQuery{scope: scope, count: predictionPage}
		for at, more := (*tokenState)(nil), true; more; more = at != nil {
			results, next, err := query.page(ctx, client, project, at)
			if err != nil {
				return 0, err
			}
			for _, p := range results {
				seen[p.ID] = struct{}{}
			}
			at = next
		}
	}
	return len(seen), nil
}
