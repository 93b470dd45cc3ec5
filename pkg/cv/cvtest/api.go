package cvtest

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// request is one understood API call.
type request struct {
	operation string
	ids       map[string]uuid.UUID // of the path
	query     url.Values           // names in lower case
	body      []byte
	now       time.Time
	origin    string // scheme and host of blob links
}

func (q *request) project() uuid.UUID   { return q.ids["projectId"] }
func (q *request) iteration() uuid.UUID { return q.ids["iterationId"] }

// answer is what an operation answers: JSON of value, or data.
type answer struct {
	status int
	value  any          // nil: no JSON
	data   *file        // nil: none
	lazy   func() *file // makes data outside the lock
	header http.Header
}

func ok(value any) answer { return answer{status: http.StatusOK, value: value} }

// refuse is an error in the API's own shape.
func refuse(status int, code, format string, args ...any) answer {
	return answer{status: status, value: apiError{Code: code, Message: fmt.Sprintf(format, args...)}}
}

func badRequest(code, format string, args ...any) answer {
	return refuse(http.StatusBadRequest, code, format, args...)
}

func notFound(code, format string, args ...any) answer {
	return refuse(http.StatusNotFound, code, format, args...)
}

// gateway is an error in the shape of the gateway before the API.
func gateway(status int, message string) answer {
	return answer{status: status, value: gatewayError{Error: apiError{Code: strconv.Itoa(status), Message: message}}}
}

func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request) {
	rest, isAPI := below(r.URL.Path, s.o.BasePath+apiPath)
	if !isAPI {
		rest, isAPI = below(r.URL.Path, s.o.BasePath+previewPath)
	}
	var rt *route
	var ids map[string]uuid.UUID
	if isAPI {
		rt, ids = match(r.Method, rest)
	} else {
		rest = r.URL.Path
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the client broke off, or sends what no operation takes
	}
	q := &request{ids: ids, query: url.Values{}, body: body, origin: requestOrigin(r)}
	for name, values := range r.URL.Query() { // of a malformed query, what can be read
		q.query[strings.ToLower(name)] = append(q.query[strings.ToLower(name)], values...)
	}
	call := &received{rawQuery: r.URL.RawQuery, Call: Call{Method: r.Method, Path: strings.Trim(rest, "/"), Changes: changesAnything(r.Method)}}
	for _, name := range []string{"imageids", "ids"} {
		for _, v := range q.query[name] {
			call.IDs = append(call.IDs, strings.FieldsFunc(strings.ToLower(v), func(c rune) bool { return c == ',' })...)
		}
	}
	if rt != nil {
		q.operation, call.Operation, call.Changes = rt.operation, rt.operation, rt.changes
	}

	s.mu.Lock()
	call.Time = s.o.Now()
	s.log.received++
	call.RequestID = s.requestID("api", s.log.received)
	s.log.calls = append(s.log.calls, call)
	n := s.log.count(q.operation)
	fault := s.faults.strike(q.operation, r.URL.Path+"?"+r.URL.RawQuery)
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		hook(q.operation, n)
	}

	x := &exchange{s: s, w: w, r: r, fault: fault, sent: func(status int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		call.Status = status
	}}
	h := w.Header()
	h.Set("Date", call.Time.UTC().Format(http.TimeFormat))
	h.Set("apim-request-id", call.RequestID)
	h.Set("Request-Id", call.RequestID)
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload")
	h.Set("X-Content-Type-Options", "nosniff")

	x.pause(s.o.Latency)
	if !x.spoilsBefore() {
		a := s.perform(r, rt, q, fault)
		if !x.spoilsAfter() {
			x.send(a.status, a.header, s.bodyOf(a), "application/json; charset=utf-8")
			return
		}
	}
	a := x.faultAnswer(q.operation)
	x.send(a.status, a.header, s.bodyOf(a), "application/json; charset=utf-8")
}

// perform carries a call out, unless the gateway refuses it; a read on the account as it was where
// the fault or LagRate says so.
func (s *Server) perform(r *http.Request, rt *route, q *request, fault *Fault) answer {
	if rt == nil {
		return gateway(http.StatusNotFound, "Resource not found")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q.now = s.o.Now()
	key := r.Header.Get("Training-Key")
	other, elsewhere := s.others[key]
	if elsewhere {
		mine := s.account
		s.account = other
		defer func() { s.others[key], s.account = s.account, mine }()
	} else if !s.authorized(r) {
		a := gateway(http.StatusUnauthorized, "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.")
		a.header = http.Header{"Www-Authenticate": {`AzureApiManagementKey realm="https://customvision.simulator",name="Training-Key",type="header"`}}
		return a
	}
	if s.o.RPS > 0 && !s.bucket.take(q.now, s.o.RPS) {
		return throttled(q.operation, time.Second)
	}
	if rt.handle == nil {
		return gateway(http.StatusNotImplemented, "The simulator does not offer the operation "+q.operation)
	}
	s.account.settle(q.now)
	if elsewhere {
		s.log.elsewhere++
		return rt.handle(s, q)
	}
	past := s.lag.see(&s.account)
	if fault != nil && fault.Past != nil {
		past = fault.Past
	}
	if past != nil && !rt.changes {
		present := s.account
		s.account = past.account
		defer func() { s.account = present }()
	}
	return rt.handle(s, q)
}

// authorized checks the caller's credential.
func (s *Server) authorized(r *http.Request) bool {
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	if key := r.Header.Get("Training-Key"); key != "" {
		return same(key, s.o.Key)
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return found && s.o.Token != "" && same(token, s.o.Token)
}

func throttled(operation string, after time.Duration) answer {
	seconds := max(1, int(math.Ceil(after.Seconds())))
	a := gateway(http.StatusTooManyRequests, fmt.Sprintf("Requests to the %s Operation under Custom_Vision_Training_3.3 have exceeded rate limit of your current Custom_Vision.Training F0 pricing tier. Please retry after %d second. Please contact Azure support service if you would like to further increase the default rate limit.", operation, seconds))
	a.header = http.Header{"Retry-After": {strconv.Itoa(seconds)}}
	return a
}

// bodyOf makes the body of an answer; nil for none.
func (s *Server) bodyOf(a answer) *file {
	if a.lazy != nil {
		return a.lazy()
	}
	if a.data != nil || a.value == nil {
		return a.data
	}
	return bytesFile(encodeJSON(a.value, s.o.Compact))
}

// encodeJSON writes JSON as the service does: characters as they are, CRLF line ends.
func encodeJSON(value any, compact bool) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if !compact {
		enc.SetIndent("", "  ")
	}
	if err := enc.Encode(value); err != nil {
		panic(fmt.Sprintf("cvtest: encode %T: %v", value, err)) // our own types
	}
	return bytes.ReplaceAll(bytes.TrimSuffix(b.Bytes(), []byte("\n")), []byte("\n"), []byte("\r\n"))
}

func requestOrigin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// file is a body that is written out when needed.
type file struct {
	size    int64
	md5     [md5.Size]byte
	sha256  string // hex
	writeTo func(w io.Writer) error
}

func bytesFile(b []byte) *file {
	return &file{size: int64(len(b)), writeTo: func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}}
}

// contentMD5 is the header's value.
func (f *file) contentMD5() string { return base64.StdEncoding.EncodeToString(f.md5[:]) }

// exchange is one answer on its way, with the fault that befalls it.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	r     *http.Request
	fault *Fault
	sent  func(status int)
}

// pause waits the usual latency and the fault's delay; the exchange ends when the client leaves
// meanwhile.
func (x *exchange) pause(latency time.Duration) {
	if x.fault != nil {
		latency += x.fault.Delay
	}
	if !x.s.wait(x.r.Context(), latency) {
		panic(http.ErrAbortHandler)
	}
}

// spoilsBefore says that the operation is not carried out; a hanging or reset exchange ends here.
func (x *exchange) spoilsBefore() bool {
	if x.fault == nil || x.fault.AfterEffect || x.fault.Past != nil || x.fault.CutBody || x.fault.Corrupt {
		return false
	}
	return x.spoils()
}

// spoilsAfter says that the operation was carried out but something else is answered.
func (x *exchange) spoilsAfter() bool {
	return x.fault != nil && (x.fault.AfterEffect || x.fault.Past != nil) && x.spoils()
}

func (x *exchange) spoils() bool {
	switch {
	case x.fault.Hang:
		x.s.hang(x.r.Context())
		panic(http.ErrAbortHandler)
	case x.fault.Reset:
		x.reset()
	}
	return x.fault.Status != 0
}

// reset closes the connection so that the client sees a reset.
func (x *exchange) reset() {
	if hj, ok := x.w.(http.Hijacker); ok {
		if conn, _, err := hj.Hijack(); err == nil {
			if tcp, ok := conn.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	panic(http.ErrAbortHandler)
}

// faultAnswer is the scripted answer to an API call.
func (x *exchange) faultAnswer(operation string) answer {
	f := x.fault
	var a answer
	switch {
	case f.Body != "":
		a = answer{status: f.Status, data: bytesFile([]byte(f.Body))}
	case f.Code != "":
		a = refuse(f.Status, f.Code, "The operation %s failed as scripted.", operation)
	case f.Status == http.StatusTooManyRequests:
		a = throttled(operation, f.RetryAfter)
		a.header = nil
	default:
		a = gateway(f.Status, http.StatusText(f.Status))
	}
	a.header = f.headers()
	return a
}

func (f *Fault) headers() http.Header {
	h := f.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	return h
}

// send writes an answer, cut or corrupted if so scripted.
func (x *exchange) send(status int, header http.Header, body *file, contentType string) {
	h := x.w.Header()
	for name, values := range header {
		h[name] = values
	}
	cut := x.fault != nil && x.fault.CutBody
	if body == nil {
		if cut {
			x.reset()
		}
		if status != http.StatusNoContent {
			h.Set("Content-Length", "0")
		}
		x.sent(status)
		x.w.WriteHeader(status)
		return
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType)
	}
	if x.fault != nil && x.fault.Rewrite != nil {
		var whole bytes.Buffer
		_ = body.writeTo(&whole) // a buffer takes everything
		body = bytesFile(x.fault.Rewrite(whole.Bytes()))
		h.Del("Content-Md5")
	}
	h.Set("Content-Length", strconv.FormatInt(body.size, 10))
	x.sent(status)
	x.w.WriteHeader(status)
	if x.r.Method == http.MethodHead {
		return
	}
	out := io.Writer(x.w)
	if x.fault != nil && (cut || x.fault.Corrupt) {
		out = &spoiler{w: x.w, at: body.size / 2, cut: cut}
	}
	if err := body.writeTo(out); err != nil {
		_ = http.NewResponseController(x.w).Flush()
		panic(http.ErrAbortHandler) // cut, or the client left
	}
}

// spoiler cuts a body off at a place, or changes the byte there.
type spoiler struct {
	w   io.Writer
	at  int64 // bytes to go
	cut bool
}

func (p *spoiler) Write(b []byte) (int, error) {
	n := int64(len(b))
	switch {
	case p.cut && n > p.at:
		done, err := p.w.Write(b[:p.at])
		if err == nil {
			err = io.ErrShortWrite
		}
		p.at = 0
		return done, err
	case !p.cut && p.at >= 0 && n > p.at:
		b = bytes.Clone(b)
		b[p.at] ^= 0xff
		p.at = -1
	default:
		p.at -= n
	}
	return p.w.Write(b)
}
