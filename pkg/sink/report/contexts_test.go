package report

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/webpage"
	"github.com/cvconsumer/cvconsumer/internal/webpage/webpagetest"
)

// TestEverythingShownIsEscaped has html/template look at every place where a page shows something.
func TestEverythingShownIsEscaped(t *testing.T) {
	t.Parallel()
	base := webpage.Text{Name: "base", Text: baseHTML}
	for name, text := range map[string]string{
		"bundle.html": bundleHTML, "certificate.html": certificateHTML, "gallery.html": galleryHTML,
		"project.html": projectHTML, "iteration.html": iterationHTML,
	} {
		webpagetest.Contexts(t, funcs, base, webpage.Text{Name: name, Text: text})
	}
}
