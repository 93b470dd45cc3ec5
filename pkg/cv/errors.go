package cv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The kinds of failure, for errors.Is.
var (
	// ErrGone: 404 with the API's own code: project, iteration, tag, image, … is not there.
	ErrGone = errors.New("not there")
	// ErrThrottled: 429, or a server error with a Retry-After (which is ErrUnavailable too).
	// Error.RetryAfter is how long to wait, if the service said so.
	ErrThrottled = errors.New("throttled")
	// ErrMisconfigured: endpoint or credential are wrong: 401, 403 about credential or role, 404
	// without an API code, a redirect, an answer of a type other than JSON, a TLS failure, an
	// unknown or unreachable host. It concerns this deployment, never the thing that was asked for.
	ErrMisconfigured = errors.New("endpoint or credential is wrong")
	// ErrUnavailable: 408, 5xx, a reset connection, a short or broken body, a timeout, a 2xx answer
	// that says nothing (null, or without what it must have). Worth another try later.
	ErrUnavailable = errors.New("unavailable")
	// ErrTooSlow: a download came more slowly than Options.MinDownloadRate. It is ErrUnavailable
	// too, but is not tried again within the same call.
	ErrTooSlow = errors.New("too slow")
	// ErrReadOnly: the project is in disaster recovery mode.
	ErrReadOnly = errors.New("read-only during disaster recovery")
	// ErrPublished: the iteration is published.
	ErrPublished = errors.New("iteration is published")
	// ErrUntrained: the iteration has no performance, since it was not trained.
	ErrUntrained = errors.New("iteration is not trained")
	// ErrLinkExpired: storage refused a download link, and a fresh one too.
	ErrLinkExpired = errors.New("download link expired")
	// ErrBadLink: a download link, or where it redirects to, is not a URI.
	ErrBadLink = errors.New("bad download link")
	// ErrHostNotAllowed: a download link or its redirect points to where links may not.
	ErrHostNotAllowed = errors.New("download host is not allowed")
	// ErrBatchTooBig: the call names more things than the service takes at once: 400 with a code
	// that says so, 413 or 414. Fewer at once may be taken.
	ErrBatchTooBig = errors.New("too many at once")
	// ErrTooLarge: a download or an answer exceeds its limit.
	ErrTooLarge = errors.New("too large")
)

// Error is a failed call. Match it with errors.Is against the sentinels of this package; no field
// holds a key, token or query.
type Error struct {
	Op         string        // the Swagger's operation id, or GetBlob for a download from storage
	Status     int           // HTTP status; 0 when there was no answer
	Code       string        // the API's code, the gateway's or storage's; empty when none could be read
	Message    string        // the service's words, shortened
	RequestID  string        // as the service names the exchange
	RetryAfter time.Duration // the wait the service asked for, at most 5 minutes; 0 when it did not
	Err        error         // what lies below, when it is not the service's answer

	gateway bool   // the gateway's error shape
	broken  bool   // the answer broke off before its code
	longer  bool   // the service asked for a longer wait than RetryAfter
	role    string // the role that allows the call, of a 403 to an identity of Entra ID
}

// opBlob names downloads from storage.
const opBlob, opArtifact = "GetBlob", "GetArtifact"

// Error says what was called, what was answered and why that is an error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d", e.Status)
		if e.Code != "" && e.Code != strconv.Itoa(e.Status) {
			b.WriteString(" " + e.Code)
		}
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + clean(e.Err.Error()))
	}
	if e.role != "" && e.Code != codeReadOnly {
		b.WriteString(": the identity needs the role " + e.role + " on the resource")
	}
	if e.longer {
		fmt.Fprintf(&b, " (retry after %s, though the service asked for longer)", e.RetryAfter)
	} else if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (retry after %s)", e.RetryAfter)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// Unwrap gives what lies below.
func (e *Error) Unwrap() error { return e.Err }

// Is sorts the answer into the kinds of this package.
func (e *Error) Is(target error) bool {
	storage := e.Op == opBlob
	switch target {
	case ErrGone:
		return !storage && e.Status == http.StatusNotFound && e.notFoundCode() && e.Code != codeNoPerformance
	case ErrThrottled:
		return e.Status == http.StatusTooManyRequests || e.RetryAfter > 0 && (e.Status == http.StatusRequestTimeout || e.Status >= 500)
	case ErrMisconfigured:
		return !storage && e.misconfigured()
	case ErrUnavailable:
		return e.Status == http.StatusRequestTimeout || e.Status >= 500
	case ErrReadOnly:
		return e.Code == codeReadOnly
	case ErrPublished:
		return e.Code == codePublished
	case ErrBatchTooBig:
		return !storage && (e.Status == http.StatusRequestEntityTooLarge || e.Status == http.StatusRequestURITooLong ||
			e.Code == codeBatchSize || e.Code == codeImageCount || e.Code == codePredictionCount)
	case ErrUntrained:
		return e.Code == codeNoPerformance || e.Code == codeNotTrained
	}
	return false
}

// Codes of the API that mean more than their status.
const (
	codeReadOnly        = "ForbiddenDRModeEnabled"
	codePublished       = "BadRequestIterationIsPublished"
	codeNoPerformance   = "NotFoundIterationPerformance"
	codeNotTrained      = "BadRequestIterationIsNotTrained"
	codeNoSubscription  = "NotFoundApimSubscription"
	codeKeyRevoked      = "BadRequestCustomerManagedKeyRevoked"
	codeSubscription    = "BadRequestSubscriptionApi"
	codeBatchSize       = "BadRequestExceededBatchSize"
	codeImageCount      = "BadRequestImageExceededCount"
	codePredictionCount = "BadRequestPredictionIdsExceededCount"
	codeBadArtifact     = "BadRequestInvalidArtifactUri"
)

// notFoundCode reports whether the API itself, not the gateway before it, answered that something
// is not there. The gateway's own "NotFound" only means that the path is wrong.
func (e *Error) notFoundCode() bool {
	return strings.HasPrefix(e.Code, "NotFound") && e.Code != codeNoSubscription && !(e.gateway && e.Code == "NotFound")
}

func (e *Error) misconfigured() bool {
	switch {
	case e.broken: // what the service said is not known
		return false
	case e.Code == codeNoSubscription, e.Code == codeKeyRevoked, e.Code == codeSubscription:
		return true
	case e.Status == http.StatusUnauthorized:
		return true
	case e.Status == http.StatusForbidden:
		return e.Code != codeReadOnly
	case e.Status == http.StatusNotFound:
		// An artifact that is not there may be answered without a code; that proves nothing about
		// our endpoint.
		return !e.notFoundCode() && e.Op != opArtifact
	}
	return 300 <= e.Status && e.Status < 400
}

// RetryAfter is how long the service asked to wait, as the nearest Error in err's chain has it; 0
// when it did not.
func RetryAfter(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// kinded is a failure without an answer, sorted into a kind. It reads as the failure alone.
type kinded struct {
	kind error
	err  error
}

func (k *kinded) Error() string { return k.err.Error() }

func (k *kinded) Unwrap() []error { return []error{k.kind, k.err} }

// unsent is a failure to reach the host at all: it is retried at once, and an operator must fix it
// if it lasts.
type unsent struct{ kinded }

// invalid is a call that was not made because its arguments cannot be right.
func invalid(op string, err error) error { return &Error{Op: op, Err: err} }

// contextError is the error of a call whose context is done: the context's cause, and the last real
// failure if there was one.
func contextError(ctx context.Context, op string, last error) error {
	why := context.Cause(ctx)
	if !errors.Is(why, ctx.Err()) {
		why = &kinded{kind: ctx.Err(), err: why}
	}
	if last != nil {
		var e *Error
		if errors.As(last, &e) {
			e := *e
			e.Err = errors.Join(why, e.Err)
			return &e
		}
		why = fmt.Errorf("%w; before that: %w", why, last)
	}
	return &Error{Op: op, Err: why}
}

// transportError sorts what a transport failed with.
func transportError(op string, err error) error {
	var (
		dns    *net.DNSError
		dial   *net.OpError
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
	)
	sorted := error(&kinded{ErrUnavailable, err})
	switch {
	case errors.Is(err, ErrHostNotAllowed):
		sorted = err
	case errors.As(err, &verify), errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		sorted = &kinded{ErrMisconfigured, err}
	case op == opBlob:
	case errors.As(err, &dns) && dns.IsNotFound:
		sorted = &kinded{ErrMisconfigured, err}
	case errors.As(err, &dial) && dial.Op == "dial":
		sorted = &unsent{kinded{ErrMisconfigured, err}}
	}
	return &Error{Op: op, Err: sorted}
}
