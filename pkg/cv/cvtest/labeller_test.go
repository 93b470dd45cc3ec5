package cvtest

import (
	"reflect"
	"testing"

	"github.com/google/uuid"
)

// TestLabellerMoves lets a labeller move a thousand times and holds what it remembers against the
// account.
func TestLabellerMoves(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(ProjectSpec{Name: "Faces", Tags: []string{"box"}, Images: 20, ImageBytes: Tiny})
	again := s.Clone()
	l, same := s.Labeller(made.ID, 7), again.Labeller(made.ID, 7)
	for range 1000 {
		l.Chance(0.5)
		same.Chance(0.5)
	}
	if l.Moves() < 400 || l.Moves() > 600 || same.Moves() != l.Moves() {
		t.Errorf("%d moves, and %d with the same seed", l.Moves(), same.Moves())
	}
	left := map[uuid.UUID]bool{}
	for _, img := range s.Snapshot().Projects[0].Workspace.Images {
		left[img.ID] = true
	}
	for _, id := range append(l.Added(), made.Images...) {
		if left[id] == l.Removed(id) {
			t.Errorf("image %s is there: %t, removed: %t", id, left[id], l.Removed(id))
		}
		delete(left, id)
	}
	if len(left) > 0 || len(l.Added()) == 0 {
		t.Errorf("%d images came unseen, %d were added", len(left), len(l.Added()))
	}
	s.RemoveProject(made.ID)
	l.Chance(1)
}

// TestLag reads what a replica answers that lags behind: by a fault, and at random.
func TestLag(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(ProjectSpec{Name: "Faces", Images: 3, ImageBytes: Tiny})
	path := "projects/" + made.ID.String() + "/images"
	ids := func() (out []uuid.UUID) {
		for _, img := range get[[]listed](t, s, path) {
			out = append(out, img.ID)
		}
		return out
	}
	before := ids()
	s.Fault(Fault{Operation: "GetImages", Past: s.Past()})
	s.RemoveImage(made.ID, made.Images[0])
	added := s.AddImage(made.ID, ImageSpec{ImageBytes: Tiny})
	if got := ids(); !reflect.DeepEqual(got, before) {
		t.Errorf("a replica that lags behind lists %v, want %v", got, before)
	}
	now := ids()
	if len(now) != 3 || now[0] != added && now[2] != added {
		t.Errorf("after that are listed %v", now)
	}
	s.Fault(Fault{Operation: "DeleteImages", Past: s.Past()})
	send(t, s, "DELETE", path+"?imageIds="+added.String(), "")
	if got := ids(); len(got) != 2 || len(s.Unhit()) != 0 {
		t.Errorf("a change is made in the past: %v", got)
	}

	s.LagRate(0.5, 1, 1)
	stale := 0
	for range 20 {
		s.AddImage(made.ID, ImageSpec{ImageBytes: Tiny})
		if len(ids()) < len(s.Snapshot().Projects[0].Workspace.Images) {
			stale++
		}
	}
	if stale < 4 || stale > 16 {
		t.Errorf("%d of 20 readings lag behind", stale)
	}
	s.ClearFaults()
	if got := ids(); len(got) != 22 {
		t.Errorf("%d images without a lag", len(got))
	}
}
