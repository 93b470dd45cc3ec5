package bag_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
)

// TestSelectionNamesFew says how many things were named, and lists the first of them.
func TestSelectionNamesFew(t *testing.T) {
	id := func(n byte) uuid.UUID { return uuid.UUID{0: 0xaa, 15: n} }
	s := contract.Scope{ProjectIDs: []uuid.UUID{id(1)}}
	for n := range byte(22) {
		s.ImageIDs = append(s.ImageIDs, id(n))
	}
	got := bag.Selection(s)
	if len(got) != 2 || got[0] != "projects "+id(1).String() || strings.Count(got[1], ",") != 19 || !strings.HasSuffix(got[1], " and 2 more") {
		t.Errorf("%q", got)
	}
}
