package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // style and templates
	"encoding/base64"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/internal/webpage"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

//go:embed style.css
var css string

//go:embed filter.js
var filterJS string

// sheet is what every page has around its content.
type sheet struct {
	ID     string // the command's
	Title  string // of the window
	Maker  string // the tool, with its version
	Style  string
	Policy string // what the page may load: its own style, and where it has some its own script and pictures
	Script string // empty without
}

// kind is what a page may have beside text.
type kind uint8

const (
	plain    kind = iota
	pictures      // of the bundle, and a filter
)

// newSheet makes a sheet. On paper each page has the command's id and the page number.
func newSheet(id, title string, of kind) sheet {
	style := css + `@page { size: A4; margin: 16mm 15mm 18mm; @bottom-left { content: "` + cssText(id) + `"; font: 8pt sans-serif; } ` +
		`@bottom-right { content: "page " counter(page) " of " counter(pages); font: 8pt sans-serif; white-space: nowrap; } }` + "\n"
	s := sheet{ID: id, Title: bagfile.Printable(cut(title, 2*brief)), Style: style} // its only text from outside is reduced to letters and digits
	s.Policy = "default-src 'none'; base-uri 'none'; form-action 'none'; style-src '" + digest(style) + "'"
	if of == pictures {
		s.Script = filterJS
		// A page that is opened from disk has no origin in some browsers, so 'self' is not enough.
		s.Policy += "; img-src 'self' file:; script-src '" + digest(filterJS) + "'"
	}
	return s
}

// digest is how a Content-Security-Policy names the text of a style or script.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// cssText is what a style may quote: command ids are made of these characters.
func cssText(id string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' {
			return r
		}
		return -1
	}, id)
}

// maxText is how many bytes of long texts a page shows whole; of all further ones it shows the
// first brief bytes.
const (
	maxText = 8 << 20
	brief   = 100
)

// render executes a template. Long texts are shown whole until their bytes exceed room.
func render(t *webpage.Templates, name string, data any, room int) ([]byte, error) {
	own := webpage.Funcs{"show": func(text string) webpage.HTML {
		if len(text) > brief && len(text) > room {
			return show(cut(text, brief))
		}
		if len(text) > brief {
			room -= len(text)
		}
		return show(text)
	}}
	var b bytes.Buffer
	if err := t.Execute(&b, name, data, own); err != nil {
		return nil, fmt.Errorf("make the page: %w", err)
	}
	return b.Bytes(), nil
}

// cut shortens a text to n bytes, and tells how many it has.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "… (" + number(len(text)) + " bytes)"
}

// parse makes a template that may use those of base.html.
func parse(name, text string) *webpage.Templates {
	return webpage.MustParse(funcs, webpage.Text{Name: "base", Text: baseHTML}, webpage.Text{Name: name, Text: text})
}

// funcs are the functions of templates. Style and script are this package's own, as are their uses.
var funcs = webpage.Funcs{
	"show": show, "utc": utc, "name": categoryName, "num": number, "never": time.Time.IsZero,
	"style": func(css string) webpage.HTML { return webpage.HTML(css) }, "script": func(js string) webpage.HTML { return webpage.HTML(js) },
}

//go:embed base.html
var baseHTML string

// show is the HTML of a text of the customer: markup is escaped, and every character that is not
// printable. Verification looks for signed links in pages: where escaping made one of a text that
// was none, <wbr> takes it apart, which a reader does not see.
func show(text string) webpage.HTML {
	escaped := html.EscapeString(bagfile.Printable(text))
	if strings.ContainsAny(escaped, `=\`) && links.InText(escaped) {
		escaped = strings.NewReplacer(":", ":<wbr>", `\`, `\<wbr>`).Replace(escaped)
	}
	return webpage.HTML(escaped)
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// categoryName is what people call a category.
func categoryName(category string) string {
	if category == bagfile.Exports {
		return "exported models"
	}
	return bagfile.Printable(category)
}

// number is an integer with its thousands apart, from 10,000 on.
func number(n any) string {
	digits := fmt.Sprint(n)
	if len(strings.TrimPrefix(digits, "-")) < 5 {
		return digits
	}
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// percent is a share as text.
func percent(share float64) string {
	switch p := share * 100; {
	case math.IsNaN(p) || math.IsInf(p, 0):
		return "–"
	case p > 0 && p < .1:
		return "< 0.1 %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

// coordinate is a number as SVG has it.
func coordinate(v float64) string { return string(appendCoordinate(nil, v)) }

func appendCoordinate(to []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	return strconv.AppendFloat(to, math.Round(v*1000)/1000, 'f', -1, 64)
}
