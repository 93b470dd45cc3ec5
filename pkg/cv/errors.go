package cv

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The kinds of failure, for errors.Is.
var (
	// ErrGone: 404 with the API's own code: project, iteration, tag, image, … is not there.
	ErrGone = errors.New("not there")
	// ErrThrottled: 429, or a server error with a Retry-After (which is ErrUnavailable too).
	// Error.RetryAfter is how long to wait, if the service said so.
	ErrThrottled = errors.New("throttled")
	// ErrMisconfigured: endpoint or credential are wrong: 401, 403 about credential or role, 404
	// without an API code, a redirect, an answer that is no JSON, a TLS failure, an unknown or
	// unreachable host. It is about us, never about what was asked for.
	ErrMisconfigured = errors.New("endpoint or credential is wrong")
	// ErrUnavailable: 408, 5xx, a reset connection, a short or broken body, a timeout, a 2xx answer
	// that says nothing (null, or without what it must have). Worth another try later.
	ErrUnavailable = errors.New("unavailable")
	// ErrReadOnly: the project is in disaster recovery mode.
	ErrReadOnly = errors.New("read-only during disaster recovery")
	// ErrPublished: the iteration is published.
	ErrPublished = errors.New("iteration is published")
	// ErrUntrained: the iteration has no performance, since it was not trained.
	ErrUntrained = errors.New("iteration is not trained")
	// ErrLinkExpired: storage refused a download link, and a fresh one too.
	ErrLinkExpired = errors.New("download link expired")
	// ErrBadLink: a download link, or where it redirects to, is no URI.
	ErrBadLink = errors.New("bad download link")
	// ErrHostNotAllowed: a download link or its redirect points to where links may not.
	ErrHostNotAllowed = errors.New("download host is not allowed")
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
	RetryAfter time.Duration // the wait the service asked for; 0 when it did not
	Err        error         // what lies below, when it is not the service's answer

	gateway bool // the gateway's error shape
	broken  bool // the answer broke off before its code
}

// opBlob names downloads from storage.
const opBlob, opArtifact = "GetBlob", "GetArtifact"

// Error says what was called, what was answered and why that is an error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Status != 0 {
		fmt.Fprintf(&b, ": %d", e.Status)
		if e.Code != "" {
			b.WriteString(" " + e.Code)
		}
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + clean(e.Err.Error()))
	}
	if e.RetryAfter > 0 {
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
	case ErrUntrained:
		return e.Code == codeNoPerformance || e.Code == codeNotTrained
	}
	return false
}

// Codes of the API that mean more than their status.
const (
	codeReadOnly       = "ForbiddenDRModeEnabled"
	codePublished      = "BadRequestIterationIsPublished"
	codeNoPerformance  = "NotFoundIterationPerformance"
	codeNotTrained     = "BadRequestIterationIsNotTrained"
	codeNoSubscription = "NotFoundApimSubscription"
	codeKeyRevoked     = "BadRequestCustomerManagedKeyRevoked"
	codeSubscription   = "BadRequestSubscriptionApi"
	codeBadArtifact    = "BadRequestInvalidArtifactUri"
)

// notFoundCode tells whether the API itself, not the gateway before it, says that something is not
// there. The gateway's own "NotFound" says only that the path is wrong.
func (e *Error) notFoundCode() bool {
	return strings.HasPrefix(e.Code, "NotFound") && e.Code != codeNoSubscription && !(e.gateway && e.Code == "NotFound")
}

func (e *Error) misconfigured() bool {
	switch {
	case e.broken: // nobody knows what the service said
		return false
	case e.Code == codeNoSubscription, e.Code == codeKeyRevoked, e.Code == codeSubscription:
		return true
	case e.Status == http.StatusUnauthorized:
		return true
	case e.Status == http.StatusForbidden:
		return e.Code != codeReadOnly
	case e.Status == http.StatusNotFound:
		// An artifact that is not there may be answered without a code; that says nothing about our
		// endpoint.
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

func (k *kinded) Error() string   { return k.err.Error() }
func (k *kinded) Unwrap() []error { return []error{k.kind, k.err} }

// unsent is a failure to reach the host at all: worth another try at once, and in the end the
// operator's business.
type unsent struct{ kinded }

// invalid is a call that was not made because its arguments cannot be right.
func invalid(op string, err error) error { return &Error{Op: op, Err: err} }

// ended is the error of a call whose context is done: the context's cause, and the last real
// failure if there was one.
func ended(ctx context.Context, op string, last error) error {
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

const (
	maxErrorBytes   = 64 << 10
	maxMessageRunes = 400
	maxRetryAfter   = 24 * time.Hour
)

// checkResponse gives nil for a 2xx answer and an Error for every other, whatever its body is. It
// reads no more than a little of the body and leaves closing it to the caller.
func checkResponse(op string, resp *http.Response, now time.Time, secrets []string) error {
	if 200 <= resp.StatusCode && resp.StatusCode < 300 {
		return nil
	}
	e := &Error{Op: op, Status: resp.StatusCode, RequestID: requestID(resp.Header)}
	body, broken := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes)) // an unreadable body never hides the status
	text := ""
	if op == opBlob {
		// Storage explains itself with the very string that was signed: only its code is kept.
		e.Code = storageCode(resp.Header, body)
	} else {
		e.Code, text, e.gateway = errorBody(body, resp.Header.Get("Content-Type"))
	}
	if broken != nil && e.Code == "" && op != opBlob && e.Status != http.StatusUnauthorized {
		e.broken = true
		e.Err = &kinded{ErrUnavailable, fmt.Errorf("the answer broke off before its code: %w", broken)}
	}
	if d, ok := retryAfter(resp.Header, now); ok {
		e.RetryAfter = d
	} else if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		e.RetryAfter = retryAfterText(text)
	}
	if to, err := resp.Location(); err == nil && 300 <= resp.StatusCode && resp.StatusCode < 400 {
		text = "redirect to " + to.Host
	}
	if text == "" && op != opBlob {
		text = http.StatusText(resp.StatusCode)
	}
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, "REDACTED")
	}
	e.Message = clean(text)
	return e
}

// errorBody reads the API's own error shape, the gateway's, or makes something short of what is
// neither.
func errorBody(body []byte, contentType string) (code, message string, gateway bool) {
	var shape struct {
		Code    scalar `json:"code"`
		Message scalar `json:"message"`
		Error   *struct {
			Code    scalar `json:"code"`
			Message scalar `json:"message"`
		} `json:"error"`
		StatusCode int `json:"statusCode"`
	}
	text := strings.TrimPrefix(string(body), "\ufeff")
	if err := json.Unmarshal([]byte(text), &shape); err == nil {
		if shape.Code == "" && shape.Error != nil {
			return cleanCode(string(shape.Error.Code)), string(shape.Error.Message), true
		}
		return cleanCode(string(shape.Code)), string(shape.Message), shape.StatusCode != 0
	}
	mediaType, _, _ := mime.ParseMediaType(contentType)
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", "", true
	case mediaType == "text/plain" && !strings.HasPrefix(text, "<"):
		return "", text, true
	case mediaType == "" || strings.HasPrefix(text, "<") && mediaType == "text/plain":
		mediaType = "unknown"
	}
	return "", fmt.Sprintf("answer of type %s", mediaType), true
}

// scalar is a string, also when it was sent as a number.
type scalar string

func (s *scalar) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case string:
		*s = scalar(v)
	case float64:
		*s = scalar(strconv.FormatFloat(v, 'f', -1, 64))
	}
	return nil
}

var storageCodeText = regexp.MustCompile(`<Code>([A-Za-z0-9]{1,100})</Code>`)

func storageCode(h http.Header, body []byte) string {
	if code := h.Get("X-Ms-Error-Code"); code != "" {
		return cleanCode(code)
	}
	if m := storageCodeText.FindSubmatch(body); m != nil {
		return string(m[1])
	}
	return ""
}

// cleanCode lets through what looks like a code.
func cleanCode(s string) string {
	for _, r := range s {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._- ", r) {
			return ""
		}
	}
	return s[:min(len(s), 100)]
}

var requestIDText = regexp.MustCompile(`^[A-Za-z0-9._:|+/-]{1,128}$`)

// requestID is the service's name for an exchange.
func requestID(h http.Header) string {
	for _, name := range [...]string{"Apim-Request-Id", "Request-Id", "X-Ms-Request-Id"} {
		if id := h.Get(name); requestIDText.MatchString(id) {
			return id
		}
	}
	return ""
}

// queryText matches the query of anything like a URI, absolute or not, and a signature on its own.
var queryText = regexp.MustCompile(`(?i)\?[^\s"'<>]*=[^\s"'<>]*|(https?://[^\s"'<>?#]*)[?#][^\s"'<>]*|\bsig=[^\s"'<>]*`)

// clean makes foreign text fit for an error: one line, no queries, of bounded length.
func clean(s string) string {
	s = queryText.ReplaceAllString(s, "$1")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) > maxMessageRunes {
		s = string([]rune(s)[:maxMessageRunes]) + "…"
	}
	return s
}

// retryAfter reads the Retry-After header: seconds, or an HTTP date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if digits(v) {
		return seconds(v), true
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter), true
	}
	return 0, false
}

var retryText = regexp.MustCompile(`(?i)retry after (\d+) ?second`)

// retryAfterText reads the wait out of the gateway's sentence, such as "Please retry after 1
// second."
func retryAfterText(message string) time.Duration {
	m := retryText.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	return seconds(m[1])
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// seconds reads digits; too many are the longest wait.
func seconds(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return time.Duration(n) * time.Second
}
