package worker

import (
	"testing"

	"github.com/google/uuid"
)

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
