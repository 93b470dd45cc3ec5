package cvtest

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestPredictions pages by token while predictions are deleted, in both orders and with every
// filter.
func TestPredictions(t *testing.T) {
	type result struct {
		Token   map[string]any
		Results []struct {
			ID, Iteration uuid.UUID
			Created       time.Time
		}
	}
	s := start(t, Options{})
	spec := tinySpec()
	spec.Predictions = 20
	made := s.AddProject(spec)
	path := "projects/" + made.ID.String() + "/predictions/query"
	query := func(token map[string]any) result {
		t.Helper()
		body, _ := json.Marshal(token)
		r := send(t, s, "POST", path, string(body))
		var v result
		if r.status != 200 || json.Unmarshal(r.body, &v) != nil {
			t.Fatalf("query: %d %s", r.status, r.body)
		}
		return v
	}
	walk := func(token map[string]any, between func(v result)) (ids []uuid.UUID) {
		t.Helper()
		for range 30 {
			v := query(token)
			for _, x := range v.Results {
				ids = append(ids, x.ID)
			}
			if between != nil {
				between(v)
			}
			if c, _ := v.Token["continuation"].(string); c == "" {
				return ids
			}
			token = v.Token
		}
		t.Fatal("no end")
		return nil
	}
	reversed := slices.Clone(made.Predictions)
	slices.Reverse(reversed)
	if got := walk(map[string]any{"maxCount": 7, "orderBy": "Oldest"}, nil); !slices.Equal(got, made.Predictions) {
		t.Errorf("oldest first: %d", len(got))
	}
	if got := walk(map[string]any{"maxCount": 5}, nil); !slices.Equal(got, reversed) {
		t.Errorf("newest first: %d", len(got))
	}
	if got := walk(map[string]any{"maxCount": 20}, nil); len(got) != 20 {
		t.Errorf("in one page: %d", len(got))
	}
	all := query(map[string]any{"orderBy": "Oldest"})
	end := all.Results[9].Created
	if got := walk(map[string]any{"endTime": end, "maxCount": 4, "orderBy": "Oldest"}, nil); !slices.Equal(got, made.Predictions[:10]) {
		t.Errorf("until an end: %d", len(got))
	}
	if got := walk(map[string]any{"startTime": end}, nil); len(got) != 11 {
		t.Errorf("from a start: %d", len(got))
	}
	for i, it := range made.Iterations {
		for _, x := range query(map[string]any{"iterationId": it, "maxCount": 100}).Results {
			if x.Iteration != it {
				t.Errorf("iteration %d: prediction of %s", i, x.Iteration)
			}
		}
		if n := len(walk(map[string]any{"iterationId": it, "maxCount": 3}, nil)); n != 10 {
			t.Errorf("iteration %d: %d predictions", i, n)
		}
	}
	tag := map[string]any{"id": made.Tags[0], "minThreshold": 0.5, "maxThreshold": 1}
	if n := len(walk(map[string]any{"tags": []any{tag}}, nil)); n == 0 || n == 20 {
		t.Errorf("%d with a tag", n)
	}
	if got := walk(map[string]any{"maxCount": 4, "orderBy": "Oldest"}, func(v result) {
		for _, x := range v.Results {
			s.RemovePrediction(made.ID, x.ID)
		}
	}); !slices.Equal(got, made.Predictions) {
		t.Errorf("while deleting: %d", len(got))
	}
	if n := len(walk(map[string]any{}, nil)); n != 0 {
		t.Errorf("%d left", n)
	}
	for body, code := range map[string]string{
		`{"maxCount":257}`: "BadRequestPredictionResultsExceededCount", `{"orderBy":"Best"}`: "BadRequestPredictionInvalidQueryParameters",
		`{"session":"1:1","continuation":"x"}`: "BadRequestPredictionInvalidQueryParameters", ``: "BadRequestPredictionInvalidQueryParameters",
		`{"iterationId":"` + uuid.NewString() + `"}`: "NotFoundIteration",
	} {
		if r := send(t, s, "POST", path, body); r.code() != code {
			t.Errorf("%s: %d %s", body, r.status, r.code())
		}
	}
}
