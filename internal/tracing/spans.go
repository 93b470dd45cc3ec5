package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Attributes, as OpenTelemetry's conventions name them where they do.
const (
	attrCommand   = attribute.Key("cvconsumer.command.id")
	attrAction    = attribute.Key("cvconsumer.action")
	attrAttempt   = attribute.Key("cvconsumer.attempt")
	attrOutcome   = attribute.Key("cvconsumer.outcome")
	attrUnit      = attribute.Key("cvconsumer.unit.number")
	attrKind      = attribute.Key("cvconsumer.unit.kind")
	attrDelivered = attribute.Key("cvconsumer.delivered")
	attrResource  = attribute.Key("cvconsumer.resource")

	attrError       = attribute.Key("error.type")
	attrMessaging   = attribute.Key("messaging.system")
	attrOperation   = attribute.Key("messaging.operation.type")
	attrMethod      = attribute.Key("http.request.method")
	attrServer      = attribute.Key("server.address")
	attrStatus      = attribute.Key("http.response.status_code")
	attrRequestSize = attribute.Key("http.request.body.size")
	attrAnswerSize  = attribute.Key("http.response.body.size")
	attrRequestID   = attribute.Key("azure.service.request.id")
	attrRPC         = attribute.Key("rpc.method")
	attrPeer        = attribute.Key("peer.service")
)

// Span is a span that was begun. Its zero value records nothing.
type Span struct{ span trace.Span }

// End ends the span. outcome is what became of the work, failure the kind of error that it ended
// with, in a word; both may be empty.
func (s Span) End(outcome, failure string) {
	if s.span == nil {
		return
	}
	if outcome != "" {
		s.span.SetAttributes(attrOutcome.String(outcome))
	}
	if failure != "" {
		s.span.SetAttributes(attrError.String(failure))
		s.span.SetStatus(codes.Error, "")
	}
	s.span.End()
}

// start begins a span where the context has a tracer.
func start(ctx context.Context, name string, kind trace.SpanKind, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	t := tracerOf(ctx)
	if t == nil {
		return ctx, noop.Span{}
	}
	return t.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attributes...))
}

// Attempt begins the span of an attempt at a command.
func Attempt(ctx context.Context, action, command string, attempt int) (context.Context, Span) {
	ctx, span := start(ctx, action, trace.SpanKindConsumer,
		attrMessaging.String("nats"), attrOperation.String("process"), attrAction.String(action), attrCommand.String(command), attrAttempt.Int(attempt))
	return ctx, Span{span}
}

// Unit begins the span of a unit of work: of one delivery of its message, which has the header. Its
// parent is the attempt that queued the unit, on whichever replica that is.
func Unit(ctx context.Context, header map[string][]string, command string, n int, kind string, delivered uint64) (context.Context, Span) {
	ctx, span := start(Continue(ctx, "", header), "unit "+kind, trace.SpanKindConsumer,
		attrMessaging.String("nats"), attrOperation.String("process"), attrCommand.String(command),
		attrUnit.Int(n), attrKind.String(kind), attrDelivered.Int64(int64(delivered))) //nolint:gosec // a count of deliveries
	return ctx, Span{span}
}

// Publish begins the span of publishing what became of a command: "export.completed", "dead
// letter". There is none where nothing is traced: it would be a trace of its own.
func Publish(ctx context.Context, what, command string) (context.Context, Span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, Span{}
	}
	ctx, span := start(ctx, "publish "+what, trace.SpanKindProducer, attrMessaging.String("nats"), attrOperation.String("send"), attrCommand.String(command))
	return ctx, Span{span}
}
