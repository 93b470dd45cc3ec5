package survey_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
)

// Predictions of several scopes are counted once each, page after page, whether the service lists
// those of iterations in the workspace too or not.
func TestCountPredictions(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 2, Iterations: []cvtest.IterationSpec{{}, {}}, Predictions: survey.PredictionPage + 2})
	p := a.api.Snapshot().Projects[0]
	first, second := p.Iterations[0].ID, p.Iterations[1].ID
	for _, scopes := range [][]uuid.UUID{{uuid.Nil}, {uuid.Nil, first}, {uuid.Nil, first, second}, {first, second}} {
		if n, err := survey.CountPredictions(t.Context(), a.client, a.project, scopes); err != nil || n != survey.PredictionPage+2 {
			t.Errorf("%d predictions in %v, %v", n, scopes, err)
		}
	}
}

// answerPages has the service answer so many queries with these pages, each a list of letters that
// stand for predictions.
func (a *account) answerPages(t *testing.T, calls int, answer func(n int) (page, continuation string)) {
	t.Helper()
	for call := range calls {
		page, continuation := answer(call + 1)
		results := []map[string]any{}
		for _, letter := range page {
			results = append(results, map[string]any{"id": uuid.NewSHA1(uuid.Nil, []byte(string(letter)))})
		}
		body, err := json.Marshal(map[string]any{"token": map[string]string{"session": "s", "continuation": continuation}, "results": results})
		if err != nil {
			t.Fatal(err)
		}
		a.api.Fault(cvtest.Fault{Operation: "QueryPredictions", Call: call, Status: 200, Body: string(body)})
	}
}

// TestPredictionsThatNeverEnd queries a service that always has one more page. The query is begun
// again three times, and then says so; where it ends at last, it counts as if nothing had been.
func TestPredictionsThatNeverEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		page  func(n int) (page, continuation string)
		calls int
		count int // -1: it says that the query does not end
	}{
		{"it ends", func(n int) (string, string) { return []string{"ab", "cd", "e"}[n-1], []string{"1", "2", ""}[n-1] }, 3, 5},
		{"it ends with an empty page", func(n int) (string, string) { return []string{"ab", ""}[n-1], "more" }, 2, 2},
		{"it gives the same page and token", func(int) (string, string) { return "ab", "same" }, 8, -1},
		{"it gives the same page with another token", func(n int) (string, string) { return "ab", fmt.Sprint(n) }, 8, -1},
		{"it gives the same token, and other pages", func(n int) (string, string) {
			return []string{"a", "b", "c", "d", "e"}[n-1], []string{"same", "same", "same", "same", ""}[n-1]
		}, 5, 5},
		{"it goes round after three pages", func(n int) (string, string) { return []string{"ab", "cd", "ef"}[n%3], fmt.Sprint(n) }, 28, -1},
		{"it goes round after two pages, once", func(n int) (string, string) {
			if n > 6 {
				return "gh", ""
			}
			return []string{"ab", "cd"}[n%2], fmt.Sprint(n)
		}, 7, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t, cvtest.ProjectSpec{})
			a.answerPages(t, c.calls, c.page)
			n, err := survey.CountPredictions(t.Context(), a.client, a.project, []uuid.UUID{uuid.Nil})
			if c.count < 0 && !errors.Is(err, survey.ErrEndless) || c.count >= 0 && (err != nil || n != c.count) {
				t.Errorf("%d predictions, %v", n, err)
			}
			if calls := a.api.Count("QueryPredictions"); calls != c.calls {
				t.Errorf("%d calls were made, not %d", calls, c.calls)
			}
		})
	}
}

// TestPredictionsWithAnExpiredToken has the service refuse to go on.
func TestPredictionsWithAnExpiredToken(t *testing.T) {
	const predictions = 2*survey.PredictionPage + 2
	for _, c := range []struct {
		name  string
		fault cvtest.Fault
		calls int
		ends  bool
	}{
		{"once", cvtest.Fault{Call: 1, Status: 400, Code: "BadRequestPredictionInvalidQueryParameters"}, 5, true},
		{"once, as gone", cvtest.Fault{Call: 2, Status: 410}, 6, true},
		{"at the first page, which has none", cvtest.Fault{Times: -1, Status: 400, Code: "BadRequestPredictionInvalidQueryParameters"}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t, cvtest.ProjectSpec{Images: 1, Iterations: []cvtest.IterationSpec{{}}, Predictions: predictions})
			c.fault.Operation = "QueryPredictions"
			a.api.Fault(c.fault)
			n, err := survey.CountPredictions(t.Context(), a.client, a.project, []uuid.UUID{uuid.Nil})
			if c.ends != (err == nil) || c.ends && n != predictions || errors.Is(err, survey.ErrEndless) {
				t.Errorf("%d predictions, %v", n, err)
			}
			if calls := a.api.Count("QueryPredictions"); calls != c.calls {
				t.Errorf("%d calls were made, not %d", calls, c.calls)
			}
		})
	}
	t.Run("every time", func(t *testing.T) {
		a := newAccount(t, cvtest.ProjectSpec{Images: 1, Iterations: []cvtest.IterationSpec{{}}, Predictions: predictions})
		for call := 1; call <= 7; call += 2 {
			a.api.Fault(cvtest.Fault{Operation: "QueryPredictions", Call: call, Status: 400})
		}
		if n, err := survey.CountPredictions(t.Context(), a.client, a.project, []uuid.UUID{uuid.Nil}); !errors.Is(err, survey.ErrEndless) {
			t.Errorf("%d predictions, %v", n, err)
		}
	})
}

// A query is followed for as many pages as ten million predictions take.
func TestPredictionsWithoutNumber(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{})
	a.answerPages(t, 2, func(n int) (string, string) { return []string{"ab", "cd"}[n-1], "more" })
	q := survey.PredictionQuery{Count: 100}
	_, next, err := q.Page(t.Context(), a.client, a.project, &survey.Token{Session: "s", Continuation: "c", Pages: 99_999})
	if err != nil || next.Begins() || next.Pages != 100_000 {
		t.Errorf("the last page is followed by %+v, %v", next, err)
	}
	if _, next, err = q.Page(t.Context(), a.client, a.project, next); err != nil || !next.Begins() || next.Restarts != 1 {
		t.Errorf("one page too many is followed by %+v, %v", next, err)
	}
}
