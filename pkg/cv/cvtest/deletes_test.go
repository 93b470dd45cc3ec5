package cvtest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestDelayedDelete moves the clock through a background deletion.
func TestDelayedDelete(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now, DeleteDelay: 8 * time.Second})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	counts := func() []int {
		all := []int{get[int](t, s, p+"/images/count")}
		for _, it := range made.Iterations {
			all = append(all, get[int](t, s, p+"/images/count?iterationId="+it.String()))
		}
		return all
	}
	want := s.Clone()
	want.EraseImage(made.ID, made.Images...)
	if r := send(t, s, "DELETE", p+"/images?allImages=true&allIterations=true", ""); r.status != 202 || len(r.body) != 0 {
		t.Fatalf("delete: %d %s", r.status, r.body)
	}
	for _, step := range []struct {
		at      time.Duration
		counts  []int
		pending int
	}{
		{0, []int{31, 20, 31}, 3}, {3999, []int{31, 20, 31}, 3}, {4000, []int{0, 20, 31}, 2}, {6000, []int{0, 0, 31}, 1}, {7999, []int{0, 0, 31}, 1}, {8000, []int{0, 0, 0}, 0},
	} {
		c.Advance(newClock().now.Add(step.at * time.Millisecond).Sub(c.Now()))
		if got := counts(); !slices.Equal(got, step.counts) || s.Pending() != step.pending {
			t.Errorf("after %d ms: %v and %d pending, want %v and %d", step.at, got, s.Pending(), step.counts, step.pending)
		}
	}
	if !reflect.DeepEqual(s.Snapshot(), want.Snapshot()) {
		t.Error("the state is not what was expected")
	}
	if n := len(get[[]json.RawMessage](t, s, p+"/tags")); n != 2 {
		t.Errorf("%d tags left", n)
	}

	// A deletion of ids leaves what was uploaded meanwhile, and one of the workspace alone leaves
	// iterations.
	id := s.AddImage(made.ID, ImageSpec{Tags: made.Tags[:1], Metadata: map[string]string{"k": "v"}, ImageBytes: Tiny})
	it := s.AddIteration(made.ID, IterationSpec{})
	send(t, s, "DELETE", p+"/images?allImages=true", "")
	later := s.AddImage(made.ID, ImageSpec{ImageBytes: Tiny})
	c.Advance(8 * time.Second)
	if got := idsOf(get[[]listed](t, s, p+"/images")); !slices.Equal(got, []uuid.UUID{later}) {
		t.Errorf("workspace %v", got)
	}
	if got := idsOf(get[[]listed](t, s, p+"/images?iterationId="+it.String())); !slices.Equal(got, []uuid.UUID{id}) {
		t.Errorf("iteration %v", got)
	}
}

func TestDeleteRules(t *testing.T) {
	type step struct{ method, path, code string }
	s := start(t, Options{})
	spec := tinySpec()
	spec.Iterations = []IterationSpec{{Published: true}, {}, {Status: StatusTraining}, {Status: StatusNew, Untrained: true}}
	made := s.AddProject(spec)
	p := "projects/" + made.ID.String()
	it := func(i int) string { return p + "/iterations/" + made.Iterations[i].String() }
	run := func(steps ...step) {
		t.Helper()
		for _, st := range steps {
			r := send(t, s, st.method, st.path, "")
			if got := fmt.Sprintf("%d %s", r.status, r.code()); strings.TrimSpace(got) != st.code {
				t.Errorf("%s %s: %s, want %s", st.method, st.path[:min(len(st.path), 150)], got, st.code)
			}
		}
	}
	before := s.Snapshot()
	s.SetDRMode(made.ID, true)
	run(
		step{"DELETE", p, "403 ForbiddenDRModeEnabled"},
		step{"DELETE", p + "/images?allImages=true", "403 ForbiddenDRModeEnabled"},
		step{"DELETE", p + "/tags/" + made.Tags[0].String(), "403 ForbiddenDRModeEnabled"},
		step{"DELETE", it(1), "403 ForbiddenDRModeEnabled"},
		step{"DELETE", it(0) + "/publish", "403 ForbiddenDRModeEnabled"},
		step{"DELETE", p + "/predictions?ids=" + made.Predictions[0].String(), "403 ForbiddenDRModeEnabled"},
		step{"GET", p, "200"},
	)
	s.SetDRMode(made.ID, false)
	run(
		step{"DELETE", p, "400 BadRequestIterationIsPublished"},
		step{"DELETE", it(0), "400 BadRequestIterationIsPublished"},
		step{"DELETE", it(2), "409 Conflict"},
		step{"DELETE", it(3), "400 BadRequestWorkspaceNotDeletable"},
		step{"DELETE", it(1) + "/publish", "400 BadRequestIterationNotPublished"},
		step{"GET", it(2) + "/performance", "400 BadRequestIterationIsNotTrained"},
		step{"DELETE", p + "/images?allImages=true&imageIds=" + made.Images[0].String(), "400 BadRequestNotSupported"},
		step{"DELETE", p + "/images?allImages=perhaps", "400 BadRequest"},
		step{"DELETE", p + "/predictions?ids=" + join(made.Images[:36]) + "," + join(made.Images[:36]), "400 BadRequestPredictionIdsExceededCount"},
	)
	if !reflect.DeepEqual(before, s.Snapshot()) {
		t.Error("a refusal changed something")
	}
	want := s.Clone()
	want.Publish(made.ID, made.Iterations[0], "")
	want.RemoveIteration(made.ID, made.Iterations[0], made.Iterations[2])
	want.RemovePrediction(made.ID, made.Predictions[:4]...)
	s.SetStatus(made.ID, made.Iterations[2], StatusCompleted)
	run(
		step{"DELETE", it(0) + "/publish", "204"},
		step{"DELETE", it(0), "204"},
		step{"DELETE", it(2), "204"},
		step{"DELETE", it(2), "404 NotFoundIteration"},
		step{"GET", it(2), "404 NotFoundIteration"},
		step{"DELETE", p + "/predictions?ids=" + join(made.Predictions[:4]) + "," + uuid.NewString(), "204"},
		step{"DELETE", p + "/predictions?ids=" + join(made.Predictions[:4]), "404 NotFound"},
	)
	if !reflect.DeepEqual(want.Snapshot(), s.Snapshot()) {
		t.Error("the state is not what was expected")
	}
	s.SetStatus(made.ID, made.Iterations[1], StatusTraining)
	run(step{"DELETE", p, "409 Conflict"})
	s.SetStatus(made.ID, made.Iterations[1], StatusCompleted)
	run(step{"DELETE", p, "204"}, step{"DELETE", p, "404 NotFoundProject"}, step{"GET", p + "/images/count", "404 NotFoundProject"})
	if n := len(s.DestructiveCalls()); n != 6+8+6+3 {
		t.Errorf("%d destructive calls", n)
	}
}

func TestMissingFailsBatch(t *testing.T) {
	s := start(t, Options{MissingFailsBatch: true})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	before := s.Snapshot()
	for _, path := range []string{"/images?allIterations=true&imageIds=" + made.Images[9].String(), "/predictions?ids=" + made.Predictions[0].String()} {
		if r := send(t, s, "DELETE", p+path+","+uuid.NewString(), ""); r.status != 404 {
			t.Errorf("%s: %d", path, r.status)
		}
	}
	if !reflect.DeepEqual(before, s.Snapshot()) {
		t.Error("a refused batch changed something")
	}
}
