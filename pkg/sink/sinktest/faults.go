package sinktest

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Effect is what a fault does to a request.
type Effect string

// Effects of faults.
const (
	Status Effect = "status" // answers Fault.Status with Fault.Code
	Reset  Effect = "reset"  // the connection breaks
	Cut    Effect = "cut"    // half of the body arrives: the request's when it has one, else the answer's
	End    Effect = "end"    // half of the answer's body arrives, and it looks as if it were all
	Hang   Effect = "hang"   // no answer until the request is given up
	Lie    Effect = "lie"    // answers success and does nothing
)

// Fault is one scripted fault. Requests are matched by operation and key.
type Fault struct {
	Op         string        // S3 operation, "PutObject"; empty: any
	Key        string        // pattern of the object key (of listings: the prefix; of DeleteObjects: the first key), * matches any run; empty: any
	Nth        int           // the matching request it begins with, from 1; 0: 1
	Times      int           // how many requests it hits from there on, 0: 1, negative: all
	Effect     Effect        // empty: Status
	Status     int           // with Status
	Code       string        // with Status; empty: the usual one of the status
	RetryAfter time.Duration // with Status: the Retry-After header, whole seconds
	After      bool          // the request is carried out, and its answer lost to the fault (Status, Reset, Hang)
}

// String names the fault in a test's failure.
func (f Fault) String() string {
	effect := string(f.Effect)
	if f.Effect == "" || f.Effect == Status {
		effect = strconv.Itoa(f.Status)
	}
	when := "before"
	if f.After {
		when = "after"
	}
	return fmt.Sprintf("%s %s %q (from match %d)", effect, when, f.Op+" "+f.Key, max(f.Nth, 1))
}

// script is a fault and what became of it.
type script struct {
	Fault
	seen, hits int
}

// Faults is a transport that breaks requests as told. It stands below the real SDK
// ([Server.FaultyClient]), so that keys, headers and retries are exercised. Use it for path-style
// requests. It is safe for use by several goroutines.
type Faults struct {
	// OnRequest, when set, is called before each request is sent and after it was carried out. An
	// error before keeps the request from being sent; an error after loses its answer. So a test
	// can cut at each effect. Set it before the first request.
	OnRequest func(op, key string, before bool) error

	mu       sync.Mutex
	next     http.RoundTripper
	scripts  []*script
	calls    map[string]int
	injected int
	rate     float64
	random   *rand.Rand
}

// NewFaults makes a transport on top of next; nil: the transport of the server whose FaultyClient
// is made of it.
func NewFaults(next http.RoundTripper) *Faults {
	return &Faults{next: next, calls: map[string]int{}}
}

// Script makes a transport with faults that must all be hit before the test ends.
func Script(t TB, faults ...Fault) *Faults {
	f := NewFaults(nil)
	f.Add(faults...)
	t.Cleanup(func() { f.Check(t) })
	return f
}

func (f *Faults) setNext(next http.RoundTripper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == nil {
		f.next = next
	}
}

// Add scripts more faults. The first that matches a request and is due hits it.
func (f *Faults) Add(faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fault := range faults {
		f.scripts = append(f.scripts, &script{Fault: fault})
	}
}

// Clear forgets all scripted faults.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts = nil
}

// FaultRate breaks a share of all requests (0 to 1) at random from a seed: 503 SlowDown, 500,
// resets before and after the effect, cut bodies.
func (f *Faults) FaultRate(rate float64, seed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate, f.random = rate, rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // repeatable on purpose
}

// Calls counts the requests of an operation seen so far, or all when op is empty.
func (f *Faults) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != "" {
		return f.calls[op]
	}
	n := 0
	for _, calls := range f.calls {
		n += calls
	}
	return n
}

// Injected counts the requests broken so far, scripted or at random.
func (f *Faults) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected
}

// Check fails the test for each scripted fault that was not hit.
func (f *Faults) Check(t TB) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.scripts {
		if s.hits == 0 {
			t.Errorf("fault not hit: %s", s.Fault)
		}
	}
}

// choose counts a request and finds the fault that hits it, nil when none does.
func (f *Faults) choose(op, key string, hasBody bool) (*Fault, http.RoundTripper) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op]++
	var hit *Fault
	for _, s := range f.scripts {
		if s.Op != "" && s.Op != op || s.Key != "" && !match(s.Key, key) {
			continue
		}
		s.seen++
		if hit == nil && s.seen >= max(s.Nth, 1) && (s.Times < 0 || s.hits < max(s.Times, 1)) {
			s.hits++
			hit = &s.Fault
		}
	}
	if hit == nil && f.rate > 0 && f.random.Float64() < f.rate {
		random := []Fault{
			{Status: http.StatusServiceUnavailable, Code: "SlowDown"},
			{Status: http.StatusInternalServerError},
			{Effect: Reset},
			{Effect: Reset, After: true},
			{Effect: Cut},
		}
		hit = &random[f.random.IntN(len(random))]
		if hit.Effect == Cut && !hasBody && op != "GetObject" {
			hit = &Fault{Effect: Reset}
		}
	}
	if hit != nil {
		f.injected++
	}
	return hit, f.next
}

// match tells whether a string matches a pattern in which * stands for any run of characters.
func match(pattern, s string) bool {
	first, rest, found := strings.Cut(pattern, "*")
	if !found {
		return pattern == s
	}
	s, found = strings.CutPrefix(s, first)
	if !found {
		return false
	}
	for i := range len(s) + 1 {
		if match(rest, s[i:]) {
			return true
		}
	}
	return false
}

// RoundTrip implements http.RoundTripper.
func (f *Faults) RoundTrip(req *http.Request) (*http.Response, error) {
	op, key, req, err := identify(req)
	if err != nil {
		return nil, err
	}
	fault, next := f.choose(op, key, req.ContentLength > 0)
	if next == nil {
		closeBody(req)
		return nil, fmt.Errorf("sinktest: these faults have no transport below: use Server.FaultyClient")
	}
	if f.OnRequest != nil {
		if err := f.OnRequest(op, key, true); err != nil {
			closeBody(req)
			return nil, err
		}
	}
	resp, err := send(next, req, op, fault)
	if f.OnRequest != nil {
		if hookErr := f.OnRequest(op, key, false); hookErr != nil {
			if err == nil {
				discard(resp)
			}
			return nil, hookErr
		}
	}
	return resp, err
}

// send carries a request out, or not, as a fault has it.
func send(next http.RoundTripper, req *http.Request, op string, fault *Fault) (*http.Response, error) {
	switch {
	case fault == nil:
		return next.RoundTrip(req)
	case fault.Effect == Cut && req.ContentLength > 0:
		cut := req.Clone(req.Context())
		cut.Body = &cutBody{ReadCloser: req.Body, left: req.ContentLength / 2, err: errReset("write")}
		return next.RoundTrip(cut)
	case fault.Effect == Cut:
		return halve(next, req, io.ErrUnexpectedEOF)
	case fault.Effect == End:
		return halve(next, req, io.EOF)
	}
	if fault.After {
		resp, err := next.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		discard(resp)
	}
	switch fault.Effect {
	case Reset:
		closeBody(req)
		return nil, errReset("read")
	case Hang:
		closeBody(req)
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	case Lie:
		return lie(req, op)
	default:
		closeBody(req)
		return refusal(req, fault), nil
	}
}

// halve has half of an answer's body arrive, and then an error.
func halve(next http.RoundTripper, req *http.Request, end error) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	length := resp.ContentLength
	if length < 0 { // it is counted
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		resp.Body, length = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	resp.Body = &cutBody{ReadCloser: resp.Body, left: length / 2, err: end}
	return resp, nil
}

// errReset is what a broken connection looks like.
func errReset(op string) error {
	return &net.OpError{Op: op, Net: "tcp", Err: os.NewSyscallError(op, syscall.ECONNRESET)}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

func discard(resp *http.Response) {
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}

// cutBody is a body that ends early.
type cutBody struct {
	io.ReadCloser
	left int64
	err  error
}

// Read implements io.Reader.
func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, c.err
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// refusal is an error answer.
func refusal(req *http.Request, fault *Fault) *http.Response {
	code := fault.Code
	if code == "" {
		code = map[int]string{
			http.StatusForbidden:           "AccessDenied",
			http.StatusNotFound:            "NoSuchKey",
			http.StatusConflict:            "ConditionalRequestConflict",
			http.StatusPreconditionFailed:  "PreconditionFailed",
			http.StatusInternalServerError: "InternalError",
			http.StatusNotImplemented:      "NotImplemented",
			http.StatusServiceUnavailable:  "SlowDown",
		}[fault.Status]
	}
	var body string
	if code != "" && req.Method != http.MethodHead {
		body = fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>scripted fault</Message></Error>", code)
	}
	resp := answer(req, fault.Status, body)
	if fault.RetryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(int(fault.RetryAfter/time.Second)))
	}
	return resp
}

// answer makes an answer.
func answer(req *http.Request, status int, body string) *http.Response {
	resp := &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
	if body != "" {
		resp.Header.Set("Content-Type", "application/xml")
	}
	return resp
}

// lie is the answer of a store that says it did what it did not do.
func lie(req *http.Request, op string) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		defer closeBody(req)
		into := io.Writer(io.Discard)
		if op == "DeleteObjects" {
			into = writer(func(p []byte) { body = append(body, p...) })
		}
		if _, err := io.Copy(into, req.Body); err != nil {
			return nil, err
		}
	}
	switch op {
	case "DeleteObject", "AbortMultipartUpload":
		return answer(req, http.StatusNoContent, ""), nil
	case "DeleteObjects":
		var b strings.Builder
		b.WriteString("<DeleteResult>")
		for _, object := range deleted(body) {
			b.WriteString("<Deleted><Key>")
			_ = xml.EscapeText(&b, []byte(object.Key))
			b.WriteString("</Key>")
			if object.VersionID != "" {
				b.WriteString("<VersionId>" + object.VersionID + "</VersionId>")
			}
			b.WriteString("</Deleted>")
		}
		return answer(req, http.StatusOK, b.String()+"</DeleteResult>"), nil
	case "CompleteMultipartUpload":
		return answer(req, http.StatusOK, `<CompleteMultipartUploadResult><ETag>"0-1"</ETag></CompleteMultipartUploadResult>`), nil
	default:
		resp := answer(req, http.StatusOK, "")
		resp.Header.Set("Etag", `"00000000000000000000000000000000"`)
		return resp, nil
	}
}

// writer is a function as an io.Writer.
type writer func([]byte)

// Write implements io.Writer.
func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

// deleteEntry is an object that a DeleteObjects names.
type deleteEntry struct {
	Key       string `xml:"Key"`
	VersionID string `xml:"VersionId"`
}

// deleted lists the objects that the body of a DeleteObjects names.
func deleted(body []byte) []deleteEntry {
	var list struct {
		Objects []deleteEntry `xml:"Object"`
	}
	_ = xml.Unmarshal(body, &list)
	return list.Objects
}

// identify tells a request's operation and key. The request it gives is the one to send: the body
// may have been read.
func identify(req *http.Request) (op, key string, _ *http.Request, err error) {
	_, key, _ = strings.Cut(strings.TrimPrefix(req.URL.Path, "/"), "/")
	q := req.URL.Query()
	if key == "" {
		op = bucketOperation(req.Method, q.Has)
		key = q.Get("prefix")
		if op == "DeleteObjects" && req.Body != nil {
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return "", "", nil, err
			}
			closeBody(req)
			req = req.Clone(req.Context())
			req.Body = io.NopCloser(bytes.NewReader(body))
			if objects := deleted(body); len(objects) > 0 {
				key = objects[0].Key
			}
		}
		return op, key, req, nil
	}
	return objectOperation(req, q.Has), key, req, nil
}

// bucketOperation is the name of an operation on a bucket.
func bucketOperation(method string, has func(string) bool) string {
	switch method {
	case http.MethodHead:
		return "HeadBucket"
	case http.MethodDelete:
		return "DeleteBucket"
	case http.MethodPost:
		return "DeleteObjects"
	case http.MethodPut:
		switch {
		case has("versioning"):
			return "PutBucketVersioning"
		case has("object-lock"):
			return "PutObjectLockConfiguration"
		}
		return "CreateBucket"
	}
	switch {
	case has("versioning"):
		return "GetBucketVersioning"
	case has("versions"):
		return "ListObjectVersions"
	case has("uploads"):
		return "ListMultipartUploads"
	case has("object-lock"):
		return "GetObjectLockConfiguration"
	case has("list-type"):
		return "ListObjectsV2"
	}
	return "ListObjects"
}

// objectOperation is the name of an operation on an object.
func objectOperation(req *http.Request, has func(string) bool) string {
	verb := map[string]string{http.MethodGet: "Get", http.MethodPut: "Put", http.MethodDelete: "Delete", http.MethodHead: "Head"}[req.Method]
	switch {
	case has("retention"):
		return verb + "ObjectRetention"
	case has("legal-hold"):
		return verb + "ObjectLegalHold"
	case has("tagging"):
		return verb + "ObjectTagging"
	case req.Method == http.MethodPost && has("uploads"):
		return "CreateMultipartUpload"
	case req.Method == http.MethodPost && has("uploadId"):
		return "CompleteMultipartUpload"
	case req.Method == http.MethodPut && has("uploadId"):
		return "UploadPart"
	case req.Method == http.MethodDelete && has("uploadId"):
		return "AbortMultipartUpload"
	case req.Method == http.MethodGet && has("uploadId"):
		return "ListParts"
	case req.Method == http.MethodPut && req.Header.Get("X-Amz-Copy-Source") != "":
		return "CopyObject"
	}
	return verb + "Object"
}
