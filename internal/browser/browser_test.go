//go:build browser

package browser_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/browser"
)

func TestMain(m *testing.M) {
	code := m.Run()
	browser.Close()
	os.Exit(code)
}

// TestBrowser shows that a page's faults are seen: what it logs, asks for, and hides from people.
func TestBrowser(t *testing.T) {
	const faulty = `<!DOCTYPE html><html><head><title>Faulty</title></head>
<body style="margin:0"><img src="gone.png"><img src="http://elsewhere.example.net/spy.png">
<p id="p" style="width:50%;height:10px">text</p><script>console.log("hello"); fail()</script></body></html>`
	file := filepath.Join(t.TempDir(), "faulty.html")
	if err := os.WriteFile(file, []byte(faulty), 0o600); err != nil {
		t.Fatal(err)
	}
	p := browser.Open(t, "file://"+file, browser.View{Width: 390, Height: 800, Phone: true, Scale: 2, Dark: true})

	messages := strings.Join(p.Messages(), "\n")
	for _, want := range []string{`console.log "hello"`, "fail is not defined", "ERR_FILE_NOT_FOUND", "ERR_NAME_NOT_RESOLVED"} {
		if !strings.Contains(messages, want) {
			t.Errorf("%q is not among the messages:\n%s", want, messages)
		}
	}
	if asked := p.Requests(); !slices.Contains(asked, "http://elsewhere.example.net/spy.png") || !slices.Contains(asked, "file://"+file) {
		t.Errorf("requests: %q", asked)
	}
	var dark bool
	p.Run(`matchMedia("(prefers-color-scheme: dark)").matches`, &dark)
	if !dark {
		t.Error("the page is not dark")
	}
	if !slices.ContainsFunc(p.Violations(), func(v browser.Violation) bool { return v.ID == "image-alt" && v.Impact == "critical" }) {
		t.Error("an image without a text is no violation")
	}
	if !bytes.HasPrefix(p.Screenshot(true), []byte("\x89PNG")) || !bytes.HasPrefix(p.PDF(), []byte("%PDF")) {
		t.Error("no picture, or no print")
	}
}

// TestBrowserWithoutScript opens a page of a server on loopback with scripts and without.
func TestBrowserWithoutScript(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<!DOCTYPE html><html lang="en"><title>T</title><p>before</p><script>document.title = "ran"</script></html>`))
	}))
	defer server.Close()
	for without, want := range map[bool]string{true: "T", false: "ran"} {
		p := browser.Open(t, server.URL, browser.View{NoScript: without})
		var title string
		p.Run(`document.title`, &title)
		if title != want || len(p.Messages()) > 0 {
			t.Errorf("without script %t: the title is %q, messages %q", without, title, p.Messages())
		}
	}
}
