package sink_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// slowStore is a store that keeps nothing. It holds the requests of one kind until the test lets
// answer, or they are given up.
type slowStore struct {
	holds  string        // method and, after a space, what the query has
	dialed chan struct{} // closed when there is a connection for the request
	answer chan int
	held   int
	conn
}

// conn is a connection of which only the end is of interest.
type conn struct {
	net.Conn
	closed bool
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.closed = true
	return nil
}

// RoundTrip implements http.RoundTripper.
func (s *slowStore) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	status, body := http.StatusOK, ""
	switch q := req.URL.Query(); {
	case req.Method == http.MethodHead:
		status = http.StatusNotFound
	case req.Method == http.MethodPost && q.Has("uploads"):
		body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
	case req.Method == http.MethodPost && q.Has("uploadId"):
		body = "<CompleteMultipartUploadResult></CompleteMultipartUploadResult>"
	case req.Method == http.MethodPost:
		body = "<DeleteResult></DeleteResult>"
	}
	if method, has, _ := strings.Cut(s.holds, " "); req.Method == method && (has == "" || req.URL.Query().Has(has)) {
		s.held++
		<-s.dialed
		if trace := httptrace.ContextClientTrace(req.Context()); trace != nil && trace.GotConn != nil {
			trace.GotConn(httptrace.GotConnInfo{Conn: &s.conn})
		}
		select {
		case status = <-s.answer:
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
	header := http.Header{}
	if checksum := req.Header.Get("X-Amz-Checksum-Sha256"); checksum != "" {
		header.Set("X-Amz-Checksum-Sha256", checksum)
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req}, nil
}

var errGivenUp = errors.New("given up")

// giveUp makes a call on a slow store, and gives it up once the store holds its request, or would
// if it were dialed.
func giveUp(t *testing.T, holds string, dialed bool, call func(context.Context, *sink.Store) error) (*slowStore, <-chan error) {
	t.Helper()
	slow := &slowStore{holds: holds, answer: make(chan int, 1), dialed: make(chan struct{})}
	if dialed {
		close(slow.dialed)
	}
	api, err := sink.Client(t.Context(), sink.Options{
		Endpoint: "http://store.test", PathStyle: true, Transport: slow, Credentials: credentials.NewStaticCredentialsProvider("me", "secret", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: "b", MultipartAbove: 5 << 20, PartBytes: 5 << 20})
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- call(ctx, store) }()
	synctest.Wait()
	if slow.held != 1 {
		t.Fatalf("the store holds %d requests", slow.held)
	}
	cancel(errGivenUp)
	synctest.Wait()
	return slow, done
}

func put(size int) func(context.Context, *sink.Store) error {
	return func(ctx context.Context, s *sink.Store) error {
		_, err := s.Put(ctx, "k", sink.Bytes(bytes.Repeat([]byte("x"), size), ""))
		return err
	}
}

// The store may carry out a request after its caller has given up. So the answer to a change is
// waited for.
func TestAChangeUnderWayIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name, holds string
		call        func(context.Context, *sink.Store) error
		ends        error // of a call that goes on after the request
	}{
		{"put", "PUT", put(1), nil},
		{"replace", "PUT", func(ctx context.Context, s *sink.Store) error { return s.Replace(ctx, "k", sink.Bytes(nil, "")) }, nil},
		{"begin an upload", "POST uploads", put(6 << 20), errGivenUp},
		{"upload a part", "PUT", put(6 << 20), errGivenUp},
		{"complete an upload", "POST uploadId", put(6 << 20), nil},
		{"remove", "POST delete", func(ctx context.Context, s *sink.Store) error { return s.Remove(ctx, "k") }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow, done := giveUp(t, c.holds, true, c.call)
				select {
				case err := <-done:
					t.Fatalf("the call ends before the store has answered: %v", err)
				default:
				}
				slow.answer <- http.StatusOK
				if err := <-done; !errors.Is(err, c.ends) {
					t.Errorf("the call ends with %v", err)
				}
			})
		})
	}
}

// A store that does not answer is not waited for forever, one that refuses is not asked again, one
// that was not asked yet is not asked, and what changes nothing is not waited for.
func TestACallThatIsGivenUpEnds(t *testing.T) {
	ends := func(t *testing.T, slow *slowStore, done <-chan error, after time.Duration) {
		t.Helper()
		began := time.Now()
		if err := <-done; !errors.Is(err, errGivenUp) || errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("the call ends with %v", err)
		}
		if took := time.Since(began); took != after || slow.held != 1 {
			t.Errorf("the call ends after %s and %d requests", took, slow.held)
		}
	}
	t.Run("no answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			slow, done := giveUp(t, "PUT", true, put(1))
			ends(t, slow, done, 3*time.Second)
		})
	})
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			slow, done := giveUp(t, "PUT", true, put(1))
			slow.answer <- http.StatusServiceUnavailable
			ends(t, slow, done, 0)
		})
	})
	t.Run("not sent", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			slow, done := giveUp(t, "PUT", false, put(1))
			close(slow.dialed)
			ends(t, slow, done, 0)
			if !slow.closed {
				t.Error("the request is sent although it was given up")
			}
		})
	})
	t.Run("read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			slow, done := giveUp(t, "GET", true, func(ctx context.Context, s *sink.Store) error {
				_, err := s.ReadAll(ctx, "k", 1)
				return err
			})
			ends(t, slow, done, 0)
		})
	})
}
