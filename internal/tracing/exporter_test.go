package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spans are two spans with all that a span may have.
func spans() []sdktrace.ReadOnlySpan {
	state, _ := trace.ParseTraceState("vendor=state")
	of := func(span byte, remote bool) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{span}, TraceFlags: trace.FlagsSampled, TraceState: state, Remote: remote})
	}
	process := resource.NewWithAttributes("https://schema.example/", attribute.String("service.name", "it"))
	return tracetest.SpanStubs{
		{
			Name: "all", SpanContext: of(1, false), Parent: of(2, true), SpanKind: trace.SpanKindConsumer, StartTime: time.Unix(1, 2), EndTime: time.Unix(3, 4),
			Attributes: []attribute.KeyValue{
				attribute.String("s", "text\xff"), attribute.Bool("yes", true), attribute.Bool("no", false), attribute.Int("n", -7), attribute.Int("none", 0), attribute.Float64("f", 1.5), attribute.String("empty", ""),
				attribute.StringSlice("ss", []string{"a", ""}), attribute.Int64Slice("ns", []int64{1, 0}), attribute.BoolSlice("bs", []bool{false}), attribute.Float64Slice("fs", []float64{.5}),
			},
			Events:            []sdktrace.Event{{Name: "event", Time: time.Unix(2, 0), Attributes: []attribute.KeyValue{attribute.Int("i", 1)}, DroppedAttributeCount: 5}},
			Links:             []sdktrace.Link{{SpanContext: of(3, true), Attributes: []attribute.KeyValue{attribute.Int("l", 2)}, DroppedAttributeCount: 6}},
			Status:            sdktrace.Status{Code: codes.Error, Description: "failed"},
			DroppedAttributes: 1, DroppedEvents: 2, DroppedLinks: 3,
			Resource: process, InstrumentationScope: instrumentation.Scope{Name: "scope", Version: "v1", SchemaURL: "https://scope.example/"},
		},
		{Name: "root", SpanContext: of(4, false), Status: sdktrace.Status{Code: codes.Ok}, StartTime: time.Unix(5, 0), EndTime: time.Unix(6, 0), Resource: process, InstrumentationScope: instrumentation.Scope{Name: "other"}},
	}.Snapshots()
}

// TestEncode holds what is sent to the types that are generated from OTLP's own files.
func TestEncode(t *testing.T) {
	t.Parallel()
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	yes := func(b bool) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: b}}
	}
	number := func(n int64) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: n}}
	}
	float := func(f float64) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: f}}
	}
	list := func(v ...*commonpb.AnyValue) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: v}}}
	}
	pair := func(key string, v *commonpb.AnyValue) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: key, Value: v}
	}
	traceID := append([]byte{1, 2}, make([]byte, 14)...)
	spanID := func(b byte) []byte { return append([]byte{b}, make([]byte, 7)...) }
	want := &tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{pair("service.name", text("it"))}}, SchemaUrl: "https://schema.example/",
		ScopeSpans: []*tracepb.ScopeSpans{
			{Scope: &commonpb.InstrumentationScope{Name: "scope", Version: "v1"}, SchemaUrl: "https://scope.example/", Spans: []*tracepb.Span{{
				TraceId: traceID, SpanId: spanID(1), TraceState: "vendor=state", ParentSpanId: spanID(2), Name: "all", Kind: tracepb.Span_SPAN_KIND_CONSUMER,
				StartTimeUnixNano: 1e9 + 2, EndTimeUnixNano: 3e9 + 4, Flags: 0x301,
				Attributes: []*commonpb.KeyValue{
					pair("s", text("text\uFFFD")), pair("yes", yes(true)), pair("no", yes(false)), pair("n", number(-7)), pair("none", number(0)), pair("f", float(1.5)), pair("empty", text("")),
					pair("ss", list(text("a"), text(""))), pair("ns", list(number(1), number(0))), pair("bs", list(yes(false))), pair("fs", list(float(.5))),
				},
				Events:                 []*tracepb.Span_Event{{TimeUnixNano: 2e9, Name: "event", Attributes: []*commonpb.KeyValue{pair("i", number(1))}, DroppedAttributesCount: 5}},
				Links:                  []*tracepb.Span_Link{{TraceId: traceID, SpanId: spanID(3), TraceState: "vendor=state", Attributes: []*commonpb.KeyValue{pair("l", number(2))}, DroppedAttributesCount: 6, Flags: 0x301}},
				DroppedAttributesCount: 1, DroppedEventsCount: 2, DroppedLinksCount: 3,
				Status: &tracepb.Status{Message: "failed", Code: tracepb.Status_STATUS_CODE_ERROR},
			}}},
			{Scope: &commonpb.InstrumentationScope{Name: "other"}, Spans: []*tracepb.Span{{
				TraceId: traceID, SpanId: spanID(4), TraceState: "vendor=state", Name: "root", StartTimeUnixNano: 5e9, EndTimeUnixNano: 6e9, Flags: 0x101,
				Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK},
			}}},
		},
	}}}
	var got tracepb.TracesData // as the request is encoded, too
	if err := proto.Unmarshal(encode(spans()), &got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(&got, want) {
		t.Errorf("sent:\n%v\nwant:\n%v", &got, want)
	}
	if encode(nil) != nil {
		t.Error("no spans are something")
	}
}

// TestExporterSettings holds the exporter to the variables of OpenTelemetry.
func TestExporterSettings(t *testing.T) {
	var path string
	var header http.Header
	var body []byte
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path, header = r.URL.String(), r.Header
		body, _ = io.ReadAll(r.Body)
	}))
	defer server.Close()
	const prefix = "OTEL_EXPORTER_OTLP_"
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		vars            map[string]string
		path            string
		header          map[string]string
		timeout         time.Duration
		warned, refused string
	}{
		"for all signals":           {vars: map[string]string{"ENDPOINT": server.URL}, path: "/v1/traces", header: map[string]string{"Content-Type": "application/x-protobuf", "Content-Encoding": ""}, timeout: exportTimeout},
		"below a path":              {vars: map[string]string{"ENDPOINT": server.URL + "/otlp/"}, path: "/otlp/v1/traces", timeout: exportTimeout},
		"for traces":                {vars: map[string]string{"ENDPOINT": "http://other/", "TRACES_ENDPOINT": server.URL + "/here?key=secret"}, path: "/here", timeout: exportTimeout},
		"for traces without a path": {vars: map[string]string{"TRACES_ENDPOINT": server.URL}, path: "/", timeout: exportTimeout},
		"headers": {
			vars: map[string]string{"ENDPOINT": server.URL, "HEADERS": "a=1, b = x%20y ,c=1", "TRACES_HEADERS": "c=2,,"}, path: "/v1/traces",
			header: map[string]string{"A": "1", "B": "x y", "C": "2"}, timeout: exportTimeout,
		},
		"a header that is none": {vars: map[string]string{"ENDPOINT": server.URL, "HEADERS": "a=%0Asecret,b=2"}, path: "/v1/traces", header: map[string]string{"A": "", "B": "2"}, timeout: exportTimeout, warned: "HEADERS"},
		"compressed":            {vars: map[string]string{"ENDPOINT": server.URL, "COMPRESSION": "gzip", "TIMEOUT": "250"}, path: "/v1/traces", header: map[string]string{"Content-Encoding": "gzip"}, timeout: 250 * time.Millisecond},
		"wrong words":           {vars: map[string]string{"ENDPOINT": server.URL, "COMPRESSION": "zip"}, path: "/v1/traces", timeout: exportTimeout, warned: "COMPRESSION"},
		"wrong numbers":         {vars: map[string]string{"ENDPOINT": server.URL, "TRACES_TIMEOUT": "soon"}, path: "/v1/traces", timeout: exportTimeout, warned: "TRACES_TIMEOUT"},
		"no address":            {vars: map[string]string{"ENDPOINT": "collector"}, refused: "ENDPOINT"},
		"no certificates":       {vars: map[string]string{"ENDPOINT": server.URL, "CERTIFICATE": empty}, refused: "CERTIFICATE"},
		"no key":                {vars: map[string]string{"ENDPOINT": server.URL, "CLIENT_CERTIFICATE": empty, "CLIENT_KEY": empty}, refused: "CLIENT_CERTIFICATE"},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range c.vars {
				t.Setenv(prefix+variable, value)
			}
			var log bytes.Buffer
			e, err := newExporter("", zerolog.New(&log))
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), prefix+c.refused) {
					t.Errorf("made, or refused with %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = e.Shutdown(t.Context()) }()
			if err := e.ExportSpans(t.Context(), spans()); err != nil {
				t.Error(err)
			}
			if path != c.path || e.client.Timeout != c.timeout {
				t.Errorf("sent to %s within %s", path, e.client.Timeout)
			}
			for name, value := range c.header {
				if header.Get(name) != value {
					t.Errorf("%s is %q", name, header.Get(name))
				}
			}
			if header.Get("Content-Encoding") == "gzip" {
				r, err := gzip.NewReader(bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				body, _ = io.ReadAll(r)
			}
			if !bytes.Equal(body, encode(spans())) {
				t.Error("other spans were sent")
			}
			if said := log.String(); strings.Contains(said, "secret") || (c.warned == "") != (said == "") || !strings.Contains(said, c.warned) {
				t.Errorf("logged %s", said)
			}
		})
	}
}

// TestExporterTriesAgain holds what is tried again, how long, and what ends it.
func TestExporterTriesAgain(t *testing.T) {
	t.Parallel()
	var partial, success message
	success.number(1, 3)
	success.text(2, "too old")
	partial.in(1, success)
	answer := func(status int, header http.Header, body string) roundTripper {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
		}
	}
	pb := http.Header{"Content-Type": {"application/x-protobuf"}}
	for name, c := range map[string]struct {
		answers []roundTripper // the last one again and again
		tries   int            // 0: more than one
		least   time.Duration
		most    time.Duration
		says    string // empty: it succeeds
	}{
		"at once":              {answers: []roundTripper{answer(200, nil, "")}, tries: 1},
		"unavailable once":     {answers: []roundTripper{answer(503, nil, ""), answer(202, pb, "")}, tries: 2, least: firstRetry / 2, most: 2 * firstRetry},
		"asked to wait":        {answers: []roundTripper{answer(429, http.Header{"Retry-After": {"20"}}, ""), answer(200, nil, "")}, tries: 2, least: 20 * time.Second, most: 21 * time.Second},
		"asked to wait long":   {answers: []roundTripper{answer(503, http.Header{"Retry-After": {"99999999"}}, "later")}, tries: 1, says: "later"},
		"always unavailable":   {answers: []roundTripper{answer(504, nil, "no")}, least: retriesEnd / 4, most: retriesEnd + longestRetry, says: "no"},
		"refused":              {answers: []roundTripper{answer(400, nil, "not spans")}, tries: 1, says: "not spans"},
		"refused in part":      {answers: []roundTripper{answer(200, pb, string(partial))}, tries: 1, says: `refused 3 spans: "too old"`},
		"an answer of nothing": {answers: []roundTripper{answer(200, pb, "\xff\xff")}, tries: 1},
		"away":                 {answers: []roundTripper{func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") }}, tries: 1, says: "no route"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, err := newExporter("http://collector:4318/v1/traces", zerolog.Nop())
				if err != nil {
					t.Fatal(err)
				}
				tries := 0
				e.client.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
					tries++
					return c.answers[min(tries, len(c.answers))-1](req)
				})
				began := time.Now()
				err = e.ExportSpans(t.Context(), spans())
				if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v", err)
				}
				if took := time.Since(began); c.tries > 0 && tries != c.tries || tries < 1 || took < c.least || took > c.most {
					t.Errorf("%d tries in %s", tries, took)
				}
			})
		})
	}
	t.Run("shut down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e, err := newExporter("http://collector:4318/v1/traces", zerolog.Nop())
			if err != nil {
				t.Fatal(err)
			}
			e.client.Transport = answer(503, nil, "")
			failed := make(chan error)
			go func() { failed <- e.ExportSpans(context.Background(), spans()) }()
			synctest.Wait() // it waits to try again
			began := time.Now()
			_ = e.Shutdown(t.Context())
			if err := <-failed; err == nil || time.Since(began) > 0 {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	})
}
