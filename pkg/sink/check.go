package sink

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A check makes each request at most checkAttempts times, with pauses of at most checkBackoff: its
// caller waits for the answer, and checks again soon.
const (
	checkAttempts = 2
	checkBackoff  = 250 * time.Millisecond
)

// ErrNotS3 means that what answers at the endpoint is a web page, not a store.
var ErrNotS3 = errors.New("the answer is a web page")

// ErrWantsTLS means that a request was made without TLS to a port that speaks nothing but TLS.
var ErrWantsTLS = errors.New("the port speaks TLS only, and was asked without")

// Check asks whether the bucket is there and may be listed below a prefix. It answers soon: it
// repeats a failed request only once. A store that merely throttles (ErrThrottled) has passed; a
// 503 that does not say so in S3's words is ErrUnavailable, since a gateway before a dead store
// gives it. The answer to HeadBucket has no body to give a reason in, so when it fails, a listing
// asks for the reason; if the listing succeeds, the bucket has passed.
//
// Errors: those of every request, most with a Code, and with the bucket's Region if that is not the
// client's; ErrWantsTLS; ErrNotS3. Operations: HeadBucket, ListObjectsV2.
func (s *Store) Check(ctx context.Context, below Key) error {
	op := "check bucket " + s.o.Bucket
	soon := func(o *s3.Options) { o.Retryer = newRetryer(checkAttempts, checkBackoff) }
	out, err := s.api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.o.Bucket}, soon)
	switch {
	case err == nil && isPage(out.ResultMetadata):
		return &Error{Op: op, Err: ErrNotS3, kind: ErrMisconfigured}
	case err == nil:
		return nil
	}
	region := s.otherRegion(err)
	if answered(err) {
		_, err = s.api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &s.o.Bucket, Prefix: aws.String(string(below)), MaxKeys: aws.Int32(1)}, soon, checksumsAsHeaders)
	}
	var e *Error
	if !errors.As(wrapError(ctx, op, "", err), &e) {
		return nil
	}
	if errors.Is(e, ErrThrottled) {
		if e.Status != http.StatusServiceUnavailable || saysWhy(err) {
			return nil
		}
		e.kind = ErrUnavailable
	}
	e.Region = cmp.Or(s.otherRegion(err), region)
	switch {
	case ctx.Err() != nil:
	case e.Region != "":
		e.kind = ErrMisconfigured
	case (e.Status == 0 || e.Status == http.StatusBadRequest) && s.wantsTLS(ctx):
		return &Error{Op: op, Err: ErrWantsTLS, kind: ErrMisconfigured}
	}
	return e
}

// isPage reports whether a successful answer is a web page.
func isPage(answer middleware.Metadata) bool {
	resp, ok := awsmiddleware.GetRawResponse(answer).(*smithyhttp.Response)
	return ok && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html")
}

// saysWhy reports whether a refusal has words of the store. Where it has none, the SDK puts those
// of the status.
func saysWhy(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorMessage() != http.StatusText(http.StatusServiceUnavailable)
}

// answered reports whether a failed call was answered by the store.
func answered(err error) bool {
	var resp *smithyhttp.ResponseError
	return errors.As(err, &resp) && resp.HTTPStatusCode() != 0
}

// expectedRegion is how AWS and stores of its kind name the region in an error's text.
var expectedRegion = regexp.MustCompile(`region .*is wrong; expecting ['"]([A-Za-z0-9-]+)['"]`)

// otherRegion is the bucket's region as a failed answer names it; "" if it names none, or that of
// the client.
func (s *Store) otherRegion(err error) string {
	region := regionOf(err)
	if region == s.api.Options().Region {
		return ""
	}
	return region
}

// regionOf is the bucket's region as a failed answer names it; "" if it names none.
func regionOf(err error) string {
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) && resp.Response != nil {
		if region := resp.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
			return region
		}
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		if m := expectedRegion.FindStringSubmatch(api.ErrorMessage()); m != nil {
			return m[1]
		}
	}
	return ""
}

// wantsTLS reports whether the endpoint is an http URL and its port answers with TLS.
func (s *Store) wantsTLS(ctx context.Context) bool {
	u, err := url.Parse(aws.ToString(s.api.Options().BaseEndpoint))
	if err != nil || u.Scheme != "http" {
		return false
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	conn, err := (&tls.Dialer{}).DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
		return true
	}
	var (
		verify *tls.CertificateVerificationError
		alert  tls.AlertError
		x509Of x509.UnknownAuthorityError
	)
	return errors.As(err, &verify) || errors.As(err, &alert) || errors.As(err, &x509Of)
}
