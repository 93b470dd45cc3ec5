package cvtest

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// apiPath is where the API lives below Options.BasePath; the service does not mind letter case.
const apiPath = "/customvision/v3.3/training"

// previewPath is where the same operations are, too: it is the default of the official SDK for
// JavaScript.
const previewPath = "/customvision/v3.4-preview/training"

// maxBody is how much of a request's body is read.
const maxBody = 4 << 20

// Server is a simulated Custom Vision resource. Its methods may be called from several goroutines
// at once.
type Server struct {
	o      Options
	secret []byte // signs blob links

	mu      sync.Mutex // guards what follows; never held while answering
	account account
	others  map[string]account // by key, see OtherAccount
	lag     lag
	log     callLog
	faults  faultSet
	bucket  bucket
	files   fileCache
	hook    func(operation string, n int)
	url     string
	blobURL string
	servers []*http.Server

	done    chan struct{} // closed by Close
	closing sync.Once
	serving sync.WaitGroup // listeners and requests
}

var _ http.Handler = (*Server)(nil)

// New returns a server with an empty account. It does not listen: call Start, or mount it as an
// http.Handler.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now // the default of the injected clock
	}
	if o.LinkTTL <= 0 {
		o.LinkTTL = 24 * time.Hour
	}
	o.BasePath = strings.TrimRight(o.BasePath, "/")
	s := &Server{o: o, blobURL: strings.TrimRight(o.BlobBase, "/"), done: make(chan struct{})}
	s.files.keep = o.KeepBlobs
	secret := s.digest("secret")
	s.secret = secret[:]
	if o.Key == "" {
		key := s.digest("key")
		s.o.Key = hex.EncodeToString(key[:16])
	}
	return s
}

// Start listens on a free loopback port (two with Options.BlobListener) and returns s. Like
// httptest.NewServer it panics when it cannot.
func (s *Server) Start() *Server {
	if err := s.Listen(""); err != nil {
		panic(fmt.Sprintf("cvtest: %v", err))
	}
	return s
}

// Listen is Start for a given address of the API, as "127.0.0.1:9090"; an empty one is a free
// loopback port.
func (s *Server) Listen(addr string) error {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	api, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for the Training API: %w", err)
	}
	origin, blobs := "http://"+api.Addr().String(), "http://"+api.Addr().String()
	var second net.Listener
	if s.o.BlobListener {
		second, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			_ = api.Close()
			return fmt.Errorf("listen for blobs: %w", err)
		}
		blobs = "http://" + second.Addr().String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.url = origin + s.o.BasePath
	if s.blobURL == "" {
		s.blobURL = blobs
	}
	s.run(api, s)
	if second != nil {
		s.run(second, http.HandlerFunc(s.serveBlobs))
	}
	return nil
}

// run serves l until Close; the caller holds the lock.
func (s *Server) run(l net.Listener, h http.Handler) {
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	s.servers = append(s.servers, srv)
	s.serving.Go(func() { _ = srv.Serve(l) })
}

// URL is the endpoint to configure a client with, Options.BasePath included, without trailing
// slash; "" before Start.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url
}

// BlobURL is scheme, host and port of blob links; "" before Start, unless Options.BlobBase says it.
func (s *Server) BlobURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobURL
}

// Key is the training key demanded.
func (s *Server) Key() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.o.Key
}

// Close stops listening, closes every connection, ends hanging answers and returns when no request
// is being served any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.closing.Do(func() { close(s.done) })
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	for _, srv := range servers {
		_ = srv.Close()
	}
	s.serving.Wait()
}

// ServeHTTP answers Training API calls below Options.BasePath and, unless Options.BlobListener,
// blobs below /blobs/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, blobPath) && !s.o.BlobListener {
		s.serveBlobs(w, r)
		return
	}
	defer s.enter()()
	s.serveAPI(w, r)
}

// enter counts a request as being served; the returned function ends that. A closed server breaks
// the connection off.
func (s *Server) enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		panic(http.ErrAbortHandler)
	default:
	}
	s.serving.Add(1)
	return s.serving.Done
}

// wait pauses for d in real time; false when the client or the server has gone meanwhile.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.done:
	}
	return false
}

// hang waits until the client or the server has gone.
func (s *Server) hang(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.done:
	}
}

// requestID is the GUID of the n-th request received.
func (s *Server) requestID(kind string, n int) string {
	return s.newID("request", kind, n).String()
}

// bucket is the rate limit: it holds at most a second's worth of calls.
type bucket struct {
	tokens float64
	at     time.Time
}

// take reports whether a call may pass now, at a rate of rps.
func (b *bucket) take(now time.Time, rps float64) bool {
	limit := max(1, rps)
	if b.at.IsZero() {
		b.tokens, b.at = limit, now
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens, b.at = min(limit, b.tokens+passed.Seconds()*rps), now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// Clone returns an account of its own with the same truth, not listening, whose links look like
// those of s: the expected state of a change can be made there by the methods that change an
// account and then be compared by Snapshot.
func (s *Server) Clone() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.settle(s.o.Now())
	return &Server{o: s.o, secret: s.secret, account: s.account.clone(), blobURL: s.blobURL, done: make(chan struct{})}
}

// Pending is how many background deletions have not yet taken full effect by Options.Now, counted
// per workspace and iteration.
func (s *Server) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.settle(s.o.Now())
	return len(s.account.erasures)
}

// lookup returns a project by id after settling what is due; the caller holds the lock.
func (s *Server) lookup(id uuid.UUID) *project {
	s.account.settle(s.o.Now())
	return s.account.project(id)
}
