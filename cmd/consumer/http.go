package main

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/internal/livepage"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// errUnchecked is the problem of every dependency before its first successful check.
var errUnchecked = errors.New("not checked yet")

// probe checks one dependency periodically. /readyz shows the result, and the queues wait until it
// is good.
type probe struct {
	dependency string
	every      time.Duration // between two tries
	retry      time.Duration // between two tries while it fails
	check      func(context.Context) error
}

// monitor runs probes and serves their results.
type monitor struct {
	health  *health.Health
	metrics *metrics
	log     zerolog.Logger
	page    *livepage.Page // nil: there is none

	mu       sync.Mutex
	stopping bool
	names    []string            // dependencies, as readiness lists them
	notes    map[string][]string // by dependency; see note
}

// newMonitor makes a monitor that knows of no dependency yet.
func newMonitor(state *health.Health, m *metrics, log zerolog.Logger) *monitor {
	return &monitor{health: state, metrics: m, log: log, notes: map[string][]string{}}
}

// expect adds dependencies: each counts as unavailable until its first successful check.
func (m *monitor) expect(dependencies ...string) {
	m.mu.Lock()
	m.names = append(m.names, dependencies...)
	slices.Sort(m.names)
	m.mu.Unlock()
	for _, d := range dependencies {
		m.health.Fail(d, errUnchecked)
		m.metrics.down.with(d).Set(1)
	}
}

// found records the result of one check, and logs it when it has changed.
func (m *monitor) found(dependency string, err error) {
	if err == nil {
		if m.health.OK(dependency) {
			m.log.Info().Str("dependency", dependency).Msg("dependency available")
		}
		return
	}
	before := m.health.Problems()[dependency].Reason
	m.health.Fail(dependency, err)
	if now := m.health.Problems()[dependency]; before != now.Reason {
		m.log.Error().Str("dependency", dependency).Err(now).Msg("dependency unavailable, pausing the work that needs it")
	}
}

// trainingProbe asks the Training API of a resource for its domains. A call takes up to 20 s with
// its retries: of the first one, /readyz says what each try failed with, or that there is no answer
// yet. Later, what the check before it found stands so long.
func (m *monitor) trainingProbe(alias string, client *cv.Client, every time.Duration) probe {
	dependency := delivery.DependencyTraining(alias)
	var (
		mu    sync.Mutex
		tried bool // a try of the first check has failed
		over  bool // the first check has ended
	)
	tell := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		silent := errors.Is(err, errNoAnswer)
		if !over && !(silent && tried) {
			m.found(dependency, err)
		}
		tried = tried || !silent
	}
	return probe{dependency, every, every, func(ctx context.Context) error {
		silence := time.AfterFunc(answerTimeout, func() { tell(errNoAnswer) })
		defer silence.Stop()
		_, err := client.GetDomains(cv.WithTrace(ctx, cv.Trace{After: func(c cv.Call) {
			if c.Err != nil {
				tell(c.Err)
			}
		}}))
		mu.Lock()
		over = true
		mu.Unlock()
		if errors.Is(err, cv.ErrThrottled) {
			return nil // it is there and accepts our key
		}
		return err
	}}
}

// note replaces the notes of a dependency: what is not as it should be although the dependency
// works. New ones are logged.
func (m *monitor) note(dependency string, notes ...string) {
	m.mu.Lock()
	before := m.notes[dependency]
	m.notes[dependency] = notes
	m.mu.Unlock()
	for _, n := range notes {
		if !slices.Contains(before, n) {
			m.log.Warn().Str("dependency", dependency).Msg(n)
		}
	}
}

// watch runs a probe at once, and then again and again until ctx is done.
func (m *monitor) watch(ctx context.Context, p probe) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		try, cancel := context.WithTimeoutCause(ctx, probeTimeout, errProbeTimeout)
		err := p.check(try)
		cancel()
		if ctx.Err() != nil {
			return
		}
		m.found(p.dependency, err)
		if err != nil {
			t.Reset(p.retry)
		} else {
			t.Reset(p.every)
		}
	}
}

// stop makes this process unready for good.
func (m *monitor) stop() {
	m.mu.Lock()
	m.stopping = true
	m.mu.Unlock()
}

// readiness is the body of /readyz.
type readiness struct {
	Ready        bool                  `json:"ready"`
	Stopping     bool                  `json:"stopping"`
	Dependencies map[string]dependency `json:"dependencies"`
}

type dependency struct {
	OK     bool       `json:"ok"`
	Reason string     `json:"reason,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
	Notes  []string   `json:"notes,omitempty"` // what is not as it should be although the dependency works
}

func (m *monitor) readiness() readiness {
	problems := m.health.Problems()
	m.mu.Lock()
	defer m.mu.Unlock()
	r := readiness{Ready: !m.stopping && len(problems) == 0, Stopping: m.stopping, Dependencies: map[string]dependency{}}
	for _, name := range m.names {
		r.Dependencies[name] = dependency{OK: true, Notes: m.notes[name]}
	}
	for name, p := range problems {
		since := p.Since.UTC()
		r.Dependencies[name] = dependency{Reason: p.Reason, Since: &since, Notes: m.notes[name]}
	}
	return r
}

// routes are the pages of CONSUMER_HTTP_ADDR.
func (m *monitor) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := m.readiness()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !r.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			m.log.Debug().Err(err).Msg("cannot answer /readyz")
		}
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		for name, d := range m.readiness().Dependencies {
			down := 1.0
			if d.OK {
				down = 0
			}
			m.metrics.down.with(name).Set(down)
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		var to io.Writer = w
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			packed := gzip.NewWriter(w)
			defer func() { _ = packed.Close() }() // a client that is gone
			to = packed
		}
		m.metrics.write(to)
	})
	if m.page != nil {
		m.page.Routes(mux)
	}
	return mux
}

// maxConnections is how many connections to the pages are served at once; further ones wait. Each
// ends in time, so that slow clients keep no probe waiting for long.
const maxConnections = 128

// newHTTPServer makes a server of the pages that bounds the time and memory that a client can take.
func newHTTPServer(h http.Handler, log zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          stdlog.New(textLog{log, "net/http"}, "", 0),
	}
}

// serveHTTP listens on addr and serves h until the returned stop is called. listening is the
// address it got.
func serveHTTP(ctx context.Context, addr string, h http.Handler, log zerolog.Logger) (listening string, stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", nil, fmt.Errorf("serve HTTP (CONSUMER_HTTP_ADDR): %w", err)
	}
	srv := newHTTPServer(h, log)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("HTTP server failed")
		}
	}()
	return l.Addr().String(), func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := srv.Shutdown(grace); err != nil {
			srv.Close()
		}
		<-done
	}, nil
}
