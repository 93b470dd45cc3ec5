package sink

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var (
	// ErrNotFound says that there is no object at the key.
	ErrNotFound = errors.New("no such object")
	// ErrConflict says that a conditional request lost: another writer wrote the key.
	ErrConflict = errors.New("written by another writer")
	// ErrThrottled says that the store asks for a slower pace (SlowDown, 503, 429). Retry later,
	// after RetryAfter when it is set.
	ErrThrottled = errors.New("throttled by the store")
	// ErrUnavailable says that a later try may succeed: 5xx, a reset or timed-out connection, a
	// body that arrived damaged.
	ErrUnavailable = errors.New("store not available")
	// ErrMisconfigured is the operator's problem: refused credentials, a missing bucket, a host
	// that is not there, a full disk.
	ErrMisconfigured = errors.New("store refused or not reachable")
	// ErrNotKept says that the store did not keep what it was asked to keep, although it reported
	// success. Another try does not help.
	ErrNotKept = errors.New("store did not keep what was asked")
	// ErrNotEncrypted is the ErrNotKept of what is not encrypted as it was asked to be.
	ErrNotEncrypted = errors.New("not encrypted as asked")
	// ErrMixed says that a stored object of the bag has another content than the one this run
	// derives from the same facts. It is an internal error: a bag never mixes the content of two
	// runs.
	ErrMixed = errors.New("stored object has other content than this bag's")
)

// Error is a failed operation on the store. Match it with errors.Is and the sentinels above; one
// that matches none of the retryable ones (ErrThrottled, ErrUnavailable, ErrMisconfigured) will
// fail the same way again. When the operation ended because its context did, it matches none of
// them but the context's cause.
type Error struct {
	Op         string        // what was tried, a verb and a noun: "put object"
	Key        Key           // the key or prefix concerned; empty when none is
	Status     int           // HTTP status, 0 when there was no answer
	Code       string        // the store's error code, empty when it gave none
	Region     string        // of Check: the bucket's, when it is not the one asked for
	RetryAfter time.Duration // the store's hint, 0 when it gave none
	Err        error

	kind error // the sentinel it matches, nil when none
}

// Error names the operation, the key and the store's answer.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Key != "" {
		b.WriteByte(' ')
		b.WriteString(string(e.Key))
	}
	if e.Code != "" || e.Status != 0 {
		b.WriteString(": ")
		switch {
		case e.Code == "":
			fmt.Fprintf(&b, "status %d", e.Status)
		case e.Status == 0:
			b.WriteString(e.Code)
		default:
			fmt.Fprintf(&b, "%s (status %d)", e.Code, e.Status)
		}
	}
	if text := e.detail(); text != "" {
		b.WriteString(": ")
		b.WriteString(text)
	}
	return b.String()
}

// detail is the part of the cause that says something new.
func (e *Error) detail() string {
	var api smithy.APIError
	if errors.As(e.Err, &api) {
		return api.ErrorMessage()
	}
	var u *url.Error
	if errors.As(e.Err, &u) { // without the URL: the key is named already
		return u.Err.Error()
	}
	var op *smithy.OperationError
	if errors.As(e.Err, &op) {
		return op.Err.Error()
	}
	if e.Err == nil {
		if e.kind != nil {
			return e.kind.Error()
		}
		return ""
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the sentinel of the error's kind.
func (e *Error) Is(target error) bool { return e.kind != nil && e.kind == target }

// wrapError makes an Error of what an SDK call returned. It gives nil for nil, and an Error as it
// is.
func wrapError(ctx context.Context, op string, key Key, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	e := &Error{Op: op, Key: key, Err: err}
	if ctx.Err() != nil {
		e.Err = context.Cause(ctx)
		return e
	}
	if text, ok := lacksCredentials(err); ok { // an answer behind it is not the store's
		e.Err, e.kind = errors.New(text), ErrMisconfigured
		return e
	}
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		e.Status = resp.HTTPStatusCode()
		e.RetryAfter = retryAfter(err)
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code = api.ErrorCode()
		if e.Code == "UnknownError" { // the SDK's word for an answer without a code
			e.Code = ""
		}
	}
	e.kind = kindOf(e.Status, e.Code, err)
	return e
}

// newError is an Error whose kind this package found out itself.
func newError(op string, key Key, kind error, format string, args ...any) *Error {
	return &Error{Op: op, Key: key, Err: fmt.Errorf(format, args...), kind: kind}
}

// codeOfHead is the SDK's code of a 400 to a HEAD, whose answer has none.
const codeOfHead = "BadRequest"

// codeKinds is the meaning of the error codes of S3 and its kin whose status alone says too little.
var codeKinds = map[string]error{
	"NoSuchKey":     ErrNotFound,
	"NotFound":      ErrNotFound,
	"NoSuchVersion": ErrNotFound,
	"NoSuchUpload":  ErrNotFound,

	"PreconditionFailed": ErrConflict,

	"ConditionalRequestConflict": ErrUnavailable, // another write of the key is under way: try again
	"OperationAborted":           ErrUnavailable,
	"InternalError":              ErrUnavailable,
	"RequestTimeout":             ErrUnavailable,
	"BadDigest":                  ErrUnavailable, // damaged on the way
	"XAmzContentSHA256Mismatch":  ErrUnavailable,
	"IncompleteBody":             ErrUnavailable,

	"SlowDown":             ErrThrottled,
	"ServiceUnavailable":   ErrThrottled,
	"RequestLimitExceeded": ErrThrottled,
	"Throttling":           ErrThrottled,
	"ThrottlingException":  ErrThrottled,
	"TooManyRequests":      ErrThrottled,

	codeOfHead:                     ErrMisconfigured, // an expired token, a wrong region
	"NoSuchBucket":                 ErrMisconfigured,
	"InvalidBucketName":            ErrMisconfigured,
	"AccessDenied":                 ErrMisconfigured,
	"AllAccessDisabled":            ErrMisconfigured,
	"AccountProblem":               ErrMisconfigured,
	"InvalidAccessKeyId":           ErrMisconfigured,
	"SignatureDoesNotMatch":        ErrMisconfigured,
	"ExpiredToken":                 ErrMisconfigured,
	"InvalidToken":                 ErrMisconfigured,
	"TokenRefreshRequired":         ErrMisconfigured,
	"RequestTimeTooSkewed":         ErrMisconfigured,
	"AuthorizationHeaderMalformed": ErrMisconfigured,
	"PermanentRedirect":            ErrMisconfigured,
	"QuotaExceeded":                ErrMisconfigured,
	"XMinioStorageFull":            ErrMisconfigured,
}

// kindOf sorts an error of the SDK into the sentinels; nil means that it is none of them, and
// permanent.
func kindOf(status int, code string, err error) error {
	if kind, ok := codeKinds[code]; ok {
		return kind
	}
	if strings.HasPrefix(code, "KMS.") {
		return ErrMisconfigured
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMovedPermanently,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect, http.StatusInsufficientStorage:
		return ErrMisconfigured // a 404 without one of the codes above is not an S3 store's answer about a key
	case http.StatusPreconditionFailed:
		return ErrConflict
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrThrottled
	case http.StatusRequestTimeout, http.StatusConflict:
		return ErrUnavailable
	}
	switch {
	case status >= 500 && status != http.StatusNotImplemented:
		return ErrUnavailable
	case status >= 400:
		return nil
	case operatorsFault(err):
		return ErrMisconfigured
	default:
		return ErrUnavailable
	}
}

// lacksCredentials reports whether there were no credentials to sign a request with, and why: the
// machine's metadata, or the service for web identities, gave none. The SDK has no type for it.
func lacksCredentials(err error) (string, bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); strings.HasPrefix(text, "get identity: ") {
			return text, true
		}
	}
	return "", false
}

// operatorsFault reports whether a call failed before any answer because of an address or a
// certificate.
func operatorsFault(err error) bool {
	var (
		dns      *net.DNSError
		unknown  x509.UnknownAuthorityError
		host     x509.HostnameError
		invalid  x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		plain    tls.RecordHeaderError
		operator = errors.As(err, &dns) && dns.IsNotFound ||
			errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid) || errors.As(err, &verify) || errors.As(err, &plain) ||
			errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
	)
	if operator {
		return true
	}
	// The SDK has no types for these two steps that precede a request.
	text := err.Error()
	return strings.Contains(text, "resolve auth scheme: ") || strings.Contains(text, "not resolve endpoint")
}

// maxRetryAfter is the longest wait that a store is granted, in seconds.
const maxRetryAfter = 5 * 60

// retryAfter is the hint of a failed answer's Retry-After header in seconds, at most maxRetryAfter,
// and 0 when there is none. Dates are not used by stores.
func retryAfter(err error) time.Duration {
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &resp) || resp.Response == nil {
		return 0
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(resp.Response.Header.Get("Retry-After")))
	if err != nil || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, maxRetryAfter)) * time.Second
}
