package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Call describes a request for its span.
type Call struct {
	Name      string // of the span
	Peer      string // the service: "custom-vision", "s3", "blob"
	Operation string // of that service; empty: it has none
	Resource  string // alias of the resource that is called; may be empty
	Propagate bool   // tell the server of the trace; never the server of a link
}

// Transport makes a span of every request that belongs to a trace, from its sending until its
// answer is read; describe says what it is.
func Transport(next http.RoundTripper, describe func(*http.Request) Call) http.RoundTripper {
	return transport{next, describe}
}

type transport struct {
	next     http.RoundTripper
	describe func(*http.Request) Call
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if tracerOf(ctx) == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return t.next.RoundTrip(req) //nolint:wrapcheck // a RoundTripper's error is its next one's
	}
	call := t.describe(req)
	attributes := []attribute.KeyValue{attrPeer.String(call.Peer), attrMethod.String(req.Method), attrServer.String(req.URL.Hostname())}
	if call.Operation != "" {
		attributes = append(attributes, attrRPC.String(call.Operation))
	}
	if call.Resource != "" {
		attributes = append(attributes, attrResource.String(call.Resource))
	}
	if req.ContentLength > 0 {
		attributes = append(attributes, attrRequestSize.Int64(req.ContentLength))
	}
	ctx, span := start(ctx, call.Name, trace.SpanKindClient, attributes...)
	sent := req.WithContext(ctx)
	if call.Propagate {
		sent.Header = req.Header.Clone()
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(sent.Header))
	}
	resp, err := t.next.RoundTrip(sent)
	if err != nil {
		fail(span, kindOf(err))
		span.End()
		return resp, err //nolint:wrapcheck // as above
	}
	span.SetAttributes(attrStatus.Int(resp.StatusCode))
	if id := resp.Header.Get("apim-request-id"); id != "" {
		span.SetAttributes(attrRequestID.String(id))
	}
	if resp.StatusCode >= http.StatusBadRequest {
		fail(span, strconv.Itoa(resp.StatusCode))
	}
	if resp.Body == nil || resp.Body == http.NoBody || req.Method == http.MethodHead {
		span.End()
		return resp, nil
	}
	resp.Body = &answer{ReadCloser: resp.Body, span: span}
	return resp, nil
}

// fail marks a span as failed, with the kind of its error. The error's text stays out: it may have
// a link, or quote the request.
func fail(span trace.Span, kind string) {
	span.SetAttributes(attrError.String(kind))
	span.SetStatus(codes.Error, "")
}

// kindOf is the kind of an error, without its text.
func kindOf(err error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) { // the innermost tells most
		err = next
	}
	return fmt.Sprintf("%T", err)
}

// answer ends the span of its request when it is read, or closed.
type answer struct {
	io.ReadCloser
	span  trace.Span
	bytes int64
	ended sync.Once
}

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.bytes += int64(n)
	if err != nil && err != io.EOF {
		a.end(kindOf(err))
	}
	return n, err //nolint:wrapcheck // an io.Reader's error is its reader's
}

// Close implements io.Closer.
func (a *answer) Close() error {
	a.end("")
	return a.ReadCloser.Close() //nolint:wrapcheck // as above
}

func (a *answer) end(failure string) {
	a.ended.Do(func() {
		a.span.SetAttributes(attrAnswerSize.Int64(a.bytes))
		if failure != "" {
			fail(a.span, failure)
		}
		a.span.End()
	})
}
