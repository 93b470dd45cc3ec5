//go:build browser

package livepage

import (
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/browser"
)

// The page is as it should be in a browser: it loads nothing but its own files, breaks none of its
// own policy, is accessible in light and dark and at the width of a phone, changes by itself, and
// shows the same without scripts.
func TestBrowserLivePage(t *testing.T) {
	defer browser.Close()
	s := serve(t, nil)
	first := sample()
	go func() { s.show <- first }()
	for name, view := range map[string]browser.View{
		"wide": {}, "dark": {Dark: true}, "phone": {Width: 320, Height: 640, Phone: true}, "without scripts": {NoScript: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := browser.Open(t, s.url+"/", view)
			if !view.NoScript {
				p.Wait(`document.getElementById("connection").textContent === "Live."`)
			}
			var text string
			p.Run(`document.body.innerText`, &text)
			for _, want := range []string{"export-1", "8 of 12 items", "exhausted", "<script>alert(1)</script>", "Not ready:"} {
				if !strings.Contains(text, want) {
					t.Errorf("the page lacks %q", want)
				}
			}
			var width, most int
			p.Run(`document.documentElement.scrollWidth`, &width)
			p.Run(`window.innerWidth`, &most)
			if width > most {
				t.Errorf("the page is %d wide, the window %d", width, most)
			}
			if !view.NoScript {
				for _, v := range p.Violations() {
					t.Errorf("accessibility: %+v", v)
				}
			}
			if found := p.Messages(); len(found) > 0 {
				t.Errorf("the browser reports %q", found)
			}
			for _, url := range p.Requests() {
				if !strings.HasPrefix(url, s.url+"/") && url != "data:," {
					t.Errorf("the page asks for %s", url)
				}
			}
		})
	}

	p := browser.Open(t, s.url+"/", browser.View{})
	p.Wait(`document.getElementById("connection").textContent === "Live."`)
	second := first
	second.Ready, second.Dependencies = true, []Dependency{{Name: "nats", OK: true}}
	second.Ended = append([]Job{{Key: "new-1", Action: "export", State: "completed", Ended: true, Outcome: "complete", Updated: now.Add(time.Minute)}}, second.Ended...)
	s.show <- second
	p.Wait(`document.getElementById("ended").innerText.includes("new-1") && document.getElementById("status").innerText.startsWith("Ready:")`)
	s.Close() // the service ends
	p.Wait(`document.getElementById("connection").textContent.startsWith("The connection is lost")`)
}
