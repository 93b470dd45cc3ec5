// Package tracing makes the spans of OpenTelemetry: which there are, what they are called and what
// they say is decided in spans.go, and nowhere else. docs/traces.md lists them.
//
// A span has ids, names of operations, statuses and sizes. It has no URL, key, header, error text,
// name of a project or tag, or metadata value: traces go to another system, whose readers may see
// neither credentials nor personal data.
//
// The tracer is in the context (Tracer.Attach). Without one nothing is recorded, but the trace of
// the sender is carried on: a replica that exports no spans breaks no trace.
package tracing
