package sink

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/rs/zerolog"
)

// writeBuffer is how much is sent in one write, in bytes: most pictures.
const writeBuffer = 128 << 10

// defaultAnswerTimeout leaves time for handing work back of the five seconds that a process which
// drains has for it.
const defaultAnswerTimeout = 3 * time.Second

// Options say how the S3 client is built. What is not given comes from the AWS SDK's default chain:
// AWS_REGION, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, shared files, web identity, instance roles.
type Options struct {
	Endpoint        string                  // base URL of the store; empty: the default chain's
	Region          string                  // empty: the default chain's, else us-east-1 when an endpoint is configured
	PathStyle       bool                    // bucket in the path instead of the host name
	Credentials     aws.CredentialsProvider // nil: the default chain's
	Transport       http.RoundTripper       // nil: a tuned default
	MaxAttempts     int                     // tries of one request, 0: 5
	MaxBackoff      time.Duration           // longest pause between two tries, 0: 20 s
	ResponseTimeout time.Duration           // longest wait for an answer's header once a request is sent, 0: 60 s; only without Transport
	AnswerTimeout   time.Duration           // longest wait for the answer to a change that was sent once its call is given up, 0: 3 s
	Log             zerolog.Logger          // has what the SDK has to say, which would go to standard error; the zero value drops it
}

// Client builds an S3 client that suits a [Store]: it retries throttling of every shape, computes
// no checksums of its own (a Store gives precomputed ones, which travel as headers), and waits no
// longer than o says. A change that was sent when its call's context ends is answered before the
// call returns, if the store answers within AnswerTimeout: what a call that has returned asked for
// does not happen later. What was not sent yet is not sent. It reaches for nothing but files and
// the environment; a region that is nowhere to be found is an error that names AWS_REGION.
func Client(ctx context.Context, o Options) (*s3.Client, error) {
	var load []func(*config.LoadOptions) error
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Credentials != nil {
		load = append(load, config.WithCredentialsProvider(o.Credentials))
	}
	// The SDK's own kind of client, so that AWS_CA_BUNDLE is honored.
	load = append(load, config.WithHTTPClient(awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = 10 * time.Second }).
		WithTransportOptions(func(t *http.Transport) { tune(t, o.ResponseTimeout) })))
	load = append(load, config.WithLogger(sdkLog(o.Log)))
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS settings: %w", err)
	}
	api := s3.NewFromConfig(cfg, func(so *s3.Options) {
		so.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			so.BaseEndpoint = aws.String(o.Endpoint)
		}
		if so.Region == "" && so.BaseEndpoint != nil {
			so.Region = "us-east-1" // what stores outside AWS go by
		}
		if o.Transport != nil {
			so.HTTPClient = &http.Client{
				Transport: o.Transport,
				// S3 redirects to other regions, which the SDK reports; following one would send a
				// signature where it is not valid.
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
		}
		so.Retryer = newRetryer(o.MaxAttempts, o.MaxBackoff)
		patience := cmp.Or(o.AnswerTimeout, defaultAnswerTimeout)
		so.APIOptions = append(so.APIOptions, answerChanges(patience), encodingUnsigned, signPayload)
		so.EndpointResolverV2 = &resolvedOnce{EndpointResolverV2: s3.NewDefaultEndpointResolverV2(), apiOptions: len(so.APIOptions), patience: patience}
		checksumsAsHeaders(so)
	})
	if api.Options().Region == "" {
		return nil, errors.New("read the AWS settings: no region: set AWS_REGION, or AWS_ENDPOINT_URL_S3 for a store of your own")
	}
	return api, nil
}

// sdkLog has the SDK write to a log.
func sdkLog(log zerolog.Logger) logging.Logger {
	return logging.LoggerFunc(func(kind logging.Classification, format string, values ...any) {
		level := zerolog.WarnLevel
		if kind == logging.Debug {
			level = zerolog.DebugLevel
		}
		log.WithLevel(level).Str("from", "aws-sdk").Msgf(format, values...)
	})
}

// checksumsAsHeaders keeps the SDK from adding checksums as trailers, which older stores refuse,
// and from complaining of answers without one.
func checksumsAsHeaders(o *s3.Options) {
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
}

// once keeps the SDK from repeating a request.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// encodingUnsigned keeps Accept-Encoding out of the signature, by setting it after: Google Cloud
// Storage and some proxies change it on its way, and what is signed must arrive as it was.
func encodingUnsigned(stack *middleware.Stack) error {
	identity, err := stack.Finalize.Remove("DisableAcceptEncodingGzip")
	if err != nil {
		return nil //nolint:nilerr // an operation that does not send the header
	}
	return stack.Finalize.Insert(identity, "Signing", middleware.After)
}

// contentMD5 sends a Content-MD5 in place of one of S3's own checksums, for operations that must
// have either: some stores know no other, and none refuses it.
func contentMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		_, _ = stack.Initialize.Remove("AWSChecksum:SetupInputContext") // not there: there is none to replace
		_, _ = stack.Finalize.Remove("AWSChecksum:ComputeInputPayloadChecksum")
		return smithyhttp.AddContentChecksumMiddleware(stack)
	})
}

// tune gives a transport room for the uploads of a busy worker, and every wait an end.
func tune(t *http.Transport, responseTimeout time.Duration) {
	if responseTimeout == 0 {
		responseTimeout = time.Minute
	}
	t.MaxIdleConns = 256
	t.MaxIdleConnsPerHost = 128
	t.ResponseHeaderTimeout = responseTimeout
	t.WriteBufferSize = writeBuffer
	t.DisableCompression = true // stored bytes are wanted as they are
}

// newRetryer is the SDK's standard retryer plus what it lacks: a bare 429 or 503, a conditional
// write that met another one (409), and Retry-After. There is no retry budget across calls: the
// caller bounds the whole.
func newRetryer(attempts int, maxBackoff time.Duration) aws.Retryer {
	if attempts == 0 {
		attempts = 5
	}
	if maxBackoff == 0 {
		maxBackoff = 20 * time.Second
	}
	jitter := retry.NewExponentialJitterBackoff(maxBackoff)
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.MaxBackoff = maxBackoff
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			d, delayErr := jitter.BackoffDelay(attempt, err)
			return max(d, retryAfter(err)), delayErr
		})
		// Prepended: the first that knows decides.
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			if retryAfter(err) > maxBackoff {
				return aws.FalseTernary // too long to wait inside a call: the caller gets the hint
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return aws.TrueTernary // an answer that broke off
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
		o.Retryables = append(o.Retryables,
			retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}},
			retry.RetryableErrorCode{Codes: map[string]struct{}{"ConditionalRequestConflict": {}, "OperationAborted": {}, "BadDigest": {}, "XAmzContentSHA256Mismatch": {}, "IncompleteBody": {}}},
		)
	})
}

// hasStatus reports whether a call failed with an HTTP status (0: none) or an error code of the
// store.
func hasStatus(err error, status int, codes ...string) bool {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && status != 0 && resp.HTTPStatusCode() == status { // it is 0 of a call without an answer
		return true
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		for _, code := range codes {
			if api.ErrorCode() == code {
				return true
			}
		}
	}
	return false
}
