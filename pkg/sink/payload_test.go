package sink_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// counted counts the bytes that are read of a body.
type counted struct {
	*bytes.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// A body whose digest is known is read for the wire alone, and one that goes in parts once more for
// the digests of those. The SDK reads neither for the signature.
func TestBodiesAreNotReadForTheSignature(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	for _, tc := range []struct {
		name        string
		size, reads int
	}{
		{"in one piece", 300_000, 1},
		{"in parts", 6<<20 + 1, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			content := noise(7, tc.size)
			body := sink.Bytes(content, "image/jpeg")
			r := &counted{Reader: bytes.NewReader(content)}
			body.R = r
			if _, err := w.store.Put(t.Context(), sink.Key("payload/"+tc.name), body); err != nil {
				t.Fatal(err)
			}
			if r.n != tc.reads*tc.size {
				t.Errorf("%d bytes were read of %d, %d are wanted", r.n, tc.size, tc.reads*tc.size)
			}
		})
	}
}

// signed notes how requests are signed, and answers as a store that keeps what it is sent.
type signed struct {
	mu     sync.Mutex
	hashes map[string]string // of hosts and paths
}

func (s *signed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
		_ = req.Body.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hashes[req.URL.Scheme+"://"+req.URL.Host+req.URL.Path] = req.Header.Get("X-Amz-Content-Sha256")
	if !strings.Contains(req.Header.Get("Authorization"), "/eu-west-3/s3/aws4_request") {
		s.hashes[req.URL.Path] = "not signed: " + req.Header.Get("Authorization")
	}
	h := http.Header{}
	h.Set("X-Amz-Checksum-Sha256", req.Header.Get("X-Amz-Checksum-Sha256"))
	return &http.Response{StatusCode: http.StatusOK, Header: h, Body: http.NoBody, Request: req}, nil
}

// Each request is signed with the digest of what is sent, over https too, and goes to the endpoint
// of its bucket, which is resolved once, however many requests are made at a time.
func TestRequestsAreSignedAndSentAsEver(t *testing.T) {
	a, b := sink.Bytes([]byte("a"), "text/plain"), sink.Bytes([]byte("b"), "text/plain")
	for _, tc := range []struct {
		name string
		o    sink.Options
		want map[string]string
	}{
		{"AWS", sink.Options{}, map[string]string{
			"https://one.s3.eu-west-3.amazonaws.com/k": a.SHA256, "https://one.s3.eu-west-3.amazonaws.com/l": b.SHA256,
			"https://two.s3.eu-west-3.amazonaws.com/k": a.SHA256, "https://two.s3.eu-west-3.amazonaws.com/l": b.SHA256,
		}},
		{"a store of one's own", sink.Options{Endpoint: "http://s3.test:9000/base", PathStyle: true}, map[string]string{
			"http://s3.test:9000/base/one/k": a.SHA256, "http://s3.test:9000/base/one/l": b.SHA256,
			"http://s3.test:9000/base/two/k": a.SHA256, "http://s3.test:9000/base/two/l": b.SHA256,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sent := &signed{hashes: map[string]string{}}
			tc.o.Region, tc.o.Transport, tc.o.Credentials = "eu-west-3", sent, credentials.NewStaticCredentialsProvider("id", "secret", "")
			api, err := sink.Client(t.Context(), tc.o)
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for _, bucket := range []string{"one", "two"} {
				store := sink.NewStore(api, sink.StoreOptions{Bucket: bucket})
				for range 4 {
					for key, body := range map[sink.Key]sink.Body{"k": a, "l": b} {
						body.R = strings.NewReader(map[sink.Key]string{"k": "a", "l": "b"}[key])
						all.Go(func() {
							if _, err := store.Put(t.Context(), key, body); err != nil {
								t.Error(err)
							}
						})
					}
				}
			}
			all.Wait()
			for where, hash := range sent.hashes {
				if tc.want[where] != hash {
					t.Errorf("%s is signed with %q, want %q", where, hash, tc.want[where])
				}
			}
			if len(sent.hashes) != len(tc.want) {
				t.Errorf("%d addresses, want %d", len(sent.hashes), len(tc.want))
			}
		})
	}
}
