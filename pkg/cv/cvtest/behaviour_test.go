package cvtest

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	goimage "image"
	_ "image/gif" // decoders of the pictures
	_ "image/jpeg"
	_ "image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "golang.org/x/image/bmp"
)

// listed is what tests read of an image.
type listed struct {
	ID               uuid.UUID
	Created          string
	Width, Height    int
	ResizedImageURI  string
	ThumbnailURI     string
	OriginalImageURI string
	Tags             []struct{ TagID uuid.UUID }
	Regions          []struct{ RegionID, TagID uuid.UUID }
	Metadata         map[string]string
}

func idsOf(images []listed) []uuid.UUID {
	ids := []uuid.UUID{}
	for _, img := range images {
		ids = append(ids, img.ID)
	}
	return ids
}

func join(ids []uuid.UUID) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, ",")
}

func tinySpec() ProjectSpec {
	return ProjectSpec{Name: "small", Images: 30, Untagged: 6, ImageBytes: Tiny, Iterations: []IterationSpec{{Images: 20, DropFromWorkspace: 5}, {}}, Predictions: 9}
}

func TestDeterministic(t *testing.T) {
	a, b := New(Options{Seed: 3, BlobBase: "http://x"}), New(Options{Seed: 3, BlobBase: "http://x"})
	c := New(Options{Seed: 4, BlobBase: "http://x"})
	for _, s := range []*Server{a, b, c} {
		s.AddProject(tinySpec())
		s.AddProject(ProjectSpec{Kind: Detection, Tags: []string{"can", "box"}, Images: 10, Iterations: []IterationSpec{{}}, Predictions: 2})
	}
	if !reflect.DeepEqual(a.Snapshot(), b.Snapshot()) {
		t.Error("two servers built alike differ")
	}
	if a.Snapshot().Projects[0].ID == c.Snapshot().Projects[0].ID {
		t.Error("another seed gives the same ids")
	}
	if a.Key() != b.Key() || a.Key() == c.Key() {
		t.Error("keys do not follow the seed")
	}
}

// TestSample holds the demonstration account to what it promises to show.
func TestSample(t *testing.T) {
	s := start(t, Options{})
	made := s.Sample()
	kinds := map[string]bool{}
	var dropped, resized, same, regions, metadata, untagged, published, untrainedOnes int
	exports := map[string]int{}
	for _, p := range s.Snapshot().Projects {
		var project struct {
			Settings struct{ ClassificationType, DomainID string }
		}
		if err := json.Unmarshal(p.Project, &project); err != nil {
			t.Fatal(err)
		}
		kinds[project.Settings.ClassificationType] = true
		workspace := map[uuid.UUID]bool{}
		for _, img := range p.Workspace.Images {
			workspace[img.ID] = true
			var x listed
			if err := json.Unmarshal(img.JSON, &x); err != nil {
				t.Fatal(err)
			}
			if x.OriginalImageURI == x.ResizedImageURI {
				same++
			} else {
				resized++
			}
			regions += len(x.Regions)
			metadata += len(x.Metadata)
			if len(x.Tags) == 0 {
				untagged++
			}
		}
		for _, it := range p.Iterations {
			for _, img := range it.Images {
				if !workspace[img.ID] {
					dropped++
				}
			}
			if it.Performance == nil {
				untrainedOnes++
			}
			if bytes.Contains(it.Iteration, []byte("publishName")) {
				published++
			}
			for _, e := range it.Exports {
				exports[e.Status]++
				if (e.Status == StatusDone) != (e.Bytes > 0) {
					t.Errorf("export %s of %d bytes", e.Status, e.Bytes)
				}
			}
		}
	}
	if len(made) != 5 || !kinds["Multiclass"] || !kinds["Multilabel"] || !kinds[""] {
		t.Errorf("%d projects, kinds %v", len(made), kinds)
	}
	for what, n := range map[string]int{
		"images only in iterations": dropped, "resized": resized, "not resized": same, "regions": regions, "metadata": metadata, "untagged": untagged,
		"published": published, "untrained": untrainedOnes, "Done": exports[StatusDone], "Failed": exports[StatusFailed], "Exporting": exports[StatusExporting],
	} {
		if n == 0 {
			t.Errorf("the sample has nothing of: %s", what)
		}
	}
}

// TestPictures decodes every kind of picture and compares its size with what the API says.
func TestPictures(t *testing.T) {
	s := start(t, Options{})
	seen := map[string]int{}
	for name, spec := range map[string]ProjectSpec{
		"scenes": {Kind: Multilabel, Tags: []string{"house", "tree", "sun", "cloud", "rain", "car", "x", "other", "staff", "z1"}, Images: 46},
		"boxes":  {Kind: Detection, Tags: []string{"bottle", "can", "box"}, Images: 12},
		"tiny":   {Images: 46, ImageBytes: Tiny, Predictions: 3, Iterations: []IterationSpec{{}}},
		"filled": {Images: 12, ImageBytes: 5000},
	} {
		made := s.AddProject(spec)
		for _, x := range get[[]listed](t, s, "projects/"+made.ID.String()+"/images?take=256") {
			for kind, b := range map[string][]byte{
				"original": s.Blob(made.ID, BlobOriginal, x.ID), "resized": s.Blob(made.ID, BlobResized, x.ID), "thumbnail": s.Blob(made.ID, BlobThumbnail, x.ID),
			} {
				cfg, format, err := goimage.DecodeConfig(bytes.NewReader(b))
				if err != nil {
					t.Fatalf("%s %s: %v", name, kind, err)
				}
				if _, _, err := goimage.Decode(bytes.NewReader(b)); err != nil {
					t.Fatalf("%s %s %s: %v", name, kind, format, err)
				}
				seen[name+" "+format]++
				if kind == "resized" && (cfg.Width != x.Width || cfg.Height != x.Height) {
					t.Errorf("%s: %dx%d, said %dx%d", name, cfg.Width, cfg.Height, x.Width, x.Height)
				}
				if kind == "original" && cfg.Width != x.Width && x.OriginalImageURI == x.ResizedImageURI {
					t.Errorf("%s: original is %d wide", name, cfg.Width)
				}
				if name == "filled" && kind != "thumbnail" && len(b) != 5000 {
					t.Errorf("filled picture of %d bytes", len(b))
				}
			}
			if (x.OriginalImageURI != x.ResizedImageURI) == bytes.Equal(s.Blob(made.ID, BlobOriginal, x.ID), s.Blob(made.ID, BlobResized, x.ID)) {
				t.Errorf("%s: original and resized do not fit their links", name)
			}
		}
	}
	for _, want := range []string{"scenes jpeg", "scenes png", "scenes gif", "scenes bmp", "tiny jpeg", "tiny png", "tiny gif", "tiny bmp"} {
		if seen[want] == 0 {
			t.Errorf("no %s among %v", want, seen)
		}
	}
}

// TestListing pages in both orders over images of which some were created at the same time.
func TestListing(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(ProjectSpec{Images: 600, Untagged: 40, ImageBytes: Tiny})
	p := "projects/" + made.ID.String()
	page := func(path string) []listed { return get[[]listed](t, s, p+"/images/"+path) }

	var all []listed
	for skip := 0; ; skip += 255 {
		b := page(fmt.Sprintf("tagged?orderBy=Oldest&take=256&skip=%d", skip))
		if len(all) > 0 && len(b) > 0 && all[len(all)-1].ID != b[0].ID {
			t.Fatal("pages do not overlap")
		}
		all = append(all[:max(0, len(all)-1)], b...)
		if len(b) < 256 {
			break
		}
	}
	if len(all) != 600 {
		t.Fatalf("%d tagged images", len(all))
	}
	equal := 0
	for i := 1; i < len(all); i++ {
		a, b := s.internal(made.ID, all[i-1].ID), s.internal(made.ID, all[i].ID)
		if compareImages(a, b) >= 0 {
			t.Fatalf("image %d out of order", i)
		}
		if a.created == b.created {
			equal++
		}
	}
	if equal < 50 {
		t.Errorf("only %d equal times", equal)
	}
	newest := page("tagged?take=256")
	if newest[0].ID != all[599].ID || newest[255].ID != all[344].ID {
		t.Error("newest first is not the reverse")
	}
	if n := len(page("tagged")); n != 50 {
		t.Errorf("%d images by default", n)
	}
	if n := len(page("tagged?take=0")); n != 0 {
		t.Errorf("%d images with take 0", n)
	}
	if n := len(page("tagged?skip=100000")); n != 0 {
		t.Errorf("%d images beyond the end", n)
	}
	for path, want := range map[string]int{
		"count": 640, "count?taggingStatus=Tagged": 600, "count?TaggingStatus=untagged": 40, "tagged/count": 600, "untagged/count": 40,
		"tagged/count?tagIds=" + made.Tags[0].String(): 300, "tagged/count?tagIds=" + join(made.Tags): 600, "tagged/count?tagIds=" + uuid.NewString(): 0,
	} {
		if got := get[int](t, s, p+"/images/"+path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	for path, code := range map[string]string{
		"tagged?take=257": "BadRequestExceededBatchSize", "tagged?take=-1": "BadRequestExceededBatchSize", "tagged?take=x": "BadRequest",
		"tagged?skip=-1": "BadRequest", "tagged?orderBy=Sideways": "BadRequest", "?taggingStatus=Maybe": "BadRequest",
		"tagged?tagIds=" + join(made.Images[:21]): "BadRequestExceededBatchSize", "id?imageIds=" + join(made.Images[:257]): "BadRequestExceededBatchSize",
		"id?imageIds=x": "BadRequestInvalidIds", "tagged?iterationId=x": "BadRequestInvalidIds",
	} {
		r := send(t, s, "GET", p+"/images/"+path, "")
		if r.status != 400 || r.code() != code {
			t.Errorf("%s: %d %s, want %s", path[:min(len(path), 40)], r.status, r.code(), code)
		}
	}
	ids := []uuid.UUID{made.Images[300], made.Images[5], uuid.New(), made.Images[5]}
	if got := idsOf(page("id?imageIds=" + strings.ToUpper(join(ids)))); !slices.Equal(got, []uuid.UUID{made.Images[5], made.Images[300]}) {
		t.Errorf("by ids: %v", got)
	}
	if got := idsOf(page("id?imageIds=" + join(made.Images[:256]))); !slices.Equal(got, made.Images[:256]) {
		t.Error("256 ids do not give 256 images")
	}
}

// internal looks behind the API.
func (s *Server) internal(project, id uuid.UUID) *image {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account.project(project).image(id)
}

func TestFilter(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(ProjectSpec{Images: 12, ImageBytes: Tiny, Metadata: func(i int) map[string]string {
		switch i % 4 {
		case 0:
			return nil
		case 1:
			return map[string]string{"subject": "a", "gate": "north"}
		case 2:
			return map[string]string{"subject": "b", "gate": "north"}
		}
		return map[string]string{"subject": "o'hara and sons"}
	}})
	for filter, want := range map[string]int{
		"metadata=subject eq 'a'":                              3,
		"subject eq 'a' or subject eq 'b'":                     6,
		"subject eq 'b' and gate eq 'south'":                   0,
		"gate eq 'north' and subject ne 'a'":                   3,
		"subject eq 'o''hara and sons'":                        3,
		"subject ne 'a'":                                       9,
		"subject eq 'a' or gate eq 'north' and x ne '":         -1,
		"subject EQ 'a' AND gate eq 'north' or subject eq 'b'": 6,
		"'subject' eq 'a'":                                     3,
		"subject like 'a'":                                     -1,
		"subject eq a":                                         -1,
		"subject eq 'a' eq ":                                   -1,
		"subject":                                              -1,
	} {
		path := "projects/" + made.ID.String() + "/images/count?taggingStatus=All&%24filter=" + url.QueryEscape(filter)
		r := send(t, s, "GET", path, "")
		got := -1
		if r.status == 200 {
			_ = json.Unmarshal(r.body, &got)
		} else if r.code() != "BadRequest" {
			t.Errorf("%s: %d %s", filter, r.status, r.code())
		}
		if got != want {
			t.Errorf("%s: %d, want %d", filter, got, want)
		}
	}
}

// TestSnapshots deletes from the workspace and sees the iterations keep what they had.
func TestSnapshots(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	first, second := made.Iterations[0].String(), made.Iterations[1].String()
	count := func(scope string) int { return get[int](t, s, p+"/images/count?iterationId="+scope) }
	if got := []int{count(""), count(first), count(second)}; !slices.Equal(got, []int{31, 20, 31}) {
		t.Fatalf("counts %v", got)
	}
	if len(made.Dropped) != 5 {
		t.Fatalf("%d dropped", len(made.Dropped))
	}
	if n := len(get[[]listed](t, s, p+"/images/id?imageIds="+join(made.Dropped))); n != 0 {
		t.Errorf("%d dropped images in the workspace", n)
	}
	if n := len(get[[]listed](t, s, p+"/images/id?iterationId="+first+"&imageIds="+join(made.Dropped))); n != 5 {
		t.Errorf("%d dropped images in the iteration", n)
	}
	before := s.Snapshot()
	victim := made.Images[10]
	if r := send(t, s, "DELETE", p+"/images?imageIds="+victim.String(), ""); r.status != 204 {
		t.Fatalf("delete: %d %s", r.status, r.body)
	}
	if got := []int{count(""), count(first), count(second)}; !slices.Equal(got, []int{30, 20, 31}) {
		t.Errorf("counts %v after a plain delete", got)
	}
	if b := s.Blob(made.ID, BlobOriginal, victim); len(b) == 0 {
		t.Error("the blob of an image that survives in an iteration is gone")
	}
	if r := send(t, s, "DELETE", p+"/images?imageIds="+victim.String(), ""); r.status != 404 || r.code() != "NotFoundImage" {
		t.Errorf("second plain delete: %d %s", r.status, r.code())
	}
	if r := send(t, s, "DELETE", p+"/images?allIterations=true&imageIds="+victim.String(), ""); r.status != 202 {
		t.Errorf("delete everywhere: %d", r.status)
	}
	if got := []int{count(""), count(first), count(second)}; !slices.Equal(got, []int{30, 19, 30}) {
		t.Errorf("counts %v after deleting everywhere", got)
	}
	if b := s.Blob(made.ID, BlobOriginal, victim); b != nil {
		t.Error("the blob is still there")
	}

	// Deleting a tag changes the workspace only.
	tag := made.Tags[0].String()
	if r := send(t, s, "DELETE", p+"/tags/"+tag, ""); r.status != 204 {
		t.Fatalf("delete tag: %d", r.status)
	}
	after := s.Snapshot()
	if got := len(after.Projects[0].Workspace.Images); got != 30 {
		t.Errorf("%d images after deleting a tag", got)
	}
	if len(after.Projects[0].Workspace.Tags) != 1 || len(after.Projects[0].Iterations[0].Tags) != 2 {
		t.Error("tags of the workspace or of an iteration are wrong")
	}
	if got, want := len(after.Projects[0].Iterations[1].Images), len(before.Projects[0].Iterations[1].Images)-1; got != want {
		t.Errorf("%d images in the iteration, want %d", got, want)
	}
	if r := send(t, s, "GET", p+"/tags/"+tag+"?iterationId="+first, ""); r.status != 200 {
		t.Errorf("the iteration lost its tag: %d", r.status)
	}

	// What was said before still holds: a snapshot is a copy.
	if got := len(before.Projects[0].Workspace.Images); got != 31 {
		t.Errorf("the earlier snapshot changed: %d images", got)
	}
}

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

// TestPredictions pages by token while predictions are deleted, in both orders and with every
// filter.
func TestPredictions(t *testing.T) {
	type result struct {
		Token   map[string]any
		Results []struct {
			ID, Iteration uuid.UUID
			Created       time.Time
		}
	}
	s := start(t, Options{})
	spec := tinySpec()
	spec.Predictions = 20
	made := s.AddProject(spec)
	path := "projects/" + made.ID.String() + "/predictions/query"
	query := func(token map[string]any) result {
		t.Helper()
		body, _ := json.Marshal(token)
		r := send(t, s, "POST", path, string(body))
		var v result
		if r.status != 200 || json.Unmarshal(r.body, &v) != nil {
			t.Fatalf("query: %d %s", r.status, r.body)
		}
		return v
	}
	walk := func(token map[string]any, between func(v result)) (ids []uuid.UUID) {
		t.Helper()
		for range 30 {
			v := query(token)
			for _, x := range v.Results {
				ids = append(ids, x.ID)
			}
			if between != nil {
				between(v)
			}
			if c, _ := v.Token["continuation"].(string); c == "" {
				return ids
			}
			token = v.Token
		}
		t.Fatal("no end")
		return nil
	}
	reversed := slices.Clone(made.Predictions)
	slices.Reverse(reversed)
	if got := walk(map[string]any{"maxCount": 7, "orderBy": "Oldest"}, nil); !slices.Equal(got, made.Predictions) {
		t.Errorf("oldest first: %d", len(got))
	}
	if got := walk(map[string]any{"maxCount": 5}, nil); !slices.Equal(got, reversed) {
		t.Errorf("newest first: %d", len(got))
	}
	if got := walk(map[string]any{"maxCount": 20}, nil); len(got) != 20 {
		t.Errorf("in one page: %d", len(got))
	}
	all := query(map[string]any{"orderBy": "Oldest"})
	end := all.Results[9].Created
	if got := walk(map[string]any{"endTime": end, "maxCount": 4, "orderBy": "Oldest"}, nil); !slices.Equal(got, made.Predictions[:10]) {
		t.Errorf("until an end: %d", len(got))
	}
	if got := walk(map[string]any{"startTime": end}, nil); len(got) != 11 {
		t.Errorf("from a start: %d", len(got))
	}
	for i, it := range made.Iterations {
		for _, x := range query(map[string]any{"iterationId": it, "maxCount": 100}).Results {
			if x.Iteration != it {
				t.Errorf("iteration %d: prediction of %s", i, x.Iteration)
			}
		}
		if n := len(walk(map[string]any{"iterationId": it, "maxCount": 3}, nil)); n != 10 {
			t.Errorf("iteration %d: %d predictions", i, n)
		}
	}
	tag := map[string]any{"id": made.Tags[0], "minThreshold": 0.5, "maxThreshold": 1}
	if n := len(walk(map[string]any{"tags": []any{tag}}, nil)); n == 0 || n == 20 {
		t.Errorf("%d with a tag", n)
	}
	if got := walk(map[string]any{"maxCount": 4, "orderBy": "Oldest"}, func(v result) {
		for _, x := range v.Results {
			s.RemovePrediction(made.ID, x.ID)
		}
	}); !slices.Equal(got, made.Predictions) {
		t.Errorf("while deleting: %d", len(got))
	}
	if n := len(walk(map[string]any{}, nil)); n != 0 {
		t.Errorf("%d left", n)
	}
	for body, code := range map[string]string{
		`{"maxCount":257}`: "BadRequestPredictionResultsExceededCount", `{"orderBy":"Best"}`: "BadRequestPredictionInvalidQueryParameters",
		`{"session":"1:1","continuation":"x"}`: "BadRequestPredictionInvalidQueryParameters", ``: "BadRequestPredictionInvalidQueryParameters",
		`{"iterationId":"` + uuid.NewString() + `"}`: "NotFoundIteration",
	} {
		if r := send(t, s, "POST", path, body); r.code() != code {
			t.Errorf("%s: %d %s", body, r.status, r.code())
		}
	}
}

// TestLinks follows links, lets them expire and tampers with them.
func TestLinks(t *testing.T) {
	for name, o := range map[string]Options{"same port": {}, "second port": {BlobListener: true}} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			o.Now, o.LinkTTL = c.Now, 2*time.Second
			s := start(t, o)
			made := s.AddProject(ProjectSpec{Images: 6})
			img := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0]
			link := img.OriginalImageURI
			u, err := url.Parse(link)
			if err != nil || (u.Host == strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/base")) == o.BlobListener || !strings.HasPrefix(link, s.BlobURL()) {
				t.Fatalf("link %s of a server at %s, %v", link, s.URL(), err)
			}
			if se := u.Query().Get("se"); se != "2026-11-24T09:30:02Z" || u.Query().Get("sv") == "" || u.Query().Get("sp") != "r" {
				t.Errorf("link %s", link)
			}
			bare := func(r *http.Request) { r.Header.Del("Training-Key") }
			r := send(t, s, "GET", link, "", bare)
			want := s.Blob(made.ID, BlobOriginal, img.ID)
			sum := md5.Sum(want)
			if r.status != 200 || !bytes.Equal(r.body, want) || r.header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) || r.header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("download: %d, %d bytes of %d, %v", r.status, len(r.body), len(want), r.header)
			}
			if h := send(t, s, "HEAD", link, "", bare); h.status != 200 || len(h.body) != 0 || h.header.Get("Content-Length") != fmt.Sprint(len(want)) {
				t.Errorf("HEAD: %d %v", h.status, h.header)
			}
			if r := send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Set("Training-Key", s.Key()) }); r.status != 400 {
				t.Errorf("download with the key: %d", r.status)
			}
			if n := len(s.Leaks()); n != 1 {
				t.Errorf("%d leaks", n)
			}
			for what, bad := range map[string]string{
				"no signature": s.BlobURL() + u.Path, "other blob": strings.Replace(link, plain(img.ID), plain(made.Images[1]), 1),
				"longer life": strings.Replace(link, "09%3A30%3A02", "19%3A30%3A02", 1),
			} {
				if r := send(t, s, "GET", bad, "", bare); r.status != 403 || r.header.Get("x-ms-error-code") != "AuthenticationFailed" {
					t.Errorf("%s: %d", what, r.status)
				}
			}
			c.Advance(2 * time.Second)
			if r := send(t, s, "GET", link, "", bare); r.status != 200 {
				t.Errorf("at its end: %d", r.status)
			}
			c.Advance(time.Millisecond)
			r = send(t, s, "GET", link, "", bare)
			if r.status != 403 || !strings.Contains(string(r.body), "<Code>AuthenticationFailed</Code>") || r.header.Get("Content-Type") != "application/xml" {
				t.Errorf("expired: %d %s", r.status, r.body)
			}
			fresh := get[[]listed](t, s, "projects/"+made.ID.String()+"/images/id?imageIds="+img.ID.String())[0].OriginalImageURI
			if r := send(t, s, "GET", fresh, "", bare); r.status != 200 {
				t.Errorf("fresh link: %d", r.status)
			}
			artifact := "projects/" + made.ID.String() + "/artifacts?path="
			if r := send(t, s, "GET", artifact+url.QueryEscape(fresh), ""); r.status != 200 || !bytes.Equal(r.body, want) {
				t.Errorf("artifact by link: %d", r.status)
			}
			if r := send(t, s, "GET", artifact+url.QueryEscape(link), ""); r.code() != "BadRequestInvalidArtifactUri" {
				t.Errorf("artifact by expired link: %d %s", r.status, r.code())
			}
			s.EraseImage(made.ID, img.ID)
			if r := send(t, s, "GET", fresh, "", bare); r.status != 404 || r.header.Get("x-ms-error-code") != "BlobNotFound" {
				t.Errorf("deleted: %d", r.status)
			}
			if s.BlobCount() == 0 || s.Count("Nothing") != 0 {
				t.Error("counts")
			}
			if o.BlobListener {
				if r := send(t, s, "GET", strings.Replace(fresh, s.BlobURL(), strings.TrimSuffix(s.URL(), "/base"), 1), "", bare); r.status != 404 {
					t.Errorf("blob on the API's port: %d", r.status)
				}
			}
		})
	}
}

func TestVNet(t *testing.T) {
	s := start(t, Options{VNet: true})
	made := s.AddProject(ProjectSpec{Compact: true, Images: 4, ImageBytes: Tiny, Iterations: []IterationSpec{{Exports: []ExportSpec{{Platform: "ONNX", Bytes: 300_000}}}}, Predictions: 1})
	p := "projects/" + made.ID.String()
	img := get[[]listed](t, s, p+"/images")[0]
	if img.OriginalImageURI != "i-"+plain(made.ID)+"/i-"+plain(img.ID) && img.OriginalImageURI != "i-"+plain(made.ID)+"/o-"+plain(img.ID) {
		t.Fatalf("path %s", img.OriginalImageURI)
	}
	r := send(t, s, "GET", p+"/artifacts?path="+url.QueryEscape(img.OriginalImageURI), "")
	if !bytes.Equal(r.body, s.Blob(made.ID, BlobOriginal, img.ID)) || r.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("artifact: %d", r.status)
	}
	model := get[[]struct{ DownloadURI string }](t, s, p+"/iterations/"+made.Iterations[0].String()+"/export")[0].DownloadURI
	want := s.Model(made.ID, made.Iterations[0], "ONNX", "")
	if r := send(t, s, "GET", p+"/artifacts?path="+url.QueryEscape(model), ""); len(want) < 300_000 || !bytes.Equal(r.body, want) {
		t.Errorf("model: %d, %d bytes of %d", r.status, len(r.body), len(want))
	}
	if r := send(t, s, "GET", s.BlobURL()+blobPath+img.OriginalImageURI, "", func(r *http.Request) { r.Header.Del("Training-Key") }); r.status != 403 {
		t.Errorf("direct download: %d", r.status)
	}
}

func TestGateway(t *testing.T) {
	s := start(t, Options{Token: "entra-token"})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	root := strings.TrimSuffix(s.URL(), "/base")
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Training-Key")
			if name != "" {
				r.Header.Set(name, value)
			}
		}
	}
	for _, c := range []struct {
		name, method, target string
		edit                 func(*http.Request)
		want                 string
	}{
		{"no key", "GET", p, with("", ""), "401 401"},
		{"wrong key", "GET", p, with("Training-Key", "wrong"), "401 401"},
		{"key in other letters", "GET", p, with("training-key", s.Key()), "200 "},
		{"token", "GET", p, with("Authorization", "Bearer entra-token"), "200 "},
		{"wrong token", "GET", p, with("Authorization", "Bearer other"), "401 401"},
		{"path in other letters", "GET", root + "/BASE/CustomVision/V3.3/Training/Projects/" + strings.ToUpper(made.ID.String()), with("Training-Key", s.Key()), "200 "},
		{"wrong base path", "GET", root + apiPath + "/projects", with("Training-Key", s.Key()), "404 404"},
		{"wrong version", "GET", s.URL() + "/customvision/v3.4-preview/training/projects", with("Training-Key", s.Key()), "404 404"},
		{"unknown route", "GET", p + "/nothing", with("Training-Key", s.Key()), "404 404"},
		{"not an id", "GET", "projects/nothing", with("Training-Key", s.Key()), "404 404"},
		{"unknown method", "PUT", p, with("Training-Key", s.Key()), "404 404"},
		{"training", "POST", p + "/train", with("Training-Key", s.Key()), "501 501"},
	} {
		r := send(t, s, c.method, c.target, "", c.edit)
		if got := fmt.Sprintf("%d %s", r.status, r.code()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if r.status != 200 && !bytes.Contains(r.body, []byte(`"error"`)) {
			t.Errorf("%s: %s", c.name, r.body)
		}
		if r.header.Get("apim-request-id") == "" {
			t.Errorf("%s: no request id", c.name)
		}
	}
	s.SetKey("rotated")
	if r := send(t, s, "GET", p, ""); r.status != 200 {
		t.Errorf("rotated key: %d", r.status)
	}

	// Everything that is not reading is refused, and counted.
	s.ResetCalls()
	n := 0
	for _, rt := range routes {
		if rt.handle != nil {
			continue
		}
		n++
		path := strings.NewReplacer("{projectId}", made.ID.String(), "{iterationId}", made.Iterations[0].String(), "{imageId}", made.Images[0].String(), "{tagId}", made.Tags[0].String()).Replace(rt.path)
		if r := send(t, s, rt.method, path, ""); r.status != 501 || s.Count(rt.operation) != 1 {
			t.Errorf("%s: %d, counted %d", rt.operation, r.status, s.Count(rt.operation))
		}
	}
	if got := len(s.Calls()); got != n {
		t.Errorf("%d calls, want %d", got, n)
	}
	if got := len(s.DestructiveCalls()); got != n-4 {
		t.Errorf("%d destructive calls of %d", got, n)
	}
}

func TestCalls(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	r := send(t, s, "DELETE", p+"/images?imageIds="+strings.ToUpper(join(made.Images[8:10]))+"&allIterations=true", "")
	send(t, s, "GET", p+"/images/tagged?take=3", "")
	calls := s.Calls()
	if len(calls) != 2 {
		t.Fatalf("%d calls", len(calls))
	}
	got := calls[0]
	if got.Operation != "DeleteImages" || got.Status != 202 || got.Method != "DELETE" || !got.Time.Equal(c.Now()) || !got.Changes ||
		got.RequestID != r.header.Get("Request-Id") || got.Target() != p+"/images "+join(made.Images[8:10]) || got.Query.Get("allIterations") != "true" {
		t.Errorf("call %+v", got)
	}
	if calls[1].Target() != p+"/images/tagged" || calls[1].Changes || calls[1].RequestID == got.RequestID {
		t.Errorf("call %+v", calls[1])
	}
	if len(s.DestructiveCalls()) != 1 || s.Count("GetTaggedImages") != 1 {
		t.Error("counts")
	}
	s.ResetCalls()
	if len(s.Calls()) != 0 || s.Count("GetTaggedImages") != 0 {
		t.Error("calls were not forgotten")
	}
}

// TestHook changes the account in the middle of a listing.
func TestHook(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(tinySpec())
	s.OnCall(func(operation string, n int) {
		if operation == "GetImages" && n == 2 {
			s.RemoveImage(made.ID, made.Images[6])
			s.AddImages(made.ID, 3, Tiny)
		}
	})
	path := "projects/" + made.ID.String() + "/images?orderBy=Oldest&take=10"
	one, two := get[[]listed](t, s, path), get[[]listed](t, s, path)
	if one[1].ID != made.Images[6] || two[1].ID == made.Images[6] {
		t.Error("the hook did not act between the calls")
	}
	if n := get[int](t, s, "projects/"+made.ID.String()+"/images/count"); n != 33 {
		t.Errorf("%d images", n)
	}
}

func TestFaults(t *testing.T) {
	s := start(t, Options{})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	link := get[[]listed](t, s, p+"/images")[0].OriginalImageURI
	other := get[[]listed](t, s, p+"/images")[1].OriginalImageURI
	bare := func(r *http.Request) { r.Header.Del("Training-Key") }
	blob := func(l string) reply { return send(t, s, "GET", l, "", bare) }

	for _, f := range []Fault{
		{Operation: "GetProject", Call: 1, Times: 2, Status: 503, RetryAfter: 1500 * time.Millisecond},
		{Operation: "GetTags", Status: 429},
		{Operation: "GetTag", Status: 400, Code: "BadRequestCustomerManagedKeyRevoked"},
		{Operation: "GetIterations", Status: 502, Body: "<html>bad gateway</html>", Header: http.Header{"Content-Type": {"text/html"}}},
		{Operation: "GetDomains", Reset: true},
		Null("GetTaggedImages", 1),
		{Operation: "GetProjects", CutBody: true},
		{Operation: "GetImageCount", Delay: time.Millisecond},
		{Operation: "DeleteTag", Reset: true, AfterEffect: true},
		{Operation: "DeletePrediction", Status: 500, AfterEffect: true},
		{Operation: OperationBlob, Path: strings.ToUpper(strings.TrimPrefix(link, s.BlobURL())[:80]), Times: -1, Status: 404},
	} {
		s.Fault(f)
	}
	if n := len(s.Unhit()); n != 11 {
		t.Errorf("%d faults not hit", n)
	}
	var statuses []int
	for range 4 {
		r := send(t, s, "GET", p, "")
		statuses = append(statuses, r.status)
		if r.status == 503 && (r.header.Get("Retry-After") != "2" || r.code() != "503") {
			t.Errorf("503: %v %s", r.header, r.body)
		}
	}
	if !slices.Equal(statuses, []int{200, 503, 503, 200}) {
		t.Errorf("statuses %v", statuses)
	}
	if r := send(t, s, "GET", p+"/tags", ""); r.status != 429 || !bytes.Contains(r.body, []byte("Requests to the GetTags Operation under Custom_Vision_Training_3.3 have exceeded rate limit")) || r.header.Get("Retry-After") != "" {
		t.Errorf("429: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", p+"/tags/"+made.Tags[0].String(), ""); r.code() != "BadRequestCustomerManagedKeyRevoked" || bytes.Contains(r.body, []byte(`"error"`)) {
		t.Errorf("code: %s", r.body)
	}
	if r := send(t, s, "GET", p+"/iterations", ""); r.status != 502 || string(r.body) != "<html>bad gateway</html>" || r.header.Get("Content-Type") != "text/html" {
		t.Errorf("body: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", p+"/images/tagged", ""); r.status != 200 || string(r.body) != "null" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
		t.Errorf("null: %d %s", r.status, r.body)
	}
	if r := send(t, s, "GET", "domains", ""); r.err == nil {
		t.Error("no reset")
	}
	if r := send(t, s, "GET", "projects", ""); !errors.Is(r.err, io.ErrUnexpectedEOF) || r.status != 200 || len(r.body) == 0 {
		t.Errorf("cut: %d, %d bytes, %v", r.status, len(r.body), r.err)
	}
	if r := send(t, s, "GET", p+"/images/count", ""); r.status != 200 {
		t.Errorf("delay: %d", r.status)
	}
	if r := send(t, s, "DELETE", p+"/tags/"+made.Tags[0].String(), ""); r.err == nil {
		t.Error("no reset after the effect")
	}
	if r := send(t, s, "DELETE", p+"/predictions?ids="+made.Predictions[0].String(), ""); r.status != 500 {
		t.Errorf("500 after the effect: %d", r.status)
	}
	state := s.Snapshot().Projects[0]
	if len(state.Workspace.Tags) != 1 || len(state.Predictions) != 8 {
		t.Errorf("%d tags, %d predictions", len(state.Workspace.Tags), len(state.Predictions))
	}
	for range 2 {
		if r := blob(link); r.status != 404 || !bytes.Contains(r.body, []byte("BlobNotFound")) {
			t.Errorf("blob: %d %s", r.status, r.body)
		}
	}
	if r := blob(other); r.status != 200 {
		t.Errorf("other blob: %d", r.status)
	}
	if unhit := s.Unhit(); len(unhit) != 0 {
		t.Errorf("not hit: %+v", unhit)
	}
	for i, call := range s.Calls() {
		if want := call.Operation == "GetDomains" || call.Operation == "DeleteTag"; (call.Status == 0) != want {
			t.Errorf("call %d: %s has status %d", i, call.Operation, call.Status)
		}
	}

	s.ClearFaults()
	whole := blob(link).body
	s.Fault(Fault{Operation: OperationBlob, CutBody: true})
	if r := blob(link); !errors.Is(r.err, io.ErrUnexpectedEOF) || len(r.body) != len(whole)/2 || r.header.Get("Content-Length") != fmt.Sprint(len(whole)) {
		t.Errorf("cut blob: %d bytes, %v", len(r.body), r.err)
	}
	s.Fault(Fault{Operation: OperationBlob, Corrupt: true})
	if r := blob(link); r.status != 200 || len(r.body) != len(whole) || bytes.Equal(r.body, whole) {
		t.Errorf("corrupt blob: %d, %d bytes", r.status, len(r.body))
	}
	s.Fault(Fault{Operation: OperationBlob, Rewrite: func(b []byte) []byte { return b[:3] }})
	if r := blob(link); r.status != 200 || !bytes.Equal(r.body, whole[:3]) || r.header.Get("Content-Length") != "3" || r.header.Get("Content-Md5") != "" {
		t.Errorf("rewritten blob: %d, %q, %v", r.status, r.body, r.header)
	}
	s.Fault(Fault{Operation: "GetTags", Rewrite: func([]byte) []byte { return nil }})
	if r := send(t, s, "GET", p+"/tags", ""); r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != "0" {
		t.Errorf("rewritten answer: %d, %q, %v", r.status, r.body, r.header)
	}
	s.Fault(Fault{Operation: OperationBlob, Status: 302, Header: http.Header{"Location": {"http://elsewhere.invalid/"}}})
	if r := blob(link); r.status != 302 || r.header.Get("Location") == "" {
		t.Errorf("redirect: %d", r.status)
	}
	s.Fault(Fault{CutBody: true}) // any API operation; one without body is a reset
	if r := blob(link); r.status != 200 {
		t.Errorf("a fault of any operation struck a blob: %d", r.status)
	}
	if r := send(t, s, "DELETE", p+"/predictions?ids="+made.Predictions[1].String(), ""); r.err == nil {
		t.Errorf("cut without body: %d", r.status)
	}
	if len(s.Snapshot().Projects[0].Predictions) != 7 {
		t.Error("the cut came before the effect")
	}
}

// TestHang leaves a request hanging, once until the client leaves and once until the server closes.
func TestHang(t *testing.T) {
	s := start(t, Options{})
	s.Fault(Fault{Operation: "GetDomains", Hang: true, Times: 2})
	arrived := make(chan struct{}, 2)
	s.OnCall(func(string, int) { arrived <- struct{}{} })
	for _, leave := range []func(context.CancelFunc){func(cancel context.CancelFunc) { cancel() }, func(context.CancelFunc) { s.Close() }} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			r := send(t, s, "GET", "domains", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
			gone <- r.err
		}()
		<-arrived
		leave(cancel)
		if err := <-gone; err == nil {
			t.Error("an answer came")
		}
		cancel()
	}
	if n := len(s.Unhit()); n != 0 {
		t.Errorf("%d not hit", n)
	}
}

// TestFaultRate meets every kind of random trouble at about the rate asked for, and the same again
// with the same seed.
func TestFaultRate(t *testing.T) {
	run := func() (kinds map[string]int, order []string) {
		s := start(t, Options{})
		made := s.AddProject(tinySpec())
		link := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0].OriginalImageURI
		s.FaultRate(0.3, 5)
		kinds = map[string]int{}
		for i := range 400 {
			var r reply
			if i%2 == 0 {
				r = send(t, s, "GET", "projects/"+made.ID.String(), "")
			} else {
				r = send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Del("Training-Key") })
			}
			what := fmt.Sprint(r.status)
			if r.err != nil && r.status != 0 {
				what = "cut"
			}
			kinds[what]++
			order = append(order, what)
		}
		s.FaultRate(0, 0)
		return kinds, order
	}
	kinds, one := run()
	_, two := run()
	if !slices.Equal(one, two) {
		t.Error("the same seed gives another sequence")
	}
	if n := kinds["200"]; n < 240 || n > 320 {
		t.Errorf("%d of 400 succeeded", n)
	}
	for _, what := range []string{"500", "503", "429", "0", "cut"} {
		if kinds[what] == 0 {
			t.Errorf("no %s among %v", what, kinds)
		}
	}
}

func TestRateLimit(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now, RPS: 10})
	made := s.AddProject(ProjectSpec{Images: 1, ImageBytes: Tiny})
	link := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0].OriginalImageURI
	burst := func(n int) (passed int) {
		for range n {
			r := send(t, s, "GET", "domains", "")
			if r.status == 200 {
				passed++
			} else if r.status != 429 || r.header.Get("Retry-After") != "1" || !bytes.Contains(r.body, []byte("Please retry after 1 second")) {
				t.Fatalf("%d %v %s", r.status, r.header, r.body)
			}
		}
		return passed
	}
	if n := burst(15); n != 9 {
		t.Errorf("%d of the first 15 passed", n)
	}
	for range 15 {
		if r := send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Del("Training-Key") }); r.status != 200 {
			t.Fatalf("a blob was limited: %d", r.status)
		}
	}
	c.Advance(500 * time.Millisecond)
	if n := burst(15); n != 5 {
		t.Errorf("%d passed after half a second", n)
	}
	c.Advance(time.Hour)
	if n := burst(15); n != 10 {
		t.Errorf("%d passed after an hour", n)
	}
}

// TestTruth compares what the API answers with the snapshot, field for field.
func TestTruth(t *testing.T) {
	for name, o := range map[string]Options{"default": {}, "recorded": {Recorded: true}, "vnet": {VNet: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			s.Sample()
			state := s.Snapshot()
			same := func(path string, want any) {
				t.Helper()
				r := send(t, s, "GET", path, "")
				text, err := json.Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := compact(t, r.body), string(unescape(text)); got != want {
					t.Errorf("%s:\n got %.300s\nwant %.300s", path, got, want)
				}
			}
			for _, p := range state.Projects {
				path := "projects/" + p.ID.String()
				same(path, p.Project)
				scope := func(query string, sc ScopeState) {
					same(path+"/tags"+query, sc.Tags)
					sep := map[bool]string{true: "?", false: "&"}[query == ""]
					images := []json.RawMessage{}
					for _, img := range sc.Images {
						images = append(images, img.JSON)
					}
					same(path+"/images"+query+sep+"orderBy=Oldest&take=256", images)
				}
				scope("", p.Workspace)
				for _, it := range p.Iterations {
					i := path + "/iterations/" + it.ID.String()
					same(i, it.Iteration)
					scope("?iterationId="+it.ID.String(), it.ScopeState)
					if it.Performance != nil {
						same(i+"/performance?threshold=0.5&overlapThreshold=0.3", it.Performance)
						same(i+"/performance/images?take=256&orderBy=Oldest", it.ImagePerformances)
					}
					exports := []json.RawMessage{}
					for _, e := range it.Exports {
						exports = append(exports, e.JSON)
					}
					same(i+"/export", exports)
				}
			}
			if text, err := json.Marshal(state); err != nil || bytes.Contains(text, []byte("sig=")) {
				t.Errorf("the state holds a signature, or is not JSON: %v", err)
			}
		})
	}
}

// unescape takes back what encoding/json escapes for HTML.
func unescape(b []byte) []byte {
	for from, to := range map[string]string{`\u0026`: "&", `\u003c`: "<", `\u003e`: ">"} {
		b = bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	return b
}

func TestJSON(t *testing.T) {
	s := start(t, Options{})
	s.Sample()
	r := send(t, s, "GET", "projects", "")
	if !bytes.Contains(r.body, []byte("[\r\n  {\r\n    \"id\"")) || bytes.Contains(r.body, []byte(`\u0026`)) {
		t.Errorf("%.100s", r.body)
	}
	for v, want := range map[float32]string{1: "1.0", 0: "0.0", 0.9999999: "0.9999999", 1.1920929e-07: "1.1920929E-07", 0.25: "0.25"} {
		if b, err := number(v).MarshalJSON(); err != nil || string(b) != want {
			t.Errorf("%v: %s, want %s", v, b, want)
		}
	}
}

// TestHandler mounts the server in another one; links follow the request's host.
func TestHandler(t *testing.T) {
	s := New(Options{Seed: 2})
	made := s.AddProject(tinySpec())
	outer := httptest.NewTLSServer(s)
	defer outer.Close()
	client := outer.Client()
	req, err := http.NewRequestWithContext(t.Context(), "GET", outer.URL+apiPath+"/projects/"+made.ID.String()+"/images", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Training-Key", s.Key())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var images []listed
	err = json.NewDecoder(resp.Body).Decode(&images)
	_ = resp.Body.Close()
	if err != nil || !strings.HasPrefix(images[0].OriginalImageURI, outer.URL+blobPath) {
		t.Fatalf("link %s, %v", images[0].OriginalImageURI, err)
	}
	if s.URL() != "" || New(Options{BlobBase: "https://blobs.example/"}).BlobURL() != "https://blobs.example" {
		t.Error("addresses")
	}
}

// TestHundredThousand holds a big account cheaply: it is made, listed whole and deleted, and a
// model is too big to be held.
func TestHundredThousand(t *testing.T) {
	s := start(t, Options{Compact: true})
	const n = 100_000
	made := s.AddProject(ProjectSpec{Compact: true, Images: n, ImageBytes: Tiny, Iterations: []IterationSpec{{Exports: []ExportSpec{{Platform: "ONNX", Bytes: 20 << 20}}}}})
	p := "projects/" + made.ID.String()
	if got := get[int](t, s, p+"/images/count?iterationId="+made.Iterations[0].String()); got != n {
		t.Fatalf("%d images", got)
	}
	last := get[[]listed](t, s, p+"/images/tagged?orderBy=Oldest&take=256&skip=99900")
	if len(last) != 100 || last[99].ID != made.Images[n-1] {
		t.Fatalf("%d images at the end", len(last))
	}
	for i := 0; i < n; i += 9973 {
		if len(s.Blob(made.ID, BlobOriginal, made.Images[i])) == 0 {
			t.Fatalf("image %d has no blob", i)
		}
	}
	link := get[[]struct{ DownloadURI string }](t, s, p+"/iterations/"+made.Iterations[0].String()+"/export")[0].DownloadURI
	if r := send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Del("Training-Key") }); len(r.body) < 20<<20 {
		t.Errorf("model of %d bytes, %v", len(r.body), r.err)
	}
	for i := 0; i < 2560; i += 256 {
		if r := send(t, s, "DELETE", p+"/images?allIterations=true&imageIds="+join(made.Images[i:i+256]), ""); r.status != 202 {
			t.Fatalf("delete: %d %s", r.status, r.body)
		}
	}
	if got := get[int](t, s, p+"/images/count?iterationId="+made.Iterations[0].String()); got != n-2560 {
		t.Errorf("%d images left", got)
	}
}
