package livepage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed" // script and style
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/webpage"
)

// Options make a Page.
type Options struct {
	// Watch reads what there is to show and calls show with it, again and again, until ctx ends. It
	// runs while there are viewers, and a while after that.
	Watch func(ctx context.Context, show func(Snapshot))
	// Token is the token that requests must have; nil: every request is answered.
	Token func() (string, error)
	Log   zerolog.Logger
}

// MaxViewers is how many viewers are sent changes at the same time. The pages of others are loaded
// again now and then.
const MaxViewers = 64

// Limits of time.
const (
	// linger is how long reading goes on after the last viewer: a page without scripts is loaded
	// again after refreshSeconds.
	linger = 30 * time.Second
	// firstSnapshot is how long a request waits for the first snapshot.
	firstSnapshot = 3 * time.Second
)

// Page serves the page. Close ends it.
type Page struct {
	o     Options
	ended context.Context //nolint:containedctx // of the whole page, not of a request
	end   context.CancelFunc

	mu      sync.Mutex
	view    view
	changed chan struct{} // closed when there is another view
	viewers int           // that are sent what changes
	users   int           // viewers, and requests for the page
	stop    context.CancelFunc
	idle    *time.Timer // stops reading
	reading sync.WaitGroup
}

// New makes a page. Nothing is read before it is asked for.
func New(o Options) *Page {
	p := &Page{o: o, changed: make(chan struct{})}
	p.ended, p.end = context.WithCancel(context.Background())
	return p
}

// Close ends reading, and the answers under way.
func (p *Page) Close() {
	p.end()
	p.reading.Wait()
}

// use keeps reading going until release is called, and for a while after that.
func (p *Page) use() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users++
	if p.idle != nil {
		p.idle.Stop()
	}
	if p.stop == nil && p.ended.Err() == nil {
		ctx, stop := context.WithCancel(p.ended)
		p.stop = stop
		p.reading.Go(func() {
			p.o.Watch(ctx, func(s Snapshot) {
				if ctx.Err() == nil {
					p.show(s)
				}
			})
		})
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.users--; p.users == 0 {
			p.idle = time.AfterFunc(linger, p.stopIdle)
		}
	}
}

// stopIdle ends reading, unless there is a user again.
func (p *Page) stopIdle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users == 0 && p.stop != nil {
		p.stop()
		p.stop, p.view = nil, view{version: p.view.version} // it would be old
	}
}

// show shows a snapshot to all viewers.
func (p *Page) show(s Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, err := p.view.next(s)
	if err != nil {
		p.o.Log.Error().Err(err).Msg("cannot show the live page")
		return
	}
	p.view = next
	close(p.changed)
	p.changed = make(chan struct{})
}

// now gives the view, and a channel that is closed when there is another.
func (p *Page) now() (view, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view, p.changed
}

//go:embed page.css
var style []byte

//go:embed page.js
var script []byte

// Routes adds the page's addresses to a mux.
func (p *Page) Routes(mux *http.ServeMux) {
	mux.Handle("GET /{$}", p.guard(p.servePage))
	mux.Handle("GET /live", p.guard(p.serveLive))
	mux.Handle("GET /live.css", p.guard(file("text/css; charset=utf-8", style)))
	mux.Handle("GET /live.js", p.guard(file("text/javascript; charset=utf-8", script)))
}

// file serves a file that belongs to the page.
func file(kind string, content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(content) // a viewer that is gone
	}
}

// policy allows the page's own script and style, its events and an empty icon, and nothing else.
const policy = "default-src 'none'; img-src data:; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard sets the headers of all answers, and refuses requests without the token.
func (p *Page) guard(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			w.Header().Set(name, value)
		}
		switch ok, err := p.hasToken(r); {
		case err != nil:
			p.o.Log.Warn().Err(err).Msg("cannot read CONSUMER_PAGE_TOKEN_FILE; the live page is not shown")
			http.Error(w, "the page cannot be shown now; the service's log says why", http.StatusServiceUnavailable)
		case !ok:
			// A browser asks for a password then, and sends it with the events too.
			w.Header().Add("WWW-Authenticate", `Bearer realm="cvconsumer"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="cvconsumer", charset="UTF-8"`)
			http.Error(w, "this page needs the token of CONSUMER_PAGE_TOKEN: as Authorization: Bearer, or as the password of any user", http.StatusUnauthorized)
		default:
			next(w, r)
		}
	})
}

// hasToken reports whether a request has the token: as a bearer, or as the password of any user.
func (p *Page) hasToken(r *http.Request) (bool, error) {
	if p.o.Token == nil {
		return true, nil
	}
	token, err := p.o.Token()
	if err != nil {
		return false, err
	}
	kind, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		_, given, _ = r.BasicAuth()
	}
	want, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(want[:], got[:]) == 1, nil
}

// refreshSeconds is how often a page without scripts is loaded again.
const refreshSeconds = 5

// servePage answers with the page as it is now.
func (p *Page) servePage(w http.ResponseWriter, r *http.Request) {
	defer p.use()()
	v, changed := p.now()
	if len(v.parts) == 0 {
		first := time.NewTimer(firstSnapshot)
		defer first.Stop()
		select {
		case <-changed:
		case <-first.C:
		case <-r.Context().Done():
		case <-p.ended.Done():
		}
		v, _ = p.now()
	}
	shown := map[string]webpage.HTML{}
	for i, part := range v.parts {
		shown[parts[i]] = part.html
	}
	var b bytes.Buffer
	if err := page.Execute(&b, "page", struct {
		HTML    map[string]webpage.HTML
		Refresh int
	}{shown, refreshSeconds}, nil); err != nil {
		p.o.Log.Error().Err(err).Msg("cannot render the live page")
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a viewer that is gone
}
