package tracing

import (
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protobuf message that is being written. The types that protoc generates for OTLP
// would bring gRPC along, and with it html/template: a quarter of the binary.
// The numbers of fields are those of opentelemetry/proto/trace/v1/trace.proto and its imports.
type message []byte

func (m *message) bytes(field protowire.Number, value []byte) {
	if len(value) > 0 {
		*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), value)
	}
}

func (m *message) text(field protowire.Number, value string) {
	m.bytes(field, []byte(strings.ToValidUTF8(value, "\uFFFD")))
}

func (m *message) number(field protowire.Number, value int) {
	if value != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), uint64(value)) //nolint:gosec // all are counts or of an enumeration
	}
}

func (m *message) time(field protowire.Number, value time.Time) {
	*m = protowire.AppendFixed64(protowire.AppendTag(*m, field, protowire.Fixed64Type), uint64(value.UnixNano())) //nolint:gosec // a span has its time from a clock
}

// in writes a message inside this one, an empty one too.
func (m *message) in(field protowire.Number, value message) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), value)
}

// encode is an ExportTraceServiceRequest with spans of one provider.
func encode(spans []sdktrace.ReadOnlySpan) []byte {
	if len(spans) == 0 {
		return nil
	}
	var scopes []instrumentation.Scope
	of := map[instrumentation.Scope][]sdktrace.ReadOnlySpan{}
	for _, s := range spans {
		scope := s.InstrumentationScope()
		if of[scope] == nil {
			scopes = append(scopes, scope)
		}
		of[scope] = append(of[scope], s)
	}
	var resource, resourceSpans, request message
	from := spans[0].Resource()
	attributes(&resource, 1, from.Attributes())
	resourceSpans.in(1, resource)
	for _, scope := range scopes {
		var named, scopeSpans message
		named.text(1, scope.Name)
		named.text(2, scope.Version)
		attributes(&named, 3, scope.Attributes.ToSlice())
		scopeSpans.in(1, named)
		for _, s := range of[scope] {
			scopeSpans.in(2, encodeSpan(s))
		}
		scopeSpans.text(3, scope.SchemaURL)
		resourceSpans.in(2, scopeSpans)
	}
	resourceSpans.text(3, from.SchemaURL())
	request.in(1, resourceSpans)
	return request
}

func encodeSpan(s sdktrace.ReadOnlySpan) message {
	var m message
	context, parent := s.SpanContext(), s.Parent()
	traceID, spanID := context.TraceID(), context.SpanID()
	m.bytes(1, traceID[:])
	m.bytes(2, spanID[:])
	m.text(3, context.TraceState().String())
	if parent.HasSpanID() {
		parentID := parent.SpanID()
		m.bytes(4, parentID[:])
	}
	m.text(5, s.Name())
	m.number(6, int(s.SpanKind())) // the same numbers
	m.time(7, s.StartTime())
	m.time(8, s.EndTime())
	attributes(&m, 9, s.Attributes())
	m.number(10, s.DroppedAttributes())
	for _, e := range s.Events() {
		var event message
		event.time(1, e.Time)
		event.text(2, e.Name)
		attributes(&event, 3, e.Attributes)
		event.number(4, e.DroppedAttributeCount)
		m.in(11, event)
	}
	m.number(12, s.DroppedEvents())
	for _, l := range s.Links() {
		var link message
		linkedTrace, linkedSpan := l.SpanContext.TraceID(), l.SpanContext.SpanID()
		link.bytes(1, linkedTrace[:])
		link.bytes(2, linkedSpan[:])
		link.text(3, l.SpanContext.TraceState().String())
		attributes(&link, 4, l.Attributes)
		link.number(5, l.DroppedAttributeCount)
		flags(&link, 6, l.SpanContext, l.SpanContext)
		m.in(13, link)
	}
	m.number(14, s.DroppedLinks())
	var status message
	status.text(2, s.Status().Description)
	switch s.Status().Code {
	case codes.Ok:
		status.number(3, 1)
	case codes.Error:
		status.number(3, 2)
	}
	m.in(15, status)
	flags(&m, 16, context, parent)
	return m
}

// flags writes the flags of a trace, and whether the span referred to is of another process.
func flags(m *message, field protowire.Number, of, refersTo trace.SpanContext) {
	const known, remote = 0x100, 0x200
	value := uint32(of.TraceFlags()) | known
	if refersTo.IsRemote() {
		value |= remote
	}
	*m = protowire.AppendFixed32(protowire.AppendTag(*m, field, protowire.Fixed32Type), value)
}

func attributes(m *message, field protowire.Number, all []attribute.KeyValue) {
	for _, a := range all {
		var pair message
		pair.text(1, string(a.Key))
		pair.in(2, encodeValue(a.Value))
		m.in(field, pair)
	}
}

// encodeValue is an AnyValue. It says which of its fields it has, so 0 and the like are written.
func encodeValue(v attribute.Value) message {
	var m message
	switch v.Type() {
	case attribute.BOOL:
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		m = protowire.AppendVarint(protowire.AppendTag(m, 3, protowire.VarintType), uint64(v.AsInt64())) //nolint:gosec // two's complement, as int64 is written
	case attribute.FLOAT64:
		m = protowire.AppendFixed64(protowire.AppendTag(m, 4, protowire.Fixed64Type), math.Float64bits(v.AsFloat64()))
	case attribute.BOOLSLICE:
		m.in(5, list(v.AsBoolSlice(), attribute.BoolValue))
	case attribute.INT64SLICE:
		m.in(5, list(v.AsInt64Slice(), attribute.Int64Value))
	case attribute.FLOAT64SLICE:
		m.in(5, list(v.AsFloat64Slice(), attribute.Float64Value))
	case attribute.STRINGSLICE:
		m.in(5, list(v.AsStringSlice(), attribute.StringValue))
	default:
		m.in(1, message(strings.ToValidUTF8(v.String(), "\uFFFD")))
	}
	return m
}

// list is an ArrayValue.
func list[T any](values []T, as func(T) attribute.Value) message {
	var m message
	for _, v := range values {
		m.in(1, encodeValue(as(v)))
	}
	return m
}

// partialSuccess reads an ExportTraceServiceResponse: how many spans were refused, and why.
func partialSuccess(response []byte) (refused uint64, why string) {
	var found []byte
	eachField(response, func(field protowire.Number, value []byte, _ uint64) {
		if field == 1 {
			found = value
		}
	})
	eachField(found, func(field protowire.Number, value []byte, n uint64) {
		switch field {
		case 1:
			refused = n
		case 2:
			why = string(value)
		}
	})
	return refused, why
}

// eachField calls use for the fields of a message, as far as it can be read: bytes, or a number.
func eachField(m []byte, use func(field protowire.Number, value []byte, n uint64)) {
	for len(m) > 0 {
		field, kind, size := protowire.ConsumeTag(m)
		if size < 0 {
			return
		}
		m = m[size:]
		var value []byte
		var n uint64
		switch kind {
		case protowire.BytesType:
			value, size = protowire.ConsumeBytes(m)
		case protowire.VarintType:
			n, size = protowire.ConsumeVarint(m)
		default:
			size = protowire.ConsumeFieldValue(field, kind, m)
		}
		if size < 0 {
			return
		}
		use(field, value, n)
		m = m[size:]
	}
}
