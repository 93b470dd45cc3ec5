package sinktest

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// TB is the part of testing.TB that is used here; the package testing stays out of the programs
// that import this one.
type TB interface {
	Helper()
	Name() string
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// shared is the one server of a test process; versitygw allows no second one.
var shared struct {
	sync.Mutex
	server *Server
	dir    string
	users  int
}

// Shared is the process's one server. It is started at its first use and stopped, and its folder
// removed, when the last test that uses it has ended. Tests that run side by side share it; use a
// bucket for each ([Server.Bucket]).
func Shared(t TB) *Server {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		dir, err := os.MkdirTemp("", "sinktest-")
		if err != nil {
			t.Fatalf("make the S3 server's folder: %v", err)
		}
		server, err := Start(dir)
		if err != nil {
			_ = os.RemoveAll(dir)
			t.Fatalf("%v", err)
		}
		shared.server, shared.dir = server, dir
	}
	shared.users++
	t.Cleanup(func() {
		shared.Lock()
		defer shared.Unlock()
		if shared.users--; shared.users > 0 {
			return
		}
		if err := shared.server.Close(); err != nil {
			t.Errorf("%v", err)
		}
		if err := os.RemoveAll(shared.dir); err != nil {
			t.Errorf("remove the S3 server's folder: %v", err)
		}
		shared.server = nil
	})
	return shared.server
}

// Bucket makes a bucket that no other test has.
func (s *Server) Bucket(t TB, o BucketOptions) string {
	t.Helper()
	s.mu.Lock()
	s.buckets++
	name := fmt.Sprintf("bucket-%d", s.buckets)
	s.mu.Unlock()
	if err := s.CreateBucket(context.Background(), name, o); err != nil {
		t.Fatalf("%v", err)
	}
	return name
}
