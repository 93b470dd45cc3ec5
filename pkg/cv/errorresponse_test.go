package cv

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cenkalti/backoff/v4"
)

func TestErrorsOfTheService(t *testing.T) {
	html := "<!DOCTYPE html><html><body>502 &mdash; " + strings.Repeat("x", 100_000) + "</body></html>"
	for name, c := range map[string]struct {
		status int
		body   string
		header []string
		kinds  string
		tries  int
		want   Error // Op, Status and RequestID are added
	}{
		"API shape":            {404, `{"code":"NotFoundProject","message":"Project not found."}`, nil, "gone", 1, Error{Code: "NotFoundProject", Message: "Project not found."}},
		"bare API not found":   {404, `{"code":"NotFound","message":""}`, nil, "gone", 1, Error{Code: "NotFound", Message: "Not Found"}},
		"gateway not found":    {404, `{"error":{"code":"404","message": "Resource not found"}}`, nil, "misconfigured", 1, Error{Code: "404", Message: "Resource not found"}},
		"gateway, named":       {404, `{"error":{"code":"NotFound","message": "Resource not found"}}`, nil, "misconfigured", 1, Error{Code: "NotFound", Message: "Resource not found"}},
		"gateway, other shape": {404, `{ "statusCode": 404, "message": "Resource not found" }`, nil, "misconfigured", 1, Error{Message: "Resource not found"}},
		"both shapes":          {404, `{"code":"NotFound","error":{"code":"404"}}`, nil, "misconfigured", 1, Error{Code: "NotFound", Message: "Not Found"}},
		"no code at all":       {404, `null`, nil, "misconfigured", 1, Error{Message: "Not Found"}},
		"a null code":          {404, `{"code":null,"message":null}`, nil, "misconfigured", 1, Error{Message: "Not Found"}},
		"a code cut short":     {404, `{"code":"NotFoundTag"`, nil, "misconfigured", 1, Error{Message: "answer of type application/json"}},
		"API code, nested":     {404, `{"error":{"code":"NotFoundIteration","message":"m"}}`, nil, "gone", 1, Error{Code: "NotFoundIteration", Message: "m"}},
		"no subscription":      {404, `{"code":"NotFoundApimSubscription","message":"m"}`, nil, "misconfigured", 1, Error{Code: "NotFoundApimSubscription", Message: "m"}},
		"empty 404":            {404, ``, nil, "misconfigured", 1, Error{Message: "Not Found"}},
		"untrained":            {404, `{"code":"NotFoundIterationPerformance","message":"m"}`, nil, "untrained", 1, Error{Code: "NotFoundIterationPerformance", Message: "m"}},
		"not trained":          {400, `{"code":"BadRequestIterationIsNotTrained","message":"m"}`, nil, "untrained", 1, Error{Code: "BadRequestIterationIsNotTrained", Message: "m"}},
		"published":            {400, `{"code":"BadRequestIterationIsPublished","message":"m"}`, nil, "published", 1, Error{Code: "BadRequestIterationIsPublished", Message: "m"}},
		"read-only":            {403, `{"code":"ForbiddenDRModeEnabled","message":"m"}`, nil, "read-only", 1, Error{Code: "ForbiddenDRModeEnabled", Message: "m"}},
		"forbidden":            {403, `{"code":"ForbiddenUserInsufficientCapability","message":"m"}`, nil, "misconfigured", 1, Error{Code: "ForbiddenUserInsufficientCapability", Message: "m"}},
		"wrong key": {
			401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key ` + testKey + ` or wrong API endpoint."}}`, nil, "misconfigured", 1,
			Error{Code: "401", Message: "Access denied due to invalid subscription key REDACTED or wrong API endpoint."},
		},
		"numeric code":      {401, `{"error":{"code":401,"message":"m"}}`, nil, "misconfigured", 1, Error{Code: "401", Message: "m"}},
		"revoked key":       {400, `{"code":"BadRequestCustomerManagedKeyRevoked","message":"m"}`, nil, "misconfigured", 1, Error{Code: "BadRequestCustomerManagedKeyRevoked", Message: "m"}},
		"bad request":       {400, `{"code":"BadRequestInvalidIds","message":"one\n two\u0007"}`, nil, "", 1, Error{Code: "BadRequestInvalidIds", Message: "one two"}},
		"conflict":          {409, `{"code":"Conflict","message":null}`, nil, "", 1, Error{Code: "Conflict", Message: "Conflict"}},
		"link in a message": {400, `{"code":"BadRequest","message":"cannot read https://h.example/i/x?sv=1&sig=abc%3D, i-1/t-2?sv=1&sig=x or sig=abc; why?"}`, nil, "", 1, Error{Code: "BadRequest", Message: "cannot read https://h.example/i/x i-1/t-2 or why?"}},
		"throttled, text": {
			429, `{"error":{"code":"429","message":"Requests to the GetTags Operation under Custom_Vision_Training_3.3 have exceeded rate limit. Please retry after 1 second."}}`, nil, "throttled", 5,
			Error{Code: "429", Message: "Requests to the GetTags Operation under Custom_Vision_Training_3.3 have exceeded rate limit. Please retry after 1 second.", RetryAfter: time.Second},
		},
		"throttled, header":            {429, `{"error":{"code":"429","message":"Please retry after 7 seconds"}}`, []string{"Retry-After", "2"}, "throttled", 5, Error{Code: "429", Message: "Please retry after 7 seconds", RetryAfter: 2 * time.Second}},
		"throttled, date":              {429, ``, []string{"Retry-After", "Sun, 01 Mar 2026 13:00:00 GMT"}, "throttled", 1, Error{Message: "Too Many Requests", RetryAfter: 5 * time.Minute, longer: true}},
		"throttled, ten years":         {429, ``, []string{"Retry-After", "315360000"}, "throttled", 1, Error{Message: "Too Many Requests", RetryAfter: 5 * time.Minute, longer: true}},
		"unavailable, for ever":        {503, ``, []string{"Retry-After", "99999999999999999999"}, "throttled unavailable", 1, Error{Message: "Service Unavailable", RetryAfter: 5 * time.Minute, longer: true}},
		"throttled, ten years in text": {429, `{"error":{"code":"429","message":"Please retry after 315360000 seconds."}}`, nil, "throttled", 1, Error{Code: "429", Message: "Please retry after 315360000 seconds.", RetryAfter: 5 * time.Minute, longer: true}},
		"throttled, five minutes":      {429, ``, []string{"Retry-After", "300"}, "throttled", 1, Error{Message: "Too Many Requests", RetryAfter: 5 * time.Minute}},
		"throttled, date gone":         {429, ``, []string{"Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT"}, "throttled", 5, Error{Message: "Too Many Requests"}},
		"throttled, nonsense":          {429, `retry after 10 seconds`, []string{"Retry-After", "soon"}, "throttled", 2, Error{Message: "answer of type application/json", RetryAfter: 0}},
		"throttled, long":              {429, ``, []string{"Retry-After", "60"}, "throttled", 1, Error{Message: "Too Many Requests", RetryAfter: time.Minute}},
		"unavailable, long":            {503, ``, []string{"Retry-After", "60"}, "throttled unavailable", 1, Error{Message: "Service Unavailable", RetryAfter: time.Minute}},
		"server error":                 {500, `{"code":"ErrorUnknown","message":"m"}`, nil, "unavailable", 5, Error{Code: "ErrorUnknown", Message: "m"}},
		"request timeout":              {408, ``, nil, "unavailable", 5, Error{Message: "Request Timeout"}},
		"page of a proxy":              {502, html, []string{"Content-Type", "text/html; charset=utf-8"}, "unavailable", 5, Error{Message: "answer of type text/html"}},
		"page that says it is JSON":    {502, "<html>", nil, "unavailable", 5, Error{Message: "answer of type application/json"}},
		"plain text":                   {502, "upstream \xff gone", []string{"Content-Type", "text/plain"}, "unavailable", 5, Error{Message: "upstream gone"}},
		"code that is none":            {400, `{"code":"<b>","message":"m"}`, nil, "", 1, Error{Message: "m"}},
		"shape of another kind":        {400, `{"error":"invalid_request"}`, nil, "", 1, Error{Message: "answer of type application/json"}},
		"an unknown status":            {599, ``, nil, "unavailable", 5, Error{}},
		"not JSON although it says so": {400, `[1,2]`, nil, "", 1, Error{Message: "answer of type application/json"}},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header
			w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Apim-Request-Id", "r-1")
				rw.Header().Set("Content-Type", "application/json")
				for i := 0; i+1 < len(header); i += 2 {
					rw.Header().Set(header[i], header[i+1])
				}
				rw.WriteHeader(c.status)
				_, _ = io.WriteString(rw, c.body)
			})
			_, err := w.GetTags(t.Context(), idP, idI)
			var e *Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			if name == "throttled, nonsense" { // neither header nor text can be read: as if there was no hint
				c.tries = 5
			}
			c.want.Op, c.want.Status, c.want.RequestID = "GetTags", c.status, "r-1"
			got := *e
			got.gateway = false
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			checkKinds(t, err, c.kinds)
			if n := len(w.requests()); n != c.tries {
				t.Errorf("%d tries, want %d", n, c.tries)
			}
			if RetryAfter(fmt.Errorf("wrapped: %w", err)) != c.want.RetryAfter {
				t.Error("RetryAfter")
			}
			var permanent *backoff.PermanentError
			if errors.As(err, &permanent) {
				t.Error("backoff.Permanent got out")
			}
			if text := err.Error(); strings.ContainsAny(text, "\n\a") || strings.Contains(text, testKey) || strings.Contains(text, "sig=") || len(text) > 2000 || !utf8.ValidString(text) {
				t.Errorf("text %q", text)
			}
		})
	}
}

func TestRequestIDs(t *testing.T) {
	for name, c := range map[string]struct {
		header map[string]string
		want   string
	}{
		"both":        {map[string]string{"apim-request-id": "a", "Request-Id": "b"}, "a"},
		"one":         {map[string]string{"Request-Id": "|b.c_1."}, "|b.c_1."},
		"storage":     {map[string]string{"x-ms-request-id": "d"}, "d"},
		"none":        {nil, ""},
		"no id":       {map[string]string{"apim-request-id": "https://x/?sig=1", "Request-Id": "b"}, "b"},
		"all":         {map[string]string{"Request-Id": "azAZ09._:|+/-"}, "azAZ09._:|+/-"},
		"blank":       {map[string]string{"Request-Id": "a b"}, ""},
		"not ASCII":   {map[string]string{"Request-Id": "\u00e4"}, ""},
		"just fits":   {map[string]string{"Request-Id": strings.Repeat("a", 128)}, strings.Repeat("a", 128)},
		"far too big": {map[string]string{"apim-request-id": strings.Repeat("a", 129)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range c.header {
				h.Set(k, v)
			}
			if got := requestID(h); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}

// FuzzRetryAfter: whatever the header and the message say, the wait is between nothing and five
// minutes, whole numbers are read as such, and a longer wait is told.
func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "1.5", "00", "300", "301", "99999999999999999999", "Sun, 01 Mar 2026 13:00:00 GMT", "Please retry after 26 seconds.", "retry after  1 second", "RETRY AFTER 3 SECONDS"} {
		f.Add(s)
	}
	wait := func(t *testing.T, header http.Header, message string) time.Duration {
		t.Helper()
		header.Set("Content-Type", "text/plain")
		resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: header, Body: io.NopCloser(strings.NewReader(message))}
		err := checkResponse("GetTags", resp, testStart, nil)
		d := RetryAfter(err)
		if d < 0 || d > 5*time.Minute {
			t.Errorf("%v", err)
		}
		if strings.Contains(err.Error(), "asked for longer") && d != 5*time.Minute {
			t.Errorf("%v", err)
		}
		return d
	}
	f.Fuzz(func(t *testing.T, s string) {
		header := wait(t, http.Header{"Retry-After": {s}}, "")
		wait(t, http.Header{}, s)
		if n := len(s); n > 0 && n < 5 && digits(s) {
			var want int
			_, _ = fmt.Sscanf(s, "%d", &want)
			want = min(want, 300)
			text := wait(t, http.Header{}, "Please retry after "+s+" second...")
			if header != time.Duration(want)*time.Second || text != header {
				t.Errorf("%q: header %v, text %v", s, header, text)
			}
		}
	})
}
