package handler_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// gate holds writes of blobs up, however the request is given up meanwhile, until it is opened; the
// test's end opens it, too.
type gate struct{ reached, opened *signal }

func newGate(t *testing.T) (*gate, *sinktest.Faults) {
	g := &gate{reached: newSignal(), opened: newSignal()}
	ended := t.Context().Done() // before the replicas are stopped
	f := sinktest.NewFaults(nil)
	f.OnRequest = func(op, key string, before bool) error {
		if op == "PutObject" && strings.Contains(key, "/images/") && before {
			g.reached.happens()
			select {
			case <-g.opened.c:
			case <-ended:
			}
		}
		return nil
	}
	return g, f
}

// What a worker elsewhere is still writing when a command ends is waited for, and removed.
func TestTheEndWaitsForUnitsElsewhere(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	g, faults := newGate(t)
	w.start(t, replicaOptions{commands: 1})
	w.start(t, replicaOptions{units: 2, faults: faults})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	g.reached.wait(t, "a write")
	looks := make(chan *nats.Msg, 100)
	if _, err := w.nats.Dial(t).ChanSubscribe("$JS.API.STREAM.MSG.GET.CV_WORK", looks); err != nil {
		t.Fatal(err)
	}
	w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	w.await(t, "exp", "ending", func(j contract.Job) bool { return j.Phase == contract.PhaseEnding || j.State.Terminal() })
	for range 3 { // it looks for units, again and again
		select {
		case <-looks:
		case <-time.After(patience):
			t.Fatal("the coordinator does not look for units")
		}
		if j := w.job(t, "exp"); j.State.Terminal() {
			t.Fatal("it ended while a unit was writing")
		}
	}
	g.opened.happens()
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// lateStore is the way to a store that has the whole of a write and carries it out only when the
// test says so, even if the writer has given up waiting for the answer.
type lateStore struct {
	next   http.RoundTripper
	writes string // what the key of the write has in it: the first such
	first  sync.Once

	reached, told, done *signal
	asked               context.Context //nolint:containedctx // of the write: whether it was given up
}

func newLateStore(w *world, writes string) *lateStore {
	return &lateStore{next: w.s3.Transport(), writes: writes, reached: newSignal(), told: newSignal(), done: newSignal()}
}

// RoundTrip implements http.RoundTripper.
func (s *lateStore) RoundTrip(req *http.Request) (*http.Response, error) {
	mine := false
	if req.Method == http.MethodPut && strings.Contains(req.URL.Path, s.writes) {
		s.first.Do(func() { mine = true })
	}
	if !mine {
		return s.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	later := req.Clone(context.WithoutCancel(req.Context()))
	later.Body = io.NopCloser(bytes.NewReader(body))
	s.asked = req.Context()
	if trace := httptrace.ContextClientTrace(s.asked); trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	s.reached.happens()
	var resp *http.Response
	go func() {
		defer s.done.happens()
		<-s.told.c
		if resp, err = s.next.RoundTrip(later); err == nil && s.asked.Err() != nil {
			_ = resp.Body.Close()
		}
	}()
	select {
	case <-s.done.c:
		return resp, err
	case <-s.asked.Done():
		return nil, context.Cause(s.asked)
	}
}

// scriptedEndNotices is a queue whose notices that a command is over come from the test.
type scriptedEndNotices struct {
	Queue
	notices chan struct{}
}

func (q scriptedEndNotices) Over(string) (<-chan struct{}, func(), error) {
	return q.notices, func() {}, nil
}

// A write that is under way when its command is cancelled is no longer under way when the command's
// objects are removed.
func TestTheEndWaitsForWritesUnderWay(t *testing.T) {
	t.Parallel()
	for writer, writes := range map[string]string{"coordinator": "/.work/plan.json", "worker": "/images/"} {
		t.Run(writer, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			w.api.Sample()
			store, notices := newLateStore(w, writes), make(chan struct{})
			defer store.told.happens()
			storage := w.s3.Settings(store)
			storage.AnswerTimeout = patience
			api, err := sink.Client(t.Context(), storage)
			if err != nil {
				t.Fatal(err)
			}
			w.start(t, replicaOptions{commands: 1, units: 1, configure: func(c *handler.Config) {
				c.Queue, c.Store = parts(scriptedEndNotices{whole(c.Queue), notices}), sink.NewStore(api, sink.StoreOptions{Bucket: w.bucket})
			}})
			exp := w.publish(t, contract.ActionExport, "exp", everything)
			store.reached.wait(t, "the write")
			stop := w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
			w.wait(t, stop)
			for range 2 { // the listener takes the second notice after it has obeyed the first
				select {
				case notices <- struct{}{}:
				case <-time.After(patience):
					t.Fatal("no notice is taken")
				}
			}
			if store.asked.Err() != nil { // then the store may as well be later than the end
				w.end(t, exp)
			}
			store.told.happens()
			e := w.wait(t, exp)
			store.done.wait(t, "the write's end")
			if left := w.objects(t, "exp"); len(left) > 0 || e.Status != contract.StatusCancelled {
				t.Errorf("ended %s, left behind: %v", e.Status, left)
			}
		})
	}
}

// A worker that is stuck for longer than a message is held keeps nothing from ending. What it
// writes then is found by the collector.
func TestTheEndDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, ackWait: time.Second})
	w.api.Sample()
	g, faults := newGate(t)
	w.start(t, replicaOptions{commands: 1})
	worker := w.start(t, replicaOptions{units: 2, faults: faults})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	g.reached.wait(t, "a write")
	w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	g.opened.happens()
	worker.stop()
	w.put(t, "exp/export/data/late.jpg")
	if got := w.collect(t, false); !slices.Equal(got, []string{"exp"}) {
		t.Errorf("collected %v", got)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What may not be removed does not keep a command from ending, and is said in its job.
func TestWhatCannotBeRemovedIsSaid(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	faults := sinktest.NewFaults(nil)
	faults.Add(sinktest.Fault{Op: "DeleteObjects", Key: "exp/export/*", Times: -1, Status: http.StatusForbidden, Code: "AccessDenied"})
	hangs := w.hangBlobs()
	w.start(t, replicaOptions{commands: 1, units: 2, faults: faults})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	// Something is in the bag before any picture.
	w.publish(t, contract.ActionCancel, "stop", `{"id":"exp"}`)
	if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	job := w.job(t, "exp")
	if where := "s3://" + w.bucket + "/exp/export/: "; !strings.HasPrefix(string(job.LeftBehind), where) || !strings.Contains(string(job.LeftBehind), "AccessDenied") {
		t.Errorf("left behind: %q", job.LeftBehind)
	}
	left := w.objects(t, "exp")
	if len(left) == 0 {
		t.Error("nothing is left behind: the fault was not hit")
	}
	for _, key := range left {
		if strings.HasPrefix(key, ".work/") {
			t.Errorf("%s could have been removed", key)
		}
	}
	faults.Check(t)
}

// A unit that fails for good fails its command, whose objects go; those of a unit of another
// replica too.
func TestAFailedExportLeavesNothing(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Sample()
	g, faults := newGate(t)
	w.start(t, replicaOptions{commands: 1})
	w.start(t, replicaOptions{units: 1, faults: faults}) // stuck in a write
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	g.reached.wait(t, "a write")
	broken := sinktest.NewFaults(nil)
	broken.Add(sinktest.Fault{Op: "PutObject", Key: "*/images/*", Times: -1, Status: http.StatusInternalServerError})
	w.start(t, replicaOptions{units: 1, faults: broken, configure: attempts(1)})
	w.await(t, "exp", "ending", func(j contract.Job) bool { return j.Phase == contract.PhaseEnding || j.State.Terminal() })
	g.opened.happens()
	e := w.wait(t, exp)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || !strings.Contains(e.Error.Message, "InternalError") {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if !w.dead(t, contract.ActionExport, "exp") {
		t.Error("it is no dead letter")
	}
}
