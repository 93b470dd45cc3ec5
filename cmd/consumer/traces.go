package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// traceConfig switches the export of spans on. How and where they go is in the OTEL_* variables,
// which OpenTelemetry's SDK reads by itself.
type traceConfig struct {
	On       bool
	Endpoint string // in place of that of the variables; not a setting
}

// traces reads those of OpenTelemetry's settings that decide whether spans are exported, and
// refuses those that this program does not support.
func (e *environ) traces(p *problems) traceConfig {
	if off, err := strconv.ParseBool(e.vars["OTEL_SDK_DISABLED"]); err == nil && off {
		return traceConfig{}
	}
	// The variable for traces comes before that for all signals.
	either := func(what string) (name, value string) {
		for _, name = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
			if value = e.vars[name]; value != "" {
				break
			}
		}
		return name, value
	}
	name, endpoint := either("ENDPOINT")
	switch exporter := e.vars["OTEL_TRACES_EXPORTER"]; exporter {
	case "none":
		return traceConfig{}
	case "", "otlp":
	default:
		p.add("OTEL_TRACES_EXPORTER", "%q is not otlp or none", exporter)
	}
	if endpoint == "" {
		return traceConfig{}
	}
	p.httpURL(name, endpoint)
	if name, protocol := either("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		p.add(name, "%q is not http/protobuf: name the address at which the collector takes OTLP over HTTP, mostly port 4318, in OTEL_EXPORTER_OTLP_ENDPOINT", protocol)
	}
	return traceConfig{On: true}
}

// traceContext is the trace context in TRACEPARENT and TRACESTATE, as the header of a command.
func (e *environ) traceContext() map[string][]string {
	header := map[string][]string{}
	for _, name := range []string{"traceparent", "tracestate"} {
		if value := e.vars[strings.ToUpper(name)]; value != "" {
			header[name] = []string{value}
		}
	}
	return header
}

// newTracer makes the tracer of the settings; nil when spans are not exported.
func (s *service) newTracer(ctx context.Context) (*tracing.Tracer, error) {
	if !s.c.Traces.On {
		return nil, nil
	}
	t, err := tracing.New(ctx, tracing.Options{Endpoint: s.c.Traces.Endpoint, Version: build().Version, Log: s.log})
	if err != nil {
		return nil, settingsError(err.Error())
	}
	return t, nil
}

// tracesTimeout bounds how long the end of the process waits for the collector.
const tracesTimeout = 5 * time.Second

// endTraces exports the spans that are left.
func (s *service) endTraces() {
	ctx, cancel := context.WithTimeout(context.Background(), tracesTimeout)
	defer cancel()
	if err := s.tracer.Shutdown(ctx); err != nil {
		s.log.Warn().Err(err).Msg("some spans are lost")
	}
}

// tracedUnit makes a span of a unit.
func tracedUnit(ctx context.Context, d delivery.UnitDelivery, handle func(context.Context) delivery.Disposition) delivery.Disposition {
	ctx, span := tracing.Unit(ctx, d.Header, d.Command, d.N, within(kinds, handler.UnitKind(d.Body)), d.Delivered)
	settled := handle(ctx)
	span.End(settled.Verb.String(), "")
	return settled
}

// tracedEvent makes a span of publishing an event. Progress has none: it says how far a command is,
// not what became of it.
func tracedEvent(ctx context.Context, e contract.Event, publish func(context.Context) error) error {
	if e.Data.Status == contract.StatusProgress {
		return publish(ctx)
	}
	return tracedPublish(ctx, string(e.Data.Action)+"."+string(e.Data.Status), e.Data.CommandID, publish)
}

func tracedPublish(ctx context.Context, what, command string, publish func(context.Context) error) error {
	ctx, span := tracing.Publish(ctx, what, command)
	err := publish(ctx)
	failure := ""
	if err != nil {
		failure = "not_published"
	}
	span.End("", failure)
	return err
}

// traceTraining makes spans of Training API calls of a resource, and of its downloads, whose
// servers are not told of the trace. It fits cv.Options.Wrap.
func traceTraining(alias string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return tracing.Transport(next, func(req *http.Request) tracing.Call {
			if operation, ok := operationOf(req); ok {
				return tracing.Call{Name: operation, Peer: "custom-vision", Operation: operation, Resource: alias, Propagate: true}
			}
			return tracing.Call{Name: "download", Peer: "blob", Resource: alias}
		})
	}
}

// traceStorage makes spans of S3 requests.
func traceStorage(next http.RoundTripper) http.RoundTripper {
	return tracing.Transport(next, func(req *http.Request) tracing.Call {
		operation := awsmiddleware.GetOperationName(req.Context())
		return tracing.Call{Name: "S3 " + operation, Peer: "s3", Operation: operation, Propagate: true}
	})
}
