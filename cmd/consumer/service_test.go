package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// limit bounds what a test waits for: far beyond what it takes, far below the test binary's own
// limit.
const limit = 5 * time.Minute

// fixture is a service and the servers around it, any of which may be absent at first.
type fixture struct {
	nats    *natstest.Server
	store   *sinktest.Server
	vision  *cvtest.Server
	config  config
	log     *lockedBuffer
	spool   string            // folder for temporary files; empty: the system's
	storage func(*s3.Options) // changes how the services started talk to the store; nil: not at all
	logs    func(w *lockedBuffer) zerolog.Logger
	spoiled bool // the test changes or forges bags: they are not verified at its end
}

// lockedBuffer is a log that is written and read at once.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newFixture(t testing.TB, o cvtest.Options) *fixture {
	t.Helper()
	return newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0"}), o)
}

// newFixtureOn is newFixture with a NATS server of its own kind.
func newFixtureOn(t testing.TB, server *natstest.Server, o cvtest.Options) *fixture {
	t.Helper()
	f := &fixture{nats: server, store: sinktest.Shared(t), vision: cvtest.New(o).Start(), log: &lockedBuffer{}}
	t.Cleanup(f.vision.Close)
	f.config = config{
		NATS:      natsConfig{URL: f.nats.URL(), Subjects: "cv"},
		S3:        storeConfig{Region: f.store.Region, Endpoint: f.store.Endpoint, KeyID: secretOf(f.store.AccessKey), Secret: secretOf(f.store.SecretKey), PathStyle: true, Transport: f.store.Transport()},
		Resources: []resource{{Alias: defaultResource, Endpoint: f.vision.URL(), Key: secretOf(f.vision.Key()), MaxRPS: 1000}},
		BlobHosts: []string{strings.TrimPrefix(f.vision.BlobURL(), "http://")},
		Threshold: 0.5, Overlap: 0.3, SSE: "none", LockMode: sink.Governance,
		Bucket: f.store.Bucket(t, sinktest.BucketOptions{}), Provision: true, Replicas: 1, Commands: 4, Workers: 2, Downloads: 8, Buffer: 64 << 20, MaxAttempts: 10,
		TraceRetention: time.Hour, HTTPAddr: "127.0.0.1:0", Drain: 20 * time.Second,
	}
	f.config.WorkBucket = f.config.Bucket
	t.Cleanup(func() { f.verifyAll(t) })
	return f
}

// verifyAll verifies, at the end of a test, every bag that has a receipt.
func (f *fixture) verifyAll(t testing.TB) {
	if _, benchmark := t.(*testing.B); benchmark || t.Failed() || f.spoiled {
		return
	}
	ctx := context.Background() // the test's own is over
	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket})
	for o, err := range store.List(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		root, ok := strings.CutSuffix(string(o.Key), string(sink.ReceiptFile))
		if !ok {
			continue
		}
		report, err := verify.Bag(ctx, verify.Stored(store, sink.Key(root)), verify.Options{})
		if err != nil || report.Result != verify.OK {
			t.Errorf("verify %s, which has a receipt: %v %v %v", root, report.Result, report.Problems, err)
		}
	}
}

// running is a service that runs.
type running struct {
	*service
	t    testing.TB
	base string // of its pages
	stop func(error)
	done chan error
}

func (f *fixture) start(t testing.TB) *running {
	t.Helper()
	log := zerolog.New(f.log)
	if f.logs != nil {
		log = f.logs(f.log)
	}
	s, err := newService(t.Context(), f.config, log)
	if err != nil {
		t.Fatal(err)
	}
	if f.storage != nil {
		s.api = f.store.Client(f.storage)
		s.store = sink.NewStore(s.api, s.storeOptions(f.config.Bucket))
		s.work = s.store
	}
	if f.spool != "" {
		s.spoolDir = f.spool
	}
	const often = 50 * time.Millisecond
	s.intervals = probeIntervals{nats: often, natsRetry: often, storage: often, storageRetry: often, training: often, host: often, timestamp: often}
	ctx, cancel := context.WithCancelCause(context.Background())
	r := &running{service: s, t: t, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.run(ctx) }()
	r.base = "http://" + <-s.listening
	t.Cleanup(func() { cancel(delivery.ErrStopping) })
	return r
}

// end stops it like a signal does, and demands that it ends well.
func (r *running) end() {
	r.t.Helper()
	r.stop(delivery.ErrStopping)
	if err := <-r.done; err != nil {
		r.t.Errorf("ends with %v", err)
	}
}

// await looks at /readyz until it is as wanted.
func (r *running) await(what string, wanted func(code int, body readiness) bool) {
	r.t.Helper()
	awaitReadiness(r.t, r.base, what, wanted)
}

// awaitReadiness looks at /readyz of a consumer's pages until it is as wanted.
func awaitReadiness(t testing.TB, base, what string, wanted func(code int, body readiness) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var body []byte
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v; last answer: %s", what, err, body)
		}
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		var ready readiness
		if err != nil || json.Unmarshal(body, &ready) != nil {
			t.Fatalf("read /readyz: %v: %s", err, body)
		}
		if wanted(resp.StatusCode, ready) {
			return
		}
		<-tick.C
	}
}

func isReady(code int, r readiness) bool { return code == http.StatusOK && r.Ready }

// isDown is: only this dependency is unavailable, and for this reason.
func isDown(name, reason string) func(int, readiness) bool {
	return func(code int, r readiness) bool {
		for n, d := range r.Dependencies {
			if d.OK == (n == name) {
				return false
			}
		}
		return code == http.StatusServiceUnavailable && strings.Contains(r.Dependencies[name].Reason, reason)
	}
}

// order publishes an export of everything and waits for its end.
func (f *fixture) order(t testing.TB, id string) contract.Event {
	t.Helper()
	return f.orderData(t, id, `{"all_projects":true}`, limit)
}

// orderData publishes an export and waits for its end, not longer than limit.
func (f *fixture) orderData(t testing.TB, id, data string, limit time.Duration) contract.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	e, err := request(ctx, f.config.NATS, order{action: contract.ActionExport, id: id, data: []byte(data)}, func(contract.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRunWaitsForNATSAndComesBack(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	f.nats.Stop()
	r := f.start(t)
	r.await("NATS is away", isDown("nats", "connect"))
	if err := f.nats.Start(); err != nil {
		t.Fatal(err)
	}
	r.await("NATS is there", isReady)
	if e := f.order(t, "one"); e.Data.Status != contract.StatusCompleted {
		t.Errorf("%s\n%s", describeEvent(e), f.log)
	}
	f.nats.Stop()
	r.await("NATS is away again", isDown("nats", "not connected"))
	if err := f.nats.Start(); err != nil {
		t.Fatal(err)
	}
	r.await("NATS is back", isReady)
	if e := f.order(t, "two"); e.Data.Status != contract.StatusCompleted {
		t.Errorf("%s\n%s", describeEvent(e), f.log)
	}
	r.end()
}

func TestRunChecksStreamsItMayNotMake(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.Provision = false
	r := f.start(t)
	r.await("nothing is provisioned", isDown("nats", "CV_COMMANDS is missing"))
	g := *f
	g.config.Provision = true
	maker := g.start(t)
	maker.await("it is provisioned", isReady)
	maker.end()
	r.await("it is found", isReady)
	r.end()
}

// The service removes the job of a command that ended longer ago than the retention, here at all,
// and leaves that of one under way.
func TestRunExpiresTraces(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.TraceRetention = 0
	q, err := natsq.Open(t.Context(), f.nats.Dial(t), natsq.Options{Provision: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	for id, state := range map[string]contract.State{"ended": contract.StateCompleted, "under-way": contract.StateRunning} {
		if _, err := q.PutJob(t.Context(), contract.Job{ID: id, State: state}, 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	r := f.start(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, _, err := q.Job(ctx, "ended"); errors.Is(err, contract.ErrNoJob) {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, f.log)
		}
		<-tick.C
	}
	if _, _, err := q.Job(t.Context(), "under-way"); err != nil {
		t.Errorf("the job of a command under way: %v", err)
	}
	r.end()
}

func TestRunWaitsForTheBucket(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	f.config.Bucket += "-later"
	f.config.WorkBucket = f.config.Bucket
	r := f.start(t)
	r.await("there is no bucket", isDown("storage", f.config.Bucket))
	result := make(chan contract.Event, 1)
	go func() { result <- f.order(t, "early") }()
	if err := f.store.CreateBucket(t.Context(), f.config.Bucket, sinktest.BucketOptions{}); err != nil {
		t.Fatal(err)
	}
	r.await("the bucket is there", isReady)
	if e := <-result; e.Data.Status != contract.StatusCompleted || e.Data.Attempt > 1 {
		t.Errorf("attempt %d: %s\n%s", e.Data.Attempt, describeEvent(e), f.log)
	}
	r.end()
}

func TestRunTakesUpARotatedKey(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	path := filepath.Join(t.TempDir(), "key")
	write := func(key string) {
		if err := os.WriteFile(path, []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("this-key-was-revoked")
	f.config.Resources[0].Key = Secret{file: path}
	r := f.start(t)
	r.await("the key is refused", isDown("training:default", "401"))
	write(f.vision.Key())
	r.await("the key is good", isReady)
	if e := f.order(t, "one"); e.Data.Status != contract.StatusCompleted {
		t.Errorf("%s\n%s", describeEvent(e), f.log)
	}
	r.end()
	for _, secret := range []string{f.vision.Key(), "this-key-was-revoked", f.store.SecretKey} {
		if strings.Contains(f.log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	if leaks := f.vision.Leaks(); len(leaks) > 0 {
		t.Errorf("the training key went elsewhere: %q", leaks)
	}
}

// A store that does not know conditional writes is found out, and said to be one; what is written
// to it is whole all the same.
func TestRunOnAStoreThatIgnoresConditions(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	f.storage = sinktest.IgnoreConditions
	first, second := f.start(t), f.start(t)
	first.await("all is well", isReady)
	second.await("all is well", isReady)
	if n := strings.Count(f.log.String(), "does not know conditional writes"); n != 2 {
		t.Errorf("%d of 2 processes say that the store ignores conditions\n%s", n, f.log)
	}
	if e := f.order(t, "whole"); e.Data.Outcome != contract.OutcomeComplete {
		t.Errorf("%s\n%s", describeEvent(e), f.log)
	}
	first.end()
	second.end()
	f.keepsOnly(t, "whole/export/")
}

// An export that is stopped in the middle by a drain is finished by the next process, without
// having cost an attempt.
func TestDrainHandsBack(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	f.config.Drain = 0 // hand back at once
	first := f.start(t)
	first.await("all is well", isReady)
	inside := make(chan struct{})
	var once sync.Once
	f.vision.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: -1, Hang: true})
	f.vision.OnCall(func(operation string, _ int) {
		if operation == cvtest.OperationBlob {
			once.Do(func() { close(inside) })
		}
	})
	result := make(chan contract.Event, 1)
	go func() { result <- f.order(t, "halves") }()
	<-inside
	first.end()
	f.vision.ClearFaults()
	second := f.start(t)
	if e := <-result; e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("attempt %d, outcome %q: %s\n%s", e.Data.Attempt, e.Data.Outcome, describeEvent(e), f.log)
	}
	second.end()
}

func TestSignals(t *testing.T) {
	exits := make(chan int, 1)
	var said lockedBuffer
	ctx, stop := stopOnSignal(t.Context(), &said, func(code int) { exits <- code })
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if !interrupted(ctx) {
		t.Errorf("the cause is %v", context.Cause(ctx))
	}
	if err := self.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := <-exits; code != exitUnexpected || !strings.Contains(said.String(), "leaving at once") {
		t.Errorf("exit %d, says %q", code, said.String())
	}
}
