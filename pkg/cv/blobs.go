package cv

import (
	"context"
	"crypto/md5" // not for security: the digest storage sends beside a blob
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Link is where a file can be had: the URI of an image, a model or a prediction image as the API
// gave it.
type Link struct {
	Project uuid.UUID // the project it belongs to, which a relative URI needs
	// URI is absolute, and fetched from there without any credential, or relative, and fetched
	// through GetArtifact.
	URI string
	// Refresh gives a fresh URI for the same file when this one is refused or past its end; nil
	// when there is no way to.
	Refresh func(context.Context) (string, error)
}

const (
	maxRefreshes = 2
	maxRedirects = 3
	copyBytes    = 64 << 10
	dialTimeout  = 10 * time.Second
)

// Fetch downloads a file and gives its length in bytes. begin is called at the start of every try,
// with the file's length or -1 when storage does not give it, and gives the writer for the bytes of
// this try alone. limit is the longest file allowed, in bytes; 0 is any. The length is checked
// against Content-Length and the bytes against Content-MD5 where they are sent; nothing is ever
// decoded.
//
// Errors: ErrLinkExpired when storage refuses the link and a fresh one too, ErrBadLink when neither
// is a URI, ErrHostNotAllowed, ErrTooLarge, ErrTooSlow, ErrUnavailable after all tries; what
// begin, its writer or Refresh failed with, wrapped; for a relative link whatever GetArtifact fails
// with, ErrGone and ErrMisconfigured among it.
// Source: Training API v3.3, GetArtifact, for relative links.
func (c *Client) Fetch(ctx context.Context, link Link, limit int64, begin func(length int64) (io.Writer, error)) (n int64, err error) {
	for refreshes := 0; ; refreshes++ {
		mayRefresh := link.Refresh != nil && refreshes < maxRefreshes
		first := mayRefresh && refreshes == 0
		u, bad := parseLink(link.URI)
		if bad != nil && !(first && errors.Is(bad, ErrBadLink)) {
			return 0, &Error{Op: opBlob, Err: bad}
		}
		if bad == nil && !(first && expired(u, c.now())) {
			consume := func(resp *http.Response) error {
				n, err = receive(resp, limit, begin)
				return err
			}
			if u.IsAbs() {
				err = c.getBlob(ctx, u, consume)
			} else {
				err = c.getArtifact(ctx, link.Project, link.URI, consume)
			}
			if err == nil {
				return n, nil
			}
			if !refused(err) || ctx.Err() != nil {
				return 0, err
			}
			if !mayRefresh {
				return 0, linkExpired(err)
			}
		}
		if link.URI, err = link.Refresh(ctx); err != nil {
			return 0, &Error{Op: opBlob, Err: fmt.Errorf("refresh link: %w", err)}
		}
	}
}

// parseLink parses a link without ever showing it: what is wrong with it may be quoted from its
// query.
func parseLink(uri string) (*url.URL, error) {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return nil, &kinded{ErrBadLink, errors.New("the link is not a URI")}
	case uri == "":
		return nil, &kinded{ErrBadLink, errors.New("there is no link")}
	case !u.IsAbs() && u.Host != "":
		return nil, fmt.Errorf("the link names a host without http or https: %w", ErrHostNotAllowed)
	}
	return u, nil
}

// expired reports whether a signed link is past the end that it states. Our clock may be wrong, so
// this only makes Fetch ask for a fresh link early.
func expired(u *url.URL, now time.Time) bool {
	end := u.Query().Get("se")
	for _, layout := range [...]string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} {
		if t, err := time.Parse(layout, end); err == nil {
			return !t.After(now)
		}
	}
	return false
}

// refused reports whether an error may be due to an old link.
func refused(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return true
	case http.StatusUnauthorized, http.StatusConflict: // storage's answers to a link without a signature it knows
		return e.Op == opBlob
	case http.StatusBadRequest:
		return e.Op == opArtifact && e.Code == codeBadArtifact
	}
	return false
}

// linkExpired turns the refusal of the last link into ErrLinkExpired. A refusal of GetArtifact that
// is about our credential stays just that.
func linkExpired(err error) error {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, ErrMisconfigured) {
		return err
	}
	final := *e
	final.Err = ErrLinkExpired
	return &final
}

// getArtifact reads a file through the API.
func (c *Client) getArtifact(ctx context.Context, project uuid.UUID, path string, consume func(*http.Response) error) error {
	return c.do(ctx, call{
		op: opArtifact, method: http.MethodGet, path: projectPath(project) + "/artifacts",
		query: newQuery().text("path", path), bytes: true,
	}, consume)
}

// getBlob reads a file from storage, with retries.
func (c *Client) getBlob(ctx context.Context, u *url.URL, consume func(*http.Response) error) error {
	return c.retry(ctx, opBlob, true, func(int) (bool, error) {
		err := c.tryBlob(ctx, u, consume)
		return isTransient(err), err
	})
}

// tryBlob reads a file from storage once, following redirects from one allowed host to another.
func (c *Client) tryBlob(ctx context.Context, u *url.URL, consume func(*http.Response) error) error {
	for range maxRedirects + 1 {
		if err := c.hosts.allow(u); err != nil {
			return &Error{Op: opBlob, Err: err}
		}
		next, err := c.hop(ctx, u, consume)
		if err != nil || next == nil {
			return err
		}
		u = next
	}
	return &Error{Op: opBlob, Err: fmt.Errorf("more than %d redirects: %w", maxRedirects, ErrHostNotAllowed)}
}

// hop makes one exchange with a storage host; next is where it redirects to.
func (c *Client) hop(ctx context.Context, u *url.URL, consume func(*http.Response) error) (next *url.URL, err error) {
	req := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"User-Agent": {c.agent}, "Accept": {"*/*"}, "Accept-Encoding": {"identity"},
	}}
	resp, release, err := c.exchange(ctx, c.blob, req, true)
	if err != nil {
		return nil, transportError(opBlob, err)
	}
	defer release()
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		to, err := parseLink(resp.Header.Get("Location"))
		if err != nil {
			return nil, &Error{Op: opBlob, Status: resp.StatusCode, Err: err}
		}
		return u.ResolveReference(to), nil
	}
	if err := checkResponse(opBlob, resp, c.now(), nil); err != nil {
		return nil, err
	}
	if err := consume(resp); err != nil {
		return nil, &Error{Op: opBlob, Status: resp.StatusCode, RequestID: requestID(resp.Header), Err: err}
	}
	return nil, nil
}

var copyBuffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// receive copies an answer's body to the writer of begin and checks it.
func receive(resp *http.Response, limit int64, begin func(int64) (io.Writer, error)) (n int64, err error) {
	length := resp.ContentLength
	switch {
	case resp.StatusCode != http.StatusOK:
		return 0, &kinded{ErrUnavailable, fmt.Errorf("a file was wanted, not %s", http.StatusText(resp.StatusCode))}
	case limit > 0 && length > limit:
		return 0, fmt.Errorf("%d bytes, at most %d: %w", length, limit, ErrTooLarge)
	}
	w, err := begin(length)
	if err != nil {
		return 0, &callerError{err}
	}
	in := incoming{body: resp.Body, limit: limit}
	want := resp.Header.Get("Content-Md5")
	if want != "" {
		in.digest = md5.New()
	}
	buffer := copyBuffers.Get().(*[copyBytes]byte)
	defer copyBuffers.Put(buffer)
	n, err = io.CopyBuffer(w, &in, buffer[:]) // a writer that reads for itself, as memory does, needs no buffer
	switch {
	case in.err != nil:
		return 0, in.err
	case err != nil:
		return 0, &callerError{fmt.Errorf("write download: %w", err)}
	}
	if length >= 0 && n != length {
		return 0, &kinded{ErrUnavailable, fmt.Errorf("%d bytes came, %d were announced", n, length)}
	}
	if want != "" && want != base64.StdEncoding.EncodeToString(in.digest.Sum(nil)) {
		return 0, &kinded{ErrUnavailable, errors.New("the bytes do not match their Content-MD5")}
	}
	return n, nil
}

// incoming is a download on its way from an answer to a writer. Its failures are told from the
// writer's.
type incoming struct {
	body   io.Reader
	limit  int64     // bytes; 0: any
	digest hash.Hash // of what came; nil: not wanted
	n      int64     // bytes that came
	err    error
}

func (in *incoming) Read(p []byte) (int, error) {
	n, err := in.body.Read(p)
	in.n += int64(n)
	switch {
	case in.limit > 0 && in.n > in.limit:
		in.err = fmt.Errorf("more than %d bytes: %w", in.limit, ErrTooLarge)
	case err != nil && err != io.EOF:
		in.err = fmt.Errorf("read download after %d bytes: %w", in.n, err)
	}
	if in.err != nil {
		return 0, in.err
	}
	if in.digest != nil {
		in.digest.Write(p[:n])
	}
	return n, err
}
