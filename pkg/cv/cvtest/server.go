package cvtest

import (
	"net/http"
)

// Server is a simulated Custom Vision resource. Its methods may be called from several goroutines at once.
type Server struct{}

var _ http.Handler = (*Server)(nil)

// New returns a server with an empty account. It does not listen: call Start, or mount it as an http.Handler.
func New(o Options) *Server { panic("not yet") }

// Start listens on a free loopback port (two with Options.BlobListener) and returns s. Like httptest.NewServer it panics when it cannot.
func (s *Server) Start() *Server { panic("not yet") }

// Listen is Start for a given address of the API, as "127.0.0.1:9090"; an empty one is a free loopback port.
func (s *Server) Listen(addr string) error { panic("not yet") }

// URL is the endpoint to configure a client with, Options.BasePath included, without trailing slash; "" before Start.
func (s *Server) URL() string { panic("not yet") }

// BlobURL is scheme, host and port of blob links; "" before Start.
func (s *Server) BlobURL() string { panic("not yet") }

// Key is the training key demanded.
func (s *Server) Key() string { panic("not yet") }

// Close stops listening, closes every connection, ends hanging answers and returns when no request is being served any more.
func (s *Server) Close() { panic("not yet") }

// ServeHTTP answers Training API calls below Options.BasePath and, unless Options.BlobListener, blobs below /blobs/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { panic("not yet") }
