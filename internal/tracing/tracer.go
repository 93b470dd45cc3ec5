package tracing

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Options say where spans go. All other settings come from the OTEL_* variables of the process,
// which the SDK and the exporter read.
type Options struct {
	Endpoint string // where spans are sent to, with its path; empty: as the variables say
	Version  string // of this program
	Log      zerolog.Logger
}

// Tracer records spans and exports them by OTLP. A nil Tracer does neither.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
}

// New makes a tracer. Nothing is connected yet: a collector that is away costs spans, no work.
func New(ctx context.Context, o Options) (*Tracer, error) {
	redirectSDKLog(o.Log)
	exporter, err := newExporter(o.Endpoint, o.Log)
	if err != nil {
		return nil, fmt.Errorf("make an exporter of traces: %w", err)
	}
	process, err := resource.New(ctx,
		resource.WithAttributes(
			attribute.String("service.name", "cvconsumer"), attribute.String("service.version", o.Version),
			attribute.String("service.instance.id", uuid.NewString()),
		),
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithFromEnv(), // the last one wins
	)
	if err != nil { // the rest is used
		o.Log.Warn().Str("from", sdkName).Msg("cannot read OTEL_RESOURCE_ATTRIBUTES: a list of key=value is wanted")
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(process))
	return &Tracer{tracer: provider.Tracer("github.com/cvconsumer/cvconsumer", trace.WithInstrumentationVersion(o.Version)), provider: provider}, nil
}

// Attach records the spans that begin under the context it gives.
func (t *Tracer) Attach(ctx context.Context) context.Context {
	if t == nil {
		return ctx
	}
	return context.WithValue(ctx, tracerKey{}, t.tracer)
}

// Shutdown exports the spans that are left, as long as ctx allows it.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("export the last spans: %s", withoutPaths(err.Error()))
	}
	return nil
}

// reportEvery is how often the same problem is logged at most.
const reportEvery = time.Minute

// redirectSDKLog sends what the SDK logs and its errors to a log: it has one place for them in the
// whole process, and would write to standard error.
func redirectSDKLog(log zerolog.Logger) {
	log = log.With().Str("from", sdkName).Logger()
	otel.SetErrorHandler(&reporter{log: log, now: time.Now}) //nolint:forbidigo // only how often it is logged follows from it
	otel.SetLogger(logr.New(sdkLog{log}))
}

// sdkName is what the SDK is called in the log.
const sdkName = "opentelemetry"

// sdkLog takes what the SDK logs: the text alone, since errors and values may quote a variable, and
// OTEL_EXPORTER_OTLP_HEADERS has secrets.
type sdkLog struct{ log zerolog.Logger }

// Init implements logr.LogSink.
func (l sdkLog) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink: the SDK's warnings have level 1, its messages for developers
// higher ones.
func (l sdkLog) Enabled(level int) bool { return level <= 1 }

// Info implements logr.LogSink.
func (l sdkLog) Info(_ int, text string, _ ...any) { l.log.Warn().Msg(text) }

// Error implements logr.LogSink.
func (l sdkLog) Error(_ error, text string, _ ...any) {
	l.log.Warn().Msg(text + ": see the OTEL_* variables")
}

// WithValues implements logr.LogSink.
func (l sdkLog) WithValues(...any) logr.LogSink { return l }

// WithName implements logr.LogSink.
func (l sdkLog) WithName(string) logr.LogSink { return l }

// reporter logs errors, each of them at most once in reportEvery.
type reporter struct {
	log zerolog.Logger
	now func() time.Time

	mu   sync.Mutex
	last string
	at   time.Time
}

// Handle implements otel.ErrorHandler.
func (r *reporter) Handle(err error) {
	if errors.Is(err, resource.ErrPartialResource) { // New has logged it
		return
	}
	text := withoutPaths(err.Error())
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); text != r.last || now.Sub(r.at) >= reportEvery {
		r.last, r.at = text, now
		r.log.Warn().Str("error", text).Msg("traces are not exported; see OTEL_EXPORTER_OTLP_ENDPOINT")
	}
}

// anyURL finds URLs; its groups are scheme and host.
var anyURL = regexp.MustCompile(`(https?://)(?:[^/?#\s"@]*@)?([^/?#\s"]*)[^\s"]*`)

// withoutPaths leaves users, paths and queries out of the URLs in a text: for some collectors a
// path is a token.
func withoutPaths(text string) string { return anyURL.ReplaceAllString(text, "$1$2") }
