package handler_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// stage is a world whose replicas a test starts and stops.
type stage struct {
	world
	nats  *natstest.Server
	ctx   context.Context
	stops []func() // of its replicas
}

func newStage(t *testing.T, o cvtest.Options) *stage {
	t.Helper()
	o.BasePath = "/base"
	s := &stage{world: world{api: cvtest.New(o).Start(), s3: sinktest.Shared(t)}, nats: natstest.New(t)}
	t.Cleanup(s.api.Close)
	var cancel context.CancelFunc
	s.ctx, cancel = context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s.bucket = s.s3.Bucket(t, sinktest.BucketOptions{})
	s.store = sink.NewStore(s.s3.Client(), sink.StoreOptions{Bucket: s.bucket})
	s.conn = s.nats.Dial(t)
	s.queue = s.open(t, natsq.DefaultAckWait)
	return s
}

// open is a queue of a process of its own.
func (s *stage) open(t *testing.T, ackWait time.Duration) *natsq.Queue {
	t.Helper()
	q, err := natsq.Open(s.ctx, s.nats.Dial(t), natsq.Options{Prefix: "cv", Replicas: 1, Provision: true, Retention: time.Hour, AckWait: ackWait})
	if err != nil {
		t.Fatalf("open the queue: %v", err)
	}
	return q
}

// part is what a actor does, and with what.
type part struct {
	commands, units int // slots; with none, that loop does not run
	ackWait         time.Duration
	attempts        int
	faults          *sinktest.Faults                 // of its storage
	storage         *sink.Options                    // how it reaches its storage, in place of faults
	key             cv.Credential                    // default the right one
	queue           func(*natsq.Queue) handler.Queue // stands between handler and queue
	now             func() time.Time
}

// actor is one process.
type actor struct {
	queue  *natsq.Queue
	health *handler.Health
	stop   func() // as SIGTERM with no time to drain, and waits until it is gone
}

// start starts a actor that the test ends, if it does not end it before.
func (s *stage) start(t *testing.T, p part) *actor {
	t.Helper()
	if p.ackWait == 0 {
		p.ackWait = natsq.DefaultAckWait
	}
	if p.key == nil {
		p.key = cv.TrainingKey(s.api.Key())
	}
	if p.now == nil {
		p.now = time.Now
	}
	client, err := cv.New(s.api.URL(), p.key, cv.Options{
		MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, MaxAttempts: 3,
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatalf("make the client: %v", err)
	}
	store := s.store
	if p.faults != nil {
		store = sink.NewStore(s.s3.FaultyClient(p.faults), sink.StoreOptions{
			Bucket: s.bucket, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		})
	}
	if p.storage != nil {
		api, err := sink.Client(s.ctx, *p.storage)
		if err != nil {
			t.Fatalf("make the storage's client: %v", err)
		}
		store = sink.NewStore(api, sink.StoreOptions{Bucket: s.bucket})
	}
	r := &actor{queue: s.open(t, p.ackWait), health: handler.NewHealth(p.now)}
	var queue handler.Queue = r.queue
	if p.queue != nil {
		queue = p.queue(r.queue)
	}
	h, err := handler.New(handler.Config{
		Queue: queue, Resources: map[string]*cv.Client{handler.DefaultResource: client}, Store: store, SpoolDir: t.TempDir(),
		Version: "test", MaxAttempts: p.attempts, Health: r.health, Now: p.now, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.WarnLevel),
	})
	if err != nil {
		t.Fatalf("make the handler: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	var loops sync.WaitGroup
	serve := func(run func() error) {
		loops.Go(func() {
			if err := run(); err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	if p.commands > 0 {
		serve(func() error { return r.queue.ServeCommands(ctx, ctx, natsq.Loop{Slots: p.commands, Handle: h.Command}) })
	}
	if p.units > 0 {
		serve(func() error { return r.queue.ServeUnits(ctx, ctx, natsq.UnitLoop{Slots: p.units, Handle: h.Unit}) })
	}
	r.stop = sync.OnceFunc(func() {
		cancel(handler.ErrStopping)
		loops.Wait()
	})
	t.Cleanup(r.stop)
	s.stops = append(s.stops, r.stop)
	return r
}

// publish publishes a command and returns its sequence.
func (s *stage) publish(t *testing.T, action handler.Action, id, data string) uint64 {
	t.Helper()
	seq, err := s.queue.PublishCommand(s.ctx, handler.Message{
		Subject: "cv.commands." + string(action), Header: map[string][]string{handler.HeaderMsgID: {id}}, Body: []byte(data),
	})
	if err != nil {
		t.Fatalf("publish %s: %v", id, err)
	}
	return seq
}

// end waits for the terminal event of an id, and demands that it is the only one.
func (s *stage) end(t *testing.T, id string) handler.EventData {
	t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	events, err := s.queue.WatchEvents(ctx, id)
	if err != nil {
		t.Fatalf("watch events: %v", err)
	}
	for e := range events {
		if e.Data.Status.Terminal() {
			s.single(t, id)
			return e.Data
		}
	}
	t.Fatalf("%s has no terminal event", id)
	panic("unreachable")
}

// single demands that an id has one terminal event, and that its job says the same.
func (s *stage) single(t *testing.T, id string) {
	t.Helper()
	job := s.job(t, id)
	n := 0
	for _, status := range []handler.Status{handler.StatusCompleted, handler.StatusFailed, handler.StatusRefused, handler.StatusCancelled} {
		switch e, err := s.queue.Event(s.ctx, job.Action, id, status); {
		case err == nil:
			n++
			if handler.State(e.Data.Status) != job.State {
				t.Errorf("%s: the event says %s, the job %s", id, e.Data.Status, job.State)
			}
		case !errors.Is(err, handler.ErrNoMessage):
			t.Fatalf("read an event of %s: %v", id, err)
		}
	}
	if n != 1 {
		t.Errorf("%s has %d terminal events", id, n)
	}
}

func (s *stage) job(t *testing.T, id string) handler.Job {
	t.Helper()
	job, _, err := s.queue.Job(s.ctx, id)
	if err != nil {
		t.Fatalf("read the job of %s: %v", id, err)
	}
	return job
}

// await waits until the job of an id is as wanted.
func (s *stage) await(t *testing.T, id, what string, wanted func(handler.Job) bool) handler.Job {
	t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	jobs, err := s.queue.WatchJob(ctx, id)
	if err != nil {
		t.Fatalf("watch the job: %v", err)
	}
	for job := range jobs {
		if wanted(job) {
			return job
		}
	}
	t.Fatalf("%s: never %s", id, what)
	panic("unreachable")
}

// settled waits until a command has left the queue.
func (s *stage) settled(t *testing.T, seq uint64) {
	t.Helper()
	for {
		_, err := s.queue.Command(s.ctx, seq)
		if errors.Is(err, handler.ErrNoMessage) {
			return
		}
		if err != nil {
			t.Fatalf("command %d is not settled: %v", seq, err)
		}
	}
}

// objects are the keys that storage has below an id.
func (s *stage) objects(t *testing.T, id string) []string {
	t.Helper()
	var keys []string
	for o, err := range s.store.List(s.ctx, sink.Key(id+"/")) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		keys = append(keys, strings.TrimPrefix(string(o.Key), id+"/"))
	}
	return keys
}

// dead tells whether CV_DEAD has a letter of an id.
func (s *stage) dead(t *testing.T, action handler.Action, id string) bool {
	t.Helper()
	m, err := s.conn.RequestWithContext(s.ctx, "$JS.API.STREAM.MSG.GET.CV_DEAD", []byte(`{"last_by_subj":"cv.dead.`+string(action)+"."+id+`"}`))
	if err != nil {
		t.Fatalf("read the dead letter: %v", err)
	}
	return !strings.Contains(string(m.Data), `"error"`)
}

// signal is closed when something first happens.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

func (s *signal) happens() { s.once.Do(func() { close(s.c) }) }

func (s *signal) wait(t *testing.T, ctx context.Context, what string) { //nolint:revive // the test is first everywhere here
	t.Helper()
	select {
	case <-s.c:
	case <-ctx.Done():
		t.Fatalf("waited in vain: %s", what)
	}
}

// hangBlobs makes every download hang, and tells when the first one does.
func (s *stage) hangBlobs() *signal {
	hangs := newSignal()
	s.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: -1, Hang: true})
	s.api.OnCall(func(operation string, _ int) {
		if operation == cvtest.OperationBlob {
			hangs.happens()
		}
	})
	return hangs
}
