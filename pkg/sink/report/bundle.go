package report

import (
	_ "embed" // the template
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/human"
)

// maxExceptions is how many exceptions a page tells.
const maxExceptions = 200

//go:embed bundle.html
var bundleHTML string

var bundlePage = parse("bundle.html", bundleHTML)

// Bundle is what the first page of an export says, beside what its projects say. All texts are
// shown as they are, see Certificate.
type Bundle struct {
	Reference, Source  string    // may be empty
	Published          time.Time // when the command was
	Signer, Approver   string    // NKey public keys of the command's; empty where that was not demanded
	Selection          []string  // what was asked for, with metadata values as pseudonyms
	Categories         []string
	Host, APIVersion   string // of the Training API
	Account            string
	Threshold, Overlap float64 // that performance was asked with
	Started, Finished  time.Time
	Outcome            string
	Counts             []Count
	Bytes              int64
	LedgerEntries      int64
	LedgerHead         string
	ManifestSHA256     string
	Signed             bool     // the receipt is
	DeletesPlan        string   // digest of the plan of the delete that comes next; empty without one
	Residuals          []string // what is not in the bundle, and why
}

// bundleData is what bundle.html shows.
type bundleData struct {
	sheet
	Bundle

	Size       string
	Projects   []ProjectSummary
	Exceptions []Exception
	ExceptionN int
	MorePages  []GalleryPage
}

// End makes the first page. All projects have their pages by then.
func (s *Site) End(b Bundle) error {
	if err := s.exceptions.end(); err != nil {
		return err
	}
	page, err := render(bundlePage, "bundle", bundleData{
		sheet: s.sheet(plain, "Export "+s.id), Bundle: b, Size: human.Bytes(b.Bytes),
		Projects: s.summaries, Exceptions: s.exceptions.first, ExceptionN: s.exceptions.n, MorePages: s.exceptions.pages,
	}, maxText/8)
	if err != nil {
		return err
	}
	return s.put("index.html", page)
}

// exceptionList keeps the first exceptions. Where there are more, all go to pages of their own.
type exceptionList struct {
	site  *Site
	n     int
	first []Exception
	on    []Exception // the page that is being made
	pages []GalleryPage
}

func (l *exceptionList) add(e Exception) error {
	l.n++
	if len(l.first) < maxExceptions {
		l.first = append(l.first, e)
	}
	// The first page is stored when it is known that index.html does not tell all.
	if len(l.on) == maxExceptions {
		if err := l.store(); err != nil {
			return err
		}
	}
	l.on = append(l.on, e)
	return nil
}

// end stores the last page, if there are more exceptions than the first page tells.
func (l *exceptionList) end() error {
	if l.n <= maxExceptions || len(l.on) == 0 {
		return nil
	}
	return l.store()
}

func (l *exceptionList) store() error {
	p := GalleryPage{N: len(l.pages) + 1, File: fmt.Sprintf("exceptions-%d.html", len(l.pages)+1)}
	p.First = 1 + len(l.pages)*maxExceptions
	p.Last = p.First + len(l.on) - 1
	page, err := render(bundlePage, "exceptions-page", struct {
		sheet

		Page       int
		Exceptions []Exception
	}{l.site.sheet(plain, fmt.Sprintf("Exceptions, page %d – %s", p.N, l.site.id)), p.N, l.on}, maxText)
	if err != nil {
		return err
	}
	l.pages, l.on = append(l.pages, p), l.on[:0]
	return l.site.put("pages/"+p.File, page)
}
