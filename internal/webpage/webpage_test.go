package webpage_test

import (
	"bytes"
	"errors"
	"html/template"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/webpage"
)

type inner struct{ Name string }

// data has what pages are made of: fields of embedded structs, lists, maps, and nothing at all.
type data struct {
	inner

	Text, Empty string
	N           int
	Big         int64
	Share       float64
	Yes, No     bool
	List        []inner
	None        []inner
	Has         map[string]bool
	At          time.Time
	Pointer     *inner
	Nothing     *inner
}

// hostile has every character that is escaped, and what ends elements and attributes.
const hostile = "a\x00b\"c'd&e<f>g+h</title><script>\u202e\xff\t\n{{.}}"

func sample() data {
	return data{
		inner: inner{hostile}, Text: hostile, N: 3, Big: 1 << 40, Share: .25, Yes: true,
		List: []inner{{"first"}, {""}, {hostile}}, Has: map[string]bool{"images": true}, At: time.Unix(0, 0), Pointer: &inner{"pointed at"},
	}
}

// TestAsHTMLTemplate holds templates to html/template, byte by byte.
func TestAsHTMLTemplate(t *testing.T) {
	t.Parallel()
	funcs := map[string]any{
		"year": func(t time.Time) int { return t.UTC().Year() }, "url": webpage.URL,
		"both": func(a string, n int) string { return a + strings.Repeat("<", n) },
	}
	for _, text := range []string{
		`plain`,
		`<p title="{{.Text}}">{{.Text}}</p><title>{{.Text}}</title>`,
		`{{.Name}} {{.N}} {{.Big}} {{.Share}} {{.Yes}} {{.Pointer.Name}}`,
		`{{if .Yes}}a{{else}}b{{end}}{{if .No}}c{{else if .N}}d{{else}}e{{end}}{{if not .No}}f{{end}}`,
		`{{if .None}}a{{end}}{{if .Nothing}}b{{end}}{{if .Empty}}c{{end}}{{if .Pointer}}d{{end}}{{if .At}}e{{end}}{{if .Share}}f{{end}}`,
		`{{with .Text}}<b>{{.}}</b>{{end}}{{with .Empty}}no{{else}}none of {{.N}}{{end}}{{with $x := .N}}{{$x}}{{$.N}}{{end}}`,
		`{{range .List}}[{{.Name}}{{with .Name}}!{{end}}]{{else}}none{{end}}{{range .None}}x{{else}}none of {{.N}}{{end}}`,
		`{{range $i, $e := .List}}{{if $i}}, {{end}}{{$e.Name}} of {{$.N}}{{end}}{{range $e := .List}}{{$e.Name}}{{end}}`,
		`{{$n := .N}}{{range .List}}{{$n}}{{$n := .Name}}{{$n}}{{end}}{{$n}}`,
		`{{define "part"}}<i>{{.}}{{$}}</i>{{end}}{{template "part" .Text}}{{range .List}}{{template "part" .Name}}{{end}}`,
		`{{define "none"}}{{if .}}some{{else}}none{{end}}{{end}}{{template "none"}}{{template "none" .Nothing}}`,
		`{{if eq .N 3}}three{{end}}{{if eq .Text "x"}}x{{end}}{{if eq .Big 3}}y{{end}}{{if lt (len .List) .N}}l{{end}}{{if lt 2 .N}}m{{end}}{{len .None}}`,
		`{{.Has.images}}{{if .Has.tags}}x{{end}}`,
		"{{- /* said of it */ -}}\n a {{- .N -}} b",
		`{{year .At}} {{both .Text 2}}`,
		`<a href="{{url "javascript:alert(1)"}}">{{url "a b/c?d#e\"f"}}</a><a href="x/{{url .Text}}"></a>`,
	} {
		var got, want bytes.Buffer
		if err := template.Must(template.New("it").Funcs(funcs).Parse(text)).Execute(&want, sample()); err != nil {
			t.Fatalf("%s: html/template: %v", text, err)
		}
		if err := webpage.MustParse(funcs, webpage.Text{Name: "it", Text: text}).Execute(&got, "it", sample(), nil); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got.String() != want.String() {
			t.Errorf("%s:\n%q; html/template makes\n%q of it", text, got.String(), want.String())
		}
	}
}

// TestHTMLComesFromFunctions holds text to being escaped unless a function says that it is HTML.
func TestHTMLComesFromFunctions(t *testing.T) {
	t.Parallel()
	templates := webpage.MustParse(webpage.Funcs{"bold": func(s string) webpage.HTML { return "<b>" + webpage.HTML(s) + "</b>" }},
		webpage.Text{Name: "base", Text: `{{define "it"}}{{bold "a"}} {{.}}{{end}}`}, webpage.Text{Name: "x", Text: `{{template "it" .}}`})
	for _, c := range []struct {
		own  webpage.Funcs
		want string
	}{
		{nil, "<b>a</b> &lt;i&gt;"},
		{webpage.Funcs{"bold": func(s string) string { return "<" + s }}, "&lt;a &lt;i&gt;"},
	} {
		var b strings.Builder
		if err := templates.Execute(&b, "x", webpage.HTML("<i>"), c.own); err != nil || b.String() != c.want {
			t.Errorf("%q, %v; want %q", b.String(), err, c.want)
		}
	}
}

// full is a writer without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

var errFull = errors.New("no room")

// TestRefused holds templates to an error wherever html/template would call a method, and where it
// would show that something is missing.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{{define "x"`, `{{template "gone"}}`, `{{break}}`, `{{bogus .}}`} {
		if _, err := webpage.Parse(nil, webpage.Text{Name: "it", Text: text}); err == nil {
			t.Errorf("%s is parsed", text)
		}
	}
	for _, text := range []string{
		`{{.At.Year}}`, `{{.Gone}}`, `{{.N.Gone}}`, `{{.Nothing.Name}}`, `{{.Nothing}}`, `{{.inner}}`, `{{range .N}}{{end}}`,
		`{{.Text | len}}`, `{{year .N}}`, `{{year .At .At}}`, `{{1.5}}`, `{{range .List}}{{.Gone}}{{end}}`, `{{with .Gone}}{{end}}`, `{{if .Gone}}{{end}}`,
	} {
		templates := webpage.MustParse(webpage.Funcs{"year": time.Time.Year}, webpage.Text{Name: "it", Text: text})
		if err := templates.Execute(&bytes.Buffer{}, "it", sample(), nil); err == nil {
			t.Errorf("%s is executed", text)
		}
	}
	templates := webpage.MustParse(nil, webpage.Text{Name: "it", Text: `a{{.Text}}`})
	if err := templates.Execute(full{}, "it", sample(), nil); !errors.Is(err, errFull) {
		t.Errorf("a full writer: %v", err)
	}
	if err := templates.Execute(&bytes.Buffer{}, "other", sample(), nil); err == nil {
		t.Error("a template that does not exist is executed")
	}
}
