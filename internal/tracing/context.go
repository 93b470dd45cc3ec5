package tracing

import (
	"context"
	"strings"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// W3C trace context.
const (
	headerTraceparent = "traceparent"
	headerTracestate  = "tracestate"
)

type tracerKey struct{}

// tracerOf is the tracer that Tracer.Attach put into the context; nil without one.
func tracerOf(ctx context.Context) trace.Tracer {
	t, _ := ctx.Value(tracerKey{}).(trace.Tracer)
	return t
}

// Continue gives spans under the context a parent in another process, the sender of a message.
// traceparent is that of the message's body, or empty; the header has the rest. What is no valid
// trace context is ignored.
func Continue(ctx context.Context, traceparent string, header map[string][]string) context.Context {
	carrier := propagation.MapCarrier{headerTraceparent: traceparent}
	for name, values := range header {
		if len(values) != 1 {
			continue
		}
		switch name = strings.TrimPrefix(strings.ToLower(name), "ce-"); {
		case name == headerTracestate, name == headerTraceparent && traceparent == "":
			carrier[name] = values[0]
		}
	}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}

// Header is the trace context of a message that is sent under the context; nil when it has none.
func Header(ctx context.Context) map[string][]string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	var header map[string][]string
	for name, value := range carrier {
		if header == nil {
			header = map[string][]string{}
		}
		header[name] = []string{value}
	}
	return header
}

// Traceparent is what events carry: the span of this process that the context has, or else command,
// the traceparent of their command.
func Traceparent(ctx context.Context, command string) string {
	if s := trace.SpanContextFromContext(ctx); !s.IsValid() || s.IsRemote() {
		return command
	}
	return Header(ctx)[headerTraceparent][0]
}

// Fields adds the id of the context's trace to a logger, as trace_id, if there is one.
func Fields(ctx context.Context, log zerolog.Context) zerolog.Context {
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		return log.Stringer("trace_id", s.TraceID())
	}
	return log
}
