package cv

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxErrorBytes   = 64 << 10
	maxMessageRunes = 400
	// maxRetryAfter is the longest wait that the service is granted.
	maxRetryAfter = 5 * time.Minute
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
		// Storage quotes the string that was signed in its explanation: only its code is kept.
		e.Code = storageCode(resp.Header, body)
	} else {
		e.Code, text, e.gateway = errorBody(body, resp.Header.Get("Content-Type"))
	}
	if broken != nil && e.Code == "" && op != opBlob && e.Status != http.StatusUnauthorized {
		e.broken = true
		e.Err = &kinded{ErrUnavailable, fmt.Errorf("the answer broke off before its code: %w", broken)}
	}
	wait, ok := retryAfter(resp.Header, now)
	if !ok && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500) {
		wait = retryAfterText(text)
	}
	e.RetryAfter, e.longer = min(wait, maxRetryAfter), wait > maxRetryAfter
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

// errorBody reads the API's own error shape, the gateway's (as which an answer with both counts),
// or makes something short of what is neither.
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
		return cleanCode(string(shape.Code)), string(shape.Message), shape.StatusCode != 0 || shape.Error != nil
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

// isRequestID reports whether a text looks like the name of an exchange.
func isRequestID(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._:|+/-", c) >= 0:
		default:
			return false
		}
	}
	return 1 <= len(s) && len(s) <= 128
}

// requestID is the service's name for an exchange.
func requestID(h http.Header) string {
	for _, name := range [...]string{"Apim-Request-Id", "Request-Id", "X-Ms-Request-Id"} {
		if id := h.Get(name); isRequestID(id) {
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
		if !unicode.IsPrint(r) || r == utf8.RuneError { // also what turns the direction of text
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
		return max(at.Sub(now), 0), true
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

// seconds reads digits; too many are more than the longest wait.
func seconds(s string) time.Duration {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter + 1
	}
	return time.Duration(n) * time.Second
}
