package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// rhythm is how often dependencies are looked at: while they work, and while they do not.
type rhythm struct {
	nats, natsRetry       time.Duration
	storage, storageRetry time.Duration
	training              time.Duration // of either
}

// usualRhythm asks the Training API at most once a minute, well or not.
var usualRhythm = rhythm{
	nats: 5 * time.Second, natsRetry: time.Second,
	storage: 30 * time.Second, storageRetry: 5 * time.Second,
	training: time.Minute,
}

// probeTimeout bounds one look at a dependency.
const probeTimeout = 20 * time.Second

// service is `consumer run`: everything made of a config, but not yet connected.
type service struct {
	c       config
	log     zerolog.Logger
	metrics *metrics
	health  *handler.Health
	monitor *monitor
	rhythm  rhythm

	api       *s3.Client
	store     *sink.Store
	work      *sink.Store
	resources map[string]*cv.Client
	pseudonym *contract.Pseudonymizer
	learned   atomic.Bool // what the store can do
	owned     atomic.Bool // the prefix is this deployment's

	listening chan string   // gets the address of the HTTP server
	serving   chan struct{} // closed when the queue is open
}

// newService makes what can be made without reaching for anything. What fails here is wrong with
// the settings.
func newService(ctx context.Context, c config, log zerolog.Logger) (*service, error) {
	s := &service{
		c: c, log: log, metrics: newMetrics(), rhythm: usualRhythm, resources: map[string]*cv.Client{},
		health:    handler.NewHealth(time.Now), //nolint:forbidigo // the process's clock enters here
		listening: make(chan string, 1), serving: make(chan struct{}),
	}
	s.monitor = newMonitor(s.health, s.metrics, log)
	var err error
	if s.api, err = s3Client(ctx, c.S3, s.metrics); err != nil {
		return nil, err
	}
	s.store = sink.NewStore(s.api, s.storeOptions(c.Bucket))
	s.work = s.store
	if c.WorkBucket != c.Bucket {
		s.work = sink.NewStore(s.api, s.storeOptions(c.WorkBucket))
	}
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
	s.health.BlockWhen(s.blocked)
	return s, nil
}

func (s *service) storeOptions(bucket string) sink.StoreOptions {
	return sink.StoreOptions{Bucket: bucket, SSE: s.c.SSE, SSEKMSKeyID: s.c.KMSKeyID, Log: s.log}
}

// client makes the Training API client of a resource. m may be nil.
func (c config) client(r resource, m *metrics) (*cv.Client, error) {
	credential := cv.TrainingKeyFile(r.Key.File())
	if r.Key.File() == "" {
		key, err := r.Key.Reveal()
		if err != nil {
			return nil, err
		}
		credential = cv.TrainingKey(key)
	}
	o := cv.Options{MaxRPS: r.MaxRPS, BlobHosts: c.BlobHosts, UserAgent: "cvconsumer/" + build().Version}
	if m != nil {
		o.Wrap = m.countTraining(r.Alias)
	}
	client, err := cv.New(r.Endpoint, credential, o)
	if err != nil {
		return nil, settingsError(fmt.Sprintf("resource %s: %v", r.Alias, err))
	}
	return client, nil
}

func (s *service) dependencies() []string {
	all := []string{delivery.DependencyNATS, delivery.DependencyStorage}
	for alias := range s.resources {
		all = append(all, delivery.DependencyTraining(alias))
	}
	return all
}

// blocked tells whether nothing can be worked on: without storage, or without any of the resources.
// One resource in trouble of several does not stop the commands of the others.
func (s *service) blocked(failing map[string]handler.Problem) bool {
	if _, ok := failing[delivery.DependencyStorage]; ok {
		return true
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
	nc, err := natsq.Connect(ctx, s.c.NATS.connection("consumer", s.log)) // connected or not
	if err != nil {
		return settingsError(err.Error())
	}
	defer nc.Close()
	addr, stopHTTP, err := serveHTTP(context.WithoutCancel(ctx), s.c.HTTPAddr, s.monitor.routes(), s.log)
	if err != nil {
		return err
	}
	defer stopHTTP()
	s.listening <- addr
	b := build()
	s.log.Info().Str("version", b.Version).Str("http", addr).Str("bucket", s.c.Bucket).Int("resources", len(s.resources)).Msg("started")

	var probes sync.WaitGroup
	probing, stopProbes := context.WithCancel(ctx)
	defer probes.Wait()
	defer stopProbes()
	var opened queueState
	for _, one := range s.probes(func(ctx context.Context) error { return opened.ping(ctx, nc) }, opened.secrets) {
		probes.Go(func() { s.monitor.watch(probing, one) })
	}
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

// queueState is what is known of the streams: nothing yet, why they cannot be used, or the queue
// made of them.
type queueState struct {
	mu      sync.Mutex
	found   *natsq.Queue // whether or not storage is
	queue   *natsq.Queue
	trouble error
}

// errStorageFirst is the trouble with NATS until it was first tried whether the prefix is ours:
// this process must not be ready before.
var errStorageFirst = errors.New("connected; waiting for the first check of the bucket's prefix")

// find notes that the queue is there; no work is taken from it yet.
func (o *queueState) find(q *natsq.Queue) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.found, o.trouble = q, errStorageFirst
}

func (o *queueState) set(q *natsq.Queue, trouble error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.trouble = q, trouble
}

// secrets is where secrets are kept; nil before that is there.
func (o *queueState) secrets() *natsq.Queue {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.found
}

// ping says what is wrong with NATS, if anything is.
func (o *queueState) ping(ctx context.Context, nc *nats.Conn) error {
	o.mu.Lock()
	q, trouble := o.queue, o.trouble
	o.mu.Unlock()
	switch {
	case q != nil:
		return q.Ping(ctx)
	case nc.Status() != nats.CONNECTED && nc.LastError() != nil:
		return fmt.Errorf("not connected: %w", nc.LastError())
	case nc.Status() != nats.CONNECTED:
		return errors.New("not connected")
	case trouble != nil:
		return trouble
	}
	return errUnchecked
}

// openQueue finds or makes the streams, and makes sure that the bucket's prefix is ours, however
// long that takes. Streams that are not as they must be are the operator's to mend: they are looked
// at again.
func (s *service) openQueue(ctx context.Context, nc *nats.Conn, opened *queueState) (*natsq.Queue, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-pause.C:
		}
		q, err := natsq.Open(ctx, nc, natsq.Options{
			Prefix: s.c.NATS.Subjects, Replicas: s.c.Replicas, Provision: s.c.Provision, Retention: s.c.TraceRetention, Log: s.log,
		})
		if err == nil {
			opened.find(q)
			return q, s.awaitPrefix(ctx, q, func() {
				opened.set(q, nil)
				s.monitor.found(delivery.DependencyNATS, nil)
			})
		}
		opened.set(nil, err)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		s.monitor.found(delivery.DependencyNATS, err)
		pause.Reset(s.rhythm.storageRetry)
	}
}

// serve takes work until ctx is cancelled. Then it takes no more; what is held is finished, or
// handed back when most of the time to drain is over.
func (s *service) serve(ctx context.Context, q *natsq.Queue) error {
	h, err := handler.New(handler.Config{
		Queue: countedQueue{q, s.metrics}.parts(), Resources: s.resources, Store: s.store, Work: s.work, Prefix: s.c.Prefix, Accounts: s.c.accounts(),
		Downloads: s.c.Downloads, Buffer: s.c.Buffer, MaxAttempts: s.c.MaxAttempts,
		Threshold: s.c.Threshold, Overlap: s.c.Overlap, Deletes: s.c.Deletes, VerifyTimeout: s.c.VerifyTimeout,
		Pseudonym: *s.pseudonym, Version: build().Version, Health: s.health, Log: s.log,
	})
	if err != nil {
		return err
	}
	work, callOff := context.WithCancelCause(context.WithoutCancel(ctx))
	defer callOff(nil)
	defer context.AfterFunc(ctx, func() {
		s.monitor.stop()
		s.log.Info().Dur("drain", s.c.Drain).Msg("stopping: no more work is taken")
		time.AfterFunc(patience(s.c.Drain), func() { callOff(context.Cause(ctx)) })
	})()

	close(s.serving)
	var loops sync.WaitGroup
	ended := make([]error, 2)
	loops.Go(func() {
		ended[0] = q.ServeCommands(ctx, work, natsq.Loop{Slots: s.c.Commands, Ready: s.health.Ready, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
			return s.metrics.countDelivery(queueCommands, func() delivery.Disposition { return h.Command(ctx, d) })
		}})
	})
	loops.Go(func() {
		ended[1] = q.ServeUnits(ctx, work, natsq.UnitLoop{Slots: s.c.Workers, Ready: s.health.Ready, Handle: func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
			return s.metrics.countUnit(d, func() delivery.Disposition { return h.Unit(ctx, d) })
		}})
	})
	loops.Wait()
	s.log.Info().Msg("stopped")
	return errors.Join(ended...)
}

// patience is how much of the time to drain goes by before what is not finished is handed back; the
// rest is for handing it back.
func patience(drain time.Duration) time.Duration { return drain - min(drain/4, 5*time.Second) }

// learnStore asks the store, until it says, whether it honors If-None-Match. Nothing is taken from
// the queue before.
func (s *service) learnStore(ctx context.Context) error {
	if s.learned.Load() {
		return nil
	}
	honored, err := s.work.Conditional(ctx, sink.Key(s.c.Prefix+".probe"))
	if err != nil {
		return fmt.Errorf("try a conditional write: %w", err)
	}
	if !honored {
		s.store.LookFirst()
		s.work.LookFirst()
		s.log.Warn().Str("bucket", s.c.Bucket).
			Msg("the store ignores If-None-Match: every write looks first, every bundle is compared with what is stored, and a command may fail where replicas write the same at once")
	}
	s.learned.Store(true)
	return nil
}

// probes are the looks at everything this process needs.
func (s *service) probes(pingNATS func(context.Context) error, secrets func() *natsq.Queue) []probe {
	r := s.rhythm
	all := []probe{
		{delivery.DependencyNATS, r.nats, r.natsRetry, pingNATS},
		{delivery.DependencyStorage, r.storage, r.storageRetry, func(ctx context.Context) error {
			err := checkBucket(ctx, s.api, s.c.Bucket)
			if s.c.WorkBucket != s.c.Bucket {
				err = errors.Join(err, checkBucket(ctx, s.api, s.c.WorkBucket))
			}
			if err == nil {
				err = s.learnStore(ctx)
			}
			if q := secrets(); err == nil && q != nil {
				err = s.ownPrefix(ctx, q)
			}
			return err
		}},
	}
	for alias, client := range s.resources {
		all = append(all, probe{delivery.DependencyTraining(alias), r.training, r.training, func(ctx context.Context) error {
			_, err := client.GetDomains(ctx)
			if errors.Is(err, cv.ErrThrottled) {
				return nil // it is there and knows us
			}
			return err
		}})
	}
	return all
}
