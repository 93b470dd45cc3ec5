package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// oldFace stands before a NATS server and gives it another version.
type oldFace struct {
	listener net.Listener
	upstream string
	served   sync.WaitGroup

	mu      sync.Mutex
	version string // as long as the server's own
	conns   []net.Conn
}

func newOldFace(t *testing.T, s *natstest.Server, version string) *oldFace {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &oldFace{listener: l, upstream: strings.TrimPrefix(s.URL(), "nats://"), version: version}
	f.served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.serve(c)
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.replace("")
		f.served.Wait()
	})
	return f
}

func (f *oldFace) url() string { return "nats://" + f.listener.Addr().String() }

// replace gives the server another version, and breaks all connections.
func (f *oldFace) replace(version string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version = version
	for _, c := range f.conns {
		c.Close()
	}
	f.conns = nil
}

func (f *oldFace) serve(client net.Conn) {
	up, err := net.Dial("tcp", f.upstream)
	if err != nil {
		client.Close()
		return
	}
	f.mu.Lock()
	f.conns = append(f.conns, client, up)
	version := f.version
	f.mu.Unlock()
	f.served.Go(func() {
		_, _ = io.Copy(up, client) // until either closes
		up.Close()
	})
	f.served.Go(func() {
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := up.Read(buf)
			out := bytes.ReplaceAll(buf[:n], []byte(`"version":"`+server.VERSION), []byte(`"version":"`+version))
			if _, failed := client.Write(out); err != nil || failed != nil {
				return
			}
		}
	})
}

// TestOldServerIsSaid holds that /readyz and the log say that the server is older than the oldest
// that is tested, at start and after each reconnection, and that the service works all the same.
func TestOldServerIsSaid(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	face := newOldFace(t, f.nats, "2.10.9")
	f.config.NATS.URL = face.url()
	r := f.start(t)
	notes := func(want ...string) func(int, readiness) bool {
		return func(code int, body readiness) bool {
			got := body.Dependencies[delivery.DependencyNATS].Notes
			return code == http.StatusOK && slices.EqualFunc(got, want, strings.Contains)
		}
	}
	r.await("a note", notes("has version 2.10.9, and nothing older than 2.11 is tested"))
	face.replace(server.VERSION)
	r.await("no note", notes())
	face.replace("2.9.25")
	r.await("another note", notes("2.9.25"))
	r.end()
	for _, version := range []string{"2.10.9", "2.9.25"} {
		if !strings.Contains(f.log.String(), "has version "+version) {
			t.Errorf("the log does not name %s: %s", version, f.log)
		}
	}
}

// TestSmallPayloadIsSaid holds that /readyz and the log name the setting of a server whose
// max_payload is too small, at start and after a reconnection.
func TestSmallPayloadIsSaid(t *testing.T) {
	limit := 32 << 10
	f := newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string {
		return fmt.Sprintf("max_payload: %d", limit)
	}}), cvtest.Options{Seed: 1})
	small := func(code int, body readiness) bool {
		return code == http.StatusServiceUnavailable && strings.Contains(body.Dependencies[delivery.DependencyNATS].Reason,
			fmt.Sprintf("takes messages of at most %d bytes, and 65536 are needed: raise max_payload", limit))
	}
	restart := func(bytes int) {
		limit = bytes
		if err := f.nats.Restart(); err != nil {
			t.Fatal(err)
		}
	}
	r := f.start(t)
	r.await("red at start", small)
	restart(64 << 10)
	r.await("green", isReady)
	restart(48 << 10)
	r.await("red again", small)
	r.end()
	if !strings.Contains(f.log.String(), "raise max_payload") {
		t.Errorf("the log does not say it: %s", f.log)
	}
}
