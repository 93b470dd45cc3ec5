package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// pages are those of a site, by name.
type pages map[string][]byte

func (p pages) put(name string, page []byte) error {
	if p[name] != nil {
		return fmt.Errorf("%s is stored twice", name)
	}
	p[name] = bytes.Clone(page)
	return nil
}

// text is a page that must be there.
func (p pages) text(t *testing.T, name string) string {
	t.Helper()
	if p[name] == nil {
		t.Fatalf("there is no page %s, but %q", name, slices.Sorted(maps.Keys(p)))
	}
	return string(p[name])
}

func newSite(put report.Put) *report.Site {
	return report.NewSite("exp-1", "cvconsumer test", bagfile.Categories(), put)
}

func bundle() report.Bundle {
	return report.Bundle{
		Reference: "CASE-17", Source: "urn:desk", Published: at(0), Selection: []string{"all projects of the account"}, Categories: bagfile.Categories(),
		Host: "vision.example.net", APIVersion: "v3.3", Account: "vision.example.net/default", Threshold: .5, Overlap: .3, Started: at(0), Finished: at(30),
		Outcome: bagfile.OutcomeComplete, Counts: []report.Count{{"images", 3}}, Bytes: 1234567, LedgerEntries: 78, LedgerHead: strings.Repeat("cd", 32),
		ManifestSHA256: strings.Repeat("ef", 32), Residuals: []string{"The service still has everything."},
	}
}

// id is a made-up id.
func id(n int) uuid.UUID { return uuid.UUID{0: 0xaa, 14: byte(n >> 8), 15: byte(n)} }

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// object is an object of JSON.
type object = map[string]any

// documents are those of a project with two trained iterations and one that is not, listed
// in another order than they were trained.
func documents(t testing.TB, name string, tags []string) report.Documents {
	t.Helper()
	var listed, first, second []object
	for i, tag := range tags {
		listed = append(listed, object{"id": id(i), "name": tag, "type": "Regular", "imageCount": 4 + i})
		first = append(first, object{"id": id(i), "name": tag, "precision": .5, "precisionStdDeviation": .1, "recall": .25, "averagePrecision": .75})
		second = append(second, object{"id": id(i), "name": tag, "precision": .6, "recall": .2, "averagePrecision": .75})
	}
	return report.Documents{
		Project: jsonOf(t, object{"id": id(900), "name": name, "description": "About " + name, "settings": object{"domainId": id(901), "classificationType": "Multiclass", "targetExportPlatforms": []string{"CoreML", "ONNX"}}}),
		Tags:    jsonOf(t, listed),
		Iterations: jsonOf(t, []object{
			{"id": id(802), "name": "Second", "status": "Completed", "trainedAt": "2026-03-03T09:12:41Z", "publishName": "live"},
			{"id": id(803), "name": "Third", "status": "Failed"},
			{"id": id(801), "name": "First", "status": "Completed", "trainedAt": "2026-03-02T09:12:41Z"},
		}),
		Performance: map[uuid.UUID][]byte{
			id(801): jsonOf(t, object{"precision": .5, "recall": .25, "averagePrecision": .75, "perTagPerformance": first}),
			id(802): jsonOf(t, object{"precision": .6, "recall": .2, "averagePrecision": .75, "perTagPerformance": second}),
		},
	}
}

func blob(file string) bagfile.Blob {
	size := int64(4321)
	return bagfile.Blob{File: &file, Bytes: &size, Source: "original"}
}

// TestProjectPages has what the service said of a project, in the order of its trainings and with
// what changed.
func TestProjectPages(t *testing.T) {
	got := pages{}
	s := newSite(got.put)
	p := s.Project(id(900), documents(t, "Shelves", []string{"bottle", "can"}))
	if err := p.Image(bagfile.Workspace, id(1), jsonOf(t, object{"id": id(1), "created": "2026-03-02T08:07:29", "width": 40, "height": 30, "tags": []object{{"tagName": "bottle"}}, "metadata": object{"site": "north"}}), blob("images/a.jpg")); err != nil {
		t.Fatal(err)
	}
	if err := p.Image(id(801).String(), id(2), jsonOf(t, object{"id": id(2)}), bagfile.Blob{Error: &bagfile.Blame{Code: "gone", Message: "no longer there"}}); err != nil {
		t.Fatal(err)
	}
	inventory := bagfile.InventoryProject{
		Categories: map[string]*bagfile.InventoryCategory{"images": {Failed: []bagfile.Failure{{ID: id(2).String(), Code: "gone", Message: "no longer there", Operation: "GetImagesByIds", RequestID: "r-1"}}},
			"exports": {Unfinished: []bagfile.Unfinished{{ID: id(801).String() + "/CoreML", Status: "Failed"}, {ID: id(801).String() + "/ONNX", Status: "Exporting"}}}},
		Untrained: []string{id(803).String()}, Unstable: []string{"tagged images of the workspace"}, Removed: []string{id(5).String()},
	}
	models := []report.Model{{Iteration: id(801), File: "iterations/x/exports/TensorFlow.zip", SHA256: strings.Repeat("12", 32), Bytes: 2500000}}
	if err := p.End(inventory, models); err != nil {
		t.Fatal(err)
	}
	if err := s.Gone(id(950), true); err != nil {
		t.Fatal(err)
	}
	b := bundle()
	b.Signed, b.Signer, b.Approver = true, "SIGNER", "APPROVER"
	if err := s.End(b); err != nil {
		t.Fatal(err)
	}
	root := "pages/" + id(900).String() + "/"
	for name, says := range map[string][]string{
		"index.html": {
			"Shelves", root + "index.html", "exceptions (4)", "no longer there", "GetImagesByIds", "r-1", "still making this model", "gone when it was read", "changed each time", "SIGNER", "APPROVER", "CASE-17", "urn:desk",
			"vision.example.net/default", "1.2 MiB", strings.Repeat("cd", 32), strings.Repeat("ef", 32), "predicate.key_id", "cosign verify-blob-attestation", "timestampVerificationData",
		},
		root + "index.html": {
			"About Shelves", "bottle", "targetExportPlatforms", "CoreML, ONNX", "TensorFlow.zip", "2.4 MiB", strings.Repeat("12", 32), "published as <bdi>live</bdi>", "60.0 % <span class=\"less\">(&#43;10.0)</span>", "20.0 % <span class=\"less\">(-5.0)</span>",
			"never made: the service says Failed", "Third (" + id(803).String() + ") is not trained", "before they could be fetched: 1.", `href="images-1.html">1–2</a>`, `points="68,116 600,96"`,
		},
		root + "iteration-" + id(802).String() + ".html": {"bottle", "60.0 %", "(&#43;10.0)", "from <bdi>First</bdi>", `width="60" height="8"`},
		root + "iteration-" + id(801).String() + ".html": {"50.0 %", `x1="40" y1="4" x2="60"`, "TensorFlow.zip"},
		root + "iteration-" + id(803).String() + ".html": {"the iteration was not trained"},
		root + "images-1.html":                           {"../../data/projects/" + id(900).String() + "/images/a.jpg", "40 × 30", "site", "north", "bottle", "kept in iteration First (" + id(801).String() + ")", "gone: no longer there", "no picture"},
	} {
		page := got.text(t, name)
		for _, want := range says {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not say %q", name, want)
			}
		}
		if t.Failed() {
			t.Log(page[strings.Index(page, "<body"):])
		}
		tags(t, got[name])
		if first, second := strings.Index(page, ">First<"), strings.Index(page, ">Second<"); name == root+"index.html" && (first < 0 || second < first) {
			t.Error("the iterations are not in the order of their training")
		}
		if strings.Contains(page, "://") {
			t.Errorf("%s has a link to elsewhere", name)
		}
	}
	if len(got) != 6 {
		t.Errorf("there are the pages %q", slices.Sorted(maps.Keys(got)))
	}
}

// TestGalleryPages puts 200 pictures on a page, and less where these are large; each page leads to
// those beside it.
func TestGalleryPages(t *testing.T) {
	got := pages{}
	s := newSite(got.put)
	p := s.Project(id(900), report.Documents{})
	for i := range 2*report.PageSize + 1 {
		if err := p.Image(bagfile.Workspace, id(i), []byte(`{}`), blob("images/a.jpg")); err != nil {
			t.Fatal(err)
		}
	}
	large := []byte(`{"metadata":{"text":"` + strings.Repeat("<", 200<<10) + `"}}`)
	for i := range 3 { // 800 KiB each
		if err := p.Prediction(id(i), large, blob("predictions/a.jpg")); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Prediction(id(4), jsonOf(t, object{"metadata": object{"text": strings.Repeat("x", 300<<10)}}), blob("predictions/a.jpg")); err != nil {
		t.Fatal(err)
	}
	if err := p.End(bagfile.InventoryProject{}, nil); err != nil {
		t.Fatal(err)
	}
	root := "pages/" + id(900).String() + "/"
	for name, want := range map[string]int{"images-1.html": 200, "images-2.html": 200, "images-3.html": 1, "predictions-1.html": 2, "predictions-2.html": 2} {
		page := got.text(t, root+name)
		if n := strings.Count(page, `<li class="tile"`); n != want {
			t.Errorf("%s has %d pictures, not %d", name, n, want)
		}
	}
	middle := got.text(t, root+"images-2.html")
	for _, want := range []string{`<ol class="gallery" start="201">`, `href="images-1.html" rel="prev"`, `href="images-3.html" rel="next"`} {
		if !strings.Contains(middle, want) {
			t.Errorf("the page in the middle lacks %s", want)
		}
	}
	if last := got.text(t, root+"images-3.html"); strings.Contains(last, `rel="next"`) || !strings.Contains(last, `href="images-2.html"`) {
		t.Error("the last page leads on, or not back")
	}
	if page := got.text(t, root+"index.html"); !strings.Contains(page, `<a href="images-3.html">401–401</a>`) {
		t.Error("the project's page does not lead to the last one")
	}
	if page := got.text(t, root+"predictions-2.html"); !strings.Contains(page, "too long to be shown here") || strings.Contains(page, "xxxxx") {
		t.Error("a record of 300 KiB is shown")
	}
}

// TestManyExceptions tells the first on the first page, and all on pages of their own.
func TestManyExceptions(t *testing.T) {
	for n, want := range map[int]int{0: 0, 200: 0, 201: 2, 400: 2, 401: 3} {
		got := pages{}
		s := newSite(got.put)
		p := s.Project(id(900), report.Documents{})
		failed := make([]bagfile.Failure, n)
		for i := range failed {
			failed[i] = bagfile.Failure{ID: id(i).String(), Code: "gone", Message: "no more"}
		}
		if err := p.End(bagfile.InventoryProject{Categories: map[string]*bagfile.InventoryCategory{"images": {Failed: failed}}}, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.End(bundle()); err != nil {
			t.Fatal(err)
		}
		told := 0
		for i := range want {
			told += strings.Count(got.text(t, fmt.Sprintf("pages/exceptions-%d.html", i+1)), "no more")
		}
		if want > 0 && told != n || got[fmt.Sprintf("pages/exceptions-%d.html", want+1)] != nil {
			t.Errorf("%d exceptions: %d are told on %d pages", n, told, want)
		}
		if on := strings.Count(got.text(t, "index.html"), "no more"); on != min(n, 200) {
			t.Errorf("%d exceptions: the first page tells %d", n, on)
		}
	}
}

// evil is text that means something to a browser, a terminal, a shell, or to verification, which
// looks for signed links.
var evil = []string{
	`</title></style></script><script>document.title="ran"</script>`, `"><img src=x onerror="document.title='ran'">`, `' onload='document.title="ran"`, "\u202egnp.exe\u2066\x1b[2J", `{{.ID}} &amp; &lt;b&gt;`,
	`https://host.example/a?x"&sv=1&sig=2`, `http:\/\/host.example/?sv=1&sig=2`, `http\u003a//host.example/?sv=1&sig=2`, "مرحبا بالعالم", "日本語のタグ",
}

// TestEvilText puts such text in every place of a project: it is shown, and is nothing more. 500
// tags with names of 10,000 characters are shown whole.
func TestEvilText(t *testing.T) {
	all := strings.Join(evil, " ")
	names := append([]string{all}, evil...)
	for len(names) < 500 {
		names = append(names, fmt.Sprintf("%03d %s", len(names), strings.Repeat("w", 10_000)))
	}
	got := pages{}
	s := newSite(got.put)
	d := documents(t, all, names)
	p := s.Project(id(900), d)
	regions := []object{}
	for i, name := range evil {
		regions = append(regions, object{"tagName": name, "left": .1 * float64(i), "top": -.2, "width": .3, "height": 1e300})
	}
	record := jsonOf(t, object{"id": id(1), "created": all, "regions": regions, "metadata": object{all: all, "list": []string{all}}, "iteration": all})
	for _, add := range []func() error{
		func() error { return p.Image(all, id(1), record, blob("images/a.jpg")) },
		func() error {
			return p.Prediction(id(1), jsonOf(t, object{"predictions": []object{{"tagName": all, "probability": 2}}}), bagfile.Blob{Error: &bagfile.Blame{Code: all, Message: all}})
		},
		func() error {
			return p.Image(bagfile.Workspace, id(2), []byte(`{"width":"wide","tags":7}`), blob("images/a.jpg"))
		},
		func() error {
			return p.End(bagfile.InventoryProject{Categories: map[string]*bagfile.InventoryCategory{"images": {Failed: []bagfile.Failure{{ID: all, Code: all, Message: all}}}}, Untrained: []string{all}, Unstable: []string{all}}, nil)
		},
		func() error {
			b := bundle()
			b.Reference, b.Source, b.Selection, b.Account, b.Residuals = all, all, []string{all}, all, []string{all}
			return s.End(b)
		},
	} {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	for name, page := range got {
		text := string(page)
		switch {
		case links.InText(text):
			t.Errorf("verification would find a signed link in %s", name)
		case strings.ContainsAny(text, "\u202e\u2066\x1b"):
			t.Errorf("%s has control characters", name)
		case strings.Count(text, "<script") > 1 || strings.Contains(text, "<script>document") || strings.Contains(text, "<img src=x"):
			t.Errorf("%s has markup of the customer", name)
		case len(page) > 48<<20:
			t.Errorf("%s has %d bytes", name, len(page))
		}
		tags(t, page)
	}
	if page := got.text(t, "pages/"+id(900).String()+"/index.html"); strings.Count(page, strings.Repeat("w", 10_000)+"<") != 489 {
		t.Errorf("%d of 489 long names are shown whole", strings.Count(page, strings.Repeat("w", 10_000)+"<"))
	}
}

// TestManyIterations has a page for each of many iterations: their numbers below the chart have
// room, and the table of models does not grow without end.
func TestManyIterations(t *testing.T) {
	const many, modelsShown = 31, 2000
	var listed []object
	performance := map[uuid.UUID][]byte{}
	for i := range many {
		listed = append(listed, object{"id": id(i), "name": fmt.Sprintf("Run %d", i), "trainedAt": fmt.Sprintf("2026-03-02T09:12:%02dZ", i)})
		performance[id(i)] = jsonOf(t, object{"precision": .01 * float64(i), "recall": .5, "averagePrecision": .5, "perTagPerformance": []object{{"id": id(99), "name": "can", "precision": .02 * float64(i)}}})
	}
	var models []report.Model
	for i := range modelsShown + 7 {
		models = append(models, report.Model{Iteration: id(i % many), File: fmt.Sprintf("iterations/x/exports/%d.zip", i)})
	}
	got := pages{}
	p := newSite(got.put).Project(id(900), report.Documents{Iterations: jsonOf(t, listed), Performance: performance})
	if err := p.End(bagfile.InventoryProject{}, models); err != nil {
		t.Fatal(err)
	}
	project := got.text(t, "pages/"+id(900).String()+"/index.html")
	if n := strings.Count(project, `text-anchor="middle"`); n > 15 || n < 8 {
		t.Errorf("the chart has the numbers of %d iterations", n)
	}
	if n := strings.Count(project, ">Iteration</text>"); n != 1 {
		t.Errorf("the chart names its axis %d times", n)
	}
	if n := strings.Count(project, ".zip</a>"); n != modelsShown || !strings.Contains(project, "7 more are below") {
		t.Errorf("the project's page has %d models", n)
	}
	last := got.text(t, "pages/"+id(900).String()+"/iteration-"+id(many-1).String()+".html")
	if !strings.Contains(last, "from <bdi>Run 29</bdi>") || !strings.Contains(last, "60.0 % <span class=\"less\">(&#43;2.0)</span>") || strings.Count(last, ".zip</a>") != (modelsShown+7)/many {
		t.Error(last)
	}
}
