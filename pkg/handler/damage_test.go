package handler_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// damagedOperations are those whose answers are damaged all the time; the empty one is any of them,
// now and then.
var damagedOperations = []string{
	"", "", "", "", "GetProjects", "GetProject", "GetIterations", "GetTags", "GetTaggedImages", "GetUntaggedImages", "GetImages", "GetImagesByIds", "GetTaggedImageCount",
	"GetUntaggedImageCount", "GetImageCount", "GetIterationPerformance", "GetImagePerformances", "GetImagePerformanceCount", "GetExports", "QueryPredictions",
}

// damage makes answers of the service to an operation come damaged: each share-th one, or all of
// them in one way. Errors come as they are: what the service refuses is told by its status alone.
func damage(operation string, share int, seed uint64) cvtest.Fault {
	var mu sync.Mutex
	choices := func() *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) } //nolint:gosec // not for security
	rnd := choices()
	return cvtest.Fault{Operation: operation, Times: -1, Rewrite: func(body []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		var refusal struct{ Code string }
		if json.Unmarshal(body, &refusal) == nil && refusal.Code != "" || rnd.IntN(share) > 0 {
			return body
		}
		if share == 1 { // in one way
			rnd = choices()
		}
		return cvtest.Damage(body, rnd.IntN)
	}}
}

// FuzzDamagedAnswers has the service's answers come damaged (null, without what they must have,
// doubled, huge, negative, no text) during an export or a delete. Whatever the damage is, the
// command ends, and it never says `complete` of less than what the service holds.
func FuzzDamagedAnswers(f *testing.F) {
	for n := range uint8(len(damagedOperations)) { //nolint:gosec // few
		f.Add(uint64(n), n, n)
	}
	cases := nullCases()
	f.Fuzz(func(t *testing.T, seed uint64, which, operation uint8) {
		c := cases[int(which)%len(cases)]
		op, share := damagedOperations[int(operation)%len(damagedOperations)], 1
		if op == "" {
			share = 2 << (seed % 4) // each 2nd to 16th answer
		}
		r := c.run(t, damage(op, share, seed))
		e := r.end
		t.Logf("%s, damaged %q, one of %d: ended %s %s, %d exceptions, %v", c.name, op, share, e.Status, e.Outcome, e.Exceptions, e.Error)
		said := e.Status == contract.StatusCompleted && (e.Outcome == contract.OutcomeComplete || e.Outcome == contract.OutcomeNothingFound)
		switch {
		case !said:
		case c.action == contract.ActionExport:
			r.checkHeld(t)
		default:
			r.checkState(t, r.before, c.gone...)
		}
	})
}

// TestSeveralAnswersMissingAboutOneScope: what operations did not tell of one scope are exceptions
// of their own, each once, whatever the answers were.
func TestSeveralAnswersMissingAboutOneScope(t *testing.T) {
	t.Parallel()
	var faults []cvtest.Fault
	for _, operation := range []string{"GetTaggedImageCount", "GetUntaggedImageCount", "GetTaggedImages"} {
		faults = append(faults, cvtest.Null(operation, 8), cvtest.Fault{Operation: operation, Times: -1, Status: 200, Body: strings.Repeat(" ", 5<<20)})
	}
	e := nullCases()[0].run(t, faults...).end
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeExceptions || e.Exceptions != 3*3+3 { // three scopes; their listings are unstable, too
		t.Errorf("ended %s %s with %d exceptions: %v", e.Status, e.Outcome, e.Exceptions, e.Error)
	}
}

// checkHeld holds an export that says `complete` against what the service holds: all of it is
// there. What a damaged answer said of it beside that may differ.
func (r nullRun) checkHeld(t *testing.T) {
	t.Helper()
	files, got, want := r.bag(t, "del-1", sink.ExportBag), r.end.Counts, r.held.counts
	for _, n := range [][2]int64{
		{got.Projects, want.Projects}, {got.Iterations, want.Iterations}, {got.Performance, want.Performance}, {got.Tags, want.Tags},
		{got.Images, want.Images}, {got.Exports, want.Exports}, {got.Predictions, want.Predictions},
	} {
		if n[0] < n[1] {
			t.Errorf("complete with %+v, the service holds %+v", got, want)
		}
	}
	for name := range r.held.files {
		if _, ok := files["data/"+name]; !ok {
			t.Errorf("complete without %s", name)
		}
	}
}
