package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/internal/shortage"
	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// probeIntervals is how often dependencies are checked: while they are available, and while they
// are not.
type probeIntervals struct {
	nats, natsRetry       time.Duration
	storage, storageRetry time.Duration
	training              time.Duration // available or not
	host                  time.Duration // available or not
	timestamp             time.Duration // available or not; see checkAuthority
}

// defaultProbeIntervals calls the Training API once a minute, available or not.
var defaultProbeIntervals = probeIntervals{
	nats: 5 * time.Second, natsRetry: time.Second,
	storage: 10 * time.Second, storageRetry: 5 * time.Second,
	training: time.Minute,
	host:     10 * time.Second,

	timestamp: time.Minute,
}

// expiryInterval is how often each replica removes the traces whose time is over. What one replica
// removed the others do not find.
const expiryInterval = time.Hour

// probeTimeout bounds one check of a dependency.
const probeTimeout = 20 * time.Second

// errProbeTimeout is why a check ended that took too long.
var errProbeTimeout = fmt.Errorf("no answer within %s", probeTimeout)

// probeKey is the object, below the prefix, with which the store is probed.
const probeKey = ".cvconsumer-probe"

// service is `consumer run`: everything made of a config, but not yet connected.
type service struct {
	c         config
	log       zerolog.Logger
	metrics   *metrics
	health    *health.Health
	monitor   *monitor
	intervals probeIntervals

	tracer    *tracing.Tracer // nil: spans are not exported
	api       *s3.Client
	store     *sink.Store
	work      *sink.Store
	resources map[string]*cv.Client
	pseudonym *contract.Pseudonymizer
	spoolDir  string     // for temporary files
	storage   sync.Mutex // held while storage is checked
	learned   bool       // the store was probed
	probed    int        // how often removeProbes still tries
	owned     bool       // the prefix is this deployment's

	listening chan string   // gets the address of the HTTP server
	serving   chan struct{} // closed when the queue is open
}

// newService makes everything that needs no connection. An error here is one of the settings.
func newService(ctx context.Context, c config, log zerolog.Logger) (*service, error) {
	s := &service{
		c: c, log: log, metrics: newMetrics(), intervals: defaultProbeIntervals, resources: map[string]*cv.Client{},
		health:    health.New(time.Now), //nolint:forbidigo // the process's clock enters here
		spoolDir:  os.TempDir(),
		listening: make(chan string, 1), serving: make(chan struct{}),
	}
	s.monitor = newMonitor(s.health, s.metrics, log)
	c.warnOfOpenKeyFiles(log)
	var err error
	c.S3.Log = log
	if s.api, err = s3Client(ctx, c.S3, s.metrics); err != nil {
		return nil, err
	}
	s.store = sink.NewStore(s.api, s.storeOptions(c.Bucket))
	s.work = s.store.InBucket(c.WorkBucket)
	for _, r := range c.Resources {
		if s.resources[r.Alias], err = c.client(r, s.metrics); err != nil {
			return nil, err
		}
	}
	key, err := c.PseudonymKey.Reveal()
	if err != nil {
		return nil, settingsError("CONSUMER_PSEUDONYM_KEY_FILE: " + err.Error())
	}
	s.pseudonym = contract.NewPseudonymizer([]byte(key))
	s.monitor.expect(s.dependencies()...)
	if c.Signing != nil {
		own := *c.Signing
		own.Asked = s.authorityAsked
		s.c.Signing = &own
	}
	s.health.BlockWhen(s.blocked)
	s.health.ExplainWith(c.explain)
	s.health.Fail(delivery.DependencyNATS, errOpening)
	return s, nil
}

func (s *service) storeOptions(bucket string) sink.StoreOptions {
	return sink.StoreOptions{Bucket: bucket, SSE: s.c.SSE, SSEKMSKeyID: s.c.KMSKeyID, SpoolDir: s.spoolDir, Log: s.log}
}

// client makes the Training API client of a resource. m may be nil.
func (c config) client(r resource, m *metrics) (*cv.Client, error) {
	credential, err := r.credential()
	if err != nil {
		return nil, settingsError(fmt.Sprintf("resource %s: %v", r.Alias, err))
	}
	o := cv.Options{MaxRPS: r.MaxRPS, MinDownloadRate: c.MinRate, BlobHosts: c.BlobHosts, UserAgent: "cvconsumer/" + build().Version}
	if m != nil {
		o.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return traceTraining(r.Alias)(m.countTraining(r.Alias)(next))
		}
	}
	client, err := cv.New(r.Endpoint, credential, o)
	if err != nil {
		return nil, settingsError(fmt.Sprintf("resource %s: %v", r.Alias, err))
	}
	if m != nil {
		m.expectResource(r.Alias, client.Pace)
	}
	return client, nil
}

func (s *service) dependencies() []string {
	all := []string{delivery.DependencyNATS, delivery.DependencyStorage, delivery.DependencyHost}
	for alias := range s.resources {
		all = append(all, delivery.DependencyTraining(alias))
	}
	if s.c.Signing != nil {
		all = append(all, delivery.DependencySigning)
		if s.c.Signing.Authority != nil {
			all = append(all, delivery.DependencyTimestamp)
		}
	}
	return all
}

// blocked reports whether nothing can be worked on: without storage, without what this machine has
// to have, or without any of the resources. Of several resources, one that is unavailable does not
// stop the commands of the others.
func (s *service) blocked(failing map[string]health.Problem) bool {
	for _, needed := range []string{delivery.DependencyStorage, delivery.DependencyHost} {
		if _, ok := failing[needed]; ok {
			return true
		}
	}
	for alias := range s.resources {
		if _, ok := failing[delivery.DependencyTraining(alias)]; !ok {
			return false
		}
	}
	return true
}

// run serves until ctx is cancelled, then drains. It waits for servers that are not there.
func (s *service) run(ctx context.Context) error {
	var err error
	if s.tracer, err = s.newTracer(ctx); err != nil {
		return err
	}
	defer s.endTraces()
	var opened queueState
	defer opened.close()
	page := s.livePage(opened.secrets)
	s.monitor.page = page
	addr, stopHTTP, err := serveHTTP(context.WithoutCancel(ctx), s.c.HTTPAddr, s.monitor.routes(), s.log)
	if err != nil {
		return err
	}
	defer stopHTTP()
	if page != nil {
		defer page.Close()
	}
	b := build()
	s.log.Info().Str("version", b.Version).Str("http", addr).Str("bucket", s.c.Bucket).Int("resources", len(s.resources)).Msg("started")
	s.listening <- addr

	defer s.watch(ctx, &opened)()
	// The first attempt to connect may take a while: the pages are served meanwhile.
	connection := s.c.NATS.connection("consumer", s.log)
	connection.Attempt = opened.connecting
	nc, err := natsconn.Connect(ctx, connection) // connected or not
	if err != nil {
		return settingsError(s.c.NATS.explain(err).Error())
	}
	opened.connect(nc)
	q, err := s.openQueue(ctx, nc, &opened)
	if err != nil {
		if interrupted(ctx) {
			s.log.Info().Msg("stopped before NATS and storage were ready")
			return nil
		}
		return err
	}
	return s.serve(ctx, q)
}

// watch checks all dependencies until stop is called.
func (s *service) watch(ctx context.Context, opened *queueState) (stop func()) {
	ping := func(ctx context.Context) error {
		s.monitor.note(delivery.DependencyNATS, opened.notes()...)
		err := opened.ping(ctx)
		if q := opened.secrets(); err == nil && q != nil {
			s.measure(ctx, q)
		}
		return err
	}
	var probes sync.WaitGroup
	probing, cancel := context.WithCancel(ctx)
	for _, one := range s.probes(ping, opened.secrets) {
		probes.Go(func() { s.monitor.watch(probing, one) })
	}
	return func() {
		cancel()
		probes.Wait()
	}
}

// measure shows in the metrics what the queues hold. While NATS does not answer, the last numbers
// stay.
func (s *service) measure(ctx context.Context, q *natsq.Queue) {
	if b, err := q.Backlog(ctx); err == nil {
		s.metrics.showBacklog(b, time.Now()) //nolint:forbidigo // an age for people
	}
}

// serve takes work until ctx is cancelled. Then it takes no more; what is held is finished, or
// handed back when most of the time to drain is over.
func (s *service) serve(ctx context.Context, q *natsq.Queue) error {
	h, err := handler.New(handler.Config{
		Queue: countedQueue{q, s.metrics}.parts(), Resources: s.resources, Store: s.store, Work: s.work, Prefix: s.c.Prefix, Accounts: s.c.accounts(), SpoolDir: s.spoolDir,
		Commands: s.c.Commands, Units: s.c.Workers, Downloads: s.c.Downloads, Buffer: s.c.Buffer, MaxAttempts: s.c.MaxAttempts,
		Threshold: s.c.Threshold, Overlap: s.c.Overlap, Trust: s.c.Trust, Deletes: s.c.Deletes, VerifyTimeout: s.c.VerifyTimeout,
		LockMode: s.c.LockMode, Pseudonym: *s.pseudonym, Signing: s.c.Signing, Version: build().Version, Health: s.health, Log: s.log,
	})
	if err != nil {
		return err
	}
	work, callOff := context.WithCancelCause(s.tracer.Attach(context.WithoutCancel(ctx)))
	defer callOff(nil)
	defer context.AfterFunc(ctx, func() {
		s.monitor.stop()
		s.log.Info().Dur("drain_ms", s.c.Drain).Msg("stopping, taking no more work")
		time.AfterFunc(finishTime(s.c.Drain), func() { callOff(context.Cause(ctx)) })
	})()

	close(s.serving)
	var loops sync.WaitGroup
	ended := make([]error, 2)
	loops.Go(func() {
		ended[0] = q.ServeCommands(ctx, work, natsq.Loop{Slots: s.c.Commands, Ready: s.health.Ready, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
			return s.metrics.countDelivery(queueCommands, d.Delivered, func() delivery.Disposition { return h.Command(ctx, d) })
		}})
	})
	loops.Go(func() {
		ended[1] = q.ServeUnits(ctx, work, natsq.UnitLoop{Slots: s.c.Workers, Ready: s.health.Ready, Handle: func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
			return tracedUnit(ctx, d, func(ctx context.Context) delivery.Disposition {
				return s.metrics.countUnit(d, func() delivery.Disposition { return h.Unit(ctx, d) })
			})
		}})
	})
	loops.Go(func() { s.expireTraces(ctx, q) })
	loops.Wait()
	s.log.Info().Msg("stopped")
	return errors.Join(ended...)
}

// expireTraces removes the jobs and ledgers whose commands ended longer than
// CONSUMER_TRACE_RETENTION ago, at once and then every expiryInterval, until ctx ends.
func (s *service) expireTraces(ctx context.Context, q *natsq.Queue) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		removed, err := q.ExpireTraces(ctx, s.c.TraceRetention)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn().Err(err).Msg("expired traces not removed, trying again later")
		case removed > 0:
			s.log.Info().Int("commands", removed).Msg("expired traces removed")
		}
		pause.Reset(expiryInterval)
	}
}

// finishTime is the part of the time to drain in which held work may finish. In the rest, what has
// not finished is handed back.
func finishTime(drain time.Duration) time.Duration { return drain - min(drain/4, 5*time.Second) }

// errLearning is the problem of storage while the first attempt to find out what the store supports
// takes long.
var errLearning = fmt.Errorf("the buckets are there; what the store supports is not known yet: its answers take longer than %s, or fail and are asked for again", answerTimeout)

// learnStore probes the store, until it has succeeded once. No work is taken before.
func (s *service) learnStore(ctx context.Context) error {
	if s.learned {
		return nil
	}
	var told sync.Once
	slow := time.AfterFunc(answerTimeout, func() {
		told.Do(func() {
			if errors.Is(s.health.Problems()[delivery.DependencyStorage], errUnchecked) { // a reason that is known stays
				s.monitor.found(delivery.DependencyStorage, errLearning)
			}
		})
	})
	defer told.Do(func() {}) // what the check found is the last word
	defer slow.Stop()
	if err := probeStore(ctx, s.work, sink.Key(s.c.Prefix+probeKey)); err != nil {
		return err
	}
	s.probed = probeSweeps
	err := s.store.ProbeLocks(ctx, sink.Key(s.c.Prefix+probeKey+"-lock-"), s.c.LockMode)
	if err != nil {
		return fmt.Errorf("find out whether the store keeps a retention: %w", err)
	}
	s.learned = true
	return nil
}

// probeSweeps is how often it is tried to remove what probes left, after a start.
const probeSweeps = 30

// removeProbes removes what probes left: what was locked for some seconds, and all of a process
// that was killed while it probed. What is locked still is for a later check, or a later start.
// Another process that is probing just then tries again.
func (s *service) removeProbes(ctx context.Context) {
	if s.probed == 0 {
		return
	}
	s.probed--
	left := false
	for _, store := range s.stores() {
		_, err := store.RemoveAll(ctx, sink.Key(s.c.Prefix+probeKey))
		left = left || err != nil
	}
	if !left {
		s.probed = 0
	}
}

// checkStorage fails unless the buckets can be worked with: they are there, the store was probed,
// and, once the secrets can be read, the prefix is this deployment's.
func (s *service) checkStorage(ctx context.Context, secrets handler.SecretStore) error {
	s.storage.Lock()
	defer s.storage.Unlock()
	err := checkBuckets(ctx, s.c.Prefix, s.stores()...)
	if err == nil {
		err = s.learnStore(ctx)
	}
	s.monitor.note(delivery.DependencyStorage, s.store.Notes()...)
	if err == nil && secrets != nil {
		err = s.ownPrefix(ctx, secrets)
	}
	if err == nil {
		s.removeProbes(ctx)
	}
	return err
}

// probes are the checks of all dependencies of this process.
func (s *service) probes(pingNATS func(context.Context) error, secrets func() *natsq.Queue) []probe {
	r := s.intervals
	all := []probe{
		{delivery.DependencyNATS, r.nats, r.natsRetry, pingNATS},
		{delivery.DependencyStorage, r.storage, r.storageRetry, func(ctx context.Context) error {
			if q := secrets(); q != nil {
				return s.checkStorage(ctx, q)
			}
			return s.checkStorage(ctx, nil)
		}},
		{delivery.DependencyHost, r.host, r.host, func(context.Context) error {
			return shortage.Check(s.spoolDir, s.health.Problems()[delivery.DependencyHost])
		}},
	}
	if s.c.Signing != nil {
		all = append(all, probe{delivery.DependencySigning, r.host, r.host, func(context.Context) error {
			_, err := s.c.Signing.Key()
			return err
		}})
		if s.c.Signing.Authority != nil {
			all = append(all, probe{delivery.DependencyTimestamp, r.timestamp, r.timestamp, s.checkAuthority()})
		}
	}
	for alias, client := range s.resources {
		all = append(all, s.monitor.trainingProbe(alias, client, r.training))
	}
	return all
}
