package report

import (
	"bytes"
	_ "embed" // the template
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// What a page holds at most.
const (
	// PageSize is how many pictures a page of a gallery has.
	PageSize = 200
	// maxGallery is how many bytes a page may have before no more pictures come on it.
	maxGallery = 1 << 20
	// maxShown is how many bytes the record of a picture may have for its texts to be shown.
	maxShown = 256 << 10
	// maxPages is how many pages the galleries of a bundle have together.
	maxPages = 90_000
	// maxBoxes is how many boxes are drawn on a picture.
	maxBoxes = 500
	// drawn is the probability from which on the box of a prediction is drawn.
	drawn = .5

	colors = 6 // of boxes; see style.css
)

//go:embed gallery.html
var galleryHTML string

var galleryPage = parse("gallery.html", galleryHTML)

// gallery writes pictures to pages, one page at a time.
type gallery struct {
	project *ProjectPages
	name    string // of its pages: images or predictions
	heading string
	bare    string // what is said of a picture without labels

	page  int // the one that is being made, from 1; 0: none
	on    int // pictures on it
	total int // pictures on all pages
	left  int // pictures that no page has, since there are too many pages
	buf   bytes.Buffer
	pages []GalleryPage
}

// GalleryPage is a page of a gallery, by its number and those of its first and last picture.
type GalleryPage struct {
	N, First, Last int
	File           string
}

// galleryData is what the begin and the end of a page say.
type galleryData struct {
	sheet

	Heading, Project, ProjectID, Source string
	Predictions                         bool
	Page, First                         int
	Before, After                       string // files of the pages before and after; empty without one
}

// tile is one picture with what is known of it.
type tile struct {
	ID, File, Name string // File is relative to the page; empty: there is none
	Error, Note    string
	Bare, More     string
	Boxes          []box
	Labels         []label
	Facts          []fact
	Metadata       []fact
}

// fact is a name and a value.
type fact struct{ Name, Value string }

// box is a box on a picture: percents of its width and height.
type box struct {
	key

	X, Y, W, H string
}

// key ties a box to its label.
type key struct{ N, Color int }

// label is a tag of a picture, with its place on it or its probability.
type label struct {
	Key             *key // of the box; nil: none is drawn
	Name, Share, At string
}

func (g *gallery) file(n int) string { return g.name + "-" + strconv.Itoa(n) + ".html" }

// data is what the page being made says beside pictures.
func (g *gallery) data(after bool) galleryData {
	d := galleryData{
		sheet: g.project.site.sheet(pictures, fmt.Sprintf("%s, page %d – %s", g.heading, g.page, g.project.ID)), Heading: g.heading, Project: cut(g.project.name(), 2*brief), ProjectID: g.project.ID,
		Source: "data/projects/" + g.project.ID + "/" + g.name + ".jsonl", Predictions: g.name == bagfile.Predictions, Page: g.page, First: g.total - g.on + 1,
	}
	if g.page > 1 {
		d.Before = g.file(g.page - 1)
	}
	if after {
		d.After = g.file(g.page + 1)
	}
	return d
}

// add puts a picture on the page that is being made, or begins the next one with it.
func (g *gallery) add(t tile) error {
	if g.page > 0 && (g.on == PageSize || g.buf.Len() > maxGallery) {
		if err := g.end(true); err != nil {
			return err
		}
	}
	if g.on == 0 {
		if g.project.site.galleries == maxPages {
			g.left++
			return nil
		}
		g.project.site.galleries++
		g.page++
		g.buf.Reset()
		if err := galleryPage.ExecuteTemplate(&g.buf, "gallery", g.data(false)); err != nil {
			return fmt.Errorf("make a page of %s: %w", g.name, err)
		}
	}
	g.on++
	g.total++
	t.Bare = g.bare
	if err := galleryPage.ExecuteTemplate(&g.buf, "tile", t); err != nil {
		return fmt.Errorf("show %s of %s: %w", t.ID, g.name, err)
	}
	return nil
}

// end stores the page that is being made; more reports whether another one follows.
func (g *gallery) end(more bool) error {
	if g.on == 0 {
		return nil
	}
	if more && g.project.site.galleries == maxPages {
		more = false
	}
	if err := galleryPage.ExecuteTemplate(&g.buf, "gallery-end", g.data(more)); err != nil {
		return fmt.Errorf("make a page of %s: %w", g.name, err)
	}
	g.pages = append(g.pages, GalleryPage{N: g.page, First: g.total - g.on + 1, Last: g.total, File: g.file(g.page)})
	g.on = 0
	return g.project.put(g.file(g.page), g.buf.Bytes())
}

// picture is what records of images and predictions have in common, as far as pages show it. What
// the service gave in another form is left out.
type picture struct {
	ID      string
	Created string
	Width   int
	Height  int
	Tags    []struct{ TagName string }
	Regions []struct {
		TagName                  string
		Left, Top, Width, Height float64
	}
	Metadata    map[string]any
	Iteration   string
	Predictions []struct {
		TagName     string
		Probability float64
		BoundingBox *struct{ Left, Top, Width, Height float64 }
	}
}

// tileOf is what is shown of a record.
func (p *ProjectPages) tileOf(id string, record json.RawMessage, b bagfile.Blob) tile {
	t := tile{ID: id}
	if b.File != nil {
		t.File, t.Name = "../../data/projects/"+p.ID+"/"+*b.File, path.Base(*b.File)
	}
	if b.Error != nil {
		t.Error = b.Error.Code + ": " + b.Error.Message
	}
	var r picture
	if len(record) > maxShown {
		t.More = fmt.Sprintf("Its record of %s is too long to be shown here.", size(int64(len(record))))
	} else {
		_ = json.Unmarshal(record, &r) // what fits
	}
	tags := tagColors{}
	for i, region := range r.Regions {
		at := [4]float64{region.Left, region.Top, region.Width, region.Height}
		t.Labels = append(t.Labels, label{Key: t.draw(i, tags.of(region.TagName), at), Name: region.TagName, At: place(at)})
	}
	if len(r.Regions) == 0 {
		for _, tag := range r.Tags {
			t.Labels = append(t.Labels, label{Name: tag.TagName})
		}
	}
	for i, prediction := range r.Predictions {
		l := label{Name: prediction.TagName, Share: percent(prediction.Probability)}
		if at := prediction.BoundingBox; at != nil {
			here := [4]float64{at.Left, at.Top, at.Width, at.Height}
			l.At = place(here)
			if prediction.Probability >= drawn {
				l.Key = t.draw(i, tags.of(prediction.TagName), here)
			}
		}
		t.Labels = append(t.Labels, l)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Metadata)) {
		t.Metadata = append(t.Metadata, fact{name, fmt.Sprint(r.Metadata[name])})
	}
	add := func(name, value string) { t.Facts = append(t.Facts, fact{name, value}) }
	if r.Created != "" {
		add("created", r.Created)
	}
	if r.Iteration != "" {
		add("iteration", p.iterationName(r.Iteration))
	}
	if r.Width > 0 && r.Height > 0 {
		add("pixels", fmt.Sprintf("%d × %d", r.Width, r.Height))
	}
	if b.Bytes != nil {
		add("size", size(*b.Bytes))
	}
	if b.Source == "resized" {
		add("source", "resized by the service: it offers no original")
	}
	return t
}

// draw draws a box on the picture, and gives what ties it to its label.
func (t *tile) draw(i, color int, at [4]float64) *key {
	if len(t.Boxes) == maxBoxes || t.File == "" {
		return nil
	}
	k := key{N: i + 1, Color: color}
	part := func(v float64) string { return coordinate(v * 100) }
	t.Boxes = append(t.Boxes, box{k, part(at[0]), part(at[1]), part(max(at[2], 0)), part(max(at[3], 0))})
	return &k
}

// place is where a box is, in words.
func place(at [4]float64) string {
	return fmt.Sprintf("at %s, %s: %s × %s", percent(at[0]), percent(at[1]), percent(at[2]), percent(at[3]))
}

// tagColors gives each tag of a picture a color.
type tagColors map[string]int

func (c tagColors) of(tag string) int {
	if _, ok := c[tag]; !ok {
		c[tag] = len(c) % colors
	}
	return c[tag]
}
