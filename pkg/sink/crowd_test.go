package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestRemoveACrowd: however many objects there are, they are removed in batches, and no list of
// them is held.
func TestRemoveACrowd(t *testing.T) {
	long := strings.Repeat("x", 950)
	crowd := sinktest.NewCrowd(t, 8000, func(i int) string { return fmt.Sprintf("exp-1/.work/units/%08d%s", i, long) })
	n, err := crowd.Store(t).RemoveAll(t.Context(), "exp-1/.work/")
	if err != nil || n != crowd.Objects || crowd.Left() != 0 {
		t.Errorf("removed %d, %d are left: %v", n, crowd.Left(), err)
	}
	crowd.Check(t, 0)
}

// TestRemoveAllKeeps: what is to be kept keeps all its versions.
func TestRemoveAllKeeps(t *testing.T) {
	for name, kind := range bucketKinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			w.litter(t)
			kept := w.left(t, "x/a.b")
			if _, err := w.store.RemoveAll(t.Context(), "x/", "x/a.b", "x/none"); err != nil {
				t.Fatal(err)
			}
			if left := w.left(t, "x/"); left != kept || kept == "" {
				t.Errorf("the bucket keeps %q, want %q", left, kept)
			}
		})
	}
}
