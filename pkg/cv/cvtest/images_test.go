package cvtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

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
