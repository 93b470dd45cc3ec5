package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// storeGate stands before the S3 server: what goes through it fails at random, and while the server
// restarts its address refuses connections.
type storeGate struct {
	server *sinktest.Server
	dir    string
	url    string
	faults *sinktest.Faults

	transport *http.Transport
	mu        sync.Mutex
	open      context.Context // nil while the server is away
	shut      context.CancelFunc
	passing   sync.WaitGroup
}

func openGate(t *testing.T) *storeGate {
	t.Helper()
	g := &storeGate{dir: t.TempDir(), transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	var err error
	if g.server, err = sinktest.Start(g.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.close(); err != nil {
			t.Error(err)
		}
	})
	g.open, g.shut = context.WithCancel(context.Background())
	g.faults = sinktest.NewFaults(g.transport)
	target, err := url.Parse(g.server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport:     g.faults,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "http://" + l.Addr().String()
	front := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		open := g.open
		if open != nil {
			g.passing.Add(1)
		}
		g.mu.Unlock()
		if open == nil {
			panic(http.ErrAbortHandler)
		}
		defer g.passing.Done()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(open, cancel)()
		proxy.ServeHTTP(w, r.WithContext(ctx))
	})}
	served := make(chan struct{})
	go func() { _ = front.Serve(l); close(served) }()
	t.Cleanup(func() { _ = front.Close(); <-served })
	return g
}

// close takes the server away: what is on its way through the gate breaks.
func (g *storeGate) close() error {
	g.mu.Lock()
	g.open = nil
	g.shut()
	g.mu.Unlock()
	g.passing.Wait()
	g.transport.CloseIdleConnections()
	return g.server.Close()
}

// restart takes the server away and brings it back with all it stored.
func (g *storeGate) restart() error {
	if err := g.close(); err != nil {
		return err
	}
	old := g.server
	server, err := sinktest.StartWith(sinktest.Options{
		Dir: g.dir, Addr: strings.TrimPrefix(old.Endpoint, "http://"), AccessKey: old.AccessKey, SecretKey: old.SecretKey, Region: old.Region,
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = server
	g.open, g.shut = context.WithCancel(context.Background())
	return nil
}

// storm publishes the load and disturbs it at random moments.
func (s *soak) storm() {
	s.t.Helper()
	var disturbances []func()
	for _, kind := range []struct {
		n  int
		do func()
	}{{*soakKills, s.kill}, {*soakDrains, s.drain}, {*soakNATS, s.restartNATS}, {*soakStore, s.restartStore}, {*soakKeys, s.swapKeys}, {*soakRemakes, s.remakeCommands}, {*soakBursts, s.burst}} {
		for range kind.n {
			disturbances = append(disturbances, kind.do)
		}
	}
	kinds := s.kinds()
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	next := make([]int, len(disturbances)) // before which message each disturbance comes
	for i := range next {
		next[i] = s.messages + *soakCommands/8 + s.random.IntN(max(1, *soakCommands-*soakCommands/8))
	}
	for goal := s.messages + *soakCommands; s.messages < goal; {
		s.await(fmt.Sprintf("fewer than %d commands under way", soakWindow), func() bool { return s.underWay() < soakWindow })
		for i, f := range disturbances {
			if f != nil && next[i] <= s.messages {
				f()
				disturbances[i] = nil
			}
		}
		n := s.random.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				k.ask(s)
				break
			}
		}
	}
	for _, f := range disturbances {
		if f != nil {
			f()
		}
	}
}

// kill takes a replica away and starts another.
func (s *soak) kill() {
	i := s.random.IntN(len(s.replicas))
	s.alive()
	s.replicas[i].kill()
	s.retired = append(s.retired, s.replicas[i])
	s.replicas[i] = s.program.start(s.t)
	s.kills++
}

// drain stops a replica and starts another at once.
func (s *soak) drain() {
	i := s.random.IntN(len(s.replicas))
	old := s.replicas[i]
	old.base(s.t) // before that it knows no signals
	s.retired = append(s.retired, old)
	s.stopping.Go(func() { old.stop(s.t) })
	s.replicas[i] = s.program.start(s.t)
	s.drains++
}

func (s *soak) restartNATS() {
	if err := s.nats.Restart(); err != nil {
		s.t.Fatalf("restart NATS: %v", err)
	}
	s.natsRestarts++
}

func (s *soak) restartStore() {
	if err := s.gate.restart(); err != nil {
		s.t.Fatalf("restart the S3 server: %v", err)
	}
	s.store = s.gate.server
	s.storeRestarts++
}

// alive demands that no replica ended by itself.
func (s *soak) alive() {
	s.t.Helper()
	for _, r := range s.replicas {
		select {
		case <-r.ended:
			s.t.Fatalf("a replica ended by itself: %v\n%s", r.exit, tail(r.log.String()))
		default:
		}
	}
}
