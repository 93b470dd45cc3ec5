package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// store answers each request by a function, and notes it with its body.
type store struct {
	mu     sync.Mutex
	seen   []*http.Request
	bodies []string
	answer func(req *http.Request, body string) (*http.Response, error)
}

// RoundTrip implements http.RoundTripper.
func (s *store) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.bodies = append(s.seen, req), append(s.bodies, string(body))
	return s.answer(req, string(body))
}

// direct has a letter for each request: d for one that was made without the SDK's middleware, s for
// one of the SDK.
func (s *store) direct() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	for _, req := range s.seen {
		if req.Header.Get("Amz-Sdk-Request") == "" {
			out.WriteByte('d')
		} else {
			out.WriteByte('s')
		}
	}
	return out.String()
}

// stored answers that a write was carried out.
func stored(req *http.Request, _ string) (*http.Response, error) {
	h := http.Header{}
	for _, name := range []string{"X-Amz-Checksum-Sha256", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"} {
		if v := req.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	return answerOf(req, http.StatusOK, "", h), nil
}

func answerOf(req *http.Request, status int, body string, h http.Header) *http.Response {
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), Request: req}
}

// storeOf is a store that s answers for. With usual all requests are the SDK's.
func storeOf(t *testing.T, s *store, o sink.StoreOptions, pathStyle, usual bool) *sink.Store {
	t.Helper()
	api, err := sink.Client(t.Context(), sink.Options{
		Endpoint: "http://store.test", Region: "eu-west-1", PathStyle: pathStyle, Transport: s,
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "session"), MaxBackoff: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if usual {
		api = s3.New(api.Options(), func(o *s3.Options) {
			o.APIOptions = append(o.APIOptions, func(*middleware.Stack) error { return nil })
		})
	}
	o.Bucket, o.Wait = "bucket", func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	return sink.NewStore(api, o)
}

// A direct write says to the store what the SDK's says, but for what the SDK says of itself.
func TestDirectWritesAreAsOfTheSDK(t *testing.T) {
	content := []byte("a picture")
	plain := sink.Bytes(content, "image/jpeg")
	meta := plain
	meta.Meta = map[string]string{"cv-source": "original"}
	for name, tc := range map[string]struct {
		o         sink.StoreOptions
		pathStyle bool
		body      sink.Body
		sealed    bool
	}{
		"path":       {body: plain, pathStyle: true},
		"host":       {body: plain},
		"metadata":   {body: meta, sealed: true},
		"encryption": {body: plain, o: sink.StoreOptions{SSE: "AES256"}},
		"kms":        {body: plain, o: sink.StoreOptions{SSE: "aws:kms", SSEKMSKeyID: "key"}},
		"empty":      {body: sink.Bytes(nil, "")},
	} {
		t.Run(name, func(t *testing.T) {
			var sent [2]*store
			for i := range sent {
				sent[i] = &store{answer: stored}
				to := storeOf(t, sent[i], tc.o, tc.pathStyle, i == 1)
				if tc.sealed {
					to = to.Sealed(sink.NewSealer([]byte("key"), "id", "message"))
				}
				for _, key := range []sink.Key{"first", "a/b-c_d.e/1"} { // the first finds out where objects are
					if _, err := to.Put(t.Context(), key, tc.body); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got, want := sent[0].direct()+sent[1].direct(), "sdss"; got != want {
				t.Fatalf("requests are %s, want %s", got, want)
			}
			got, want := sent[0].seen[1], sent[1].seen[1]
			query := want.URL.Query()
			query.Del("x-id")
			if got.URL.Host != want.URL.Host || got.URL.EscapedPath() != want.URL.EscapedPath() || got.URL.RawQuery != query.Encode() || got.ContentLength != want.ContentLength {
				t.Errorf("%s of %d bytes, want %s of %d", got.URL, got.ContentLength, want.URL, want.ContentLength)
			}
			if none := got.Body == http.NoBody; none != (got.ContentLength == 0) {
				t.Errorf("of %d bytes there is no body: %v", got.ContentLength, none)
			}
			if sent[0].bodies[1] != sent[1].bodies[1] {
				t.Errorf("the body is %q, want %q", sent[0].bodies[1], sent[1].bodies[1])
			}
			for _, h := range []http.Header{got.Header, want.Header} {
				signed, rest, _ := strings.Cut(h.Get("Authorization"), "SignedHeaders=")
				names, _, _ := strings.Cut(rest, ",")
				names = strings.ReplaceAll(names, "amz-sdk-invocation-id;amz-sdk-request;", "")
				h.Set("Authorization", signed+names)
				for _, own := range []string{"Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "User-Agent", "X-Amz-Date", "Expect"} {
					h.Del(own)
				}
			}
			if g, w := fmt.Sprint(got.Header), fmt.Sprint(want.Header); g != w {
				t.Errorf("headers are\n%s\nwant\n%s", g, w)
			}
		})
	}
}

// A direct write that does not plainly succeed is made by the SDK, with the outcome that it has
// there. After a failure the SDK makes some more.
func TestDirectWritesThatFail(t *testing.T) {
	refuse := func(status int, code string) func(*http.Request) (*http.Response, error) {
		return func(req *http.Request) (*http.Response, error) {
			return answerOf(req, status, "<Error><Code>"+code+"</Code></Error>", nil), nil
		}
	}
	for name, tc := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   string // how the requests of four writes are made, of which the second is answered so
	}{
		"throttled":            {refuse(http.StatusServiceUnavailable, "SlowDown"), "sdsss"},
		"no permission":        {refuse(http.StatusForbidden, "RequestTimeTooSkewed"), "sdsss"},
		"the connection ends":  {func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, "sdsss"},
		"an error in a 200":    {refuse(http.StatusOK, "InternalError"), "sdsss"},
		"another write is on":  {refuse(http.StatusConflict, "ConditionalRequestConflict"), "sdsdd"},
		"there is one already": {refuse(http.StatusPreconditionFailed, "PreconditionFailed"), "sdsdd"},
		"moved":                {refuse(http.StatusTemporaryRedirect, "TemporaryRedirect"), "sdsss"},
	} {
		t.Run(name, func(t *testing.T) {
			once := true
			s := &store{}
			s.answer = func(req *http.Request, body string) (*http.Response, error) {
				if req.Header.Get("Amz-Sdk-Request") == "" && once {
					once = false
					return tc.answer(req)
				}
				return stored(req, body)
			}
			to := storeOf(t, s, sink.StoreOptions{}, true, false)
			for i := range 4 {
				if _, err := to.Put(t.Context(), sink.Key(fmt.Sprint("k", i)), sink.Bytes([]byte("content"), "")); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.direct(); got != tc.want {
				t.Errorf("requests are %s, want %s", got, tc.want)
			}
			for i, b := range s.bodies {
				if b != "content" {
					t.Errorf("request %d has the body %q", i, b)
				}
			}
		})
	}
}

// The SDK makes what cannot be repeated, is large, has a key that paths escape, or a lock.
func TestWritesThatAreNotDirect(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 2<<20+1)
	for name, put := range map[string]func(*sink.Store) error{
		"a key to be escaped": func(s *sink.Store) error {
			_, err := s.Put(t.Context(), "a b", sink.Bytes(nil, ""))
			return err
		},
		"another reader": func(s *sink.Store) error {
			_, err := s.Put(t.Context(), "k", sink.Body{R: struct{ io.ReadSeeker }{strings.NewReader("x")}})
			return err
		},
		"large":   func(s *sink.Store) error { _, err := s.Put(t.Context(), "k", sink.Bytes(large, "")); return err },
		"replace": func(s *sink.Store) error { return s.Replace(t.Context(), "k", sink.Bytes(nil, "")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &store{answer: stored}
			to := storeOf(t, s, sink.StoreOptions{}, true, false)
			if _, err := to.Put(t.Context(), "first", sink.Bytes(nil, "")); err != nil {
				t.Fatal(err)
			}
			if err := put(to); err != nil || s.direct() != "ss" {
				t.Errorf("requests are %s: %v", s.direct(), err)
			}
		})
	}
}

// The signatures of direct writes are right for a real store. A direct write that was carried out,
// and whose answer is lost, is found by the SDK's: the object is adopted. A store that
// answers with another checksum is not believed.
func TestDirectWritesOnAServer(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	f := sinktest.Script(t, sinktest.Fault{Op: "PutObject", Key: "lost", Effect: sinktest.Reset, After: true})
	direct := 0
	api := w.server.FaultyClient(f, func(o *s3.Options) {
		client := *o.HTTPClient.(*http.Client)
		next := client.Transport
		client.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Amz-Sdk-Request") == "" {
				direct++
			}
			return next.RoundTrip(req)
		})
		o.HTTPClient = &client
	})
	to := sink.NewStore(api, w.options()).Sealed(sink.NewSealer([]byte("key"), "id", "message"))
	for _, key := range []sink.Key{"first", "empty", "second", "lost"} {
		content := []byte(key)
		if key == "empty" {
			content = nil
		}
		o, err := to.Put(t.Context(), key, sink.Bytes(content, ""))
		if err != nil || o.Adopted != (key == "lost") || o.SHA256 != sink.HexSHA256(content) {
			t.Errorf("%s: %+v, %v", key, o, err)
		}
	}
	if direct != 3 {
		t.Errorf("%d writes were direct, want 3", direct)
	}

	s := &store{answer: stored}
	lying := storeOf(t, s, sink.StoreOptions{}, true, false)
	if _, err := lying.Put(t.Context(), "first", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	s.answer = func(req *http.Request, _ string) (*http.Response, error) {
		return answerOf(req, http.StatusOK, "", http.Header{"X-Amz-Checksum-Sha256": {"other"}}), nil
	}
	if _, err := lying.Put(t.Context(), "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrNotKept) || s.direct() != "sd" {
		t.Errorf("requests are %s: %v", s.direct(), err)
	}
}

// Of a write whose caller has given up nothing is sent, directly or by the SDK.
func TestDirectWriteThatIsGivenUp(t *testing.T) {
	s := &store{answer: stored}
	to := storeOf(t, s, sink.StoreOptions{}, true, false)
	if _, err := to.Put(t.Context(), "first", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(*http.Request, string) (*http.Response, error) {
		cancel()
		return nil, io.ErrUnexpectedEOF
	}
	for range 2 { // the second is given up before it begins
		if _, err := to.Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, context.Canceled) || s.direct() != "sd" {
			t.Errorf("requests are %s: %v", s.direct(), err)
		}
	}
}

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// locatedStore is a store that has answered a write: it is known where its objects are.
func locatedStore(t *testing.T) (*store, *sink.Store) {
	t.Helper()
	s := &store{answer: stored}
	to := storeOf(t, s, sink.StoreOptions{}, true, false)
	if _, err := to.Put(t.Context(), "first", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	return s, to
}

// TestPlainlyAbsent says of which answers it is plain that nothing is at a key. Everything else is
// asked in the usual way.
func TestPlainlyAbsent(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   bool
	}{
		{"nothing is there", http.StatusNotFound, "<Error><Code>NoSuchKey</Code></Error>", true},
		{"no bucket", http.StatusNotFound, "<Error><Code>NoSuchBucket</Code></Error>", false},
		{"another server", http.StatusNotFound, "not found", false},
		{"something is there", http.StatusOK, "<Code>NoSuchKey</Code>", false},
		{"no right", http.StatusForbidden, "<Error><Code>AccessDenied</Code></Error>", false},
		{"another failure", http.StatusServiceUnavailable, "<Error><Code>NoSuchKey</Code></Error>", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &store{answer: stored}
			to := storeOf(t, s, sink.StoreOptions{}, true, false)
			if to.PlainlyAbsent(t.Context(), "k") || s.direct() != "" {
				t.Error("it is asked before it is known where")
			}
			if _, err := to.Put(t.Context(), "first", sink.Bytes(nil, "")); err != nil {
				t.Fatal(err)
			}
			s.answer = func(req *http.Request, _ string) (*http.Response, error) {
				return answerOf(req, c.status, c.body, nil), nil
			}
			if got := to.PlainlyAbsent(t.Context(), "k"); got != c.want || s.direct() != "sd" {
				t.Errorf("%t, requests are %s", got, s.direct())
			}
			if to.PlainlyAbsent(t.Context(), "a key/with blanks") || s.direct() != "sd" {
				t.Error("it is asked by a key that is not plain")
			}
		})
	}
}

// TestPlainlyEmpty says of which listings it is plain that there is nothing.
func TestPlainlyEmpty(t *testing.T) {
	const none = "<Name>b</Name><KeyCount>0</KeyCount>"
	listing := func(of string) string {
		return `<?xml version="1.0"?><ListBucketResult xmlns="x">` + of + "</ListBucketResult>\n"
	}
	for _, c := range []struct {
		name   string
		status int
		body   string
		want   bool
	}{
		{"nothing is there", http.StatusOK, listing(none + "<IsTruncated>false</IsTruncated>"), true},
		{"an object is there", http.StatusOK, listing("<IsTruncated>false</IsTruncated><Contents><Key>k/a</Key></Contents>"), false},
		{"a folder is there", http.StatusOK, listing("<IsTruncated>false</IsTruncated><CommonPrefixes/>"), false},
		{"there is more", http.StatusOK, listing(none + "<IsTruncated>true</IsTruncated>"), false},
		{"whether there is more is not said", http.StatusOK, listing(none), false},
		{"the answer breaks off", http.StatusOK, "<ListBucketResult><IsTruncated>false</IsTruncated>", false},
		{"an error with status 200", http.StatusOK, "<Error><Code>InternalError</Code></Error>", false},
		{"another server", http.StatusOK, "", false},
		{"no bucket", http.StatusNotFound, listing(none + "<IsTruncated>false</IsTruncated>"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, to := locatedStore(t)
			s.answer = func(req *http.Request, _ string) (*http.Response, error) {
				return answerOf(req, c.status, c.body, nil), nil
			}
			if got := to.PlainlyEmpty(t.Context(), "k/"); got != c.want || s.direct() != "sd" {
				t.Errorf("%t, requests are %s", got, s.direct())
			}
		})
	}
}

// TestPlainListing says of which short listings it is plain what is there. Everything else is
// listed in the usual way, and found there.
func TestPlainListing(t *testing.T) {
	const (
		one  = `<Contents><Key>k/a</Key><LastModified>2026-03-02T12:00:00Z</LastModified><Size>7</Size><Owner><ID>o</ID></Owner></Contents>`
		two  = `<Contents><Size>0</Size><Key>k/b</Key></Contents>`
		end  = "<IsTruncated>false</IsTruncated>"
		both = "k/a 7, k/b 0"
	)
	listing := func(of string) string {
		return `<?xml version="1.0"?><ListBucketResult xmlns="x">` + of + "</ListBucketResult>\n"
	}
	for _, c := range []struct {
		name, body, want, requests string
	}{
		{"two objects", listing(end + one + two), both, "sd"},
		{"none", listing(end), "", "sd"},
		{"a key that is escaped", listing(end + one + `<Contents><Key>k/b&amp;</Key><Size>0</Size></Contents>`), "k/a 7, k/b& 0", "sds"},
		{"a size is missing", listing(end + one + `<Contents><Key>k/b</Key></Contents>`), "k/a 7, k/b -1", "sds"},
		{"a key that is hidden", listing(end + one + `<Contents><Key><![CDATA[k/b]]></Key><Size>0</Size></Contents>`), both, "sds"},
		{"an element in another form", listing(end + one + `<Contents xmlns="y"><Key>k/b</Key><Size>0</Size></Contents>`), both, "sds"},
		{"an object of another prefix", listing(end + one + `<Contents><Key>l/b</Key><Size>0</Size></Contents>`), "k/a 7, l/b 0", "sds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, to := locatedStore(t)
			s.answer = func(req *http.Request, _ string) (*http.Response, error) {
				if req.Method != http.MethodGet || req.URL.Query().Get("prefix") != "k/" || req.URL.Query().Get("list-type") != "2" {
					t.Errorf("%s %s", req.Method, req.URL)
				}
				return answerOf(req, http.StatusOK, c.body, nil), nil
			}
			var got []string
			for o, err := range to.ListFew(t.Context(), "k/") {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%s %d", o.Key, o.Bytes))
			}
			if strings.Join(got, ", ") != c.want || s.direct() != c.requests {
				t.Errorf("%v, requests are %s", got, s.direct())
			}
		})
	}
	for _, body := range []string{listing("<IsTruncated>true</IsTruncated>" + one), listing(end + two + one), listing(end + one + one), listing(end + "<Contents><Size>0</Size></Contents>"), "", "<Error/>"} {
		s, to := locatedStore(t)
		s.answer = func(req *http.Request, _ string) (*http.Response, error) {
			return answerOf(req, http.StatusOK, body, nil), nil
		}
		for range to.ListFew(t.Context(), "k/") { // what becomes of it is not this test's
		}
		if !strings.HasPrefix(s.direct(), "sds") {
			t.Errorf("%s: requests are %s", body, s.direct())
		}
	}
}

// TestPlainRemoval says of which answers it is plain that objects were removed. All others have the
// SDK remove them.
func TestPlainRemoval(t *testing.T) {
	result := func(of string) string {
		return `<?xml version="1.0"?><DeleteResult xmlns="x">` + of + "</DeleteResult>"
	}
	for _, c := range []struct {
		name, body string
		status     int
		keys       []sink.Key
		requests   string
	}{
		{"both", result("<Deleted><Key>k/a</Key></Deleted><Deleted><Key>k/b</Key></Deleted>"), 200, []sink.Key{"k/a", "k/b"}, "sd"},
		{"only one", result("<Deleted><Key>k/a</Key></Deleted>"), 200, []sink.Key{"k/a", "k/b"}, "sds"},
		{"one has an error", result("<Deleted><Key>k/a</Key></Deleted><Error><Key>k/b</Key><Code>NoSuchKey</Code></Error>"), 200, []sink.Key{"k/a", "k/b"}, "sds"},
		{"nothing is said", "", 200, []sink.Key{"k/a"}, "sds"},
		{"a failure", result("<Deleted><Key>k/a</Key></Deleted>"), 400, []sink.Key{"k/a"}, "sds"},
		{"a key that is not plain", result("<Deleted><Key>k/a b</Key></Deleted>"), 200, []sink.Key{"k/a b"}, "ss"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, to := locatedStore(t)
			s.answer = func(req *http.Request, _ string) (*http.Response, error) {
				if req.Method != http.MethodPost {
					return answerOf(req, http.StatusOK, "<VersioningConfiguration/>", nil), nil
				}
				return answerOf(req, c.status, c.body, nil), nil
			}
			if err := to.Remove(t.Context(), c.keys...); err != nil {
				t.Error(err)
			}
			// One request asks whether the bucket keeps versions.
			if got := strings.Replace(s.direct(), "ss", "s", 1); !strings.HasPrefix(got, c.requests) {
				t.Errorf("requests are %s, want %s", got, c.requests)
			}
		})
	}
}

// TestLooksAtAServer looks at keys and prefixes of a real store.
func TestLooksAtAServer(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	if _, err := w.store.Put(t.Context(), "there/too", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	if w.store.PlainlyEmpty(t.Context(), "there/") || !w.store.PlainlyEmpty(t.Context(), "not/there/") {
		t.Error("a listing of a real store is not understood")
	}
	for _, key := range []sink.Key{"there/also", "there/1/x.json"} {
		if _, err := w.store.Put(t.Context(), key, sink.Bytes([]byte("four"), "")); err != nil {
			t.Fatal(err)
		}
	}
	usual, few := objectsOf(t, w.store.List(t.Context(), "there/")), objectsOf(t, w.store.ListFew(t.Context(), "there/"))
	if usual != few || strings.Count(few, " ") != 3 {
		t.Errorf("a short listing has %s, the usual one %s", few, usual)
	}
	if err := w.store.Remove(t.Context(), "there/also", "there/1/x.json", "never/there"); err != nil {
		t.Error(err)
	}
	if left := objectsOf(t, w.store.List(t.Context(), "there/")); left != "there/too:0 " {
		t.Errorf("left is %s", left)
	}
	if w.store.PlainlyAbsent(t.Context(), "there/too") || !w.store.PlainlyAbsent(t.Context(), "not/there") {
		t.Error("a real store is not understood")
	}
}

// objectsOf are the keys and sizes of a listing.
func objectsOf(t *testing.T, list iter.Seq2[sink.Object, error]) (out string) {
	t.Helper()
	for o, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%s:%d ", o.Key, o.Bytes)
	}
	return out
}
