package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// APIVersion is the version of the Training API this package speaks.
const APIVersion = "v3.3"

const (
	apiPath = "/customvision/" + APIVersion + "/training"
	// tryTimeout bounds one try of an API call, from dialling to the last byte.
	tryTimeout = 30 * time.Second
	// stallTimeout bounds the silence in a download, before its headers and between its bytes.
	stallTimeout = 30 * time.Second
	// maxAnswerBytes bounds a JSON answer. A page of 256 images with 300 regions each is some 25
	// MB.
	maxAnswerBytes = 128 << 20
)

// Options are the settings of a Client; the zero value is good.
type Options struct {
	// Transport sends the requests; nil is a tuned default. Of an *http.Transport a copy is made
	// whose dialling of blob hosts is guarded (see BlobHosts). Any other RoundTripper dials by
	// itself, so that only addresses written in links can be judged: to add something around the
	// transports, use Wrap instead.
	Transport http.RoundTripper
	// Wrap, if any, is put around the transports, that of API calls and that of downloads.
	Wrap func(http.RoundTripper) http.RoundTripper
	// MaxRPS is how many API calls a second this client makes at most; 0 is 10. It slows down on
	// 429 and recovers.
	MaxRPS float64
	// MaxAttempts is how often one call is tried, 0 is 5. A call stops earlier when its tries take
	// long.
	MaxAttempts int
	// BlobHosts are hosts that download links may point to, besides the Azure blob suffixes over
	// https and the endpoint's own host and port. An entry is "suffix" or "suffix:port"; it allows
	// the host of that name and those below it, by http and https, on that port or (without one) on
	// any, and also when their address is private, loopback or link-local.
	BlobHosts []string
	// UserAgent names this program to the service; empty is "cvconsumer".
	UserAgent string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Wait waits between tries and for the pace, until d has passed or ctx is done; nil is a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Client calls the Training API of one Custom Vision resource. It is safe for concurrent use.
type Client struct {
	endpoint  *url.URL // without trailing slash
	base      *url.URL // endpoint and apiPath
	cred      Credential
	api, blob http.RoundTripper
	hosts     hostRules
	pace      *pacer
	attempts  int
	agent     string
	now       func() time.Time
	wait      func(context.Context, time.Duration) error

	tryTimeout, stallTimeout time.Duration
}

// New makes a client of the resource at endpoint, "http(s)://host[:port][/base]" with or without a
// trailing slash, as the Azure portal shows it. Nothing is called. The error names what is wrong,
// and never shows a query or password the endpoint may hold.
func New(endpoint string, cred Credential, o Options) (*Client, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, fmt.Errorf("training endpoint: %w", err)
	}
	switch {
	case cred == nil:
		return nil, errors.New("training client: no credential")
	case o.MaxRPS < 0 || math.IsNaN(o.MaxRPS) || math.IsInf(o.MaxRPS, 0):
		return nil, fmt.Errorf("training client: %v calls a second is no rate", o.MaxRPS)
	case o.MaxAttempts < 0:
		return nil, fmt.Errorf("training client: %d attempts", o.MaxAttempts)
	}
	c := &Client{
		endpoint: u, base: rooted(u).JoinPath(apiPath), cred: cred,
		attempts: o.MaxAttempts, agent: o.UserAgent, now: o.Now, wait: o.Wait,
		tryTimeout: tryTimeout, stallTimeout: stallTimeout,
	}
	if c.hosts, err = newHostRules(u, o.BlobHosts); err != nil {
		return nil, fmt.Errorf("blob hosts: %w", err)
	}
	if c.attempts == 0 {
		c.attempts = defaultMaxAttempts
	}
	if c.agent == "" {
		c.agent = "cvconsumer"
	}
	if c.now == nil {
		c.now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	if c.wait == nil {
		c.wait = waitTime
	}
	if o.MaxRPS == 0 {
		o.MaxRPS = defaultRPS
	}
	c.pace = newPacer(o.MaxRPS, c.now, c.wait)
	c.api, c.blob = c.hosts.transports(o.Transport)
	if o.Wrap != nil {
		c.api, c.blob = o.Wrap(c.api), o.Wrap(c.blob)
	}
	return c, nil
}

// rooted is u with a path: JoinPath onto an empty one gives a path without its leading slash, which
// no server takes.
func rooted(u *url.URL) *url.URL {
	if u.Path != "" {
		return u
	}
	withPath := *u
	withPath.Path = "/"
	return &withPath
}

// parseEndpoint checks an endpoint and gives it without trailing slash. One that already ends in
// the API's own path is taken as meant.
func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(endpoint))
	var bad *url.Error
	switch {
	case errors.As(err, &bad): // its text would quote the endpoint
		return nil, fmt.Errorf("not a URL: %w", bad.Err)
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme == "" && u.Host == "" && u.Path == "":
		return nil, errors.New("empty; https://<name>.cognitiveservices.azure.com is wanted")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("not an https:// or http:// URL")
	case u.Hostname() == "":
		return nil, errors.New("no host in it")
	case u.User != nil:
		return nil, errors.New("a user name or password in it")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("a query in it")
	case u.Fragment != "":
		return nil, errors.New("a fragment in it")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return nil, errors.New("no such port")
		}
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	if len(path) >= len(apiPath) && strings.EqualFold(path[len(path)-len(apiPath):], apiPath) {
		path = strings.TrimRight(path[:len(path)-len(apiPath)], "/")
	} else if strings.Contains(strings.ToLower(path), "/customvision/") {
		return nil, fmt.Errorf("the path of another API in it; leave out what follows the host, or end it in %s", apiPath)
	}
	return url.Parse(u.Scheme + "://" + strings.ToLower(u.Host) + path)
}

// Endpoint is the resource's address without trailing slash and without the API's own path.
func (c *Client) Endpoint() *url.URL {
	u := *c.endpoint
	return &u
}

// Host is the endpoint's host in lower case, with the port when it is not the scheme's own. It
// names the resource.
func (c *Client) Host() string {
	if c.endpoint.Port() == defaultPort(c.endpoint.Scheme) {
		return strings.TrimSuffix(c.endpoint.Host, ":"+c.endpoint.Port())
	}
	return c.endpoint.Host
}

// OwnHost reports whether the endpoint's host is of this one account: a custom sub-domain. A
// regional endpoint, and any other host, may answer for many accounts, by the key that is sent.
func (c *Client) OwnHost() bool {
	for _, domain := range [...]string{".cognitiveservices.azure.com", ".cognitiveservices.azure.us", ".cognitiveservices.azure.cn"} {
		if name, ok := strings.CutSuffix(c.endpoint.Hostname(), domain); ok && name != "" {
			return true
		}
	}
	return false
}

// CloseIdleConnections closes connections nobody uses.
func (c *Client) CloseIdleConnections() {
	for _, t := range [...]http.RoundTripper{c.api, c.blob} {
		if t, ok := t.(interface{ CloseIdleConnections() }); ok {
			t.CloseIdleConnections()
		}
	}
}

// waitTime waits until d has passed or ctx is done.
func waitTime(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// call is one operation of the API with its arguments.
type call struct {
	op     string
	method string
	path   string // below the base path
	query  query
	body   []byte // JSON, for a POST
	reads  bool   // a POST that changes nothing
	bytes  bool   // the answer is a file, not JSON
}

// target is the call for the trace.
func (k call) target() string {
	if len(k.query.named) == 0 {
		return k.path
	}
	return k.path + " " + strings.Join(k.query.named, ",")
}

// repeatable tells whether making the call twice does what making it once does: reads and deletes.
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
func (onceOnly) Close() error             { return nil }

// try makes one exchange.
func (c *Client) try(ctx context.Context, k call, req *http.Request, attempt int, consume func(*http.Response) error) (err error) {
	secrets := secretsOf(req)
	trace := traceOf(ctx)
	record := Call{Time: c.now(), Operation: k.op, Target: k.target(), Attempt: attempt, Credential: credentialOf(req)}
	if err := trace.before(ctx, record); err != nil {
		return &Error{Op: k.op, Err: &local{fmt.Errorf("not sent: %w", err)}}
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
	if resp.StatusCode == http.StatusTooManyRequests {
		c.pace.slow()
	} else {
		c.pace.recover()
	}
	if err := checkResponse(k.op, resp, c.now(), secrets); err != nil {
		return err
	}
	if err := consume(resp); err != nil {
		return &Error{Op: k.op, Status: resp.StatusCode, RequestID: record.RequestID, Err: err}
	}
	return nil
}

// The causes of a try that was cut short by us.
var (
	errTryTimeout = fmt.Errorf("no whole answer within %s", tryTimeout)
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
		timer.Stop()
	}
	resp.Body = body
	return resp, func() {
		timer.Stop()
		_ = resp.Body.Close()
		cancel(nil)
	}, nil
}

// guardedBody is an answer's body under a timeout. With a timer, that runs only while bytes are
// waited for: what the reader does with them takes as long as it takes.
type guardedBody struct {
	body    io.ReadCloser
	explain func(error) error
	timer   *time.Timer
	silence time.Duration
}

func (g *guardedBody) Read(p []byte) (int, error) {
	if g.timer != nil {
		g.timer.Reset(g.silence)
		defer g.timer.Stop()
	}
	n, err := g.body.Read(p)
	if err != nil && err != io.EOF {
		err = &kinded{ErrUnavailable, g.explain(err)}
	}
	return n, err
}

func (g *guardedBody) Close() error { return g.body.Close() }

// local is a failure on our side of the client: never tried again, whatever it is.
type local struct{ err error }

func (l *local) Error() string { return l.err.Error() }
func (l *local) Unwrap() error { return l.err }

func is401(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Op != opBlob && e.Status == http.StatusUnauthorized
}

// renewed tells whether the credential a request was refused with is another one by now.
func (c *Client) renewed(ctx context.Context, req *http.Request) bool {
	kept, ok := c.cred.(interface{ forget() })
	if !ok {
		return false
	}
	kept.forget()
	again := &http.Request{Header: http.Header{}}
	return c.cred.Apply(ctx, again) == nil && !slices.Equal(secretsOf(again), secretsOf(req))
}

// readJSON reads a JSON answer into v. What is no such answer may be one the next time.
func readJSON(resp *http.Response, v any) error {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return &kinded{ErrMisconfigured, fmt.Errorf("answer of type %s, not JSON", mediaType)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case len(body) > maxAnswerBytes:
		return fmt.Errorf("answer of more than %d bytes: %w", maxAnswerBytes, ErrTooLarge)
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !json.Valid(body) {
		return noAnswer("answer of %d bytes is no whole JSON", len(body))
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return noAnswer("the answer is null")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return noAnswer("decode answer: %w", err)
	}
	return nil
}

// noAnswer says why a 2xx answer is none: what it does not say must not be taken for "nothing
// there".
func noAnswer(format string, args ...any) error {
	return &kinded{ErrUnavailable, fmt.Errorf(format, args...)}
}

// get makes a call that answers one thing.
func get[T any](ctx context.Context, c *Client, k call) (T, error) {
	return ask(ctx, c, k, whole[T])
}

// list makes a call that answers a list.
func list[T any](ctx context.Context, c *Client, k call) ([]T, error) {
	return ask(ctx, c, k, eachWhole[T])
}

// ask makes a call that answers JSON, and again when the answer is none: check says what is wrong
// with one.
func ask[A any](ctx context.Context, c *Client, k call, check func(A) error) (answer A, err error) {
	err = c.do(ctx, k, func(resp *http.Response) error {
		var a A
		if err := readJSON(resp, &a); err != nil {
			return err
		}
		if err := check(a); err != nil {
			return err
		}
		answer = a
		return nil
	})
	return answer, err
}

// whole checks that a thing has the members without which it is none.
func whole[T any](v T) error {
	if v, ok := any(v).(interface{ lacks() string }); ok {
		if name := v.lacks(); name != "" {
			return noAnswer("decode answer: there is no %s in it", name)
		}
	}
	return nil
}

// eachWhole checks every thing of a list.
func eachWhole[T any](items []T) error {
	for _, item := range items {
		if err := whole(item); err != nil {
			return err
		}
	}
	return nil
}

// lacksID names the id as what is lacking, where that is not there.
func lacksID(id uuid.UUID) string {
	if id == uuid.Nil {
		return "id"
	}
	return ""
}

// count makes a call that answers a bare number.
func (c *Client) count(ctx context.Context, k call) (int, error) {
	k.method = http.MethodGet
	return ask(ctx, c, k, func(n int) error {
		if n < 0 {
			return noAnswer("a count of %d", n)
		}
		return nil
	})
}

// delete makes a call that deletes and gives the status of the answer, whose body says nothing.
func (c *Client) delete(ctx context.Context, k call) (status int, err error) {
	k.method = http.MethodDelete
	err = c.do(ctx, k, func(resp *http.Response) error {
		status = resp.StatusCode
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBytes))
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	})
	return status, err
}

// query is the query of a call. Lists go comma-separated in one parameter.
type query struct {
	encoded string
	named   []string // ids in it
}

func newQuery() query { return query{} }

func (q query) add(name, escaped string) query {
	if q.encoded != "" {
		q.encoded += "&"
	}
	q.encoded += escape(name) + "=" + escaped
	return q
}

// escape is query escaping with %20 for a blank, which every server reads alike.
func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func (q query) scope(s Scope) query {
	if s == uuid.Nil {
		return q
	}
	return q.ids("iterationId", []uuid.UUID{s})
}

func (q query) ids(name string, ids []uuid.UUID) query {
	if len(ids) == 0 {
		return q
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	q.named = append(slices.Clip(q.named), texts...)
	return q.add(name, strings.Join(texts, ","))
}

func (q query) text(name, value string) query {
	if value == "" {
		return q
	}
	return q.add(name, escape(value))
}

func (q query) number(name string, v float64) query {
	return q.add(name, strconv.FormatFloat(v, 'f', -1, 64))
}

func (q query) flag(name string, v bool) query {
	if !v {
		return q
	}
	return q.add(name, "true")
}

func (q query) page(p PageQuery) query {
	if p.OrderBy == "" {
		p.OrderBy = Oldest
	}
	if p.Take == 0 {
		p.Take = MaxPage
	}
	return q.text("orderBy", p.OrderBy).add("take", strconv.Itoa(p.Take)).add("skip", strconv.Itoa(p.Skip))
}

func (p PageQuery) check() error {
	if p.Take < 0 || p.Take > MaxPage {
		return fmt.Errorf("take %d, at most %d", p.Take, MaxPage)
	}
	if p.Skip < 0 {
		return fmt.Errorf("skip %d", p.Skip)
	}
	return nil
}
