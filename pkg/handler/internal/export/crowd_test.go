package export

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestCrowdAmongResults: a coordinator that looks for results asks for those of its own units, and
// holds no list, whatever else is stored beside them under names like theirs.
func TestCrowdAmongResults(t *testing.T) {
	layout, err := sink.NewLayout("", "exp-1")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 900)
	for name, key := range map[string]func(i int) string{
		"results":                func(i int) string { return unit.ResultName(i) },
		"failed attempts":        func(i int) string { return unit.ErrorName(i, 1) },
		"waits":                  func(i int) string { return unit.WaitName(i, "0a") },
		"waits in folders":       func(i int) string { return fmt.Sprintf("units/%08d%s/000000.wait-0a", i, long) },
		"failed ones in folders": func(i int) string { return fmt.Sprintf("units/%08d%s/000000.err-1", i, long) },
		"results in folders":     func(i int) string { return fmt.Sprintf("units/%08d%s/000000.jsonl", i, long) },
		"waits of many attempts": func(i int) string { return fmt.Sprintf("units/000000.wait-%032x", i) },
	} {
		t.Run(name, func(t *testing.T) {
			crowd := sinktest.NewCrowd(t, 1000, func(i int) string { return string(layout.Work(key(i))) })
			r := &results{asked: unit.NewAsked(), rounds: &rounds{units: make([]unit.Unit, 3)}}
			r.x = &Exporter{Settings: Settings{MaxAttempts: 4}, Bags: bag.Bags{Layout: layout, Work: crowd.Store(t)}}
			there, err := r.stored(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if inFolders := strings.HasSuffix(name, "in folders"); inFolders && (there.done.has(0) || len(there.earlier) > 0) {
				t.Errorf("found results %t, and %d earlier waits", there.done.has(0), len(there.earlier))
			}
			if name == "results" && !(there.done.has(0) && there.done.has(crowd.Objects-1)) {
				t.Error("a result is not found")
			}
			if name == "results" && len(slices.Collect(there.done.all())) != crowd.Objects {
				t.Error("results are missing")
			}
			crowd.Check(t, 0)
			if err := r.lostCalls(t.Context()); err != nil {
				t.Fatal(err)
			}
			crowd.Check(t, 2*3*4)
		})
	}
}
