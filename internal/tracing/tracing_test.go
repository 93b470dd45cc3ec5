package tracing

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// Without a tracer the sender's trace is carried on, and nothing else happens.
func TestWithoutTracer(t *testing.T) {
	var none *Tracer
	ctx := none.Attach(Continue(t.Context(), parent, map[string][]string{"TraceState": {"a=b"}, "traceparent": {"other"}}))
	ctx, span := Attempt(ctx, "export", "one", 1)
	span.End("completed", "")
	header := Header(ctx)
	if header["traceparent"][0] != parent || header["tracestate"][0] != "a=b" {
		t.Errorf("carried on: %v", header)
	}
	if got := Traceparent(ctx, "of the command"); got != "of the command" {
		t.Errorf("an event continues %s", got)
	}
	if err := none.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	untouched := roundTripper(func(req *http.Request) (*http.Response, error) {
		if len(req.Header) > 0 {
			t.Errorf("sent with %v", req.Header)
		}
		return nil, errors.New("away")
	})
	req := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if _, err := Transport(untouched, func(*http.Request) Call { panic("described") }).RoundTrip(req); err == nil {
		t.Error("no error")
	}
}

func TestContinue(t *testing.T) {
	for name, tt := range map[string]struct {
		traceparent string
		header      map[string][]string
		want        bool
	}{
		"of the body":     {traceparent: parent, want: true},
		"of the header":   {header: map[string][]string{"Traceparent": {parent}}, want: true},
		"of a CloudEvent": {header: map[string][]string{"ce-traceparent": {parent}}, want: true},
		"none":            {},
		"twice":           {header: map[string][]string{"traceparent": {parent, parent}}},
		"no trace":        {traceparent: "00-zz-b7ad6b7169203331-01"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Header(Continue(t.Context(), tt.traceparent, tt.header)); (got != nil) != tt.want {
				t.Errorf("carried on: %v", got)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// What the SDK reports goes to the log, without what may be secret in its links, and not again and
// again.
func TestReports(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(0, 0)
	r := &reporter{log: zerolog.New(&log), now: func() time.Time { return now }}
	failed := fmt.Errorf("traces export: %w", &url.Error{Op: "Post", URL: "https://user:secret@collector:4318/secret?key=secret", Err: errors.New("refused")})
	for range 3 {
		r.Handle(failed)
	}
	now = now.Add(reportEvery)
	r.Handle(failed)
	if got := log.String(); strings.Count(got, "https://collector:4318") != 2 || strings.Contains(got, "secret") || strings.Count(got, "\n") != 2 {
		t.Errorf("%s", got)
	}
}

// A collector that is away costs spans: the log says so, and of the collector's address shows the
// host alone. Of variables that cannot be read it shows nothing.
func TestCollectorIsAway(t *testing.T) {
	var log bytes.Buffer
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization Bearer secret,%zzsecret=1,a=%zzsecret")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "secret")
	tracer, err := New(t.Context(), Options{Endpoint: "http://user:secret@127.0.0.1:1/secret?key=secret", Version: "v1", Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := Attempt(tracer.Attach(t.Context()), "export", "one", 1)
	if got := Traceparent(ctx, ""); !strings.HasPrefix(got, "00-") {
		t.Errorf("the event continues %q", got)
	}
	logger := Fields(ctx, zerolog.New(&log).With()).Logger()
	logger.Info().Msg("")
	if !strings.Contains(log.String(), `"trace_id":"`+Header(ctx)["traceparent"][0][3:35]+`"`) {
		t.Errorf("logged %s", log.String())
	}
	span.End("failed", "retryable")
	err = tracer.Shutdown(t.Context())
	if got := log.String(); strings.Count(got, "headers") == 0 || !strings.Contains(got, "OTEL_RESOURCE_ATTRIBUTES") {
		t.Errorf("wrong variables are not told: %s", got)
	}
	if said := fmt.Sprint(log.String(), err); !strings.Contains(said, "127.0.0.1:1") || strings.Contains(said, "secret") {
		t.Errorf("said: %s", said)
	}
}
