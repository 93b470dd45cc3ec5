package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxPredictionIDs is how many stored predictions one DeletePredictions call may name.
const MaxPredictionIDs = 64

// Prediction is what a model said about an image.
type Prediction struct {
	Probability float64      `json:"probability"` // [0,1]
	TagID       uuid.UUID    `json:"tagId"`
	TagName     string       `json:"tagName"`     // empty when null
	BoundingBox *BoundingBox `json:"boundingBox"` // nil for classification
	TagType     string       `json:"tagType"`     // empty when null
}

// StoredImagePrediction is an image that was sent for prediction, kept by the service with its
// result.
type StoredImagePrediction struct {
	ID               uuid.UUID    `json:"id"`
	Project          uuid.UUID    `json:"project"`
	Iteration        uuid.UUID    `json:"iteration"`
	Domain           uuid.UUID    `json:"domain"`
	Created          Time         `json:"created"`
	ResizedImageURI  string       `json:"resizedImageUri"`
	ThumbnailURI     string       `json:"thumbnailUri"`
	OriginalImageURI string       `json:"originalImageUri"`
	Predictions      []Prediction `json:"predictions"`

	Raw json.RawMessage `json:"-"` // as received; holds signed links: see package links
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (s *StoredImagePrediction) UnmarshalJSON(b []byte) error {
	type plain StoredImagePrediction
	return decodeModel(b, (*plain)(s), &s.Raw, "project", "iteration", "originalImageUri", "resizedImageUri")
}

// Identity is the prediction's id.
func (s StoredImagePrediction) Identity() uuid.UUID { return s.ID }

// PredictionQueryToken is a question for stored predictions, and the place where the answer to an
// earlier one goes on. The zero value asks for the first page of everything.
type PredictionQueryToken struct {
	Session      string               `json:"session,omitempty"`
	Continuation string               `json:"continuation,omitempty"` // empty in an answer: nothing more
	MaxCount     int                  `json:"maxCount,omitempty"`     // results a page; 0 is the service's default
	OrderBy      string               `json:"orderBy,omitempty"`      // Newest, Oldest or Suggested
	Tags         []PredictionQueryTag `json:"tags,omitempty"`         // at most 2
	IterationID  *uuid.UUID           `json:"iterationId,omitempty"`  // nil: not narrowed
	StartTime    Time                 `json:"startTime,omitzero"`
	EndTime      Time                 `json:"endTime,omitzero"`
	Application  string               `json:"application,omitempty"`

	Raw json.RawMessage `json:"-"` // as received; what it has beyond the fields above is sent back too
}

// PredictionQueryTag narrows a prediction query to results of a tag whose probability lies between
// two thresholds in [0,1].
type PredictionQueryTag struct {
	ID           uuid.UUID `json:"id"`
	MinThreshold float64   `json:"minThreshold"`
	MaxThreshold float64   `json:"maxThreshold"`
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (t *PredictionQueryToken) UnmarshalJSON(b []byte) error {
	type plain PredictionQueryToken
	return decodeModel(b, (*plain)(t), &t.Raw)
}

// tokenFields are the members PredictionQueryToken has fields for.
var tokenFields = [...]string{"session", "continuation", "maxCount", "orderBy", "tags", "iterationId", "startTime", "endTime", "application"}

// MarshalJSON gives the token as QueryPredictions sends it: its fields, and what Raw has beyond
// them.
func (t PredictionQueryToken) MarshalJSON() ([]byte, error) {
	type plain PredictionQueryToken
	b, err := json.Marshal(plain(t))
	if err != nil || len(t.Raw) == 0 {
		return b, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(t.Raw, &members); err != nil {
		return nil, fmt.Errorf("decode token as received: %w", err)
	}
	for _, name := range tokenFields {
		delete(members, name)
	}
	if len(members) == 0 {
		return b, nil
	}
	if err := json.Unmarshal(b, &members); err != nil { // adds to what is there
		return nil, err
	}
	return json.Marshal(members)
}

// More reports whether the answer this token came with has a next page.
func (t PredictionQueryToken) More() bool { return t.Continuation != "" }

// PredictionQueryResult is one page of stored predictions.
type PredictionQueryResult struct {
	Token   PredictionQueryToken    `json:"token"` // ask with it again for the next page, while Token.More and Results is not empty
	Results []StoredImagePrediction `json:"results"`
}

// readPredictions reads a page of stored predictions. An answer without results, or one that does
// not show whether there are more, does not say what is stored.
func readPredictions(r *answerReader, check func(StoredImagePrediction) error) (result PredictionQueryResult, err error) {
	if err := r.open('{'); err != nil {
		return result, err
	}
	seen := map[string]bool{}
	for r.goesOn() {
		name, err := r.name()
		switch name = strings.ToLower(name); {
		case err != nil:
			return result, err
		case strings.ContainsRune(name, utf8.RuneError):
			return result, unusable("the answer is not UTF-8")
		case seen[name]:
			return result, unusable("the answer has the member %.40q twice", name)
		case len(seen) == maxMembers:
			return result, tooLarge("an answer of more than %d members", maxMembers)
		}
		seen[name] = true
		switch name {
		case "results":
			result.Results, err = elements(r, check)
		case "token":
			var raw json.RawMessage
			raw, err = r.value()
			switch {
			case err != nil:
			case len(raw) > maxToken:
				err = tooLarge("a token of %d bytes, at most %d", len(raw), maxToken)
			case json.Unmarshal(raw, &result.Token) != nil:
				err = unusable("the token of the answer is no object")
			}
		default:
			_, err = r.value()
		}
		if err != nil {
			return result, err
		}
	}
	if err := r.close('}'); err != nil {
		return result, err
	}
	// null says that there are no more.
	more := member(result.Token.Raw, "continuation")
	switch {
	case result.Results == nil:
		return result, unusable("decode answer: there is no results in it")
	case len(result.Results) > 0 && string(more) != "null" && !bytes.HasPrefix(more, []byte(`"`)):
		return result, unusable("decode answer: there is no token.continuation in it")
	}
	return result, nil
}

// QueryPredictions reads one page of stored predictions. It is a POST that changes nothing, so it
// is retried like a read. Errors: ErrGone when the project is not there. Source: Training API v3.3,
// QueryPredictions.
func (c *Client) QueryPredictions(ctx context.Context, p uuid.UUID, token PredictionQueryToken) (PredictionQueryResult, error) {
	k := call{op: "QueryPredictions", method: http.MethodPost, path: projectPath(p) + "/predictions/query", reads: true}
	body, err := json.Marshal(token)
	if err != nil {
		return PredictionQueryResult{}, invalid(k.op, fmt.Errorf("encode token: %w", err))
	}
	k.body, k.asked = body, token.MaxCount
	return ask(ctx, c, k, func(r *answerReader) (PredictionQueryResult, error) {
		return readPredictions(r, func(s StoredImagePrediction) error { return of(p, s.Project) })
	})
}

// DeletePredictions deletes up to MaxPredictionIDs stored predictions with their images. Without
// ids no call is made. It may be repeated: ErrGone says that they were gone already. Errors: also
// ErrReadOnly. Source: Training API v3.3, DeletePrediction.
func (c *Client) DeletePredictions(ctx context.Context, p uuid.UUID, ids []uuid.UUID) error {
	k := call{op: "DeletePrediction", path: projectPath(p) + "/predictions"}
	switch {
	case len(ids) == 0:
		return nil
	case len(ids) > MaxPredictionIDs:
		return invalid(k.op, fmt.Errorf("%d prediction ids, at most %d", len(ids), MaxPredictionIDs))
	}
	k.query = newQuery().ids("ids", ids)
	_, err := c.delete(ctx, k)
	return err
}
