//go:build browser

package report_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/browser"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browser.Close()
	os.Exit(code)
}

// folder is a bag on disk.
type folder string

func (f folder) put(name string, content []byte) error {
	name = filepath.Join(string(f), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o600)
}

func (f folder) url(name string) string { return "file://" + filepath.Join(string(f), name) }

// picture is a PNG of one color.
func picture(t *testing.T, width, height int) []byte {
	t.Helper()
	im := image.NewGray(image.Rect(0, 0, width, height))
	for i := range im.Pix {
		im.Pix[i] = color.Gray{Y: 90}.Y
	}
	var b bytes.Buffer
	if err := png.Encode(&b, im); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var projectFolder = "pages/" + id(900).String() + "/"

// write makes a bag's pages, about one project whose texts are those given. Its pictures are wider
// than high, and the reverse, and have the regions given.
func write(t *testing.T, name string, tags []string, regions []object) folder {
	t.Helper()
	f := folder(t.TempDir())
	for file, content := range map[string][]byte{"wide.png": picture(t, 400, 100), "high.png": picture(t, 90, 600)} {
		must(t, f.put("data/projects/"+id(900).String()+"/images/"+file, content))
	}
	s := newSite(f.put)
	p := s.Project(id(900), documents(t, name, tags))
	for i, file := range []string{"images/wide.png", "images/high.png"} {
		must(t, p.Image(bagfile.Workspace, id(i+1), jsonOf(t, object{"id": id(i + 1), "created": "2026-03-02T08:07:29", "regions": regions, "metadata": object{name: name}}), blob(file)))
	}
	for i, file := range []string{"images/wide.png", "images/high.png"} {
		var predictions []object
		for n, r := range regions {
			predictions = append(predictions, object{"tagName": r["tagName"], "probability": .9 / float64(n+1), "boundingBox": r})
		}
		must(t, p.Prediction(id(i+1), jsonOf(t, object{"predictions": predictions, "iteration": id(801)}), blob(file)))
	}
	must(t, p.End(bagfile.InventoryProject{Categories: map[string]*bagfile.InventoryCategory{"tags": {Failed: []bagfile.Failure{{ID: id(7).String(), Code: name, Message: name}}}}, Untrained: []string{id(803).String()}}, nil))
	b := bundle()
	b.Reference, b.Source, b.Signed = name, name, true
	must(t, s.End(b))
	return f
}

// quiet fails if a page logged something, or asked for anything but files of the bag.
func quiet(t *testing.T, f folder, p *browser.Page) {
	t.Helper()
	for _, m := range p.Messages() {
		t.Errorf("the page logs: %.300s", m)
	}
	for _, r := range p.Requests() {
		if !strings.HasPrefix(r, f.url("")) {
			t.Errorf("the page asks for %s", r)
		}
	}
}

// accessible fails if axe-core finds something serious.
func accessible(t *testing.T, p *browser.Page) {
	t.Helper()
	for _, v := range p.Violations() {
		if v.Impact == "serious" || v.Impact == "critical" {
			t.Errorf("%s (%s): %s\n%s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
		}
	}
}

// rect is where an element is, in CSS pixels.
type rect struct{ X, Y, Width, Height float64 }

func near(a, b float64) bool { return math.Abs(a-b) <= 1 }

// TestBrowserPages opens the pages of an ordinary bag on a desk, on a phone and for paper: boxes
// are where the regions are, bars and lines as long and high as the numbers say, and nothing is
// wider than the window.
func TestBrowserPages(t *testing.T) {
	regions := []object{{"tagName": "bottle", "left": .25, "top": .125, "width": .5, "height": .25}, {"tagName": "can", "left": -.1, "top": .0005, "width": .4, "height": .5}}
	f := write(t, "Shelves", []string{"bottle", "can"}, regions)
	desk, phone := browser.View{Width: 1280, Height: 900}, browser.View{Width: 390, Height: 800, Phone: true, Dark: true}
	for _, c := range []struct {
		page string
		view browser.View
	}{
		{"index.html", desk},
		{"index.html", phone},
		{projectFolder + "index.html", phone},
		{projectFolder + "iteration-" + id(802).String() + ".html", phone},
		{projectFolder + "images-1.html", desk},
		{projectFolder + "images-1.html", phone},
		{projectFolder + "predictions-1.html", browser.View{Width: 1280, Height: 900, NoScript: true}},
	} {
		t.Run(fmt.Sprintf("%s %d", filepath.Base(c.page), c.view.Width), func(t *testing.T) {
			p := browser.Open(t, f.url(c.page), c.view)
			var width int
			if p.Run(`document.documentElement.scrollWidth`, &width); width > c.view.Width {
				t.Errorf("the page is %d wide, the window %d", width, c.view.Width)
			}
			if strings.Contains(c.page, "-1.html") {
				boxes(t, p, regions, strings.Contains(c.page, "predictions"))
			}
			if !c.view.NoScript { // the checks are a script
				accessible(t, p)
			}
			quiet(t, f, p)
		})
	}
	t.Run("plots", func(t *testing.T) { plots(t, browser.Open(t, f.url(projectFolder+"index.html"), desk), f) })
	t.Run("filter", func(t *testing.T) { filtered(t, browser.Open(t, f.url(projectFolder+"images-1.html"), desk)) })
	t.Run("enlarged", func(t *testing.T) {
		p := browser.Open(t, f.url(projectFolder+"images-1.html")+"#i-"+id(1).String(), desk)
		boxes(t, p, regions, false)
		quiet(t, f, p)
	})
	t.Run("paper", func(t *testing.T) {
		for _, name := range []string{"index.html", projectFolder + "images-1.html"} {
			if p := browser.Open(t, f.url(name), desk); !bytes.HasPrefix(p.PDF(), []byte("%PDF")) {
				t.Errorf("%s cannot be printed", name)
			}
		}
	})
}

// boxes compares the boxes on pictures with their regions. Of predictions only those of a
// probability of a half are drawn.
func boxes(t *testing.T, p *browser.Page, regions []object, predictions bool) {
	t.Helper()
	p.Wait(`[...document.images].every(i => i.complete && i.naturalWidth > 0)`)
	var tiles []struct {
		Image rect
		Boxes []rect
		Label string
	}
	p.Run(`(() => {
		const at = e => { const r = e.getBoundingClientRect(); return {X: r.x, Y: r.y, Width: r.width, Height: r.height} };
		const corners = e => { const r = e.getBBox(), m = e.getScreenCTM(); return {X: r.x * m.a + m.e, Y: r.y * m.d + m.f, Width: r.width * m.a, Height: r.height * m.d} };
		return [...document.querySelectorAll(".tile")].map(t => ({Image: at(t.querySelector("img")), Boxes: [...t.querySelectorAll("rect")].map(corners), Label: t.querySelector("ul").textContent}));
	})()`, &tiles)
	if len(tiles) != 2 {
		t.Fatalf("there are %d pictures", len(tiles))
	}
	for _, tile := range tiles {
		ratio := tile.Image.Width / tile.Image.Height
		if !near(ratio*100, 400) && !near(ratio*100, 15) || tile.Image.Width < 10 {
			t.Errorf("a picture is drawn with %.0f × %.0f", tile.Image.Width, tile.Image.Height)
		}
		want := len(regions)
		if predictions {
			want = 1
		}
		if len(tile.Boxes) != want {
			t.Fatalf("%d boxes are drawn, not %d", len(tile.Boxes), want)
		}
		for i, box := range tile.Boxes {
			at := func(name string) float64 { return regions[i][name].(float64) }
			if im := tile.Image; !near(box.X, im.X+at("left")*im.Width) || !near(box.Y, im.Y+at("top")*im.Height) || !near(box.Width, at("width")*im.Width) || !near(box.Height, at("height")*im.Height) {
				t.Errorf("box %d is at %+v on a picture at %+v", i, box, im)
			}
		}
		if !strings.Contains(tile.Label, "bottle") || !strings.Contains(tile.Label, "can") {
			t.Errorf("the tags are %q", tile.Label)
		}
	}
}

// plots compares the lines over iterations, and the bars of one, with the numbers.
func plots(t *testing.T, p *browser.Page, f folder) {
	t.Helper()
	var lines [][][2]float64 // of each series its points, as shares of the way from 0 to 100 %
	p.Run(`(() => {
		const grid = [...document.querySelectorAll(".chart .grid")].map(l => l.getBoundingClientRect().y), zero = Math.max(...grid), all = Math.min(...grid);
		return [...document.querySelectorAll(".chart polyline")].map(l => { const m = l.getScreenCTM(); return [...l.points].map(p => [p.x, (zero - (p.y * m.d + m.f)) / (zero - all)]) });
	})()`, &lines)
	want := [][]float64{{.5, .6}, {.25, .2}, {.75, .75}}
	for i, values := range want {
		for n, v := range values {
			if len(lines) != 3 || len(lines[i]) != 2 || math.Abs(lines[i][n][1]-v) > .01 {
				t.Fatalf("the lines are %v, not at %v", lines, want)
			}
		}
	}
	p.Go(f.url(projectFolder + "iteration-" + id(801).String() + ".html"))
	var bars []float64
	p.Run(`[...document.querySelectorAll(".bar")].map(b => b.querySelector(".fill").getBoundingClientRect().width / b.querySelector(".track").getBoundingClientRect().width)`, &bars)
	if !slices.EqualFunc(bars, []float64{.5, .25, .75, .5, .25, .75, .5, .25, .75}, func(a, b float64) bool { return math.Abs(a-b) < .01 }) {
		t.Errorf("the bars are %v", bars)
	}
	accessible(t, p)
	quiet(t, f, p)
}

// filtered looks for a text on a page of pictures.
func filtered(t *testing.T, p *browser.Page) {
	t.Helper()
	var shown string
	p.Run(fmt.Sprintf(`(() => {
		const input = document.querySelector("#find");
		input.value = %q;
		input.dispatchEvent(new Event("input"));
		return [...document.querySelectorAll(".tile")].filter(t => t.offsetParent).map(t => t.id).join() + document.querySelector("[role=status]").textContent;
	})()`, strings.ToUpper(id(2).String())), &shown)
	if shown != "i-"+id(2).String()+" 1 of 2" {
		t.Errorf("shown are %q", shown)
	}
}

// TestBrowserEvilText opens the pages of a hostile account: all text is shown, none of it does
// anything.
func TestBrowserEvilText(t *testing.T) {
	all := strings.Join(evil, " ")
	names := append([]string{all}, evil...)
	for len(names) < 500 {
		names = append(names, fmt.Sprintf("%03d %s", len(names), strings.Repeat("w", 10_000)))
	}
	regions := []object{{"tagName": all, "left": .25, "top": .125, "width": .5, "height": .25}}
	f := write(t, all, names, regions)
	for page, selector := range map[string]string{"index.html": "table.cards th bdi", projectFolder + "index.html": "h1", projectFolder + "images-1.html": ".tile li bdi", projectFolder + "iteration-" + id(801).String() + ".html": "tbody tr:first-child th"} {
		p := browser.Open(t, f.url(page), browser.View{Width: 390, Height: 800, Phone: true})
		var got struct {
			Text, Title string
			Width       int
			Scripts     int
			Rows        int
		}
		p.Run(fmt.Sprintf(`({Text: document.querySelector(%q).textContent, Title: document.title, Width: document.documentElement.scrollWidth, Scripts: document.querySelectorAll("script, iframe, object, link, base").length, Rows: [...document.querySelectorAll("tbody th")].filter(c => c.textContent.length > 10000).length})`, selector), &got)
		if want := bagfile.Printable(all); got.Text != want {
			t.Errorf("%s shows %q, not %q", page, got.Text, want)
		}
		if got.Title == "ran" || got.Width > 390 || got.Scripts > 1 {
			t.Errorf("%s: title %.60q, %d wide, %d scripts", page, got.Title, got.Width, got.Scripts)
		}
		if want := len(names) - len(evil) - 1; strings.Contains(page, "iteration") && got.Rows != want {
			t.Errorf("%d of %d long names are shown whole", got.Rows, want)
		}
		quiet(t, f, p)
	}
}

// TestBrowserCertificate opens the certificate of a delete: its numbers are within a phone's
// window, and it is printed on one page and one of annexes.
func TestBrowserCertificate(t *testing.T) {
	f := folder(t.TempDir())
	c := deleted()
	c.Signed, c.Signer, c.Approver = true, "UAAA", "UBBB"
	must(t, f.put("index.html", []byte(page(t, c))))
	p := browser.Open(t, f.url("index.html"), browser.View{Width: 390, Height: 800, Phone: true})
	var out []string
	p.Run(`[...document.querySelectorAll("td.n, td.n *")].filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0).map(e => e.outerHTML)`, &out)
	if len(out) > 0 {
		t.Errorf("numbers are outside of the window: %q", out)
	}
	accessible(t, p)
	p = browser.Open(t, f.url("index.html"), browser.View{})
	accessible(t, p)
	quiet(t, f, p)
	if pages := bytes.Count(p.PDF(), []byte("/Type /Page\n")); pages != 2 {
		t.Errorf("the certificate is printed on %d pages: one, and one of annexes", pages)
	}
}
