package report

import (
	"bytes"
	_ "embed" // the template
	"fmt"
	"strconv"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// What a page holds at most.
const (
	// PageSize is how many pictures a page of a gallery has.
	PageSize = 200
	// maxPageBytes is the size from which on no further picture is added to a page.
	maxPageBytes = 1 << 20
	// maxRecordBytes is the longest record of a picture whose texts are shown.
	maxRecordBytes = 256 << 10
	// maxPages is how many pages the galleries of a bundle have together.
	maxPages = 90_000
	// maxBoxes is how many boxes are drawn on a picture.
	maxBoxes = 500
	// minDrawn is the least probability of a prediction whose box is drawn.
	minDrawn = .5

	colors = 6 // of boxes; see style.css
)

//go:embed gallery.html
var galleryHTML string

var galleryPage = parse("gallery.html", galleryHTML)

// gallery writes pictures to pages, one page at a time.
type gallery struct {
	project   *ProjectPages
	name      string // of its pages: images or predictions
	heading   string
	unlabeled string // what is said of a picture without labels

	page  int // the one that is being made, from 1; 0: none
	on    int // pictures on it
	total int // pictures on all pages
	left  int // pictures on no page, since there are too many
	buf   bytes.Buffer
	pages []GalleryPage
}

// GalleryPage is a page of a gallery, by its number and those of its first and last picture.
type GalleryPage struct {
	N, First, Last int
	File           string
}

// galleryData is what the beginning and the end of a page show.
type galleryData struct {
	sheet

	Heading, Project, ProjectID, Source string
	Predictions                         bool
	Page, First                         int
	Before, After                       string // files of the pages before and after; empty without one
}

func (g *gallery) file(n int) string { return g.name + "-" + strconv.Itoa(n) + ".html" }

// data is what the page being made shows beside pictures. after reports whether another one
// follows.
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
func (g *gallery) add(t *tile) error {
	if g.page > 0 && (g.on == PageSize || g.buf.Len() > maxPageBytes) {
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
		if err := galleryPage.Execute(&g.buf, "gallery", g.data(false), nil); err != nil {
			return fmt.Errorf("make a page of %s: %w", g.name, err)
		}
	}
	g.on++
	g.total++
	t.unlabeled = g.unlabeled
	t.write(&g.buf)
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
	if err := galleryPage.Execute(&g.buf, "gallery-end", g.data(more), nil); err != nil {
		return fmt.Errorf("make a page of %s: %w", g.name, err)
	}
	g.pages = append(g.pages, GalleryPage{N: g.page, First: g.total - g.on + 1, Last: g.total, File: g.file(g.page)})
	g.on = 0
	return g.project.put(g.file(g.page), g.buf.Bytes())
}
