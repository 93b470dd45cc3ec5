package handler_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	var known []goleak.Option
	for _, function := range sinktest.LibraryGoroutines() {
		known = append(known, goleak.IgnoreAnyFunction(function))
	}
	goleak.VerifyTestMain(m, known...)
}

// patience bounds what a test waits for: far beyond what it takes, far below the test binary's own
// limit.
const patience = 5 * time.Minute

// worldOptions say what a world is like. The zero value is real: real time, real names of hosts.
type worldOptions struct {
	api    cvtest.Options
	bucket sinktest.BucketOptions
	// name is the bucket's name; empty: one that no other test has.
	name string
	// now, when set, is the clock of all replicas, and the service has names that are the same in every
	// run: two worlds alike then store the same bytes.
	now func() time.Time
	// cluster asks for three NATS servers, and three replicas of everything in them.
	cluster bool
	// ackWait is how long the queue waits for a replica that died, default 30 s.
	ackWait time.Duration
	// store changes how replicas store, for example from which size on by multipart.
	store sink.StoreOptions
	// quirks are what the store leaves out of its answers to replicas.
	quirks []sinktest.Quirk
}

// The names of the service in a world with a clock of its own.
const (
	steadyEndpoint = "http://vision.test/base"
	steadyBlobs    = "http://blobs.test"
)

// world is everything real in one process: NATS, S3 and the simulated service. Replicas of the
// consumer are started in it, and die in it.
type world struct {
	o      worldOptions
	api    *cvtest.Server
	nats   *natstest.Server // or
	three  *natstest.Cluster
	queue  *natsq.Queue // the test's own, as conn
	conn   *nats.Conn
	s3     *sinktest.Server
	gate   *sinktest.Gateway // before it, where the store has quirks
	store  *sink.Store
	bucket string
	log    *logbook // of all replicas

	stamps   sync.Mutex
	stampsOf map[string]time.Time
}

// stamp gives a command's message the time at which it was first seen, by the clock of the world if
// that has one of its own: NATS does not have it.
func (w *world) stamp(m *contract.Message) {
	if w.o.now == nil {
		return
	}
	w.stamps.Lock()
	defer w.stamps.Unlock()
	place := fmt.Sprintf("%s %d", m.Stream, m.Seq)
	if _, ok := w.stampsOf[place]; !ok {
		w.stampsOf[place] = w.o.now()
	}
	m.Time = w.stampsOf[place]
}

// Queue is a whole queue, as natsq makes it, for tests that change a part of it.
type Queue interface {
	handler.JobStore
	handler.CommandQueue
	handler.UnitQueue
	handler.Notices
	handler.LedgerQueue
	handler.Publisher
	handler.HoldStore
	handler.SecretStore
}

// parts is a whole queue as a handler sees it.
func parts(q Queue) handler.Queue {
	return handler.Queue{Jobs: q, Commands: q, Units: q, Notices: q, Ledger: q, Events: q, Holds: q, Secrets: q}
}

// whole is the queue that parts was given.
func whole(q handler.Queue) Queue {
	return q.Jobs.(Queue)
}

// stampedQueue is a queue whose commands are stamped.
type stampedQueue struct {
	Queue
	w *world
}

func (q stampedQueue) CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error) {
	m, err := q.Queue.CommandIn(ctx, stream, seq)
	if err == nil {
		q.w.stamp(&m)
	}
	return m, err
}

func newWorld(t *testing.T, o worldOptions) *world {
	t.Helper()
	o.api.BasePath = "/base"
	if o.now != nil {
		o.api.Now, o.api.BlobBase = o.now, steadyBlobs
	}
	w := &world{o: o, api: cvtest.New(o.api).Start(), s3: sinktest.Shared(t), log: &logbook{}, stampsOf: map[string]time.Time{}}
	t.Cleanup(w.api.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the replicas' log:\n%s", w.log.tail(60))
		}
	})
	if w.bucket = o.name; w.bucket == "" {
		w.bucket = w.s3.Bucket(t, o.bucket)
	} else if err := w.s3.CreateBucket(t.Context(), w.bucket, o.bucket); err != nil {
		t.Fatal(err)
	}
	if len(o.quirks) > 0 {
		w.gate = w.s3.Gateway(t, o.quirks...)
	}
	w.o.store.Bucket = w.bucket
	w.store = sink.NewStore(w.s3.Client(), w.o.store)
	if o.cluster {
		w.three = natstest.NewCluster(t)
		w.nats = w.three.Servers[0]
		w.conn = w.nats.Dial(t, nats.InProcessServer(w.three))
	} else {
		w.nats = natstest.New(t)
		w.conn = w.nats.Dial(t)
	}
	w.queue = w.open(t, w.conn)
	return w
}

func (w *world) open(t *testing.T, conn *nats.Conn) *natsq.Queue {
	t.Helper()
	replicas := 1
	if w.o.cluster {
		replicas = 3
	}
	q, err := natsq.Open(t.Context(), conn, natsq.Options{
		Prefix: "cv", Replicas: replicas, Provision: true, Retention: time.Hour, AckWait: w.o.ackWait, Now: w.o.now, Log: zerolog.New(w.log),
	})
	if err != nil {
		t.Fatalf("open the queue: %v", err)
	}
	return q
}

// replicaOptions say how a replica differs from the usual one.
type replicaOptions struct {
	fate      *fate                                         // when it dies; nil: never
	commands  int                                           // at once, default 4, none if it has units only
	units     int                                           // at once, default 4, none if it has commands only
	idle      bool                                          // it takes nothing from the queue: the test delivers to its handler
	faults    *sinktest.Faults                              // what it says to the store goes through these; those with an OnRequest keep it from the fate
	key       cv.Credential                                 // default the right one
	now       func() time.Time                              // its clock, default the world's
	configure func(*handler.Config)                         // changes its settings
	settles   func(delivery.Delivery, delivery.Disposition) // hears what becomes of each delivery of a command
}

// replica is one process of the consumer, as far as the world outside can tell.
type replica struct {
	handler *handler.Handler
	health  *handler.Health
	faults  *sinktest.Faults // what it says to the store goes through these
	fate    *fate
	conn    *nats.Conn
	drain   func() // ends it as a signal would
	stop    func() // drains, and waits
}

// start starts a replica. It is stopped at the test's end, if not before.
func (w *world) start(t *testing.T, o replicaOptions) *replica {
	t.Helper()
	if o.fate == nil {
		o.fate = newFate("", false)
	}
	if o.commands == 0 && o.units == 0 && !o.idle {
		o.commands, o.units = 4, 4
	}
	switch {
	case o.faults != nil:
	case w.gate != nil:
		o.faults = sinktest.NewFaults(w.gate)
	default:
		o.faults = sinktest.NewFaults(nil)
	}
	if o.key == nil {
		o.key = cv.TrainingKey(w.api.Key())
	}
	if o.now == nil {
		o.now = w.o.now
	}
	f := o.fate
	server := nats.InProcessConnProvider(w.nats)
	if w.o.cluster {
		server = w.three
	}
	conn, err := w.nats.Connect(nats.InProcessServer(fateDialer{server, f}))
	if err != nil {
		t.Fatal(err)
	}
	queue := w.open(t, conn)
	r := &replica{faults: o.faults, fate: f, conn: conn}
	if r.faults.OnRequest == nil {
		r.faults.OnRequest = f.request
	}
	endpoint, clientOptions := w.api.URL(), cv.Options{
		MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, MaxAttempts: 8, Now: o.now,
		Wrap: func(next http.RoundTripper) http.RoundTripper { return fateTransport{next, f} },
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }, // pauses between retries take no time
	}
	var transport *http.Transport
	if w.o.now != nil {
		transport = &http.Transport{MaxIdleConnsPerHost: 64}
		endpoint, clientOptions.BlobHosts = steadyEndpoint, []string{"blobs.test"}
		clientOptions.Transport = redirect{transport, w.api.URL()}
	}
	client, err := cv.New(endpoint, o.key, clientOptions)
	if err != nil {
		t.Fatalf("make the client: %v", err)
	}
	store := w.o.store
	store.Log = zerolog.New(w.log)
	r.health = handler.NewHealth(time.Now)
	config := handler.Config{
		Health: r.health,
		Queue:  parts(fateQueue{stampedQueue{queue, w}, f}), Resources: map[string]*cv.Client{contract.DefaultResource: client},
		Store: sink.NewStore(w.s3.FaultyClient(r.faults), store), SpoolDir: t.TempDir(),
		Version: "test", Now: o.now, Log: zerolog.New(w.log),
	}
	if o.configure != nil {
		o.configure(&config)
	}
	if r.handler, err = handler.New(config); err != nil {
		t.Fatalf("make the handler: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(t.Context()))
	f.onDeath(func() {
		cancel(errDead)
		conn.Close()
	})
	ready := func(ctx context.Context) error { return ctx.Err() }
	var loops sync.WaitGroup
	serve := func(slots int, loop func() error) {
		if slots == 0 {
			return
		}
		loops.Go(func() {
			if err := loop(); err != nil && !f.isDead() {
				t.Errorf("serve: %v", err)
			}
		})
	}
	serve(o.commands, func() error {
		return queue.ServeCommands(ctx, ctx, natsq.Loop{Slots: o.commands, Ready: ready, Handle: func(ctx context.Context, d delivery.Delivery) delivery.Disposition {
			w.stamp(&d.Message)
			verdict := r.handler.Command(ctx, d)
			if o.settles != nil {
				o.settles(d, verdict)
			}
			return f.settle(verdict)
		}})
	})
	serve(o.units, func() error {
		return queue.ServeUnits(ctx, ctx, natsq.UnitLoop{Slots: o.units, Ready: ready, Handle: func(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
			return f.settle(r.handler.Unit(ctx, d))
		}})
	})
	r.drain = func() { cancel(delivery.ErrStopping) }
	r.stop = sync.OnceFunc(func() {
		r.drain()
		loops.Wait()
		f.wait()
		closed := conn.StatusChanged(nats.CLOSED)
		if !conn.IsClosed() {
			conn.Close()
			<-closed
		}
		client.CloseIdleConnections()
		if transport != nil {
			transport.CloseIdleConnections()
		}
	})
	t.Cleanup(r.stop)
	return r
}

// redirect sends everything to one server, whatever name it was meant for.
type redirect struct {
	next http.RoundTripper
	to   string
}

// RoundTrip implements http.RoundTripper.
func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	to, err := url.Parse(r.to)
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.URL.Host = to.Host
	return r.next.RoundTrip(out)
}

// logbook is what replicas log. It is safe for concurrent use.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logbook) tail(n int) string {
	lines := strings.SplitAfter(l.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// history is every event of one command, in the order they were stored: also one that took the
// place of another.
type history struct {
	seq      uint64 // of the command's message
	mu       sync.Mutex
	events   []contract.Event
	terminal chan struct{} // closed when there is a terminal one
}

// plain is a plain command as a message.
func plain(action contract.Action, id, data string) contract.Message {
	return contract.Message{Subject: "cv.commands." + string(action), Header: map[string][]string{contract.HeaderMsgID: {id}}, Body: []byte(data)}
}

// publish publishes a plain command and listens to what becomes of it.
func (w *world) publish(t *testing.T, action contract.Action, id, data string) *history {
	t.Helper()
	return w.publishMessage(t, id, plain(action, id, data))
}

// publishMessage publishes a command that has this id, or none if that is empty, and listens to
// what becomes of it.
func (w *world) publishMessage(t *testing.T, id string, m contract.Message) *history {
	t.Helper()
	seq, err := w.queue.PublishCommand(t.Context(), m)
	if err != nil {
		t.Fatalf("publish: %v", err)
	}
	h := &history{seq: seq, terminal: make(chan struct{})}
	ids := []string{contract.SeqID(seq)}
	if id != "" {
		ids = append(ids, id)
	}
	for _, id := range ids {
		events, err := w.queue.WatchEvents(t.Context(), id)
		if err != nil {
			t.Fatalf("watch events: %v", err)
		}
		go func() {
			for e := range events {
				h.note(e)
			}
		}()
	}
	return h
}

func (h *history) note(e contract.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	if e.Data.Status.Terminal() {
		select {
		case <-h.terminal:
		default:
			close(h.terminal)
		}
	}
}

// end waits for the terminal event.
func (w *world) end(t *testing.T, h *history) contract.EventData {
	t.Helper()
	select {
	case <-h.terminal:
	case <-time.After(patience):
		t.Fatal("no terminal event")
	}
	return h.ends()[0]
}

// wait waits for the terminal event, and until the command has left the queue. The event is the
// only one, and the job says the same.
func (w *world) wait(t *testing.T, h *history) contract.EventData {
	t.Helper()
	w.end(t, h)
	w.eventually(t, "the command leaves the queue", func() bool {
		_, err := w.queue.Command(t.Context(), h.seq)
		return errors.Is(err, contract.ErrNoMessage)
	})
	ends := h.ends()
	if len(ends) != 1 {
		t.Fatalf("there are %d terminal events: %+v", len(ends), ends)
	}
	if job := w.job(t, ends[0].CommandID); job.State != contract.State(ends[0].Status) {
		t.Errorf("%s: the event says %s, the job %s", job.ID, ends[0].Status, job.State)
	}
	return ends[0]
}

// job reads the job of a command.
func (w *world) job(t *testing.T, id string) contract.Job {
	t.Helper()
	job, _, err := w.queue.Job(t.Context(), id)
	if err != nil {
		t.Fatalf("read the job of %s: %v", id, err)
	}
	return job
}

// await waits until the job of a command is as wanted.
func (w *world) await(t *testing.T, id, what string, wanted func(contract.Job) bool) contract.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	jobs, err := w.queue.WatchJob(ctx, id)
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

// dead reports whether CV_DEAD has a letter of a command.
func (w *world) dead(t *testing.T, action contract.Action, id string) bool {
	t.Helper()
	subject := "cv.dead." + string(action) + "." + id
	return slices.ContainsFunc(w.messages(t, "CV_DEAD"), func(m *jetstream.RawStreamMsg) bool { return m.Subject == subject })
}

// objects are the keys that storage has below a command's id, without that.
func (w *world) objects(t *testing.T, id string) []string {
	t.Helper()
	var keys []string
	for o, err := range w.store.List(t.Context(), sink.Key(id+"/")) {
		if err != nil {
			t.Fatalf("list: %v", err)
		}
		keys = append(keys, strings.TrimPrefix(string(o.Key), id+"/"))
	}
	return keys
}

// signal is closed when something first happens.
type signal struct {
	once sync.Once
	c    chan struct{}
}

func newSignal() *signal { return &signal{c: make(chan struct{})} }

func (s *signal) happens() { s.once.Do(func() { close(s.c) }) }

func (s *signal) wait(t *testing.T, what string) {
	t.Helper()
	select {
	case <-s.c:
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
	}
}

// hangBlobs makes every download hang, and tells when the first one does.
func (w *world) hangBlobs() *signal {
	hangs := newSignal()
	w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: -1, Hang: true})
	w.api.OnCall(func(operation string, _ int) {
		if operation == cvtest.OperationBlob {
			hangs.happens()
		}
	})
	return hangs
}

// ends are the terminal events so far.
func (h *history) ends() []contract.EventData {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []contract.EventData
	for _, e := range h.events {
		if e.Data.Status.Terminal() {
			out = append(out, e.Data)
		}
	}
	return out
}

// eventually asks until the answer is yes.
func (w *world) eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never happens that %s", what)
		}
	}
}

// run publishes an export and returns its terminal event's data.
func (w *world) run(t *testing.T, id, data string) contract.EventData {
	t.Helper()
	return w.wait(t, w.publish(t, "export", id, data))
}

// messages are the messages of a stream, oldest first.
func (w *world) messages(t *testing.T, stream string) []*jetstream.RawStreamMsg {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatalf("stream %s: %v", stream, err)
	}
	var out []*jetstream.RawStreamMsg
	for next := uint64(1); ; {
		m, err := s.GetMsg(t.Context(), next, jetstream.WithGetMsgSubject(">"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return out
		}
		if err != nil {
			t.Fatalf("read stream %s: %v", stream, err)
		}
		out = append(out, m)
		next = m.Sequence + 1
	}
}

// fetch is the content of all objects below a prefix of the bucket, by key without the prefix.
func (w *world) fetch(t *testing.T, prefix string) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	if err := sinktest.Fetch(t.Context(), w.s3.Client(), w.bucket, prefix, dir); err != nil {
		t.Fatalf("fetch: %v", err)
	}
	return readTree(t, dir)
}

// readTree is the content of a folder's files by their slash-separated names.
func readTree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// bag verifies the bag of a command and returns its files. Nothing else may be in the bucket under
// the command's id: no working objects, no old versions, no delete markers, no unfinished uploads;
// nor may anything wait in the queue of units.
func (w *world) bag(t *testing.T, id string, kind sink.BagKind) map[string][]byte {
	t.Helper()
	return w.bags(t, id, kind)[kind]
}

// bags is bag for a command that leaves several.
func (w *world) bags(t *testing.T, id string, kinds ...sink.BagKind) map[sink.BagKind]map[string][]byte {
	t.Helper()
	layout, err := sink.NewLayout("", id)
	if err != nil {
		t.Fatal(err)
	}
	bags := map[sink.BagKind]map[string][]byte{}
	var want []string
	for _, kind := range kinds {
		root := layout.Bag(kind)
		report, err := sink.Verify(t.Context(), sink.StoreSource(w.store, root), sink.VerifyOptions{})
		if err != nil || report.Result != sink.OK {
			t.Fatalf("verify: %v %v %v", report.Result, report.Problems, err)
		}
		bags[kind] = w.fetch(t, string(root))
		for name := range bags[kind] {
			want = append(want, string(root)+name)
		}
	}
	versions, err := sinktest.Versions(t.Context(), w.s3.Client(), w.bucket, id+"/")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(versions)
	if !slices.Equal(versions, want) {
		t.Errorf("below %s/ the bucket keeps\n%s\nand the bags have\n%s", id, strings.Join(versions, "\n"), strings.Join(want, "\n"))
	}
	if units := w.messages(t, "CV_WORK"); len(units) > 0 {
		t.Errorf("%d units are left in the queue, the first is %s", len(units), units[0].Subject)
	}
	return bags
}
