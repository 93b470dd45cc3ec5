package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"golang.org/x/net/http/httpguts"
)

// Limits of an export.
const (
	exportTimeout  = 10 * time.Second // of one request, where no variable says another
	firstRetry     = 5 * time.Second
	longestRetry   = 30 * time.Second
	retriesEnd     = time.Minute
	maxAnswerBytes = 64 << 10
)

// exporter sends spans to a collector by OTLP over HTTP, in protobuf, as the OTEL_EXPORTER_OTLP_*
// variables say.
type exporter struct {
	url    string
	header http.Header
	gzip   bool
	client *http.Client
	stop   context.CancelCauseFunc
	ended  context.Context //nolint:containedctx // of the exporter, not of a request
}

// newExporter makes an exporter. A variable that cannot be read is as one that is not set, and the
// log says so, without its value: some have secrets. A file that cannot be read is an error.
func newExporter(endpoint string, log zerolog.Logger) (*exporter, error) {
	e := &exporter{header: http.Header{}, client: &http.Client{Timeout: exportTimeout}}
	e.ended, e.stop = context.WithCancelCause(context.Background())
	unread := func(name, wanted string) {
		log.Warn().Str("from", sdkName).Msg("cannot read " + name + ": " + wanted)
	}
	if err := e.address(endpoint); err != nil {
		return nil, err
	}
	e.header.Set("Content-Type", "application/x-protobuf")
	for _, kind := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for pair := range strings.SplitSeq(os.Getenv(kind), ",") {
			name, value, ok := strings.Cut(pair, "=")
			name = strings.TrimSpace(name)
			value, err := url.PathUnescape(strings.TrimSpace(value))
			switch {
			case strings.TrimSpace(pair) == "":
			case !ok || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value):
				unread(kind, "a list of headers is wanted, as name=value, with % before what is encoded")
			default:
				e.header.Set(name, value)
			}
		}
	}
	if name, value := setting("TIMEOUT"); value != "" {
		ms, err := strconv.Atoi(value)
		if err != nil || ms < 0 {
			unread(name, "a number of milliseconds is wanted")
		} else {
			e.client.Timeout = time.Duration(ms) * time.Millisecond
		}
	}
	switch name, value := setting("COMPRESSION"); value {
	case "gzip":
		e.gzip = true
	case "", "none":
	default:
		unread(name, "gzip or none is wanted")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is of this type
	config, err := clientTLS()
	if err != nil {
		return nil, err
	}
	transport.TLSClientConfig = config
	e.client.Transport = transport
	return e, nil
}

// setting is the value of a variable of OTLP: that for traces comes before that for all signals.
func setting(what string) (name, value string) {
	for _, name = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
		if value = os.Getenv(name); value != "" {
			break
		}
	}
	return name, value
}

// address sets where spans go: to an endpoint, or as the variables say. It leaves out user and
// query.
func (e *exporter) address(endpoint string) error {
	name := "the endpoint"
	if endpoint == "" {
		name, endpoint = setting("ENDPOINT")
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return fmt.Errorf("%s is not the URL of a collector", name)
	}
	to := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	switch {
	case name == "OTEL_EXPORTER_OTLP_ENDPOINT":
		to.Path = path.Join("/", u.Path, "v1/traces")
	case to.Path == "":
		to.Path = "/"
	}
	e.url = to.String()
	return nil
}

// clientTLS is what the variables say of certificates.
func clientTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name, file := setting("CERTIFICATE"); file != "" {
		text, err := os.ReadFile(file)
		config.RootCAs = x509.NewCertPool()
		if err != nil || !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: cannot read certificates", name)
		}
	}
	name, certificate := setting("CLIENT_CERTIFICATE")
	_, key := setting("CLIENT_KEY")
	if certificate != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("%s: cannot read a certificate and its key", name)
		}
		config.Certificates = append(config.Certificates, pair)
	}
	return config, nil
}

// ExportSpans implements sdktrace.SpanExporter. It tries again for a minute where the collector
// asks for that, or cannot be reached for a moment.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ended, func() { cancel(context.Cause(e.ended)) })()
	body := encode(spans)
	if e.gzip {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(body) // a buffer takes everything
		_ = w.Close()
		body = b.Bytes()
	}
	wait := &hinted{ExponentialBackOff: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longestRetry), backoff.WithMaxElapsedTime(retriesEnd),
	)}
	var last error
	err := backoff.Retry(func() error {
		last = e.send(ctx, body, wait)
		return last
	}, backoff.WithContext(wait, ctx))
	if err != nil && last != nil && !errors.Is(err, last) {
		err = errors.Join(last, err)
	}
	return err //nolint:wrapcheck // the SDK says what it was
}

// hinted is a backoff that waits at least as long as the collector asked for.
type hinted struct {
	*backoff.ExponentialBackOff

	hint time.Duration
}

// NextBackOff implements backoff.BackOff.
func (w *hinted) NextBackOff() time.Duration {
	d := w.ExponentialBackOff.NextBackOff()
	if d == backoff.Stop || w.GetElapsedTime()+w.hint > retriesEnd {
		return backoff.Stop
	}
	return max(d, w.hint)
}

// send sends one request. Its error is permanent where another one would not help.
func (e *exporter) send(ctx context.Context, body []byte, wait *hinted) error {
	wait.hint = 0
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return backoff.Permanent(err)
	}
	req.Header = e.header.Clone()
	if e.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := e.client.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) && failed.Temporary() { // a connection that was reset, or refused for now
			return err //nolint:wrapcheck // it says what was sent where
		}
		return backoff.Permanent(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	switch {
	case resp.StatusCode/100 == 2 && err != nil:
		return backoff.Permanent(fmt.Errorf("read the collector's answer: %w", err))
	case resp.StatusCode/100 == 2:
		if resp.Header.Get("Content-Type") != "application/x-protobuf" {
			return nil
		}
		if refused, why := partialSuccess(answer); refused > 0 || why != "" {
			return backoff.Permanent(fmt.Errorf("the collector refused %d spans: %q", refused, why))
		}
		return nil
	}
	err = fmt.Errorf("the collector answers %s: %q", resp.Status, bytes.TrimSpace(answer))
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if seconds, parsed := strconv.Atoi(resp.Header.Get("Retry-After")); parsed == nil && seconds > 0 {
			wait.hint = time.Duration(min(seconds, int(2*retriesEnd/time.Second))) * time.Second
		}
		return err
	}
	return backoff.Permanent(err)
}

// errEnded ends the requests under way.
var errEnded = errors.New("the exporter was shut down")

// Shutdown implements sdktrace.SpanExporter.
func (e *exporter) Shutdown(context.Context) error {
	e.stop(errEnded)
	e.client.CloseIdleConnections()
	return nil
}
