package survey

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

const (
	// PredictionPage is how many predictions a query asks for, as other clients are known to.
	PredictionPage = 128
	// maxPredictions is how many predictions a query is followed for.
	maxPredictions = 10_000_000

	// Answers to a token that the service does not take.
	statusBadRequest = 400
	statusGone       = 410
)

// ErrEndless says that a query for predictions was begun again as often as it may be, and still
// does not end.
var ErrEndless = fmt.Errorf("the query for predictions does not end: %w", cv.ErrUnstable)

// Token is where a query for predictions goes on: the service's own token, and what shows that the
// query gets on. It is all that a query must remember, however many predictions there are.
type Token struct {
	Session      string `json:"session,omitempty"`
	Continuation string `json:"continuation,omitempty"` // empty: the query begins again
	Pages        int    `json:"pages,omitempty"`        // read by this query
	Mark         string `json:"mark,omitempty"`         // an earlier page: if it comes again, the query goes round in circles
	Restarts     int    `json:"anew,omitempty"`         // how often the query was begun again
}

// Begins reports whether the query starts here, for the first time or again: what it gave before
// comes again.
func (t *Token) Begins() bool { return t == nil || t.Continuation == "" }

// PredictionQuery asks for the stored predictions of a scope, which is the workspace or an
// iteration.
type PredictionQuery struct {
	Scope  uuid.UUID
	Count  int       // of results a page
	Newest bool      // first; else the oldest
	From   time.Time // none stored earlier; zero for all
	Until  time.Time // none stored later; zero for all
}

// Page reads the page where at says, nil being the first. next is nil after the last one. Where the
// service refuses at, which may have expired, or the query makes no progress (a page comes again,
// or more pages come than there can be), next begins it again, MaxPasses times at most; after that
// Page fails with ErrEndless.
func (q PredictionQuery) Page(ctx context.Context, client *cv.Client, project uuid.UUID, at *Token) (results []cv.StoredImagePrediction, next *Token, err error) {
	ask := cv.PredictionQueryToken{OrderBy: cv.Oldest, MaxCount: q.Count, StartTime: cv.Time{Time: q.From}, EndTime: cv.Time{Time: q.Until}}
	if q.Newest {
		ask.OrderBy = cv.Newest
	}
	if q.Scope != uuid.Nil {
		ask.IterationID = &q.Scope
	}
	var here Token
	if at != nil {
		here = *at
		ask.Session, ask.Continuation = at.Session, at.Continuation
	}
	answer, err := client.QueryPredictions(ctx, project, ask)
	if err != nil && !at.Begins() && refused(err) {
		next, endless := q.restart(here)
		if endless != nil {
			endless = fmt.Errorf("%w; the last time: %w", endless, err)
		}
		return nil, next, endless
	}
	if err != nil {
		return nil, nil, fmt.Errorf("query the predictions of %s: %w", ScopeName(q.Scope), err)
	}
	if !answer.Token.More() || len(answer.Results) == 0 {
		return answer.Results, nil, nil
	}
	here.Session, here.Continuation = answer.Token.Session, answer.Token.Continuation
	if !here.advance(answer.Results) || here.Pages > maxPredictions/max(q.Count, 1) {
		next, err = q.restart(here)
		return answer.Results, next, err
	}
	return answer.Results, &here, nil
}

// advance notes a page, and reports whether the query got on with it: no page comes twice. The page
// that later ones are compared with is replaced after 1, 2, 4, 8 and so on pages. So circles of
// every length are found (Brent's algorithm).
func (t *Token) advance(page []cv.StoredImagePrediction) bool {
	key := fmt.Sprint(page[0].ID, page[len(page)-1].ID)
	if key == t.Mark {
		return false
	}
	t.Pages++
	if bits.OnesCount(uint(t.Pages)) == 1 { //nolint:gosec // a count
		t.Mark = key
	}
	return true
}

// restart is where a query that did not get on begins again.
func (q PredictionQuery) restart(t Token) (*Token, error) {
	if t.Restarts >= MaxPasses {
		return nil, fmt.Errorf("query the predictions of %s, begun again %d times: %w", ScopeName(q.Scope), t.Restarts, ErrEndless)
	}
	return &Token{Restarts: t.Restarts + 1}, nil
}

// refused reports whether the service does not take a query's token any more, or never did.
func refused(err error) bool {
	var api *cv.Error
	return errors.As(err, &api) && (api.Status == statusBadRequest || api.Status == statusGone) && !errors.Is(err, cv.ErrMisconfigured)
}

// Each yields the pages of the query, from the first one on, without keeping any. Where Restarted
// is set, what came before comes again. After an error nothing follows.
func (q PredictionQuery) Each(ctx context.Context, client *cv.Client, project uuid.UUID) iter.Seq2[PredictionResults, error] {
	return func(yield func(PredictionResults, error) bool) {
		for at, more := (*Token)(nil), true; more; more = at != nil {
			results, next, err := q.Page(ctx, client, project, at)
			if !yield(PredictionResults{Restarted: at != nil && at.Begins(), Results: results}, err) || err != nil {
				return
			}
			at = next
		}
	}
}

// PredictionResults is one page of a query for predictions.
type PredictionResults struct {
	Restarted bool // the query begins again with this page: what it gave before comes again
	Results   []cv.StoredImagePrediction
}

// CountPredictions counts the distinct predictions stored in some scopes: the service has no
// operation for it. A prediction of an iteration that is among the scopes counts there, and not in
// the workspace, which may list it too.
func CountPredictions(ctx context.Context, client *cv.Client, project uuid.UUID, scopes []uuid.UUID) (int, error) {
	total := 0
	for _, scope := range scopes {
		n := 0
		for page, err := range (PredictionQuery{Scope: scope, Count: PredictionPage}).Each(ctx, client, project) {
			if err != nil {
				return 0, err
			}
			if page.Restarted {
				n = 0
			}
			for _, p := range page.Results {
				if scope != uuid.Nil || p.Iteration == uuid.Nil || !slices.Contains(scopes, p.Iteration) {
					n++
				}
			}
		}
		total += n
	}
	return total, nil
}
