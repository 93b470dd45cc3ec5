package survey_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
)

// account is one project of a simulated service.
type account struct {
	api     *cvtest.Server
	client  *cv.Client
	project uuid.UUID
	images  []uuid.UUID // of the workspace as it was made, in byte order
	oldest  uuid.UUID   // the first of them to be uploaded
	tag     uuid.UUID   // the project's first tag
}

func newAccount(t *testing.T, spec cvtest.ProjectSpec) *account {
	t.Helper()
	api := cvtest.New(cvtest.Options{Seed: 3, BasePath: "/base"}).Start()
	t.Cleanup(func() {
		for _, f := range api.Unhit() {
			t.Errorf("the fault was not hit: %+v", f)
		}
		api.Close()
	})
	client, err := cv.New(api.URL(), cv.TrainingKey(api.Key()), cv.Options{
		MaxRPS: 10000, MaxAttempts: 3, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	spec.Name, spec.ImageBytes = "one", cvtest.Tiny
	p := api.AddProject(spec)
	a := &account{api: api, client: client, project: p.ID}
	if len(p.Images) > 0 {
		a.oldest = p.Images[0]
	}
	if len(p.Tags) > 0 {
		a.tag = p.Tags[0]
	}
	a.images = slices.SortedFunc(slices.Values(p.Images), contract.CompareIDs)
	return a
}

// survey looks for the images of a selection. It takes any ErrGone for a proof.
func (a *account) survey(d contract.Data) survey.Survey {
	return survey.Survey{
		Client: a.client, Project: a.project, Data: d,
		Gone: func(_ context.Context, _ uuid.UUID, err error, _ ...cv.Thing) (bool, error) {
			if errors.Is(err, cv.ErrGone) {
				return true, nil
			}
			return false, err
		},
		Progress: func(int) error { return nil },
	}
}

// find is the ids that a selection holds in the workspace and some iterations.
func (a *account) find(t *testing.T, d contract.Data, iterations ...uuid.UUID) []uuid.UUID {
	t.Helper()
	found, err := a.survey(d).Images(t.Context(), append([]uuid.UUID{uuid.Nil}, iterations...))
	if err != nil {
		t.Fatalf("find the images: %v", err)
	}
	return found.IDs()
}

// change changes the account just before the n-th answer of an operation.
func (a *account) change(operation string, n int, do func()) {
	a.api.OnCall(func(op string, calls int) {
		if op == operation && calls == n {
			do()
		}
	})
}

// TestPresent asks for images by their ids. The service refuses a whole batch for one image that is
// not there, and says nothing of the others: the batch is asked for in halves, down to that image.
func TestPresent(t *testing.T) {
	for _, c := range []struct {
		name    string
		images  int
		missing []int // places of the images for which the service refuses the batch
		calls   int
	}{
		{"all are there", 8, nil, 1},
		{"the first is missing", 8, []int{0}, 7},
		{"the last is missing", 8, []int{7}, 7},
		{"two side by side are missing", 8, []int{2, 3}, 7},
		{"two far apart are missing", 8, []int{0, 7}, 11},
		{"all are missing", 4, []int{0, 1, 2, 3}, 7},
		{"an odd number", 5, []int{2}, 5},
		{"the only one is missing", 1, []int{0}, 1},
		{"one", 1, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t, cvtest.ProjectSpec{Images: c.images})
			var want []uuid.UUID
			for i, id := range a.images {
				if !slices.Contains(c.missing, i) {
					want = append(want, id)
					continue
				}
				a.api.Fault(cvtest.Fault{Operation: "GetImagesByIds", Path: id.String(), Times: -1, Status: 404, Code: "NotFoundImage"})
			}
			if got := a.find(t, contract.Data{ImageIDs: a.images}); !slices.Equal(got, want) {
				t.Errorf("found %v, not %v", got, want)
			}
			if got := a.api.Count("GetImagesByIds"); got != c.calls {
				t.Errorf("%d calls were made, not %d", got, c.calls)
			}
		})
	}
}

// More images than a call may name are asked for in several calls, and one the service knows
// nothing of is left out.
func TestPresentOfManyImages(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 300})
	ids := append(slices.Clone(a.images), uuid.MustParse("7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11"))
	if got := a.find(t, contract.Data{ImageIDs: ids}); !slices.Equal(got, a.images) {
		t.Errorf("%d of %d images are found", len(got), len(a.images))
	}
	if n := a.api.Count("GetImagesByIds"); n != 2 {
		t.Errorf("%d calls were made", n)
	}
}

// Where a 404 proves nothing, as when another account answers, an image that is missing is no
// result.
func TestPresentWithoutProof(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 4})
	a.api.Fault(cvtest.Fault{Operation: "GetImagesByIds", Path: a.images[1].String(), Times: -1, Status: 404, Code: "NotFoundImage"})
	s := a.survey(contract.Data{ImageIDs: a.images})
	doubt := errors.New("the account is not the one")
	s.Gone = func(context.Context, uuid.UUID, error, ...cv.Thing) (bool, error) { return false, doubt }
	if found, err := s.Images(t.Context(), []uuid.UUID{uuid.Nil}); !errors.Is(err, doubt) {
		t.Errorf("found %v, %v", found, err)
	}
}

// TestSelection finds what a selection holds, in the workspace and in two iterations: one that
// holds an image which has left the workspace, and one that was never trained.
func TestSelection(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Tags: []string{"alpha", "beta"}})
	tags := a.tags(t)
	add := func(subject string, tags ...uuid.UUID) uuid.UUID {
		return a.api.AddImage(a.project, cvtest.ImageSpec{Tags: tags, Metadata: map[string]string{"subject": subject, "site": "north"}, ImageBytes: cvtest.Tiny})
	}
	alpha, beta, old, untagged := add("a", tags["alpha"]), add("b", tags["beta"]), add("b", tags["alpha"]), add("a")
	trained := a.api.AddIteration(a.project, cvtest.IterationSpec{})
	failed := a.api.AddIteration(a.project, cvtest.IterationSpec{Untrained: true})
	a.api.Fault(cvtest.Fault{Path: failed.String(), Times: -1, Status: 400, Code: "BadRequestIterationIsNotTrained"})
	a.api.RemoveImage(a.project, old)
	gone := uuid.MustParse("7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11")
	for _, c := range []struct {
		name       string
		data       contract.Data
		iterations []uuid.UUID
		want       []uuid.UUID
	}{
		{"the workspace", contract.Data{}, nil, []uuid.UUID{alpha, beta, untagged}},
		{"an iteration, too", contract.Data{}, []uuid.UUID{trained}, []uuid.UUID{alpha, beta, untagged, old}},
		{"an iteration that was never trained", contract.Data{}, []uuid.UUID{failed}, []uuid.UUID{alpha, beta, untagged}},
		{"a tag, in an iteration that was never trained too", contract.Data{TagIDs: []uuid.UUID{tags["alpha"]}}, []uuid.UUID{failed}, []uuid.UUID{alpha}},
		{"a tag", contract.Data{TagIDs: []uuid.UUID{tags["alpha"]}}, nil, []uuid.UUID{alpha}},
		{"a tag, in an iteration too", contract.Data{TagIDs: []uuid.UUID{tags["alpha"]}}, []uuid.UUID{trained}, []uuid.UUID{alpha, old}},
		{"two tags", contract.Data{TagIDs: []uuid.UUID{tags["alpha"], tags["beta"]}}, nil, []uuid.UUID{alpha, beta}},
		{"a tag of no project", contract.Data{TagIDs: []uuid.UUID{gone}}, []uuid.UUID{trained}, nil},
		{"metadata", contract.Data{ImageMetadata: []map[string]string{{"subject": "a"}}}, nil, []uuid.UUID{alpha, untagged}},
		{"metadata, all pairs of an object", contract.Data{ImageMetadata: []map[string]string{{"subject": "a", "site": "south"}}}, nil, nil},
		{
			"metadata, any of several objects", contract.Data{ImageMetadata: []map[string]string{{"subject": "a", "site": "south"}, {"subject": "b"}}}, []uuid.UUID{trained},
			[]uuid.UUID{beta, old},
		},
		{"images", contract.Data{ImageIDs: []uuid.UUID{beta, old}}, nil, []uuid.UUID{beta}},
		{"images, in an iteration too", contract.Data{ImageIDs: []uuid.UUID{beta, old}}, []uuid.UUID{trained}, []uuid.UUID{beta, old}},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := slices.SortedFunc(slices.Values(c.want), contract.CompareIDs)
			if got := a.find(t, c.data, c.iterations...); !slices.Equal(got, want) {
				t.Errorf("found %v, not %v", got, want)
			}
		})
	}
}

// tags are the ids of the project's tags by their names.
func (a *account) tags(t *testing.T) map[string]uuid.UUID {
	t.Helper()
	tags, err := a.client.GetTags(t.Context(), a.project, uuid.Nil)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]uuid.UUID{}
	for _, tag := range tags {
		ids[tag.Name] = tag.ID
	}
	return ids
}

// TestSelectionWhileImagesMove changes the workspace while it is read. What is there throughout is
// found, and what was there for a while may be.
func TestSelectionWhileImagesMove(t *testing.T) {
	add := func(a *account) {
		a.api.AddImage(a.project, cvtest.ImageSpec{Tags: []uuid.UUID{a.tag}, ImageBytes: cvtest.Tiny})
	}
	for _, c := range []struct {
		name      string
		operation string // the change comes just before the n-th answer of it
		n         int
		change    func(a *account, untagged uuid.UUID)
		witnesses int // times that the witness is read
		calls     int
	}{
		{name: "nothing happens", witnesses: 1, calls: 5, change: func(*account, uuid.UUID) {}},
		{name: "an image is tagged, so that neither listing has it", witnesses: 1, calls: 5, change: func(a *account, untagged uuid.UUID) {
			a.api.TagImages(a.project, a.tag, untagged)
		}},
		{name: "an image is tagged and another untagged, so that all counts are as before", witnesses: 1, calls: 5, change: func(a *account, untagged uuid.UUID) {
			a.api.TagImages(a.project, a.tag, untagged)
			a.api.UntagImages(a.project, a.oldest)
		}},
		{name: "a tagged image is added", witnesses: 1, calls: 5, change: func(a *account, _ uuid.UUID) { add(a) }},
		{name: "an image that was listed is erased", witnesses: 1, calls: 6, change: func(a *account, _ uuid.UUID) {
			a.api.EraseImage(a.project, a.oldest)
		}},
		{name: "an image is tagged while the witness is read", operation: "GetImages", n: 1, witnesses: 1, calls: 5, change: func(a *account, untagged uuid.UUID) {
			a.api.TagImages(a.project, a.tag, untagged)
		}},
		{name: "an image is added while the witness is read", operation: "GetImages", n: 1, witnesses: 2, calls: 7, change: func(a *account, _ uuid.UUID) { add(a) }},
		{name: "an image is erased after the witness was read", operation: "GetImageCount", n: 2, witnesses: 2, calls: 8, change: func(a *account, _ uuid.UUID) {
			a.api.EraseImage(a.project, a.oldest)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t, cvtest.ProjectSpec{Images: 3, Tags: []string{"alpha"}})
			untagged := a.api.AddImage(a.project, cvtest.ImageSpec{ImageBytes: cvtest.Tiny})
			if c.operation == "" {
				c.operation, c.n = "GetUntaggedImages", 1
			}
			a.change(c.operation, c.n, func() { c.change(a, untagged) })
			got := a.find(t, contract.Data{})
			var want []uuid.UUID
			for _, image := range a.api.Snapshot().Projects[0].Workspace.Images {
				want = append(want, image.ID)
			}
			if slices.SortFunc(want, contract.CompareIDs); !slices.Equal(got, want) {
				t.Errorf("found %v, not %v", got, want)
			}
			if n := a.api.Count("GetImages"); n != c.witnesses {
				t.Errorf("the witness was read %d times, not %d", n, c.witnesses)
			}
			if n := len(a.api.Calls()); n != c.calls {
				t.Errorf("%d calls were made, not %d", n, c.calls)
			}
		})
	}
}

// TestSelectionByTagsWhileImagesMove moves an image from one tag of the selection to another.
func TestSelectionByTagsWhileImagesMove(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 3, Tags: []string{"alpha"}})
	late := a.api.AddImage(a.project, cvtest.ImageSpec{ImageBytes: cvtest.Tiny})
	a.change("GetImages", 1, func() { a.api.TagImages(a.project, a.tag, late) })
	got := a.find(t, contract.Data{TagIDs: []uuid.UUID{a.tag}})
	want := slices.SortedFunc(slices.Values(append(slices.Clone(a.images), late)), contract.CompareIDs)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, not %v", got, want)
	}
}

// TestWitnessThatLeavesOut has the witness leave out images that the other listings have and that
// are there.
func TestWitnessThatLeavesOut(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 3, Tags: []string{"alpha"}})
	a.api.Fault(cvtest.Fault{Operation: "GetImages", Status: 200, Body: "[]", Times: -1})
	a.api.Fault(cvtest.Fault{Operation: "GetImageCount", Status: 200, Body: "0", Times: -1})
	if got := a.find(t, contract.Data{}); !slices.Equal(got, a.images) {
		t.Errorf("found %v, not %v", got, a.images)
	}
}

// A page that does not begin with what the page before ends with was not read of one listing: it is
// read again, though no count moved.
func TestSelectionOfPagesThatDoNotJoin(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 300, Tags: []string{"alpha"}})
	want := slices.Clone(a.images)
	a.change("GetImages", 2, func() {
		a.api.EraseImage(a.project, a.oldest)
		want = slices.DeleteFunc(want, func(id uuid.UUID) bool { return id == a.oldest })
		want = append(want, a.api.AddImages(a.project, 1, cvtest.Tiny)...)
	})
	got := a.find(t, contract.Data{})
	slices.SortFunc(want, contract.CompareIDs)
	if !slices.Equal(got, want) {
		t.Errorf("%d images are found, not %d", len(got), len(want))
	}
	if n := a.api.Count("GetImages"); n != 4 {
		t.Errorf("the witness was read with %d calls, not 4", n)
	}
}

// A project that changes all the time is not taken as it was found: another try comes later.
func TestSelectionThatNeverHoldsStill(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 3, Tags: []string{"alpha"}})
	a.api.OnCall(func(operation string, _ int) {
		if operation == "GetImages" {
			a.api.AddImages(a.project, 1, cvtest.Tiny)
		}
	})
	found, err := a.survey(contract.Data{}).Images(t.Context(), []uuid.UUID{uuid.Nil})
	if !errors.Is(err, cv.ErrUnavailable) || !errors.Is(err, cv.ErrUnstable) {
		t.Errorf("found %v, %v", found, err)
	}
	if n := a.api.Count("GetImages"); n != survey.MaxPasses {
		t.Errorf("the witness was read %d times", n)
	}
}

// TestPresentWhereManyAreMissing asks for images of which most are not there, of a service that
// refuses every batch with one of them: a small scope is listed instead.
func TestPresentWhereManyAreMissing(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 256, Tags: []string{"alpha"}})
	for _, id := range a.images[:255] {
		a.api.EraseImage(a.project, id)
	}
	a.api.Fault(cvtest.Fault{Operation: "GetImagesByIds", Times: -1, Status: 404, Code: "NotFoundImage"})
	if got := a.find(t, contract.Data{ImageIDs: a.images}); !slices.Equal(got, a.images[255:]) {
		t.Errorf("found %v", got)
	}
	if n := len(a.api.Calls()); n > 40 {
		t.Errorf("%d calls were made", n)
	}
}

// TestPresentOfBatchesThatAreTooBig has the service take fewer ids at once than it documents.
func TestPresentOfBatchesThatAreTooBig(t *testing.T) {
	for _, refusal := range []cvtest.Fault{{Status: 400, Code: "BadRequestExceededBatchSize"}, {Status: 413}, {Status: 414}} {
		a := newAccount(t, cvtest.ProjectSpec{Images: 8})
		refusal.Operation, refusal.Times = "GetImagesByIds", 3
		a.api.Fault(refusal)
		if got := a.find(t, contract.Data{ImageIDs: a.images}); !slices.Equal(got, a.images) {
			t.Errorf("after %d %s %d of %d images are found", refusal.Status, refusal.Code, len(got), len(a.images))
		}
	}
}

// TestTagFilterThatIsIgnored has the service answer a listing by tags with every image, or every
// tagged one: only those that carry a tag of the selection are of it.
func TestTagFilterThatIsIgnored(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 2, Tags: []string{"alpha"}})
	a.api.AddImage(a.project, cvtest.ImageSpec{ImageBytes: cvtest.Tiny})
	all, err := a.client.GetImages(t.Context(), a.project, cv.ImageQuery{TaggingStatus: cv.All})
	if err != nil {
		t.Fatal(err)
	}
	var raws []json.RawMessage
	for _, image := range all {
		raws = append(raws, image.Raw)
	}
	body, err := json.Marshal(raws)
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Replace(raws[2], []byte(`{`), []byte(`{"tags":[{"tagId":"`+uuid.NewString()+`"}],`), 1)
	tagged, err := json.Marshal(append(raws[:2:2], other))
	if err != nil {
		t.Fatal(err)
	}
	for operation, body := range map[string][]byte{"GetTaggedImages": tagged, "GetImages": body} {
		a.api.Fault(cvtest.Fault{Operation: operation, Path: "tagIds", Times: -1, Status: 200, Body: string(body)})
	}
	a.api.Fault(cvtest.Fault{Operation: "GetImageCount", Path: "tagIds", Times: -1, Status: 200, Body: "3"})
	if got := a.find(t, contract.Data{TagIDs: []uuid.UUID{a.tag}}); !slices.Equal(got, a.images) {
		t.Errorf("found %v, not %v", got, a.images)
	}
}

// TestByIDs reads images by their ids as an export does: whole, in halves where a batch is refused,
// and never from a listing.
func TestByIDs(t *testing.T) {
	for _, c := range []struct {
		name    string
		refusal cvtest.Fault
		gone    bool // for the last image
		want    int
	}{
		{"too big", cvtest.Fault{Status: 400, Code: "BadRequestExceededBatchSize", Times: 3}, false, 40},
		{"too big for the gateway", cvtest.Fault{Status: 413, Times: 3}, false, 40},
		{"one is not there", cvtest.Fault{Status: 404, Code: "NotFoundImage", Times: -1}, true, 39},
		{"none is there", cvtest.Fault{Status: 404, Code: "NotFoundImage", Times: -1}, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAccount(t, cvtest.ProjectSpec{Images: 40, Tags: []string{"alpha"}})
			c.refusal.Operation = "GetImagesByIds"
			if c.gone {
				c.refusal.Path = a.images[len(a.images)-1].String()
			}
			a.api.Fault(c.refusal)
			images, err := a.survey(contract.Data{}).ByIDs(t.Context(), uuid.Nil, a.images)
			if err != nil || len(images) != c.want {
				t.Fatalf("%d images are found, not %d: %v", len(images), c.want, err)
			}
			for _, image := range images {
				if len(image.Raw) == 0 || image.OriginalImageURI == "" {
					t.Errorf("image %s was not read", image.ID)
				}
			}
		})
	}
}

// The survey stops when its progress cannot be noted.
func TestSelectionStopsWithItsProgress(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 300})
	s, stop := a.survey(contract.Data{}), errors.New("stop")
	heard := 0
	s.Progress = func(found int) error {
		heard = found
		return stop
	}
	if _, err := s.Images(t.Context(), []uuid.UUID{uuid.Nil}); !errors.Is(err, stop) || heard != cv.MaxPage {
		t.Errorf("after %d images: %v", heard, err)
	}
}

func TestMatches(t *testing.T) {
	metadata := map[string]string{"subject": "a", "site": "north", "empty": ""}
	for _, c := range []struct {
		name    string
		objects []map[string]string
		want    bool
	}{
		{"no objects", nil, true},
		{"a pair", []map[string]string{{"subject": "a"}}, true},
		{"two pairs", []map[string]string{{"subject": "a", "site": "north"}}, true},
		{"another value", []map[string]string{{"subject": "b"}}, false},
		{"one pair of two", []map[string]string{{"subject": "a", "site": "south"}}, false},
		{"another letter case", []map[string]string{{"subject": "A"}}, false},
		{"a key that is not there", []map[string]string{{"other": ""}}, false},
		{"an empty value", []map[string]string{{"empty": ""}}, true},
		{"any of the objects", []map[string]string{{"subject": "b"}, {"site": "north"}}, true},
	} {
		if got := survey.Matches(metadata, c.objects); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestProjectGone(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"the project", &cv.Error{Op: "GetProject", Status: 404, Code: "NotFoundProject"}, true},
		{"the project, met by another call", fmt.Errorf("list: %w", &cv.Error{Op: "GetTags", Status: 404, Code: "NotFoundProject"}), true},
		{"an iteration", &cv.Error{Op: "GetTags", Status: 404, Code: "NotFoundIteration"}, false},
		{"no answer of the API", &cv.Error{Op: "GetProject", Status: 404}, false},
		{"another status", &cv.Error{Op: "GetProject", Status: 500, Code: "NotFoundProject"}, false},
	} {
		if got := survey.ProjectGone(c.err); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// TestListingWithoutAnEnd: full pages that never end are given up: soon where the listing was
// counted, and else once it is longer than any that the service is known to have.
func TestListingWithoutAnEnd(t *testing.T) {
	a := newAccount(t, cvtest.ProjectSpec{Images: 300})
	page := 0
	endless := func([]byte) []byte {
		images := make([]struct {
			ID uuid.UUID `json:"id"`
		}, cv.MaxPage)
		for i := range images {
			binary.BigEndian.PutUint32(images[i].ID[:], uint32(1+page*cv.PageStride+i)) //nolint:gosec // small
		}
		page++
		b, err := json.Marshal(images)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	for _, operation := range []string{"GetTaggedImages", "GetUntaggedImages", "GetImages"} {
		a.api.Fault(cvtest.Fault{Operation: operation, Times: -1, Rewrite: endless})
	}
	_, err := a.survey(contract.Data{}).Images(t.Context(), []uuid.UUID{uuid.Nil})
	if !errors.Is(err, cv.ErrUnstable) || !errors.Is(err, cv.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	for operation, most := range map[string]int{"GetTaggedImages": 400, "GetUntaggedImages": 400, "GetImages": 3 * 4, "GetTaggedImageCount": 1, "GetUntaggedImageCount": 1} {
		if n := a.api.Count(operation); n == 0 || n > most {
			t.Errorf("%s was called %d times, at most %d", operation, n, most)
		}
	}
}
