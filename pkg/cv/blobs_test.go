package cv

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func discard(int64) (io.Writer, error) { return io.Discard, nil }

// sink collects what every try wrote.
type sink struct {
	lengths []int64
	tries   []*bytes.Buffer
}

func (s *sink) begin(length int64) (io.Writer, error) {
	s.lengths = append(s.lengths, length)
	s.tries = append(s.tries, new(bytes.Buffer))
	return s.tries[len(s.tries)-1], nil
}

func (s *sink) last() string {
	if len(s.tries) == 0 {
		return ""
	}
	return s.tries[len(s.tries)-1].String()
}

// blob serves bytes as storage does.
func blob(content string, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		digest := md5.Sum([]byte(content))
		rw.Header().Set("Content-Md5", base64.StdEncoding.EncodeToString(digest[:]))
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Header().Set("X-Ms-Request-Id", "s-1")
		for i := 0; i+1 < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		_, _ = io.WriteString(rw, content)
	}
}

// storageError answers as Azure Storage does, with the text it signs in the body.
func storageError(status int, code string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("X-Ms-Request-Id", "s-1")
		rw.Header().Set("Content-Type", "application/xml")
		rw.WriteHeader(status)
		fmt.Fprintf(rw, "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>Signature did not match. %s</Message></Error>", code, r.URL.RawQuery)
	}
}

const query1, query2 = "?sv=2017-04-17&sr=b&sig=c2VjcmV0&se=2026-03-02T12%3A00%3A00Z&sp=r", "?sv=2017-04-17&sr=b&sig=ZnJlc2g&se=2026-03-03T12%3A00%3A00Z&sp=r"

func TestFetch(t *testing.T) {
	content := strings.Repeat("picture ", 20_000)
	fresh := func(w *world, path string, asked *int) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			*asked++
			return w.server.URL + path, nil
		}
	}
	for name, c := range map[string]struct {
		steps     []http.HandlerFunc
		path      string // default /i-1/i-2 with a good signature
		uri       string // in place of a path
		noRefresh bool
		limit     int64
		requests  int
		asked     int // fresh links
		tries     int // begun
		kinds     string
		text      string
		fails     bool
	}{
		"at once":              {steps: []http.HandlerFunc{blob(content)}, requests: 1, tries: 1},
		"exactly the limit":    {steps: []http.HandlerFunc{blob(content)}, limit: int64(len(content)), requests: 1, tries: 1},
		"after a server error": {steps: []http.HandlerFunc{storageError(503, "ServerBusy"), reset, blob(content)}, requests: 3, tries: 1},
		"cut body": {steps: []http.HandlerFunc{
			blob(content[:500], "Content-Length", "1000"), blob(content),
		}, requests: 2, tries: 2},
		"wrong digest once": {steps: []http.HandlerFunc{blob(content, "Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg=="), blob(content)}, requests: 2, tries: 2},
		"wrong digest always": {
			steps: []http.HandlerFunc{blob(content, "Content-Md5", "1B2M2Y8AsgTpgAmY7PhCfg==")}, requests: 5, tries: 5,
			fails: true, kinds: "unavailable", text: "do not match their Content-MD5",
		},
		"link refused once":       {steps: []http.HandlerFunc{storageError(403, "AuthenticationFailed"), blob(content)}, requests: 2, asked: 1, tries: 1},
		"blob moved":              {steps: []http.HandlerFunc{storageError(404, "BlobNotFound"), blob(content)}, requests: 2, asked: 1, tries: 1},
		"link refused for ever":   {steps: []http.HandlerFunc{storageError(403, "AuthenticationFailed")}, requests: 3, asked: 2, fails: true, kinds: "expired", text: "GetBlob: 403 AuthenticationFailed: download link expired (request s-1)"},
		"blob gone":               {steps: []http.HandlerFunc{storageError(404, "BlobNotFound")}, requests: 3, asked: 2, fails: true, kinds: "expired", text: "404 BlobNotFound"},
		"refused, none to be had": {steps: []http.HandlerFunc{storageError(403, "AuthenticationFailed")}, noRefresh: true, requests: 1, fails: true, kinds: "expired"},
		"past its end":            {steps: []http.HandlerFunc{blob(content)}, path: "/i-1/i-2?se=2026-03-01T11%3A59%3A59Z&sig=x", requests: 1, asked: 1, tries: 1},
		"past its end, short":     {steps: []http.HandlerFunc{blob(content)}, path: "/i-1/i-2?se=2026-03-01&sig=x", requests: 1, asked: 1, tries: 1},
		"past its end by a wrong clock": {
			steps: []http.HandlerFunc{blob(content)}, path: "/i-1/i-2?se=2026-03-01T11%3A59%3A59Z&sig=x", noRefresh: true, requests: 1, tries: 1,
		},
		"too large by its length": {steps: []http.HandlerFunc{blob(content, "Content-Length", fmt.Sprint(len(content)))}, limit: 100, requests: 1, fails: true, kinds: "large", text: "160000 bytes, at most 100"},
		"too large by its bytes": {steps: []http.HandlerFunc{func(rw http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(rw).Flush()
			_, _ = io.WriteString(rw, content)
		}}, limit: 100, requests: 1, tries: 1, fails: true, kinds: "large", text: "more than 100 bytes"},
		"not a whole file":        {steps: []http.HandlerFunc{status(206, content[:10])}, requests: 5, fails: true, kinds: "unavailable", text: "a file was wanted, not Partial Content"},
		"bad request":             {steps: []http.HandlerFunc{storageError(400, "InvalidUri")}, requests: 1, fails: true, text: "GetBlob: 400 InvalidUri (request s-1)"},
		"unavailable":             {steps: []http.HandlerFunc{storageError(500, "InternalError")}, requests: 5, fails: true, kinds: "unavailable", text: "500 InternalError"},
		"busy for long":           {steps: []http.HandlerFunc{status(503, "", "Retry-After", "3600")}, requests: 1, fails: true, kinds: "unavailable throttled", text: "retry after 5m0s, though the service asked for longer"},
		"redirect to itself":      {steps: []http.HandlerFunc{status(302, "", "Location", "/i-1/i-2?sig=again"), blob(content)}, requests: 2, tries: 1},
		"redirects without end":   {steps: []http.HandlerFunc{status(302, "", "Location", "/i-1/i-2?sig=again")}, requests: 4, fails: true, kinds: "host", text: "more than 3 redirects"},
		"redirect to elsewhere":   {steps: []http.HandlerFunc{status(307, "", "Location", "https://evil.example/i?sig=again")}, requests: 1, fails: true, kinds: "host", text: "https://evil.example:443: download host is not allowed"},
		"redirect to the inside":  {steps: []http.HandlerFunc{status(301, "", "Location", "http://169.254.169.254/metadata")}, requests: 1, fails: true, kinds: "host"},
		"redirect to another way": {steps: []http.HandlerFunc{status(301, "", "Location", "file:///etc/passwd")}, requests: 1, fails: true, kinds: "host"},
		"redirect without aim":    {steps: []http.HandlerFunc{status(301, "")}, requests: 1, fails: true, kinds: "bad", text: "there is no link"},
		"redirect to no URI":      {steps: []http.HandlerFunc{status(301, "", "Location", "http://[::1")}, requests: 1, fails: true, kinds: "bad", text: "not a URI"},
		"no URI":                  {steps: []http.HandlerFunc{blob(content)}, uri: "https://h.example/%zz" + query1, requests: 1, asked: 1, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(c.steps...))
			asked := 0
			link := Link{Project: idP, URI: w.server.URL + "/i-1/i-2" + query1, Refresh: fresh(w, "/i-1/i-2"+query2, &asked)}
			if c.path != "" {
				link.URI = w.server.URL + c.path
			}
			if c.uri != "" {
				link.URI = c.uri
			}
			if c.noRefresh {
				link.Refresh = nil
			}
			var s sink
			ctx := WithTrace(t.Context(), Trace{
				Before: func(context.Context, Call) error { return errors.New("a download is no call of the API") },
			})
			n, err := w.Fetch(ctx, link, c.limit, s.begin)
			if (err != nil) != c.fails {
				t.Fatal(err)
			}
			if err == nil && (n != int64(len(content)) || s.last() != content) {
				t.Errorf("%d bytes, %d written", n, len(s.last()))
			}
			if err != nil {
				checkKinds(t, err, c.kinds)
				if !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "sig=") || strings.Contains(err.Error(), "sv=") {
					t.Errorf("text %s", err)
				}
			}
			if len(w.requests()) != c.requests || asked != c.asked || len(s.tries) != c.tries {
				t.Errorf("%d requests, %d fresh links, %d tries; want %d, %d, %d", len(w.requests()), asked, len(s.tries), c.requests, c.asked, c.tries)
			}
			for i, r := range w.requests() {
				if r.Header.Get("Training-Key") != "" || r.Header.Get("Authorization") != "" || r.Header.Get("Accept-Encoding") != "identity" {
					t.Errorf("headers %v", r.Header)
				}
				if (i > 0 || c.uri != "") && c.asked > 0 && r.URL.RawQuery != query2[1:] {
					t.Errorf("request %d does not use the fresh link", i)
				}
			}
		})
	}
}

func TestFetchOfUnknownLength(t *testing.T) {
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(rw).Flush()
		_, _ = io.WriteString(rw, "chunks")
	})
	var s sink
	n, err := w.Fetch(t.Context(), Link{URI: w.server.URL + "/x"}, 0, s.begin)
	if n != 6 || err != nil || s.lengths[0] != -1 || s.last() != "chunks" {
		t.Error(n, err, s.lengths)
	}
}

func TestFetchNeverDecodes(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("content"))
	_ = z.Close()
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		blob(zipped.String())(rw, r)
	})
	for _, uri := range []string{w.server.URL + "/x", "i-1/i-2"} {
		var s sink
		n, err := w.Fetch(t.Context(), Link{Project: idP, URI: uri}, 0, s.begin)
		if err != nil || n != int64(zipped.Len()) || s.last() != zipped.String() || s.lengths[0] != n {
			t.Errorf("%s: %d %v", uri, n, err)
		}
	}
}

func TestFetchOurOwnFailuresAreNotRetried(t *testing.T) {
	full := errors.Join(errors.New("disk full"), ErrUnavailable) // whatever it is
	for name, begin := range map[string]func(int64) (io.Writer, error){
		"begin": func(int64) (io.Writer, error) { return nil, full },
		"write": func(int64) (io.Writer, error) { return failing{full}, nil },
	} {
		for _, uri := range []string{"/x", "i-1/i-2"} {
			t.Run(name+" "+uri, func(t *testing.T) {
				w := newWorld(t, blob("content"))
				if uri[0] == '/' {
					uri = w.server.URL + uri
				}
				if _, err := w.Fetch(t.Context(), Link{URI: uri}, 0, begin); !errors.Is(err, full) || len(w.requests()) != 1 {
					t.Errorf("%v after %d", err, len(w.requests()))
				}
			})
		}
	}
	t.Run("refresh", func(t *testing.T) {
		w := newWorld(t, storageError(403, "AuthenticationFailed"))
		gone := &Error{Op: "GetImagesByIds", Status: 404, Code: "NotFoundProject"}
		_, err := w.Fetch(t.Context(), Link{URI: w.server.URL + "/x", Refresh: func(context.Context) (string, error) { return "", gone }}, 0, discard)
		checkKinds(t, err, "gone")
		if !errors.Is(err, gone) || len(w.requests()) != 1 {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestFetchThroughTheAPI(t *testing.T) {
	const path = "i-40b66b39/t-5c882c62?sv=1&sig=a+b%2Fc&se=2026-03-02T12%3A00%3A00Z"
	for name, c := range map[string]struct {
		steps    []http.HandlerFunc
		refresh  bool
		requests int
		kinds    string
		fails    bool
	}{
		"at once":          {steps: []http.HandlerFunc{blob("content")}, requests: 1},
		"after faults":     {steps: []http.HandlerFunc{status(429, ""), reset, blob("con", "Content-Length", "7"), blob("content")}, requests: 4},
		"stale path":       {steps: []http.HandlerFunc{status(400, `{"code":"BadRequestInvalidArtifactUri","message":"m"}`), blob("content")}, refresh: true, requests: 2},
		"bad path":         {steps: []http.HandlerFunc{status(400, `{"code":"BadRequestInvalidArtifactUri","message":"m"}`)}, refresh: true, requests: 3, fails: true, kinds: "expired"},
		"not there":        {steps: []http.HandlerFunc{status(404, ``)}, requests: 1, fails: true, kinds: "expired"},
		"project is gone":  {steps: []http.HandlerFunc{status(404, `{"code":"NotFoundProject","message":"m"}`)}, requests: 1, fails: true, kinds: "gone expired"},
		"wrong credential": {steps: []http.HandlerFunc{status(401, ``)}, refresh: true, requests: 1, fails: true, kinds: "misconfigured"},
		"wrong role":       {steps: []http.HandlerFunc{status(403, ``)}, refresh: true, requests: 3, fails: true, kinds: "misconfigured"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(c.steps...))
			link := Link{Project: idP, URI: path}
			if c.refresh {
				link.Refresh = func(context.Context) (string, error) { return path, nil }
			}
			var calls []Call
			var s sink
			n, err := w.Fetch(WithTrace(t.Context(), Trace{After: func(c Call) { calls = append(calls, c) }}), link, 0, s.begin)
			if (err != nil) != c.fails || err == nil && (n != 7 || s.last() != "content") {
				t.Fatal(n, err)
			}
			if err != nil {
				checkKinds(t, err, c.kinds)
			}
			if len(w.requests()) != c.requests || len(calls) != c.requests {
				t.Errorf("%d requests, %d traced", len(w.requests()), len(calls))
			}
			for _, call := range calls {
				if call.Operation != "GetArtifact" || call.Target != "projects/"+idP.String()+"/artifacts" {
					t.Errorf("%+v", call)
				}
			}
			r := w.requests()[0]
			if r.URL.Query().Get("path") != path || r.Header.Get("Training-Key") != testKey {
				t.Errorf("%s %v", r.URL, r.Header)
			}
		})
	}
}

func TestFetchStalls(t *testing.T) {
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hang := func(r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	w := newWorld(t, script(
		func(_ http.ResponseWriter, r *http.Request) { hang(r) },
		func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "7")
			_, _ = io.WriteString(rw, "con")
			_ = http.NewResponseController(rw).Flush()
			hang(r)
		},
		blob("content"),
	))
	w.stallTimeout = 50 * time.Millisecond
	var s sink
	if n, err := w.Fetch(t.Context(), Link{URI: w.server.URL + "/x"}, 0, s.begin); n != 7 || err != nil || len(s.tries) != 2 || s.tries[0].String() != "con" {
		t.Error(n, err, len(s.tries))
	}
}

func TestFetchCancelled(t *testing.T) {
	stopping := errors.New("stopping")
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "con")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
	})
	_, err := w.Fetch(ctx, Link{URI: w.server.URL + "/x", Refresh: func(context.Context) (string, error) {
		t.Error("asked for a fresh link")
		return "", nil
	}}, 0, func(int64) (io.Writer, error) {
		cancel(stopping)
		return io.Discard, nil
	})
	if !errors.Is(err, stopping) || !errors.Is(err, context.Canceled) || len(w.requests()) != 1 {
		t.Error(err)
	}
}

func TestFetchLinksThatAreNone(t *testing.T) {
	w := newWorld(t, blob("content"))
	for uri, kind := range map[string]error{
		"":                                                ErrBadLink,
		"https://h.example/%zz?sig=secret":                ErrBadLink,
		"https://h.example:port/?sig=secret":              ErrBadLink,
		"https://h.example:443&sig=secret":                ErrBadLink,
		"https://h.example/x\n?sig=secret":                ErrBadLink,
		"https://[::1/x?sig=secret":                       ErrBadLink,
		" https://h.example/x?sig=secret":                 ErrBadLink,
		"//evil.example/x?sig=secret":                     ErrHostNotAllowed,
		"file:///etc/passwd":                              ErrHostNotAllowed,
		"ftp://a.blob.core.windows.net/x":                 ErrHostNotAllowed,
		"https://a.blob.core.windows.net@evil.example/x":  ErrHostNotAllowed,
		"https://u:secret@a.blob.core.windows.net/x":      ErrHostNotAllowed,
		"http://a.blob.core.windows.net/x?sig=secret":     ErrHostNotAllowed,
		"https://a.blob.core.windows.net:8443/x":          ErrHostNotAllowed,
		"https://.blob.core.windows.net.evil.example/x":   ErrHostNotAllowed,
		"https://evilblob.core.windows.net/x?sig=secret":  ErrHostNotAllowed,
		"https://169.254.169.254/metadata?sig=secret":     ErrHostNotAllowed,
		"http://localhost/x?sig=secret":                   ErrHostNotAllowed,
		"http://[::1]/x":                                  ErrHostNotAllowed,
		"mailto:a@a.blob.core.windows.net?subject=secret": ErrHostNotAllowed,
	} {
		_, err := w.Fetch(t.Context(), Link{Project: idP, URI: uri}, 0, discard)
		if !errors.Is(err, kind) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", uri, err)
		}
	}
	asked := 0
	bad := Link{Project: idP, URI: "http://[::1/x", Refresh: func(context.Context) (string, error) {
		asked++
		return "http://[::1/y", nil
	}}
	if _, err := w.Fetch(t.Context(), bad, 0, discard); !errors.Is(err, ErrBadLink) || asked != 1 {
		t.Errorf("%v after %d fresh links, one was right", err, asked)
	}
	if n := len(w.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
