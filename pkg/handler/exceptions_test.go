package handler_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// inventoryOf is a bag's own account of what could not be had.
type inventoryOf struct {
	Projects []struct {
		ID         string
		Gone       bool
		Categories map[string]struct {
			Listed, Exported int
			Distinct         *int
			Scopes           []bagfile.InventoryScope
			Unfinished       []bagfile.Unfinished
			Failed           []bagfile.Failure
		}
		Unstable []string
		Removed  []string
	}
}

// exceptions runs an export that is disturbed, and returns its bag and inventory.
func (w *world) exceptions(t *testing.T, data string, exceptions int64) (map[string][]byte, contract.EventData, inventoryOf) {
	t.Helper()
	e := w.run(t, "disturbed", data)
	want := contract.OutcomeExceptions
	if exceptions == 0 {
		want = contract.OutcomeComplete
	}
	if e.Status != contract.StatusCompleted || e.Outcome != want || e.Exceptions != exceptions {
		t.Fatalf("ended %s %s with %d exceptions: %v", e.Status, e.Outcome, e.Exceptions, e.Error)
	}
	files := w.bag(t, "disturbed", sink.ExportBag)
	var inventory inventoryOf
	unmarshal(t, files["evidence/inventory.json"], &inventory)
	return files, e, inventory
}

func TestProjectVanishes(t *testing.T) {
	t.Parallel()
	for n, c := range []struct{ name, before string }{
		{"before it is read", "GET projects/<id>#1"},
		{"before its iterations are read", "GET projects/<id>/iterations#1"},
		{"before its images are listed", "GET projects/<id>/images/tagged?orderBy=Oldest&skip=0&take=256#1"},
		{"when its images were listed and their pictures are fetched", "blob /blobs/i-<id>/"},
		{"before its predictions are queried", "POST projects/<id>/predictions/query#1"},
		{"before its images are counted again", "GET projects/<id>/images/tagged/count#2"},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}, bucket: sinktest.BucketOptions{Versioned: true}})
			spec := cvtest.ProjectSpec{Images: 2, Untagged: 1, Iterations: []cvtest.IterationSpec{{}}, Predictions: 1, ImageBytes: cvtest.Tiny}
			w.api.AddProject(spec)
			vanishing := w.api.AddProject(spec).ID
			w.api.AddProject(spec)
			before := strings.ReplaceAll(c.before, "<id>", vanishing.String())
			if strings.HasPrefix(before, "blob") {
				before = strings.ReplaceAll(before, "-", "")
				before = strings.Replace(before, "/i", "/i-", 1)
			}
			var once sync.Once
			f := newFate("", false)
			f.hook = func(effect string, after bool) {
				if !after && strings.HasPrefix(effect, before) {
					once.Do(func() { w.api.RemoveProject(vanishing) })
				}
			}
			w.start(t, replicaOptions{fate: f, configure: noWait})
			files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
			for _, p := range inventory.Projects {
				if p.Gone != (p.ID == vanishing.String()) {
					t.Errorf("the inventory says that %s is gone: %t", p.ID, p.Gone)
				}
			}
			if len(inventory.Projects) != 3 || len(w.api.Snapshot().Projects) != 2 {
				t.Errorf("the inventory has %d projects, the service %d", len(inventory.Projects), len(w.api.Snapshot().Projects))
			}
			w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{}))
		})
	}
	t.Run("and the account has no other", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		p := smallProject(w.api)
		w.before("GetProject", 1, func() { w.api.RemoveProject(p.ID) })
		w.start(t, replicaOptions{configure: noWait})
		_, _, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
		if len(inventory.Projects) != 1 || !inventory.Projects[0].Gone {
			t.Errorf("the inventory has %+v", inventory.Projects)
		}
	})
	t.Run("although it was named", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		w.start(t, replicaOptions{configure: noWait})
		p := smallProject(w.api)
		w.api.OnCall(func(operation string, n int) {
			if operation == "GetTaggedImages" && n == 1 {
				w.api.RemoveProject(p.ID)
			}
		})
		e := w.run(t, "named", `{"project_ids":["`+p.ID.String()+`"]}`)
		if e.Status != contract.StatusFailed || e.Error == nil || e.Error.Code != contract.CodeNotFound {
			t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		if left := w.fetch(t, "named/"); len(left) > 0 {
			t.Errorf("objects are left behind: %v", slices.Sorted(maps.Keys(left)))
		}
	})
}

func TestIterationVanishes(t *testing.T) {
	t.Parallel()
	for n, c := range []struct{ name, before string }{
		{"before its tags are read", "GET projects/<project>/tags?iterationId=<id>#1"},
		{"before its performance is read", "GET projects/<project>/iterations/<id>/performance?overlapThreshold=0.3&threshold=0.5#1"},
		{"before its performances are counted", "GET projects/<project>/iterations/<id>/performance/images/count#1"},
		{"before its images are counted", "GET projects/<project>/images/tagged/count?iterationId=<id>#1"},
		{"before its images are listed", "GET projects/<project>/images/tagged?iterationId=<id>&orderBy=Oldest&skip=0&take=256#1"},
		{"before its exports are read", "GET projects/<project>/iterations/<id>/export#1"},
		{"before its images are counted again", "GET projects/<project>/images/untagged/count?iterationId=<id>#2"},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			p := smallProject(w.api)
			it := p.Iterations[1] // the second: nothing is in it only
			before := strings.NewReplacer("<project>", p.ID.String(), "<id>", it.String()).Replace(c.before)
			var hit atomic.Bool
			f := newFate("", false)
			f.hook = func(effect string, after bool) {
				if !after && effect == before && hit.CompareAndSwap(false, true) {
					w.api.RemoveIteration(p.ID, it)
				}
			}
			w.start(t, replicaOptions{fate: f, configure: noWait})
			e := w.run(t, "disturbed", `{"all_projects":true}`)
			if !hit.Load() {
				t.Fatalf("the call is never made; these are:\n%s", strings.Join(f.effects, "\n"))
			}
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			// What was read of it is there; the rest of the project is whole.
			files := w.bag(t, "disturbed", sink.ExportBag)
			got := payload(t, files)
			want := w.truthOf(t, w.api.Snapshot(), selection{})
			for name, content := range want.files {
				if path.Base(name) == "iterations.json" && strings.Contains(got[name], content) {
					continue
				}
				if got[name] != content {
					t.Errorf("%s\n got %s\nwant %s", name, got[name], content)
				}
			}
			for name := range got {
				if _, ok := want.files[name]; !ok && !strings.Contains(name, it.String()) {
					t.Errorf("the bag has %s, which was not asked for", name)
				}
			}
		})
	}
}

func TestImagesComeAndGo(t *testing.T) {
	t.Parallel()
	project := func(api *cvtest.Server, images int) *cvtest.Project {
		return api.AddProject(cvtest.ProjectSpec{Images: images, Untagged: 2, Iterations: []cvtest.IterationSpec{{Images: 3}}, ImageBytes: cvtest.Tiny})
	}
	once := func(operation string, at int, act func()) func(string, int) {
		return func(op string, n int) {
			if op == operation && n == at {
				act()
			}
		}
	}
	t.Run("an image is added while images are listed", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		w.start(t, replicaOptions{})
		p := project(w.api, 3)
		want := w.truthOf(t, w.api.Snapshot(), selection{})
		w.api.OnCall(once("GetTaggedImages", 1, func() { w.api.AddImage(p.ID, cvtest.ImageSpec{Tags: p.Tags[:1], ImageBytes: cvtest.Tiny}) }))
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, want.and(w.truthOf(t, w.api.Snapshot(), selection{}), p))
	})
	t.Run("an image is removed after it was listed", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		w.start(t, replicaOptions{commands: 1, units: 1})
		p := project(w.api, 3)
		want := w.truthOf(t, w.api.Snapshot(), selection{}) // while its blob can be had
		w.api.OnCall(once("GetUntaggedImages", 1, func() { w.api.RemoveImage(p.ID, p.Images[3]) }))
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, want)
	})
	t.Run("one goes and one comes between two pages", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		w.start(t, replicaOptions{commands: 1, units: 1})
		p := project(w.api, 300)
		want := w.truthOf(t, w.api.Snapshot(), selection{})
		w.api.OnCall(once("GetTaggedImages", 2, func() { // the counts stay as they are: only the overlap tells
			w.api.RemoveImage(p.ID, p.Images[10])
			w.api.AddImage(p.ID, cvtest.ImageSpec{Tags: p.Tags[:1], ImageBytes: cvtest.Tiny})
		}))
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, want.and(w.truthOf(t, w.api.Snapshot(), selection{}), p))
	})
	t.Run("images never hold still", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
		w.start(t, replicaOptions{})
		p := project(w.api, 3)
		w.api.OnCall(func(operation string, _ int) {
			if operation == "GetTaggedImageCount" {
				w.api.AddImage(p.ID, cvtest.ImageSpec{Tags: p.Tags[:1], ImageBytes: cvtest.Tiny})
			}
		})
		files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
		if got := inventory.Projects[0].Unstable; !slices.Equal(got, []string{"tagged of the workspace"}) {
			t.Errorf("unstable is %v", got)
		}
		readings := 0
		for _, call := range w.api.Calls() {
			if call.Operation == "GetTaggedImages" && !call.Query.Has("iterationId") {
				readings++
			}
		}
		if readings != 4 {
			t.Errorf("the listing was read %d times, once and three times again were right", readings)
		}
		// What was listed is in the bag: all that was there at the last reading.
		want := w.truthOf(t, w.api.Snapshot(), selection{})
		name := "projects/" + p.ID.String() + "/images.jsonl"
		got := payload(t, files)
		for _, line := range strings.Split(got[name], "\n") {
			if !strings.Contains(want.files[name], line) {
				t.Errorf("%s is not what the service has", line)
			}
		}
		if n := int64(strings.Count(got[name], "\n") + 1); n < 5 || e.Counts.Images != n {
			t.Errorf("there are %d images, the event counts %d", n, e.Counts.Images)
		}
	})
}

// and is what an export has to store that saw the truth, and then another one of the same project:
// the lines of both, and of all else what was there first.
func (o truth) and(later truth, p *cvtest.Project) truth {
	out := truth{files: maps.Clone(later.files), counts: o.counts}
	for name, content := range o.files {
		if strings.HasSuffix(name, ".jsonl") {
			lines := slices.Concat(strings.Split(content, "\n"), strings.Split(later.files[name], "\n"))
			slices.Sort(lines)
			lines = slices.Compact(lines)
			content = strings.Join(lines, "\n")
			if name == "projects/"+p.ID.String()+"/images.jsonl" {
				out.counts.Images = int64(len(lines))
			}
		}
		out.files[name] = content
	}
	return out
}

func TestBlobsThatCannotBeHad(t *testing.T) {
	t.Parallel()
	for n, c := range []struct {
		name  string
		fault cvtest.Fault
	}{
		{"gone", cvtest.Fault{Status: 404, Code: "BlobNotFound"}},
		{"refused", cvtest.Fault{Status: 409, Code: "BlobArchived"}},
		{"out of order", cvtest.Fault{Status: 500, Code: "InternalError"}},
		{"broken off", cvtest.Fault{CutBody: true}},
		{"corrupted", cvtest.Fault{Corrupt: true}},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			w.start(t, replicaOptions{configure: func(o *handler.Config) { o.MaxAttempts = 1 }})
			p := smallProject(w.api)
			lost := []uuid.UUID{p.Images[0], p.Images[2], p.Predictions[1]} // the first is only in an iteration
			for _, id := range lost {
				f := c.fault
				f.Operation, f.Path, f.Times = cvtest.OperationBlob, strings.ReplaceAll(id.String(), "-", ""), -1
				w.api.Fault(f)
			}
			files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 3)
			w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{lost: lost}))
			var failed []string
			for _, category := range []string{"images", "predictions"} {
				for _, f := range inventory.Projects[0].Categories[category].Failed {
					failed = append(failed, f.ID)
					if f.Code == "" || f.Message == "" {
						t.Errorf("the inventory does not say why %s could not be had", f.ID)
					}
				}
			}
			want := strs(lost)
			slices.Sort(want)
			slices.Sort(failed)
			if !slices.Equal(failed, want) {
				t.Errorf("the inventory lists %v, want %v", failed, want)
			}
			for _, line := range strings.Split(string(files["data/projects/"+p.ID.String()+"/images.jsonl"]), "\n") {
				if strings.Contains(line, p.Images[2].String()) && (!strings.Contains(line, `"file":null`) || !strings.Contains(line, `"error":{"code":"`)) {
					t.Errorf("the line of a lost blob is %s", line)
				}
			}
			if unhit := w.api.Unhit(); len(unhit) > 0 {
				t.Errorf("faults not hit: %v", unhit)
			}
		})
	}
	t.Run("beside objects that no unit knows", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		p := smallProject(w.api)
		w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: strings.ReplaceAll(p.Images[2].String(), "-", ""), Status: 404, Code: "BlobNotFound", Times: -1})
		for _, name := range []string{p.ID.String() + "/images/" + uuid.NewString() + ".jpg", uuid.NewString() + "/project.json", "odd.json"} {
			if err := w.store.Replace(t.Context(), sink.Key("disturbed/export/data/projects/"+name), sink.Bytes([]byte("{}"), "application/json")); err != nil {
				t.Fatal(err)
			}
		}
		w.start(t, replicaOptions{})
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 1) // the bag verifies: it has no unlisted file
		w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{lost: p.Images[2:3]}))
	})
	t.Run("a model", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		w.start(t, replicaOptions{})
		p := smallProject(w.api)
		w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlow", Times: -1, Status: 404, Code: "BlobNotFound"})
		files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
		want := w.truthOf(t, w.api.Snapshot(), selection{})
		delete(want.files, "projects/"+p.ID.String()+"/iterations/"+p.Iterations[0].String()+"/exports/TensorFlow-TensorFlowLite.zip")
		want.counts.Exports = 0
		w.checkTruth(t, files, e, want)
		if failed := inventory.Projects[0].Categories["exports"].Failed; len(failed) != 1 || failed[0].ID != p.Iterations[0].String()+"/TensorFlow-TensorFlowLite" {
			t.Errorf("the inventory lists %+v", failed)
		}
	})
	t.Run("an original, but its resized form can", func(t *testing.T) {
		w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
		w.start(t, replicaOptions{})
		p := smallProject(w.api)
		var resized []uuid.UUID
		for _, item := range w.api.Snapshot().Projects[0].Workspace.Images {
			var image struct{ OriginalImageURI, ResizedImageURI string }
			unmarshal(t, item.JSON, &image)
			if image.OriginalImageURI != image.ResizedImageURI {
				resized = append(resized, item.ID)
				w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "o-" + strings.ReplaceAll(item.ID.String(), "-", ""), Times: -1, Status: 404, Code: "BlobNotFound"})
			}
		}
		if len(resized) == 0 || len(resized) == len(p.Images) {
			t.Fatalf("%d of %d images have a resized form", len(resized), len(p.Images))
		}
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{resized: resized}))
	})
}
