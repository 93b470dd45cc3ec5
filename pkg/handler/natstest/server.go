package natstest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds how long a server may take until it accepts connections.
const startTimeout = time.Minute

// DefaultMaxBytes is what all streams of a server together may store by default, and maxMemoryBytes
// what streams in memory may: the product has none.
const (
	DefaultMaxBytes = 8 << 30
	maxMemoryBytes  = 64 << 20
)

// Options configure a server. The zero value is a server that only this process can reach, with a
// temporary store.
type Options struct {
	Dir       string // where JetStream stores; empty means a temporary directory that Close removes
	Addr      string // "host:port" to listen on, port 0 for any; empty means no port: use Connect
	MaxBytes  int64  // what all streams together may store, default DefaultMaxBytes
	User      string // when set, clients must authenticate with User and Password
	Password  string
	Config    func() string         // when set, a server's configuration as text, at every start: its accounts, users and limits
	Configure func(*server.Options) // when set, changes the server's options at every start
}

// Server is a NATS server with JetStream in this process. It can be stopped and started again with
// the same store and address.
type Server struct {
	opts      server.Options
	config    func() string
	configure func(*server.Options)
	tempDir   string

	mu  sync.Mutex
	srv *server.Server // nil while stopped
}

// TB is what New needs of a *testing.T or *testing.B.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// New starts a server for a test. It stops when the test ends.
func New(t TB) *Server {
	t.Helper()
	return NewWith(t, Options{})
}

// NewWith is New with options.
func NewWith(t TB, o Options) *Server {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatalf("start a NATS server: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Fatalf("close the NATS server: %v", err)
		}
	})
	return s
}

// Start starts a server. The caller closes it.
func Start(o Options) (*Server, error) {
	s, err := newStopped(o)
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newStopped makes a server that is not started yet.
func newStopped(o Options) (*Server, error) {
	s := &Server{config: o.Config, configure: o.Configure}
	host, port := "127.0.0.1", 0
	if o.Addr != "" {
		h, p, err := net.SplitHostPort(o.Addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %q: %w", o.Addr, err)
		}
		if port, err = strconv.Atoi(p); err != nil {
			return nil, fmt.Errorf("listen on %q: port is not a number", o.Addr)
		}
		host = h
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "natstest-*")
		if err != nil {
			return nil, fmt.Errorf("make a store: %w", err)
		}
		o.Dir, s.tempDir = dir, dir
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	s.opts = server.Options{
		ServerName: "natstest", Host: host, Port: port, DontListen: o.Addr == "",
		JetStream: true, StoreDir: o.Dir, JetStreamMaxStore: o.MaxBytes, JetStreamMaxMemory: maxMemoryBytes,
		Username: o.User, Password: o.Password,
		NoLog: true, NoSigs: true,
	}
	return s, nil
}

// Start starts a stopped server again, with its former store and address. It does nothing when the
// server runs.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv != nil {
		return nil
	}
	opts, err := s.options()
	if err != nil {
		return err
	}
	if s.configure != nil {
		s.configure(opts)
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("make a NATS server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return fmt.Errorf("start a NATS server: not ready within %s", startTimeout)
	}
	if a, ok := srv.Addr().(*net.TCPAddr); ok {
		s.opts.Port = a.Port
	}
	s.srv = srv
	return nil
}

// options are those of a server that starts: a copy, since the server changes what it is given.
func (s *Server) options() (*server.Options, error) {
	opts := s.opts
	if s.config == nil {
		return &opts, nil
	}
	opts.StoreDir = "" // it may be set once
	if err := opts.ProcessConfigString(s.config()); err != nil {
		return nil, fmt.Errorf("read the server's configuration: %w", err)
	}
	opts.Host, opts.Port, opts.StoreDir, opts.JetStream = s.opts.Host, s.opts.Port, s.opts.StoreDir, true
	return &opts, nil
}

// Stop shuts the server down and keeps its store. Connections made by Connect try to reconnect
// until they are closed.
func (s *Server) Stop() {
	s.mu.Lock()
	srv := s.srv
	s.srv = nil
	s.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// Restart is Stop and Start.
func (s *Server) Restart() error {
	s.Stop()
	return s.Start()
}

// Close stops the server, and removes its store if that is temporary.
func (s *Server) Close() error {
	s.Stop()
	if s.tempDir == "" {
		return nil
	}
	if err := os.RemoveAll(s.tempDir); err != nil {
		return fmt.Errorf("remove the store: %w", err)
	}
	return nil
}

// URL is where the server listens, in the form of NATS_URL; empty when it has no port.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.DontListen || s.opts.Port <= 0 {
		return ""
	}
	return "nats://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port))
}

// Name is the server's name in its cluster.
func (s *Server) Name() string { return s.opts.ServerName }

// Running reports whether the server is started.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.srv != nil
}

// InProcessConn implements nats.InProcessConnProvider. It connects to the server that runs now, so
// that clients survive a restart.
func (s *Server) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	srv := s.srv
	s.mu.Unlock()
	if srv == nil {
		return nil, errStopped
	}
	return srv.InProcessConn()
}

// LimitStore bounds what the account's streams may store together from now on, in bytes, as an
// operator's quota does; -1 removes the bound.
func (s *Server) LimitStore(bytes int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		return errStopped
	}
	limits := server.JetStreamAccountLimits{MaxMemory: -1, MaxStore: bytes, MaxStreams: -1, MaxConsumers: -1, MaxAckPending: -1, MemoryMaxStreamBytes: -1, StoreMaxStreamBytes: -1}
	if err := s.srv.GlobalAccount().UpdateJetStreamLimits(map[string]server.JetStreamAccountLimits{"": limits}); err != nil {
		return fmt.Errorf("limit the store to %d bytes: %w", bytes, err)
	}
	return nil
}

// errStopped means that an operation needs a running server.
var errStopped = errors.New("the NATS server is stopped")

// Connect connects to the server without a socket. The connection reconnects for ever; options
// given here override its defaults. The caller closes it.
func (s *Server) Connect(options ...nats.Option) (*nats.Conn, error) {
	o := []nats.Option{
		nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(5*time.Millisecond, 0),
		nats.ReconnectBufSize(-1), nats.Timeout(5 * time.Second), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	nc, err := nats.Connect("", append(o, options...)...)
	if err != nil {
		return nil, fmt.Errorf("connect to the NATS server: %w", err)
	}
	return nc, nil
}

// Dial is Connect for a test. The connection is closed when the test ends.
func (s *Server) Dial(t TB, options ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := s.Connect(options...)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { closeAndWait(nc) })
	return nc
}

// closeAndWait closes a connection and waits until the client reports it closed.
func closeAndWait(nc *nats.Conn) {
	if nc.IsClosed() {
		return
	}
	closed := nc.StatusChanged(nats.CLOSED)
	nc.Close()
	for range closed {
		break
	}
}
