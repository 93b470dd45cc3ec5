package handler_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestMain(m *testing.M) {
	debug.SetGCPercent(300) // hardly anything of a test outlives it: collecting it later takes a tenth less of the processor
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
	// now, when set, is the clock of all replicas, and the service has names that are the same in
	// every run: two worlds alike then store the same bytes.
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

	verified sync.Map // roots of the bags that were verified
	spoiled  bool     // the test changes or forges bags: they are not verified at its end

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
	t.Cleanup(func() { w.verifyAll(t) })
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

// verifyAll verifies, at the end of a test, every bag that has a receipt and was not verified yet.
func (w *world) verifyAll(t *testing.T) {
	if t.Failed() || w.spoiled {
		return
	}
	ctx := context.Background() // the test's own is over
	for o, err := range w.store.List(ctx, "") {
		if err != nil {
			t.Fatalf("list the bucket: %v", err)
		}
		root, ok := strings.CutSuffix(string(o.Key), string(sink.ReceiptFile))
		if _, verified := w.verified.Load(root); verified || !ok {
			continue
		}
		report, err := verify.Bag(ctx, verify.Stored(w.store, sink.Key(root)), verify.Options{})
		if err != nil || report.Result != verify.OK {
			t.Errorf("verify %s, which has a receipt: %v %v %v", root, report.Result, report.Problems, err)
		}
	}
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
		report, err := verify.Bag(t.Context(), verify.Stored(w.store, root), verify.Options{})
		if err != nil || report.Result != verify.OK {
			t.Fatalf("verify: %v %v %v", report.Result, report.Problems, err)
		}
		w.verified.Store(string(root), true)
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
	for _, u := range w.messages(t, "CV_WORK") { // others may be of commands that are still at work
		if strings.HasPrefix(u.Subject, "cv.work."+id+".") {
			t.Errorf("%s is left in the queue", u.Subject)
		}
	}
	return bags
}
