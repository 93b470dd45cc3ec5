package worker

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// TestReadingEncodes: what encodes itself does it as contract.Marshal does.
func TestReadingEncodes(t *testing.T) {
	id := uuid.MustParse("e3049fbe-e509-4ceb-95c6-f6427b972543")
	raw := json.RawMessage(`{"a":"<&>","items":[{"raw":null}]}`)
	blame := &bagfile.Blame{Code: "x", Message: `"items":[{"raw":null}]`}
	for _, r := range []reading{
		{V: unit.Version},
		{V: unit.Version, Items: []item{{ID: id, Raw: raw}}},
		{V: unit.Version, Listed: 3, First: id.String(), Last: id.String(), Items: []item{{ID: id, Raw: raw}, {Raw: raw, Later: true}, {ID: id, Raw: json.RawMessage(`{}`)}}, Token: &survey.Token{}, Failures: []failure{{contract.CategoryImages, blame.Of("x")}}, Unread: []uuid.UUID{id}, Blame: blame},
		{V: unit.Version, Items: []item{{ID: id}, {ID: id, Raw: raw}}},
		{V: unit.Version, Project: raw, Items: []item{{ID: id, Raw: raw}}},
		{V: unit.Version, Tags: []json.RawMessage{raw}, Iterations: []iterationReading{{ID: id, Raw: raw}}},
	} {
		want, err := contract.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.EncodeJSON(); err != nil || string(got) != string(want) {
			t.Errorf("%s, %v, want\n%s", got, err, want)
		}
	}
}

// An id that a page lists twice counts once: then the page has fewer items than the service
// counted, and the listing is read again.
func TestReadingListsEachOnce(t *testing.T) {
	a, b := uuid.UUID{1}, uuid.UUID{2}
	var r reading
	for i, c := range []struct {
		id    uuid.UUID
		first bool
	}{{a, true}, {b, true}, {b, false}, {a, false}} {
		if got := r.list(c.id); got != c.first {
			t.Errorf("%d: %s is new: %t", i, c.id, got)
		}
	}
	if s := r.summary(); s.Listed != 2 || s.First != a.String() || s.Last != b.String() {
		t.Errorf("%d listed, from %s to %s", s.Listed, s.First, s.Last)
	}
}
