package survey

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// PredictionPage is how many predictions a query asks for, as other clients are known to.
const PredictionPage = 128

// Token is where a query for predictions goes on.
type Token struct {
	Session      string `json:"session"`
	Continuation string `json:"continuation"`
}

// PredictionQuery asks for the stored predictions of a scope, which is the workspace or an
// iteration.
type PredictionQuery struct {
	Scope  uuid.UUID
	Count  int       // of results a page
	Newest bool      // first; else the oldest
	Until  time.Time // none stored later; zero for all
}

// Page reads the page where at says, nil being the first. next is nil after the last one.
func (q PredictionQuery) Page(ctx context.Context, client *cv.Client, project uuid.UUID, at *Token) (results []cv.StoredImagePrediction, next *Token, err error) {
	ask := cv.PredictionQueryToken{OrderBy: cv.Oldest, MaxCount: q.Count, EndTime: cv.Time{Time: q.Until}}
	if q.Newest {
		ask.OrderBy = cv.Newest
	}
	if q.Scope != uuid.Nil {
		ask.IterationID = &q.Scope
	}
	if at != nil {
		ask.Session, ask.Continuation = at.Session, at.Continuation
	}
	answer, err := client.QueryPredictions(ctx, project, ask)
	if err != nil {
		return nil, nil, fmt.Errorf("query the predictions of %s: %w", ScopeName(q.Scope), err)
	}
	if answer.Token.More() && len(answer.Results) > 0 {
		next = &Token{Session: answer.Token.Session, Continuation: answer.Token.Continuation}
	}
	return answer.Results, next, nil
}

// CountPredictions counts the distinct predictions stored in some scopes: the service has no
// operation for it.
func CountPredictions(ctx context.Context, client *cv.Client, project uuid.UUID, scopes []uuid.UUID) (int, error) {
	seen := map[uuid.UUID]struct{}{}
	for _, scope := range scopes {
		query := PredictionQuery{Scope: scope, Count: PredictionPage}
		for at, more := (*Token)(nil), true; more; more = at != nil {
			results, next, err := query.Page(ctx, client, project, at)
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
