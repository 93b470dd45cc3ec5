package cv

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const (
	testPrediction = `{"resizedImageUri":"r","thumbnailUri":"t","originalImageUri":"o","domain":"ee85a74c-405e-4adc-bb47-ffa8ca0c9f31","id":"468e679e-ad7e-4707-9622-2d8d8ce71e2e",` +
		`"project":"8a32ea60-1c53-43c3-8113-d0b1f470fbdb","iteration":null,"created":"2020-11-06T17:07:43.648Z",` +
		`"predictions":[{"probability":0.9999999,"tagId":"e3049fbe-e509-4ceb-95c6-f6427b972543","tagName":"Tag1","tagType":"Regular"}]}`
	testToken = `{"session":"1:1583893","continuation":"next","maxCount":0,"orderBy":"Newest","tags":null,"iterationId":null,"startTime":null,"endTime":null,"application":null,"later":{"b":1,"a":2}}`
)

func TestPredictionOperations(t *testing.T) {
	result := `{"token":` + testToken + `,"results":[` + testPrediction + `]}`
	checkOperations(t, []operation{
		{
			name: "QueryPredictions", method: "POST", path: "projects/" + idP.String() + "/predictions/query", answer: result,
			want: PredictionQueryResult{
				Token: PredictionQueryToken{Session: "1:1583893", Continuation: "next", OrderBy: "Newest", Raw: json.RawMessage(testToken)},
				Results: []StoredImagePrediction{{
					ID: idA, Project: idP, Domain: uuid.MustParse("ee85a74c-405e-4adc-bb47-ffa8ca0c9f31"), Created: at(t, "2020-11-06T17:07:43.648Z"),
					ResizedImageURI: "r", ThumbnailURI: "t", OriginalImageURI: "o",
					Predictions: []Prediction{{Probability: 0.9999999, TagID: idT, TagName: "Tag1", TagType: "Regular"}},
					Raw:         json.RawMessage(testPrediction),
				}},
			},
			do: func(ctx context.Context, c *Client) (any, error) {
				return c.QueryPredictions(ctx, idP, PredictionQueryToken{OrderBy: Oldest})
			},
		},
		{
			name: "DeletePrediction", method: "DELETE", path: "projects/" + idP.String() + "/predictions", query: "ids=" + idA.String() + "," + idB.String(), status: 204,
			target: "projects/" + idP.String() + "/predictions " + idA.String() + "," + idB.String(),
			do: func(ctx context.Context, c *Client) (any, error) {
				return nil, c.DeletePredictions(ctx, idP, []uuid.UUID{idA, idB})
			},
		},
	})
}

func TestPredictionTokenIsSentBack(t *testing.T) {
	iteration := idI
	first := PredictionQueryToken{
		OrderBy: Oldest, IterationID: &iteration, MaxCount: 128, StartTime: at(t, "2020-01-02T03:04:05.5Z"),
		Tags: []PredictionQueryTag{{ID: idT, MinThreshold: 0.5, MaxThreshold: 1}},
	}
	var received PredictionQueryToken
	if err := json.Unmarshal([]byte(testToken), &received); err != nil {
		t.Fatal(err)
	}
	if !received.More() || first.More() {
		t.Error("More is wrong")
	}
	received.MaxCount = 64
	for name, c := range map[string]struct {
		token PredictionQueryToken
		want  string
	}{
		"zero":                           {PredictionQueryToken{}, `{}`},
		"first":                          {first, `{"maxCount":128,"orderBy":"Oldest","tags":[{"id":"` + idT.String() + `","minThreshold":0.5,"maxThreshold":1}],"iterationId":"` + idI.String() + `","startTime":"2020-01-02T03:04:05.5Z"}`},
		"next, with what we do not know": {received, `{"continuation":"next","later":{"b":1,"a":2},"maxCount":64,"orderBy":"Newest","session":"1:1583893"}`},
	} {
		t.Run(name, func(t *testing.T) {
			var body, contentType string
			w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				body, contentType = string(b), r.Header.Get("Content-Type")
				answer(rw, 200, `{"token":{"continuation":""},"results":[]}`)
			})
			got, err := w.QueryPredictions(t.Context(), idP, c.token)
			if err != nil || got.Token.More() {
				t.Fatal(got, err)
			}
			if body != c.want || contentType != "application/json" {
				t.Errorf("sent %s (%s)\nwant %s", body, contentType, c.want)
			}
			// A token kept as JSON, as a unit of work keeps it, is the same question.
			kept, err := json.Marshal(c.token)
			if err != nil {
				t.Fatal(err)
			}
			var again PredictionQueryToken
			if err := json.Unmarshal(kept, &again); err != nil {
				t.Fatal(err)
			}
			if twice, err := json.Marshal(again); err != nil || string(twice) != string(kept) {
				t.Errorf("kept as %s, then sent as %s (%v)", kept, twice, err)
			}
		})
	}
}

func TestDeletePredictionsLimits(t *testing.T) {
	w := newWorld(t, status(204, ""))
	if err := w.DeletePredictions(t.Context(), idP, nil); err != nil {
		t.Error(err)
	}
	err := w.DeletePredictions(t.Context(), idP, make([]uuid.UUID, MaxPredictionIDs+1))
	var e *Error
	if !errors.As(err, &e) || e.Op != "DeletePrediction" || !strings.Contains(err.Error(), "65 prediction ids, at most 64") {
		t.Error(err)
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	if !reflect.DeepEqual(StoredImagePrediction{ID: idA}.Identity(), idA) {
		t.Error("identity")
	}
}
