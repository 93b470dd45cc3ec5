package deletion

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestDropACrowd: of a bag that will not be finished, everything but the evidence is removed,
// however many objects are in it, and no list of them is held.
func TestDropACrowd(t *testing.T) {
	layout, err := sink.NewLayout("", "del-1")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 950)
	crowd := sinktest.NewCrowd(t, 8000, func(i int) string { return fmt.Sprintf("del-1/delete/data/%08d%s", i, long) })
	d := &Deleter{Bags: bag.Bags{Layout: layout, Store: crowd.Store(t)}}
	if left, err := d.dropBag(t.Context()); left != "" || err != nil || crowd.Left() != 0 {
		t.Errorf("%q, %d objects are left: %v", left, crowd.Left(), err)
	}
	crowd.Check(t, 0)
}
