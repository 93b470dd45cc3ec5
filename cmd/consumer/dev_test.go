//go:build !lean

package main

import (
	"errors"
	"net"
	"strings"
	"testing"
)

// A port that was asked for and is taken is told at once, with its flag.
func TestDevNamesThePortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	for flag, c := range map[string]devCmd{"--nats-port": {NATSPort: taken}, "--s3-port": {S3Port: taken}, "--api-port": {APIPort: taken}, "--http-port": {HTTPPort: taken}} {
		c.Dir = t.TempDir()
		w, err := c.start(&program{ctx: t.Context(), stderr: &lockedBuffer{}})
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
		if err := w.close(); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
