package turn_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/turn"
)

// claimed is the job of a command that is at work, with these projects in its plan.
func claimed(projects ...string) *contract.Job {
	j := &contract.Job{State: contract.StateRunning, Attempted: true}
	if len(projects) > 0 {
		j.Claim = &contract.Claim{}
	}
	for _, p := range projects {
		j.Claim.Projects = append(j.Claim.Projects, uuid.MustParse(p))
	}
	return j
}

// waits is the job of a command that was begun and waits.
func waits(what string) *contract.Job {
	j := claimed()
	j.Waiting = &contract.Waiting{For: what}
	return j
}

// TestOverlap looks what is in the way of a delete, whose projects are known to be p1, under
// another name of its account. One that takes every project waits for what was published before it
// and for what has begun; one that names its project, for the plans of those before it.
func TestOverlap(t *testing.T) {
	const (
		all, named = `"all_projects":true`, `"project_ids":["` + p1 + `"]`
		ended      = contract.StateCompleted
	)
	for _, c := range []struct {
		name  string
		mine  string
		other string
		later bool          // the other one was published after
		job   *contract.Job // of the other one; nil: it has none
		want  turn.Overlap
	}{
		{"all; before it one that names the project", all, named, false, nil, turn.Overlap{ID: "other"}},
		{"all; before it one that waits", all, named, false, waits(contract.WaitCommand), turn.Overlap{ID: "other"}},
		{"all; before it one that has ended", all, named, false, &contract.Job{State: ended}, turn.Overlap{}},
		{"all; before it one that names another project", all, `"project_ids":["` + p2 + `"]`, false, nil, turn.Overlap{}},
		{"all; after it one that has not begun", all, named, true, nil, turn.Overlap{}},
		{"all; after it one that is accepted", all, named, true, &contract.Job{State: contract.StateAccepted}, turn.Overlap{}},
		{"all; after it one that has begun", all, named, true, claimed(), turn.Overlap{ID: "other"}},
		{"all; after it one that waits for its turn", all, named, true, waits(contract.WaitCommand), turn.Overlap{}},
		{"all; after it one that has begun and waits", all, named, true, waits(contract.WaitCredential), turn.Overlap{ID: "other"}},
		{"all; before it one without a plan", all, all, false, claimed(), turn.Overlap{}},
		{"all; before it one with the project in its plan", all, all, false, claimed(p2, p1), turn.Overlap{ID: "other", First: true}},
		{"all; before it one with another plan", all, all, false, claimed(p2), turn.Overlap{}},
		{"all; after it one with the project in its plan", all, all, true, claimed(p1), turn.Overlap{ID: "other"}},
		{"all; the same account", all, named + `,"resource":"same"`, true, claimed(), turn.Overlap{}},
		{"named; before it one without a plan", named, all, false, claimed(), turn.Overlap{}},
		{"named; before it one with the project in its plan", named, all, false, claimed(p1), turn.Overlap{ID: "other"}},
		{"named; after it one with the project in its plan", named, all, true, claimed(p1), turn.Overlap{}},
		{"named; the same account", named, all + `,"resource":"same"`, false, claimed(p1), turn.Overlap{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := newQueue("s1")
			other := func() {
				data := c.other
				if !strings.Contains(data, "resource") {
					data += `,"resource":"other"`
				}
				q.command(t, contract.ActionExport, "other", "{"+data+"}")
			}
			if !c.later {
				other()
			}
			mine := q.command(t, contract.ActionDelete, "mine", "{"+c.mine+"}")
			if c.later {
				other()
			}
			if c.job != nil {
				q.jobs["other"] = *c.job
			}
			o := q.order()
			overlap := func() turn.Overlap {
				t.Helper()
				got, err := o.Overlap(t.Context(), mine, []uuid.UUID{uuid.MustParse(p1)})
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			if got := overlap(); got != c.want {
				t.Errorf("%+v, not %+v", got, c.want)
			}
			if c.later {
				return
			}
			q.settle(1)
			if got := overlap(); got != (turn.Overlap{}) {
				t.Errorf("after it has left the queue: %+v", got)
			}
		})
	}
}

// Two that may overlap do not wait for each other: two exports, two deletes of images.
func TestOverlapOfKindsThatMay(t *testing.T) {
	q := newQueue("s1")
	q.command(t, contract.ActionExport, "exp-1", `{"all_projects":true,"resource":"other"}`)
	mine := q.command(t, contract.ActionExport, "exp-2", `{"all_projects":true}`)
	q.jobs["exp-1"] = *claimed(p1)
	if got, err := q.order().Overlap(t.Context(), mine, []uuid.UUID{uuid.MustParse(p1)}); err != nil || got != (turn.Overlap{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whether a command has to look again once it has begun depends on the commands before it under
// other names.
func TestUncertain(t *testing.T) {
	for data, want := range map[string]bool{
		`"all_projects":true,"resource":"other"`:                 true,
		`"all_projects":true,"resource":"same"`:                  false,
		fmt.Sprintf(`"project_ids":[%q],"resource":"other"`, p1): false,
	} {
		q := newQueue("s1")
		q.command(t, contract.ActionExport, "other", "{"+data+"}")
		mine := q.command(t, contract.ActionDelete, "mine", fmt.Sprintf(`{"project_ids":[%q]}`, p1))
		q.command(t, contract.ActionExport, "later", `{"all_projects":true,"resource":"other"}`)
		if got, err := q.order().Uncertain(t.Context(), mine); err != nil || got != want {
			t.Errorf("after %s: %t, %v", data, got, err)
		}
	}
}
