package cv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"
)

// call is one operation of the API with its arguments.
type call struct {
	op     string
	method string
	path   string // below the base path
	query  query
	body   []byte // JSON, for a POST
	reads  bool   // a POST that changes nothing
	bytes  bool   // the answer is a file, not JSON
	asked  int    // how many elements the list may have; 0 is the operation's own number
}

// target is the call for the trace.
func (k call) target() string {
	if len(k.query.named) == 0 {
		return k.path
	}
	return k.path + " " + strings.Join(k.query.named, ",")
}

// repeatable reports whether making the call twice has the same effect as making it once, as with
// reads and deletes.
func (k call) repeatable() bool {
	return k.method == http.MethodGet || k.method == http.MethodDelete || k.reads
}

// do makes a call, with retries. consume reads a successful answer; what it fails with is the try's
// failure.
func (c *Client) do(ctx context.Context, k call, consume func(*http.Response) error) error {
	return c.retry(ctx, k.op, k.bytes, func(attempt int) (bool, error) {
		if err := c.pace.take(ctx); err != nil {
			return false, &Error{Op: k.op, Err: fmt.Errorf("wait for the pace: %w", err)}
		}
		req, err := c.request(ctx, k)
		if err != nil {
			return false, err
		}
		err = c.try(ctx, k, req, attempt, consume)
		again := isTransient(err) || is401(err) && attempt == 1 && c.renewed(ctx, req)
		return again && k.repeatable(), err
	})
}

// request makes the request of one try, with the credential, which goes to the endpoint's host
// alone.
func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	u := c.base.JoinPath(k.path)
	u.RawQuery = k.query.encoded
	req := (&http.Request{Method: k.method, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	switch {
	case k.body != nil:
		req.Body = io.NopCloser(bytes.NewReader(k.body))
		req.ContentLength = int64(len(k.body))
		req.Header.Set("Content-Type", "application/json")
	case k.method == http.MethodGet:
		req.Body = onceOnly{}
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json")
	if k.bytes {
		req.Header.Set("Accept", "application/octet-stream, application/json;q=0.5") // errors are JSON
		req.Header.Set("Accept-Encoding", "identity")
	}
	if err := c.cred.Apply(ctx, req); err != nil {
		return nil, &Error{Op: k.op, Err: &kinded{ErrMisconfigured, err}}
	}
	return req, nil
}

// onceOnly is the empty body of a GET. A body that cannot be rewound keeps net/http from silently
// sending the request again on another connection when a kept one breaks; such an exchange would be
// in no trace. On the wire there is no body.
type onceOnly struct{}

func (onceOnly) Read([]byte) (int, error) { return 0, io.EOF }

func (onceOnly) Close() error { return nil }

// try makes one exchange.
func (c *Client) try(ctx context.Context, k call, req *http.Request, attempt int, consume func(*http.Response) error) (err error) {
	secrets := secretsOf(req)
	trace := traceOf(ctx)
	record := Call{Time: c.now(), Operation: k.op, Target: k.target(), Attempt: attempt, Credential: credentialOf(req)}
	if err := trace.before(ctx, record); err != nil {
		return &Error{Op: k.op, Err: &callerError{fmt.Errorf("not sent: %w", err)}}
	}
	defer func() {
		record.Answered, record.Err = c.now(), err
		trace.after(record)
	}()
	resp, release, err := c.exchange(ctx, c.api, req, k.bytes)
	if err != nil {
		return transportError(k.op, err)
	}
	defer release()
	record.Status, record.RequestID = resp.StatusCode, requestID(resp.Header)
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		record.Date = date.UTC()
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		c.pace.slow()
	} else {
		c.pace.recover()
	}
	if err := checkResponse(k.op, resp, c.now(), secrets); err != nil {
		var e *Error
		if req.Header.Get(tokenHeader) != "" && resp.StatusCode == http.StatusForbidden && errors.As(err, &e) {
			e.role = roleFor(k)
		}
		return err
	}
	if err := consume(resp); err != nil {
		return &Error{Op: k.op, Status: resp.StatusCode, RequestID: record.RequestID, Err: err}
	}
	return nil
}

// The causes of a try that the client itself cut short.
var (
	errTryTimeout = fmt.Errorf("no whole answer within %s", TryTimeout)
	errStalled    = fmt.Errorf("no byte within %s", stallTimeout)
	errStale      = errors.New("not sent: too much time went by until there was a connection")
)

// exchange sends a request and gives the answer, whose body is bound by the timeouts: in all, or
// for a file by its silences. Errors, those of the body too, name our timeout and not a context's,
// so that they are not taken for the caller's. release must be called in the end.
func (c *Client) exchange(ctx context.Context, via http.RoundTripper, req *http.Request, file bool) (_ *http.Response, release func(), _ error) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit, cause := c.tryTimeout, errTryTimeout
	if file {
		limit, cause = c.stallTimeout, errStalled
	}
	timer := time.AfterFunc(limit, func() { cancel(cause) })
	explain := func(err error) error {
		if why := context.Cause(ctx); errors.Is(why, cause) || errors.Is(why, errStale) {
			return why
		}
		return err
	}
	if fresh := traceOf(ctx).Fresh; fresh != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
			if !fresh() {
				cancel(errStale)
				_ = c.Conn.Close() // nothing has been written yet, and nothing can be any more
			}
		}})
	}
	resp, err := via.RoundTrip(req.WithContext(ctx))
	if err != nil {
		timer.Stop()
		cancel(nil)
		return nil, nil, explain(err)
	}
	body := &guardedBody{body: resp.Body, explain: explain}
	if file {
		body.timer, body.silence = timer, limit
		body.now, body.minRate = c.now, c.minRate
		timer.Stop()
	}
	resp.Body = body
	return resp, func() {
		timer.Stop()
		_ = resp.Body.Close()
		cancel(nil)
	}, nil
}

// guardedBody is an answer's body under a timeout. That of a file has a timer, which runs only
// while Read waits for bytes, and a least rate, which counts that time alone: what the caller does
// with the bytes may take any time.
type guardedBody struct {
	body    io.ReadCloser
	explain func(error) error
	timer   *time.Timer
	silence time.Duration

	now     func() time.Time
	minRate int64         // bytes a second
	waited  time.Duration // for bytes, in this window
	came    int64         // bytes, in this window
}

func (g *guardedBody) Read(p []byte) (int, error) {
	if g.timer == nil {
		return g.read(p)
	}
	g.timer.Reset(g.silence)
	defer g.timer.Stop()
	began := g.now()
	n, err := g.read(p)
	if g.came, g.waited = g.came+int64(n), g.waited+g.now().Sub(began); err == nil && g.waited >= rateWindow {
		err = g.judge()
		g.came, g.waited = 0, 0
	}
	return n, err
}

// judge fails where too little came in this window.
func (g *guardedBody) judge() error {
	if float64(g.came) >= float64(g.minRate)*g.waited.Seconds() {
		return nil
	}
	return &kinded{ErrUnavailable, &kinded{ErrTooSlow, fmt.Errorf("%d bytes came in %s, and at least %d bytes a second are wanted", g.came, g.waited, g.minRate)}}
}

func (g *guardedBody) read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	if err != nil && err != io.EOF {
		err = &kinded{ErrUnavailable, g.explain(err)}
	}
	return n, err
}

func (g *guardedBody) Close() error { return g.body.Close() }

// callerError is a failure on the caller's side, in a trace or a writer. It is never retried.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }
func (e *callerError) Unwrap() error { return e.err }

func is401(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Op != opBlob && e.Status == http.StatusUnauthorized
}

// renewed reports whether the credential has changed since a request was refused with it.
func (c *Client) renewed(ctx context.Context, req *http.Request) bool {
	kept, ok := c.cred.(interface{ forget(context.Context) })
	if !ok {
		return false
	}
	kept.forget(ctx)
	again := &http.Request{Header: http.Header{}}
	return c.cred.Apply(ctx, again) == nil && !slices.Equal(secretsOf(again), secretsOf(req))
}
