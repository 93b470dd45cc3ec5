package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// subjects are metadata values that need care somewhere on the way: quotes, other scripts, what
// looks like a filter, case, white space, nothing.
var subjects = []string{
	"person-1", "Person-1", `O'Neil "Sam"`, "Zoë Ångström", "漢字 🙂", `a\b/c`, "x' or 1 eq 1 or 'x", "100% & more; <b>", "person-1 ", "e\u0301", "\u00e9", "",
}

// narrowable is an account in which every narrowing has something to find and something to pass
// over.
type narrowable struct {
	*world
	replica *replica
	big     *cvtest.Project // 23 tags, three iterations (one untrained), images dropped from the workspace
	other   *cvtest.Project // shares metadata with big
	empty   *cvtest.Project
	n       int
}

func newNarrowable(t *testing.T) *narrowable {
	t.Helper()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 11}})
	var tags []string
	for i := range 22 {
		tags = append(tags, fmt.Sprintf("tag %d", i))
	}
	metadata := func(offset int) func(int) map[string]string {
		return func(i int) map[string]string {
			if i%13 == 12 {
				return nil
			}
			m := map[string]string{"subject": subjects[(i+offset)%len(subjects)]}
			if i%2 == 0 {
				m["gate"] = []string{"north", "south"}[i/2%2]
			}
			return m
		}
	}
	return &narrowable{
		world:   w,
		replica: w.start(t, replicaOptions{configure: noWait}),
		big: w.api.AddProject(cvtest.ProjectSpec{
			Name: "Big", Kind: cvtest.Multilabel, Compact: true, Tags: tags, NegativeTag: "none of them", Images: 26, Untagged: 3, ImageBytes: cvtest.Tiny,
			Iterations: []cvtest.IterationSpec{
				{Images: 20, DropFromWorkspace: 4, Exports: []cvtest.ExportSpec{{Platform: "ONNX", Flavor: "ONNX12"}, {Platform: "CoreML", Status: cvtest.StatusFailed}}},
				{Untrained: true},
				{DropFromWorkspace: 2, Published: true, Exports: []cvtest.ExportSpec{{Platform: "CoreML"}}},
			},
			Predictions: 5, Metadata: metadata(0),
		}),
		other: w.api.AddProject(cvtest.ProjectSpec{
			Name: "Other", Kind: cvtest.Detection, Images: 9, Untagged: 4, Iterations: []cvtest.IterationSpec{{}}, Predictions: 2, Metadata: metadata(5), ImageBytes: cvtest.Tiny,
		}),
		empty: w.api.AddProject(cvtest.ProjectSpec{Name: "Empty"}),
	}
}

// export carries out an export of data and holds its bag against the selection.
func (w *narrowable) export(t *testing.T, data map[string]any, want selection, outcome contract.Outcome) {
	t.Helper()
	w.n++
	id := fmt.Sprintf("narrow-%d", w.n)
	e := w.run(t, id, string(encode(t, data)))
	if e.Status != contract.StatusCompleted || e.Outcome != outcome {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.checkTruth(t, w.bag(t, id, sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), want))
}

func strs(ids []uuid.UUID) (out []string) {
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

func TestExportNarrowed(t *testing.T) {
	t.Parallel()
	w := newNarrowable(t)
	const (
		iterations, performance = contract.CategoryIterations, contract.CategoryPerformance
		tags, images, exports   = contract.CategoryTags, contract.CategoryImages, contract.CategoryExports
	)
	type categories = []contract.Category
	big := []uuid.UUID{w.big.ID}
	named := map[string]any{"project_ids": strs(big)}
	all := map[string]any{"all_projects": true}
	both := map[string]any{"project_ids": strs([]uuid.UUID{w.big.ID, w.other.ID})}
	ofIterations := categories{iterations, performance, exports, images}
	ofTags := categories{tags, images}
	ofImages := categories{images}
	pairs := func(objects ...map[string]string) []map[string]string { return objects }

	type narrowed struct {
		name     string
		scope    map[string]any
		field    string
		value    any
		want     selection
		defaults categories
		nothing  bool
	}
	cases := []narrowed{
		{name: "an iteration", scope: named, field: "iteration_ids", value: strs(w.big.Iterations[:1]), want: selection{projects: big, iterations: w.big.Iterations[:1]}, defaults: ofIterations},
		{name: "two iterations, one untrained", scope: named, field: "iteration_ids", value: strs(w.big.Iterations[1:]), want: selection{projects: big, iterations: w.big.Iterations[1:]}, defaults: ofIterations},
		{name: "a tag", scope: named, field: "tag_ids", value: strs(w.big.Tags[3:4]), want: selection{projects: big, tags: w.big.Tags[3:4]}, defaults: ofTags},
		{name: "all tags, more than a call can name", scope: named, field: "tag_ids", value: strs(w.big.Tags), want: selection{projects: big, tags: w.big.Tags}, defaults: ofTags},
		{name: "an image", scope: named, field: "image_ids", value: strs(w.big.Images[12:13]), want: selection{projects: big, images: w.big.Images[12:13]}, defaults: ofImages},
		{name: "images in the workspace and only in iterations", scope: named, field: "image_ids", value: strs(w.big.Images[:9]), want: selection{projects: big, images: w.big.Images[:9]}, defaults: ofImages},
		{
			name: "two pairs", scope: all, field: "image_metadata", value: map[string]string{"subject": "person-1", "gate": "north"},
			want: selection{metadata: pairs(map[string]string{"subject": "person-1", "gate": "north"})}, defaults: ofImages,
		},
		{
			name: "several objects", scope: both, field: "image_metadata", value: pairs(map[string]string{"subject": "Zoë Ångström"}, map[string]string{"gate": "south"}),
			want: selection{projects: []uuid.UUID{w.big.ID, w.other.ID}, metadata: pairs(map[string]string{"subject": "Zoë Ångström"}, map[string]string{"gate": "south"})}, defaults: ofImages,
		},
		{
			name: "a key that no image has", scope: all, field: "image_metadata", value: map[string]string{"Subject": "person-1"},
			want: selection{metadata: pairs(map[string]string{"Subject": "person-1"})}, defaults: ofImages, nothing: true,
		},
	}
	for _, subject := range subjects {
		if subject == "" { // asking for it is refused; images that have it are passed over
			continue
		}
		cases = append(cases, narrowed{
			name: fmt.Sprintf("metadata %q", subject), scope: all, field: "image_metadata", value: map[string]string{"subject": subject},
			want: selection{metadata: pairs(map[string]string{"subject": subject})}, defaults: ofImages,
		})
	}
	seen, n := map[string]bool{}, 0
	for _, c := range cases {
		choices := []categories{nil}
		if !seen[c.field] || !strings.HasPrefix(c.name, "metadata ") { // once is enough for all those values
			allowed := contract.AllowedCategories(contract.ActionExport, contract.Narrowing(c.field))
			choices = append(choices, allowed)
			if !seen[c.field] {
				for _, one := range allowed {
					choices = append(choices, categories{one})
				}
			}
			seen[c.field] = true
		}
		for _, chosen := range choices {
			if n++; leftOut(n) {
				continue
			}
			name := c.name + ", default categories"
			if chosen != nil {
				name = fmt.Sprintf("%s, %v", c.name, chosen)
			}
			t.Run(name, func(t *testing.T) {
				data := map[string]any{c.field: c.value}
				for k, v := range c.scope {
					data[k] = v
				}
				want, outcome := c.want, contract.OutcomeComplete
				if want.categories = c.defaults; chosen != nil {
					data["categories"], want.categories = chosen, chosen
				}
				if c.nothing && chosen == nil {
					outcome = contract.OutcomeNothingFound
				}
				if c.nothing && slices.Equal(chosen, ofImages) {
					outcome = contract.OutcomeNothingFound
				}
				w.export(t, data, want, outcome)
			})
		}
	}
	for _, one := range contract.Categories() {
		t.Run("only "+string(one), func(t *testing.T) {
			w.export(t, map[string]any{"all_projects": true, "categories": categories{one}}, selection{categories: categories{one}}, contract.OutcomeComplete)
		})
	}
	t.Run("everything of two projects, named in upper case", func(t *testing.T) {
		upper := []string{strings.ToUpper(w.big.ID.String()), w.empty.ID.String()}
		w.export(t, map[string]any{"project_ids": upper}, selection{projects: []uuid.UUID{w.big.ID, w.empty.ID}}, contract.OutcomeComplete)
	})
	t.Run("nothing but an empty project", func(t *testing.T) {
		w.export(t, map[string]any{"project_ids": []uuid.UUID{w.empty.ID}, "categories": categories{images}}, selection{projects: []uuid.UUID{w.empty.ID}, categories: categories{images}}, contract.OutcomeNothingFound)
	})
	t.Run("an empty value is refused", func(t *testing.T) {
		e := w.run(t, "empty-value", `{"all_projects":true,"image_metadata":{"subject":""}}`)
		if e.Status != contract.StatusRefused || e.Error == nil || e.Error.Code != contract.CodeInvalidCommand {
			t.Errorf("ended %s: %v", e.Status, e.Error)
		}
	})
}

func TestExportOfWhatIsNotThere(t *testing.T) {
	w := newNarrowable(t)
	const stranger = "00000000-1111-4222-8333-444444444444"
	for name, data := range map[string]map[string]any{
		"project":                       {"project_ids": []string{stranger}},
		"one of two projects":           {"project_ids": []string{w.big.ID.String(), stranger}},
		"iteration":                     {"project_ids": []string{w.big.ID.String()}, "iteration_ids": []string{w.big.Iterations[0].String(), stranger}},
		"tag":                           {"project_ids": []string{w.big.ID.String()}, "tag_ids": []string{w.big.Tags[0].String(), stranger}},
		"image":                         {"project_ids": []string{w.big.ID.String()}, "image_ids": []string{w.big.Images[0].String(), stranger}},
		"iteration of another project":  {"project_ids": []string{w.big.ID.String()}, "iteration_ids": []string{w.other.Iterations[0].String()}},
		"project, narrowed by metadata": {"project_ids": []string{stranger}, "image_metadata": map[string]string{"subject": "person-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.n++
			id := fmt.Sprintf("missing-%d", w.n)
			h := w.publish(t, "export", id, string(encode(t, data)))
			e := w.wait(t, h)
			if e.Status != contract.StatusFailed || e.Error == nil || e.Error.Code != contract.CodeNotFound || e.Error.Retryable || e.Bundle != nil {
				t.Fatalf("ended %s: %+v", e.Status, e.Error)
			}
			missing := stranger
			if strings.HasPrefix(name, "iteration of") {
				missing = w.other.Iterations[0].String()
			}
			if !strings.Contains(e.Error.Message, missing) {
				t.Errorf("the message does not name what is missing: %s", e.Error.Message)
			}
			if left := w.fetch(t, id+"/"); len(left) > 0 {
				t.Errorf("objects are left behind: %v", left)
			}
			job, _, err := w.queue.Job(t.Context(), id)
			if err != nil || job.State != contract.StateFailed {
				t.Errorf("the job is %+v, %v", job, err)
			}
			w.checkDead(t, "cv.dead.export."+id, contract.CodeNotFound, encode(t, data), map[string][]string{contract.HeaderMsgID: {id}})
		})
	}
}

// checkDead holds a dead letter against the message it is of.
func (w *world) checkDead(t *testing.T, subject, code string, body []byte, headers map[string][]string) {
	t.Helper()
	for _, m := range w.messages(t, "CV_DEAD") {
		if m.Subject != subject {
			continue
		}
		if string(m.Data) != string(body) {
			t.Errorf("%s holds %q, the message was %q", subject, m.Data, body)
		}
		for name, values := range headers {
			if !slices.Equal(m.Header[name], values) {
				t.Errorf("%s: header %s is %q, was %q", subject, name, m.Header[name], values)
			}
		}
		if got := m.Header.Get("Cv-Error-Code"); got != code {
			t.Errorf("%s: the code is %q, want %q", subject, got, code)
		}
		for _, name := range []string{"Cv-Error", "Cv-Attempts", "Cv-Time"} {
			if m.Header.Get(name) == "" {
				t.Errorf("%s: header %s is missing", subject, name)
			}
		}
		return
	}
	t.Errorf("there is no dead letter %s", subject)
}
