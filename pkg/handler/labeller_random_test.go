package handler_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

var (
	labellerRuns = flag.Int("labeller-runs", 6, "exports, and as many deletes, that TestLabeller runs beside one move per ten calls")
	// An export without a witness loses an image silently with seed 20.
	labellerSeed = flag.Uint64("labeller-seed", 18, "first seed of TestLabeller; each run has one of its own")
)

// labelling is a command that runs beside a labeller.
type labelling struct {
	name    string
	deletes bool
	data    string // its selection; %[1]s is a tag, %[2]s are images
	whole   bool   // everything of the project is selected
	project bool   // and the project itself goes
	subject string // images of this person are selected
	tag     bool   // images with the tag are selected
	few     bool   // the named images are selected
}

var labellings = []labelling{
	{name: "whole", whole: true},
	{name: "metadata", data: `,"image_metadata":{"subject":"person-1"}`, subject: "person-1"},
	{name: "tag", data: `,"tag_ids":[%[1]q]`, tag: true},
	{name: "images", data: `,"image_ids":%[2]s`, few: true},
	{name: "whole", deletes: true, whole: true, project: true},
	{name: "all images", deletes: true, data: `,"categories":["images"]`, whole: true},
	{name: "metadata", deletes: true, data: `,"image_metadata":{"subject":"person-1"}`, subject: "person-1"},
	{name: "tag", deletes: true, data: `,"tag_ids":[%[1]q],"categories":["images"]`, tag: true},
	{name: "images", deletes: true, data: `,"image_ids":%[2]s`, few: true},
	{name: "whole, export first", deletes: true, data: `,"export_first":true`, whole: true, project: true},
	{name: "metadata, export first", deletes: true, data: `,"image_metadata":{"subject":"person-1"},"export_first":true`, subject: "person-1"},
}

// labelledProject is a project beside a labeller, and what it held when the command was published.
type labelledProject struct {
	labelling
	*cvtest.Project
	worker   *cvtest.Labeller
	tagged   map[uuid.UUID]bool // with the tag
	subjects map[uuid.UUID]string
	named    []uuid.UUID
}

// newLabelled makes a project of 5 to 20 images, some with a tag, and perhaps a trained iteration.
func (w *world) newLabelled(what labelling, seed uint64) *labelledProject {
	random := rand.New(rand.NewPCG(seed, 2))
	l := &labelledProject{labelling: what, tagged: map[uuid.UUID]bool{}, subjects: map[uuid.UUID]string{}}
	l.Project = w.api.AddProject(cvtest.ProjectSpec{Name: "Faces", Tags: []string{"box", "face"}})
	for i := range 5 + random.IntN(16) {
		subject := fmt.Sprintf("person-%d", i%2)
		id := w.api.AddImage(l.ID, cvtest.ImageSpec{Metadata: map[string]string{"subject": subject}, ImageBytes: cvtest.Tiny})
		l.Images, l.subjects[id] = append(l.Images, id), subject
		if n := random.IntN(4); n < 2 {
			w.api.TagImages(l.ID, l.Tags[n], id)
			l.tagged[id] = n == 0
		}
		if random.IntN(3) == 0 {
			l.named = append(l.named, id)
		}
	}
	if len(l.named) == 0 {
		l.named = l.Images[:1]
	}
	if random.IntN(3) == 0 {
		l.Iterations = append(l.Iterations, w.api.AddIteration(l.ID, cvtest.IterationSpec{}))
	}
	l.worker = w.api.Labeller(l.ID, seed)
	return l
}

// command is the command's data.
func (l *labelledProject) command() string {
	data := l.data
	if strings.Contains(data, "%") {
		data = fmt.Sprintf(data+"%.0[1]s%.0[2]s", l.Tags[0].String(), idList(l.named...))
	}
	return `{"project_ids":` + idList(l.ID) + data + `}`
}

// selects reports whether an image was selected from the beginning, and stays so in the workspace
// whatever the labeller did; in an iteration, which no labeller changes, it needs only the first.
func (l *labelledProject) selects(id uuid.UUID, workspace bool) bool {
	tag := l.tag && l.tagged[id] && (!workspace || !l.worker.Untagged(l.Tags[0], id))
	return l.whole || tag || l.subject != "" && l.subjects[id] == l.subject || l.few && slices.Contains(l.named, id)
}

// mayTake reports whether a delete may have taken an image: it was selected at some time.
func (l *labelledProject) mayTake(id uuid.UUID) bool {
	return l.selects(id, false) || l.tag && l.worker.Tagged(l.Tags[0], id)
}

// throughout are the images of the workspace that were there, and selected, all the time.
func (l *labelledProject) throughout() []uuid.UUID {
	return slices.DeleteFunc(slices.Clone(l.Images), func(id uuid.UUID) bool { return l.worker.Removed(id) || !l.selects(id, true) })
}

// changed reports whether the labeller changed what is selected: a delete of what it planned is
// then not all that there is, and one that exports first deletes nothing that the export does not
// hold.
func (l *labelledProject) changed() bool {
	return l.whole && len(l.worker.Added()) > 0 || slices.ContainsFunc(l.Images, func(id uuid.UUID) bool {
		return l.worker.Removed(id) && l.selects(id, false) || l.tag && (l.worker.Tagged(l.Tags[0], id) || l.worker.Untagged(l.Tags[0], id))
	})
}

// exported holds an export's bag that calls itself complete against what was there throughout.
func (l *labelledProject) exported(t *testing.T, files map[string][]byte) {
	t.Helper()
	root := "data/projects/" + l.ID.String() + "/"
	has := func(listing string, id uuid.UUID) {
		t.Helper()
		for line := range bytes.Lines(files[root+listing]) {
			if bytes.Contains(line, []byte(`"id":"`+id.String()+`"`)) {
				if !bytes.Contains(line, []byte(`"file":"images/`+id.String())) {
					t.Errorf("%s has image %s without its file: %s", listing, id, line)
				}
				return
			}
		}
		t.Errorf("silent loss: %s has no image %s of %s", listing, id, l.ID)
	}
	for _, id := range l.throughout() {
		has("images.jsonl", id)
	}
	for _, it := range l.Iterations {
		for _, id := range l.Images {
			if l.selects(id, false) {
				has("iterations/"+it.String()+"/images.jsonl", id)
			}
		}
	}
}

// left are the images that a scope of the service still has.
func left(scope cvtest.ScopeState) map[uuid.UUID]bool {
	out := map[uuid.UUID]bool{}
	for _, item := range scope.Images {
		out[item.ID] = true
	}
	return out
}

// deleted holds the service against a delete's word: what it calls complete is gone, and nothing
// that was not selected is gone, however it ended.
func (l *labelledProject) deleted(t *testing.T, state cvtest.State, complete bool) {
	t.Helper()
	i := slices.IndexFunc(state.Projects, func(p cvtest.ProjectState) bool { return p.ID == l.ID })
	if i < 0 {
		if !l.project {
			t.Errorf("project %s is gone", l.ID)
		}
		return
	}
	if complete && l.project {
		t.Errorf("project %s is there", l.ID)
		return
	}
	p := state.Projects[i]
	there := left(p.Workspace)
	for _, id := range l.throughout() {
		if complete && there[id] {
			t.Errorf("silent loss: image %s is still in the workspace", id)
		}
	}
	for _, id := range append(l.worker.Added(), l.Images...) {
		if !there[id] && !l.worker.Removed(id) && !l.mayTake(id) && !l.whole {
			t.Errorf("image %s is gone from the workspace, and was not selected", id)
		}
	}
	for _, it := range p.Iterations {
		there := left(it.ScopeState)
		for _, id := range l.Images {
			switch {
			case complete && there[id] && l.selects(id, false):
				t.Errorf("silent loss: image %s is still in iteration %s", id, it.ID)
			case !there[id] && !l.mayTake(id):
				t.Errorf("image %s is gone from iteration %s, and was not selected", id, it.ID)
			}
		}
	}
}

// TestLabeller runs exports and deletes beside a labeller who moves between any two calls, and
// judges each by the service's own truth: what was there throughout is in the bag, and gone after
// the delete, or the outcome says otherwise. `make labeller` runs hundreds.
func TestLabeller(t *testing.T) {
	t.Parallel()
	for _, rate := range []struct {
		moves, complete float64 // per call; share of the runs that are complete
		runs            int
	}{
		{0, 1, max(3, *labellerRuns/10)}, {0.1, 0.95, *labellerRuns}, {1, 0, max(3, *labellerRuns/5)},
	} {
		for _, deletes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%.1f moves a call, deletes %t", rate.moves, deletes), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
				w.start(t, replicaOptions{units: 1, commands: 1, configure: func(c *handler.Config) {
					noWait(c)
					c.MaxAttempts = 3
				}})
				complete, moves, changed := 0, 0, 0
				for i := range rate.runs {
					l, done := w.beside(t, deletes, *labellerSeed+uint64(i), rate.moves)
					moves += l.worker.Moves()
					switch {
					case done:
						complete++
					case deletes && l.changed():
						changed++
					}
				}
				share := float64(complete) / float64(rate.runs-changed)
				t.Logf("%d of %d are complete; %d deletes say that their selection changed, as it did; %.1f %% of the others are complete; %d moves",
					complete, rate.runs, changed, 100*share, moves)
				if share < rate.complete && (rate.runs >= 100 || rate.complete == 1) {
					t.Errorf("%.1f %% are complete, want %.0f %%", 100*share, 100*rate.complete)
				}
			})
		}
	}
}

// beside runs one command beside a labeller and judges it. It reports whether it was complete.
func (w *world) beside(t *testing.T, deletes bool, seed uint64, rate float64) (l *labelledProject, complete bool) {
	t.Helper()
	kinds := slices.DeleteFunc(slices.Clone(labellings), func(k labelling) bool { return k.deletes != deletes })
	l = w.newLabelled(kinds[seed%uint64(len(kinds))], seed)
	action, id := contract.ActionExport, fmt.Sprintf("exp-%d", seed)
	if deletes {
		action, id = contract.ActionDelete, fmt.Sprintf("del-%d", seed)
	}
	run := fmt.Sprintf("seed %d, %s of %s at %.1f moves a call", seed, action, l.name, rate)
	failed := t.Failed()
	w.api.OnCall(func(operation string, _ int) {
		if operation != cvtest.OperationBlob {
			l.worker.Chance(rate)
		}
	})
	e := w.wait(t, w.publish(t, action, id, l.command()))
	w.api.OnCall(nil)
	moves := l.worker.Moves()
	complete = e.Status == contract.StatusCompleted && e.Outcome == contract.OutcomeComplete
	selected := slices.ContainsFunc(l.Images, func(id uuid.UUID) bool { return l.selects(id, false) })
	if e.Outcome == contract.OutcomeNothingFound {
		complete = len(l.throughout()) == 0 && (len(l.Iterations) == 0 || !selected)
		if !complete {
			t.Errorf("%s: nothing_found, but %v were there throughout", run, l.throughout())
		}
	}
	if complete && e.Outcome == contract.OutcomeComplete {
		kinds := []sink.BagKind{sink.ExportBag}
		if deletes {
			kinds = []sink.BagKind{sink.DeleteBag}
			if strings.Contains(l.data, "export_first") {
				kinds = append(kinds, sink.ExportBag)
			}
		}
		if files, ok := w.bags(t, id, kinds...)[sink.ExportBag]; ok {
			l.exported(t, files)
		}
	}
	if deletes {
		l.deleted(t, w.api.Snapshot(), complete)
	}
	if !complete {
		t.Logf("%s: %s %s %v after %d moves", run, e.Status, e.Outcome, e.Error, moves)
	}
	if t.Failed() && !failed {
		t.Errorf("%s went wrong first: %s %s %v after %d moves", run, e.Status, e.Outcome, e.Error, moves)
	}
	if project := slices.ContainsFunc(w.api.Snapshot().Projects, func(p cvtest.ProjectState) bool { return p.ID == l.ID }); project {
		w.api.RemoveProject(l.ID)
	}
	return l, complete
}
