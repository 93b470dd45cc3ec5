package handler_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// nullCase is a command that reads the service, and how it ends when that answers well.
type nullCase struct {
	name   string
	action contract.Action
	data   string
	gone   []apply
}

func nullCases() []nullCase {
	return []nullCase{
		{name: "an export", action: contract.ActionExport, data: `{"all_projects":true}`},
		{
			name: "an erasure by metadata", action: contract.ActionDelete,
			data: `{"all_projects":true,"image_metadata":{"subject":"person-1"}}`,
			gone: []apply{everywhere(func(i cvtest.ItemState) bool { return strings.Contains(string(i.JSON), `"person-1"`) })},
		},
		{
			name: "all projects, exported first", action: contract.ActionDelete,
			data: `{"all_projects":true,"export_first":true}`,
			gone: []apply{func(s *cvtest.State) { s.Projects = nil }},
		},
	}
}

// nullRun is a command that was carried out.
type nullRun struct {
	*world
	before cvtest.State
	held   truth
	end    contract.EventData
}

// run carries the command out in a world of its own, with these faults.
func (c nullCase) run(t *testing.T, faults ...cvtest.Fault) nullRun {
	t.Helper()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 6}})
	smallProject(w.api)
	before := w.api.Snapshot()
	held := w.truthOf(t, before, selection{})
	for _, f := range faults {
		w.api.Fault(f)
	}
	r := w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 1
	}})
	e := w.wait(t, w.publish(t, c.action, "del-1", c.data))
	r.stop()
	for _, f := range w.api.Unhit() {
		if f.Rewrite == nil { // damage, which may be of what this command does not ask
			t.Errorf("not hit: %+v", f)
		}
	}
	return nullRun{w, before, held, e}
}

// check holds the end of an undisturbed command against the truth.
func (c nullCase) check(t *testing.T, r nullRun) {
	t.Helper()
	e := r.end
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	r.checkState(t, r.before, c.gone...)
	if c.action == contract.ActionExport {
		r.checkTruth(t, r.bag(t, "del-1", sink.ExportBag), e, r.held)
		return
	}
	checkDeleteBags(t, r.world, e, r.before, r.held)
}

// TestNullIsNoAnswer has the service answer null to each operation that reads: once, which changes
// nothing, and always, which never ends well.
func TestNullIsNoAnswer(t *testing.T) {
	t.Parallel()
	for _, c := range nullCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := c.run(t)
			c.check(t, r)
			reads := map[string]bool{}
			for _, call := range r.api.Calls() {
				if !call.Changes {
					reads[call.Operation] = true
				}
			}
			for n, operation := range slices.Sorted(maps.Keys(reads)) {
				if leftOut(n) {
					continue
				}
				t.Run(operation+" once", func(t *testing.T) {
					c.check(t, c.run(t, cvtest.Null(operation, 1)))
				})
				t.Run(operation+" always", func(t *testing.T) {
					// What an export does not get is its exception; export_first stops there.
					e := c.run(t, cvtest.Null(operation, -1)).end
					named := c.action == contract.ActionExport && e.Outcome == contract.OutcomeExceptions && e.Exceptions > 0
					if e.Status != contract.StatusFailed && !named && (e.Status != contract.StatusRefused || e.ExportBundle == nil) {
						t.Errorf("ended %s %s", e.Status, e.Outcome)
					}
				})
			}
		})
	}
}
