package livepage

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/webpage"
	"github.com/cvconsumer/cvconsumer/internal/webpage/webpagetest"
)

// TestEverythingShownIsEscaped has html/template look at all places where the page shows something.
func TestEverythingShownIsEscaped(t *testing.T) {
	t.Parallel()
	webpagetest.Contexts(t, funcs, webpage.Text{Name: "page", Text: pageText})
}
