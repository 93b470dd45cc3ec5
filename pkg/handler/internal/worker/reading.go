package worker

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/blob"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// reading is what one unit read from the service, frozen before anything is made of it: all later
// attempts of the unit work on it, so that two attempts cannot mix two truths. Its JSON is as
// received but for the queries of URIs.
type reading struct {
	V int `json:"v"`

	// Of a project.
	Project    json.RawMessage    `json:"project,omitempty"`
	Proven     string             `json:"proven,omitempty"` // fingerprint of the credential that read it
	Iterations []iterationReading `json:"iterations,omitempty"`
	Tags       []json.RawMessage  `json:"tags,omitempty"` // of the workspace
	Listings   []survey.Listing   `json:"listings,omitempty"`

	// Of pages, batches, exports and predictions.
	Listed int           `json:"listed,omitempty"`
	First  string        `json:"first,omitempty"`
	Last   string        `json:"last,omitempty"`
	Items  []item        `json:"items,omitempty"`
	Scopes []uuid.UUID   `json:"scopes,omitempty"` // what a run of predictions leaves to read
	Token  *survey.Token `json:"token,omitempty"`

	Failures []failure      `json:"failures,omitempty"` // what the service did not give
	Unread   []uuid.UUID    `json:"unread,omitempty"`   // images that it did not give when it was asked for them by their ids,
	Blame    *bagfile.Blame `json:"blame,omitempty"`    // and why

	seen map[uuid.UUID]struct{} // what list was told
}

// FormatVersion implements unit.Versioned.
func (reading) FormatVersion() int { return unit.Version }

// EncodeJSON implements unit.Encoded. The JSON of items is copied as it stands there.
func (r reading) EncodeJSON() ([]byte, error) {
	null := json.RawMessage("null")
	noRaw := func(it item) bool { return len(it.Raw) == 0 }
	if len(r.Items) == 0 || slices.ContainsFunc(r.Items, noRaw) || r.Project != nil || r.Iterations != nil || r.Tags != nil {
		return contract.Marshal(r) //nolint:wrapcheck // the caller says what it encodes
	}
	around := r
	around.Items = []item{{Raw: null}}
	b, err := contract.Marshal(around)
	before, after, ok := bytes.Cut(b, []byte(`{"raw":null}`)) // nothing before it has text of others
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("encode what was read")) // it has items
	}
	size := len(b)
	for _, it := range r.Items {
		size += len(it.Raw) + 64
	}
	buf := bytes.NewBuffer(make([]byte, 0, size))
	buf.Write(before)
	var splicer jsonscan.Splicer
	for i, it := range r.Items {
		if i > 0 {
			buf.Truncate(buf.Len() - 1) // the end of a line
			buf.WriteByte(',')
		}
		raw := it.Raw
		it.Raw = null
		if err := splicer.Write(buf, it, "raw", raw); err != nil {
			return nil, err //nolint:wrapcheck // the caller says what it encodes
		}
	}
	buf.Truncate(buf.Len() - 1)
	buf.Write(after)
	return buf.Bytes(), nil
}

// failure is something that the service did not give, of one category.
type failure struct {
	Category contract.Category `json:"category"`
	bagfile.Failure
}

// fail notes that the service did not give something, by err.
func (r *reading) fail(c contract.Category, id string, err error) {
	r.Failures = append(r.Failures, failure{c, blob.BlameOf(err).Of(id)})
}

// lacks reports whether the service did not carry out an operation about something.
func (r *reading) lacks(operation, id string) bool {
	return slices.ContainsFunc(r.Failures, func(f failure) bool { return f.Operation == operation && f.ID == id })
}

// failures are the records of what the service did not give.
func (r *reading) failures() []unit.Record {
	var records []unit.Record
	for _, f := range r.Failures {
		records = append(records, unit.Record{Entry: &unit.EntryRecord{Category: f.Category, Failed: &f.Failure}})
	}
	for _, id := range r.Unread {
		records = append(records, unit.Record{ID: id, Blob: &unit.BlobRecord{Error: r.Blame}})
	}
	return records
}

// item is one thing of a listing.
type item struct {
	ID    uuid.UUID       `json:"id,omitzero"`
	Raw   json.RawMessage `json:"raw,omitempty"`   // not of a witness
	Later bool            `json:"later,omitempty"` // a prediction of a scope after the first: its blob may be there already

	links []string // where its blob is, best first; with their queries, so never stored
}

type iterationReading struct {
	ID          uuid.UUID         `json:"id"`
	Raw         json.RawMessage   `json:"raw"`
	Trained     bool              `json:"trained"`
	Tags        []json.RawMessage `json:"tags,omitempty"`
	Performance json.RawMessage   `json:"performance,omitempty"`
}

// list notes that the service listed id, in this order, and reports whether it did so for the first
// time: an id that is listed twice counts once, so that the page has fewer items than were counted
// where another one is missing for it.
func (r *reading) list(id uuid.UUID) bool {
	if _, twice := r.seen[id]; twice {
		return false
	}
	if r.Listed == 0 {
		r.seen, r.First = map[uuid.UUID]struct{}{}, id.String()
	}
	r.seen[id] = struct{}{}
	r.Listed++
	r.Last = id.String()
	return true
}

// summary is what a reading of items says to the coordinator.
func (r *reading) summary() unit.Summary {
	s := unit.Summary{Listed: r.Listed, First: r.First, Last: r.Last, Scopes: r.Scopes, Token: r.Token}
	for _, it := range r.Items {
		if it.ID != uuid.Nil {
			s.IDs = append(s.IDs, it.ID)
		}
	}
	return s
}
