package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
)

func serve(t *testing.T, log zerolog.Logger, h http.HandlerFunc) (addr string) {
	t.Helper()
	addr, stop, err := serveHTTP(t.Context(), "127.0.0.1:0", h, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
}

// TestHTTPServerLogsJSON: a reader of the log can parse each line.
func TestHTTPServerLogsJSON(t *testing.T) {
	var log lockedBuffer
	addr := serve(t, zerolog.New(&log), func(http.ResponseWriter, *http.Request) { panic("a\n\x1b[2Jbug") })
	resp, err := http.Get("http://" + addr + "/")
	if err == nil {
		resp.Body.Close()
		t.Fatal("it answered")
	}
	lines := 0
	for line := range strings.Lines(log.String()) {
		var entry struct{ Level, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Message == "" {
			t.Errorf("the log has %q: %v", line, err)
		}
		lines++
	}
	if lines != 1 {
		t.Errorf("the log has %d lines:\n%s", lines, log.String())
	}
}

// TestHTTPServerHasLimits: neither many connections nor slow ones use up files and memory that the
// work needs.
func TestHTTPServerHasLimits(t *testing.T) {
	srv := newHTTPServer(http.NotFoundHandler(), zerolog.Nop())
	if srv.ReadHeaderTimeout <= 0 || srv.ReadTimeout <= 0 || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 || srv.MaxHeaderBytes <= 0 {
		t.Errorf("not every limit is set: %+v", srv)
	}
	var served, most atomic.Int64
	var once sync.Once
	full, release := make(chan struct{}), make(chan struct{})
	addr := serve(t, zerolog.Nop(), func(w http.ResponseWriter, _ *http.Request) {
		n := served.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == maxConnections {
			once.Do(func() { close(full) })
		}
		<-release
		served.Add(-1)
		fmt.Fprint(w, "ok")
	})
	var clients sync.WaitGroup
	var sent sync.WaitGroup
	for range maxConnections + 8 {
		sent.Add(1)
		clients.Go(func() {
			conn, err := net.Dial("tcp", addr) //nolint:noctx // to this process
			if err != nil {
				t.Error(err)
				sent.Done()
				return
			}
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			sent.Done()
			if err != nil {
				t.Error(err)
			}
			if b, err := io.ReadAll(conn); err != nil || !bytes.HasSuffix(b, []byte("ok")) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	sent.Wait()
	<-full
	close(release)
	clients.Wait()
	if n := most.Load(); n > maxConnections {
		t.Errorf("%d connections were served at once", n)
	}
}
