package sinktest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3response"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// healthPath masks a bucket of that name; no test would call one so.
const healthPath = "/sinktest-health"

// ioBuffer is how many bytes the server copies at once. Its own default is a megabyte, made again
// for most objects, of which hardly any is that large here.
const ioBuffer = 64 << 10

// Options of StartWith.
type Options struct {
	Dir       string // where buckets are kept; made when missing
	Addr      string // host:port to listen on; empty: 127.0.0.1 and a free port
	AccessKey string // empty: a fixed one
	SecretKey string // empty: made up at random
	Region    string // empty: us-east-1
	Quiet     bool   // the server's line of greeting is kept from standard output, which is replaced meanwhile
}

// Server is an S3 server (versitygw on a folder) in this process: real conditional writes,
// checksums, versioning, Object Lock, multipart uploads and presigned links. There can be one at a
// time.
//
// The server works in its folder: while it runs, that folder is the process's working directory.
// See [Server.WorkDir].
type Server struct {
	Endpoint  string // http://127.0.0.1:port
	AccessKey string
	SecretKey string
	Region    string

	workDir   string
	cancel    context.CancelFunc
	done      chan error
	transport *http.Transport
	api       *s3.Client // through transport; what other clients are made from

	mu      sync.Mutex
	buckets int
	closed  bool
}

// Start starts a server that keeps its buckets in dir, on a free loopback port.
func Start(dir string) (*Server, error) { return StartWith(Options{Dir: dir}) }

// StartWith starts a server and waits until it answers.
func StartWith(o Options) (*Server, error) {
	if o.AccessKey == "" {
		o.AccessKey = "sinktest"
	}
	if o.SecretKey == "" {
		b := make([]byte, 16)
		_, _ = rand.Read(b)
		o.SecretKey = hex.EncodeToString(b)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Addr == "" {
		addr, err := freeAddr()
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		o.Addr = addr
	}
	workDir, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	// posix.New changes the working directory, so every path is made absolute first.
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", o.Dir, err)
	}
	backend, err := openBackend(dir, o.Quiet)
	if err != nil {
		return nil, errors.Join(err, os.Chdir(workDir))
	}

	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{
		Endpoint:  "http://" + o.Addr,
		AccessKey: o.AccessKey,
		SecretKey: o.SecretKey,
		Region:    o.Region,
		workDir:   workDir,
		cancel:    cancel,
		done:      make(chan error, 1),
		transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
	}
	if s.api, err = sink.Client(ctx, s.Settings(s.transport)); err != nil {
		cancel()
		return nil, errors.Join(err, os.Chdir(workDir))
	}
	go func() {
		s.done <- embedgw.RunVersityGW(ctx, &listings{Posix: backend, rest: map[string][]s3response.Object{}}, &embedgw.Config{
			RootUserAccess:    o.AccessKey,
			RootUserSecret:    o.SecretKey,
			Region:            o.Region,
			Ports:             []string{o.Addr},
			MaxConnections:    4096,
			MaxRequests:       4096,
			MultipartMaxParts: 10_000,
			KeepAlive:         true,
			Quiet:             true,
			HealthPath:        healthPath,
			IAMService:        auth.NewIAMServiceSingle(auth.Account{Access: o.AccessKey, Secret: o.SecretKey, Role: auth.RoleAdmin}),
		})
	}()
	if err := s.waitReady(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("start the S3 server on %s: %w", o.Addr, err), os.Chdir(workDir))
	}
	return s, nil
}

// freeAddr finds a loopback port that is free now.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// openBackend opens the folder as a store with versioning. Metadata lives in extended attributes,
// or beside the objects where the file system has none.
func openBackend(dir string, quiet bool) (*posix.Posix, error) {
	root, versions := filepath.Join(dir, "buckets"), filepath.Join(dir, "versions")
	for _, d := range []string{root, versions} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make the server's folder: %w", err)
		}
	}
	opts := posix.PosixOpts{
		VersioningDir:       versions,
		CopyObjectThreshold: 5 << 30,
		Concurrency:         256,
		IOBufferSize:        ioBuffer,
	}
	var storer meta.MetadataStorer = meta.XattrMeta{}
	if err := (meta.XattrMeta{}).Test(root); err != nil {
		opts.SideCarDir = filepath.Join(dir, "meta")
		if err := os.MkdirAll(opts.SideCarDir, 0o755); err != nil {
			return nil, fmt.Errorf("make the server's folder: %w", err)
		}
		side, err := meta.NewSideCar(opts.SideCarDir)
		if err != nil {
			return nil, fmt.Errorf("keep metadata beside objects: %w", err)
		}
		storer = side
	}
	if quiet {
		defer muteStdout()()
	}
	backend, err := posix.New(root, storer, opts)
	if err != nil {
		return nil, fmt.Errorf("open the server's folder: %w", err)
	}
	return backend, nil
}

// muteStdout keeps posix.New, which prints what it does, from writing into the output of a command
// line.
func muteStdout() (restore func()) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return func() {}
	}
	stdout := os.Stdout
	os.Stdout = null
	return func() {
		os.Stdout = stdout
		_ = null.Close()
	}
}

// waitReady asks for the server's health until it answers, for a minute at most.
func (s *Server) waitReady() error {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	client := &http.Client{Transport: s.transport, Timeout: time.Second}
	for {
		resp, err := client.Get(s.Endpoint + healthPath)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("health check: status %d", resp.StatusCode)
		}
		select {
		case stopped := <-s.done:
			s.done <- stopped
			if stopped == nil {
				stopped = errors.New("it stopped at once")
			}
			return stopped
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// WorkDir is the process's working directory before the server was started. Tests that read files
// of their package resolve them against it.
func (s *Server) WorkDir() string { return s.workDir }

// Transport is the plain transport below the server's clients, to put [Faults] on.
func (s *Server) Transport() http.RoundTripper { return s.transport }

// Client is a client of the server: path style, short pauses between tries. Options are applied
// last.
func (s *Server) Client(optFns ...func(*s3.Options)) *s3.Client {
	return s.client(s.transport, optFns...)
}

// FaultyClient is a client of the server whose requests go through faults. The faults are put on
// the server's transport.
func (s *Server) FaultyClient(f *Faults, optFns ...func(*s3.Options)) *s3.Client {
	f.setNext(s.transport)
	return s.client(f, optFns...)
}

// client is as sink.Client makes it. The settings are read once for all clients: with AWS_CA_BUNDLE
// in the environment each reading parses every certificate of the system.
func (s *Server) client(rt http.RoundTripper, optFns ...func(*s3.Options)) *s3.Client {
	through := func(o *s3.Options) {
		client := *o.HTTPClient.(*http.Client)
		client.Transport = rt
		o.HTTPClient = &client
		o.ExpressCredentials = nil // each client makes its own: they hold on to their client
	}
	return s3.New(s.api.Options(), append([]func(*s3.Options){through}, optFns...)...)
}

// Settings are the options of [sink.Client] that reach this server through rt.
func (s *Server) Settings(rt http.RoundTripper) sink.Options {
	return sink.Options{
		Endpoint:    s.Endpoint,
		Region:      s.Region,
		PathStyle:   true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		Transport:   rt,
		MaxBackoff:  5 * time.Millisecond,
	}
}

// IgnoreConditions is an option of Client that makes of the server a store that does not know
// If-None-Match: the last writer wins.
func IgnoreConditions(o *s3.Options) { ignore(o, "If-None-Match") }

// IgnoreLocks is an option of Client that makes of the server a store that does not lock an object
// as it is written.
func IgnoreLocks(o *s3.Options) {
	ignore(o, "X-Amz-Object-Lock-Mode", "X-Amz-Object-Lock-Retain-Until-Date")
}

// IgnoreTags is an option of Client that makes of the server a store that does not tag an object as
// it is written.
func IgnoreTags(o *s3.Options) { ignore(o, "X-Amz-Tagging") }

// ignore takes headers out of all requests of a client.
func ignore(o *s3.Options, headers ...string) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("Ignore "+headers[0], func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				for _, header := range headers {
					req.Header.Del(header)
				}
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	})
}

// BucketOptions say what kind of bucket is made.
type BucketOptions struct {
	Versioned bool
	Locked    bool // with Object Lock, which implies versions
}

// CreateBucket makes a bucket; one of that name that is there already stays as it is.
func (s *Server) CreateBucket(ctx context.Context, name string, o BucketOptions) error {
	api := s.Client()
	_, err := api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(o.Locked)})
	var owned *types.BucketAlreadyOwnedByYou
	if err != nil && !errors.As(err, &owned) {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	if o.Versioned && !o.Locked {
		if _, err := api.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket:                  &name,
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		}); err != nil {
			return fmt.Errorf("enable versions of bucket %s: %w", name, err)
		}
	}
	return nil
}

// Close stops the server and gives the process its working directory back. What is stored stays in
// the folder.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.transport.CloseIdleConnections()
	s.cancel()
	err := <-s.done
	if err != nil {
		err = fmt.Errorf("stop the S3 server: %w", err)
	}
	return errors.Join(err, os.Chdir(s.workDir))
}

// LibraryGoroutines are the functions of goroutines that the server's HTTP library leaves running
// for a while, for goleak to pass over.
func LibraryGoroutines() []string {
	return []string{
		"github.com/valyala/fasthttp.(*workerPool).Start.func2",
		"github.com/valyala/fasthttp.updateServerDate.func1",
	}
}
