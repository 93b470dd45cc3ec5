// Package sinktest is an S3 server in the process, for tests and for trying things out, and faults for the client that talks to it.
package sinktest

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

var errSkeleton = errors.New("not implemented yet")

// Options of Start.
type Options struct {
	Dir       string // where buckets are kept
	Addr      string // host:port, empty: 127.0.0.1 and a free port
	AccessKey string // empty: made up
	SecretKey string
	Region    string // empty: us-east-1
}

// Server is an S3 server in this process.
type Server struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string
	Region    string
}

// Start starts a server that keeps its buckets in dir, on a free port.
func Start(dir string) (*Server, error) { return StartWith(Options{Dir: dir}) }

// StartWith starts a server.
func StartWith(o Options) (*Server, error) { return nil, errSkeleton }

// Client is a client of the server, path style.
func (s *Server) Client(optFns ...func(*s3.Options)) *s3.Client { return nil }

// BucketOptions of CreateBucket.
type BucketOptions struct{ Versioned, Locked bool }

// CreateBucket makes a bucket.
func (s *Server) CreateBucket(ctx context.Context, name string, o BucketOptions) error {
	return errSkeleton
}

// Close stops the server.
func (s *Server) Close() error { return nil }

// TB is the part of testing.TB that is used here.
type TB interface {
	Helper()
	Name() string
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

// Shared is the process's one server, started at its first use.
func Shared(t TB) *Server { return nil }

// Bucket makes a bucket for this test alone.
func (s *Server) Bucket(t TB, o BucketOptions) string { return "" }
