// Package tracing makes the spans of OpenTelemetry. docs/traces.md lists them.
//
//   - spans.go: which spans there are, what they are called and what they say, and nowhere else
//   - tracer.go: what records them; exporter.go: how they get to a collector; otlp.go: as what
//   - context.go: the trace that messages carry
//   - transport.go: spans of HTTP requests
//
// A span has ids, names of operations, statuses and sizes. It has no URL, key, header, error text,
// name of a project or tag, or metadata value: traces go to another system, whose readers may see
// neither credentials nor personal data.
//
// The tracer is in the context (Tracer.Attach). Without one nothing is recorded, but the trace of
// the sender is carried on: a replica that exports no spans breaks no trace.
package tracing
