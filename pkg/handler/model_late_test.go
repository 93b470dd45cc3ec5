package handler_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestModelUploadLate has a worker stall in the middle of a model, as if its heartbeats were lost.
// Another one does the unit, and the command ends. Then the first one goes on, whatever it was
// about to do and whatever it had read: the bag stays as its receipt says, and nothing is left
// beside it.
func TestModelUploadLate(t *testing.T) {
	t.Parallel()
	others := []byte("PK\x03\x04" + strings.Repeat("another model ", modelBytes/14))
	spooled := &sink.StoreOptions{MultipartAbove: 64 << 10, PartBytes: 64 << 20} // more than there is memory for
	inOnePiece := &sink.StoreOptions{MultipartAbove: 64 << 20}
	for _, c := range []struct {
		name    string
		op, key string             // the request that the worker stalls before
		other   bool               // the service gave it another model
		store   *sink.StoreOptions // of the worker, where it is another one
	}{
		{name: "before it looks for one", op: "HeadObject", key: ".zip"},
		{name: "before it begins", op: "CreateMultipartUpload", key: ".zip"},
		{name: "before a part", op: "UploadPart", key: ".zip"},
		{name: "before it says what it is", op: "PutObject", key: ".model-"},
		{name: "before it is made", op: "CompleteMultipartUpload", key: ".zip"},
		{name: "before it looks for one, with another model", op: "HeadObject", key: ".zip", other: true},
		{name: "before it says what it is, with another model", op: "PutObject", key: ".model-", other: true},
		{name: "before it is made, with another model", op: "CompleteMultipartUpload", key: ".zip", other: true},
		{name: "before it is stored as a file", op: "CreateMultipartUpload", key: ".zip", store: spooled},
		{name: "before it is stored as a file, with another model", op: "CreateMultipartUpload", key: ".zip", other: true, store: spooled},
		{name: "before it is stored in one piece", op: "PutObject", key: ".zip", store: inOnePiece},
		{name: "before it is stored in one piece, with another model", op: "PutObject", key: ".zip", other: true, store: inOnePiece},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newUploadWorld(t)
			if c.other {
				w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Rewrite: func([]byte) []byte { return others }})
			}
			reached, released := newSignal(), newSignal()
			faults := sinktest.NewFaults(nil)
			late := w.start(t, replicaOptions{idle: true, faults: faults, configure: func(o *handler.Config) {
				noWait(o)
				if c.store != nil {
					options := *c.store
					options.Bucket = w.bucket
					o.Store = sink.NewStore(w.s3.FaultyClient(faults), options)
				}
			}})
			next := late.faults.OnRequest
			var once sync.Once
			late.faults.OnRequest = func(op, key string, before bool) error {
				if before && op == c.op && strings.Contains(key, c.key) {
					once.Do(func() {
						reached.happens()
						select {
						case <-released.c:
						case <-t.Context().Done():
						}
					})
				}
				return next(op, key, before)
			}
			var working sync.WaitGroup
			begun := false
			tap := unitTap{show: func(id string, n int, body []byte) {
				if u, err := unit.Decode(body); err != nil || u.Kind != unit.KindExports {
					return
				}
				if begun { // it is published again
					return
				}
				begun = true
				working.Go(func() {
					d := late.handler.Unit(t.Context(), delivery.UnitDelivery{Command: id, N: n, Body: body, Delivered: 2})
					t.Logf("the late worker says %s: %s", d.Verb, d.Reason)
				})
				<-reached.c
			}}
			w.start(t, replicaOptions{configure: func(o *handler.Config) {
				noWait(o)
				tap.Queue = whole(o.Queue)
				o.Queue = parts(tap)
			}})
			w.truth(t, w.publish(t, "export", "disturbed", everything))
			released.happens()
			working.Wait()
			files := w.bag(t, "disturbed", sink.ExportBag)
			if !bytes.Equal(files[strings.TrimPrefix(w.key, "disturbed/export/")], w.content) {
				t.Error("the bag has another model than its receipt says")
			}
		})
	}
}

// TestModelUploadLocked locks a bag with a model that was streamed.
func TestModelUploadLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{
		api: cvtest.Options{Seed: 5}, bucket: sinktest.BucketOptions{Locked: true},
		store: sink.StoreOptions{MultipartAbove: 64 << 10, PartBytes: 5 << 20},
	})
	modelProject(w.api, cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowLite", Bytes: modelBytes})
	r := w.start(t, replicaOptions{configure: func(c *handler.Config) { c.LockMode = sink.Compliance }})
	e := w.run(t, "locked", `{"all_projects":true,"retain_until":"2061-01-02T03:04:05Z"}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if r.faults.Calls("CreateMultipartUpload") != 1 {
		t.Error("no model was stored in parts")
	}
	w.bag(t, "locked", sink.ExportBag)
	if n := w.checkLocked(t, "locked/export/", sink.Compliance, keptUntil); n != int(e.Bundle.Objects) {
		t.Errorf("%d objects are locked of %d", n, e.Bundle.Objects)
	}
}

// TestModelUploadBeside has two workers at one unit, which get different models. Whichever order
// their steps have, the bag has the one that its receipt says. Without conditional writes the
// export may fail.
func TestModelUploadBeside(t *testing.T) {
	t.Parallel()
	for _, conditions := range []bool{true, false} {
		for _, at := range []string{"PutObject .model-", "CompleteMultipartUpload .zip", "PutObject .jsonl"} {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("conditions %t, %s, after %t", conditions, at, after), func(t *testing.T) {
					t.Parallel()
					w := newUploadWorld(t)
					if !conditions {
						w.bucket = w.s3.Bucket(t, sinktest.BucketOptions{}) // what is replaced leaves no version
						w.o.store.Bucket = w.bucket
						w.store = sink.NewStore(w.s3.Client(), w.o.store)
					}
					start := func(idle bool, configure func(*handler.Config)) *replica {
						faults := sinktest.NewFaults(nil)
						return w.start(t, replicaOptions{idle: idle, faults: faults, configure: func(o *handler.Config) {
							noWait(o)
							if !conditions {
								o.Store = sink.NewStore(w.s3.FaultyClient(faults, sinktest.IgnoreConditions), w.o.store)
								o.Store.LookFirst()
							}
							configure(o)
						}})
					}
					others := []byte("PK\x03\x04" + strings.Repeat("another model ", modelBytes/10))[:len(w.content)] // a size shows no difference
					w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Path: "TensorFlowLite", Rewrite: func([]byte) []byte { return others }})
					// The first one stalls at its step until the second one stored its model, or
					// its result; the second one stores that when the first one has gone on.
					reached, made := newSignal(), newSignal()
					first := start(true, func(*handler.Config) {})
					hook := func(r *replica, do func(op, key string, before bool)) {
						next := r.faults.OnRequest
						r.faults.OnRequest = func(op, key string, before bool) error {
							do(op, key, before)
							return next(op, key, before)
						}
					}
					wantOp, wantKey, _ := strings.Cut(at, " ")
					var n string
					hook(first, func(op, key string, before bool) {
						if before != after && op == wantOp && strings.Contains(key, wantKey) && (wantKey != ".jsonl" || strings.HasSuffix(key, n)) {
							reached.happens()
							select {
							case <-made.c:
							case <-t.Context().Done():
							}
						}
					})
					var working sync.WaitGroup
					done := newSignal()
					tap := unitTap{show: func(id string, k int, body []byte) {
						if u, err := unit.Decode(body); err != nil || u.Kind != unit.KindExports {
							return
						}
						n = fmt.Sprintf("%06d.jsonl", k)
						working.Go(func() {
							defer done.happens()
							first.handler.Unit(t.Context(), delivery.UnitDelivery{Command: id, N: k, Body: body, Delivered: 2})
						})
						<-reached.c
					}}
					second := start(false, func(o *handler.Config) {
						tap.Queue = whole(o.Queue)
						o.Queue = parts(tap)
					})
					hook(second, func(op, key string, before bool) {
						if before && op == "PutObject" && n != "" && strings.HasSuffix(key, n) {
							made.happens()
							<-done.c
						}
					})
					e := w.wait(t, w.publish(t, "export", "disturbed", everything))
					made.happens()
					working.Wait()
					if e.Status != contract.StatusCompleted && !conditions { // both wrote the result, and neither noticed
						return
					}
					if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
						t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
					}
					got := w.bag(t, "disturbed", sink.ExportBag)[strings.TrimPrefix(w.key, "disturbed/export/")]
					if !slices.Equal(got, w.content) && !slices.Equal(got, others) {
						t.Error("the bag has neither model")
					}
				})
			}
		}
	}
}

// TestModelsLeaveMemory has a model come slowly, with room for no other one beside it: the blobs of
// other commands have memory all the same, and so has another model, on disk.
func TestModelsLeaveMemory(t *testing.T) {
	t.Parallel()
	for _, part := range []int64{5 << 20, 8 << 20} {
		t.Run(fmt.Sprintf("parts of %d MiB", part>>20), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, store: sink.StoreOptions{MultipartAbove: 64 << 10, PartBytes: part}})
			models := modelProject(w.api,
				cvtest.ExportSpec{Platform: "TensorFlow", Flavor: "TensorFlowLite", Bytes: modelBytes}, cvtest.ExportSpec{Platform: "ONNX", Bytes: modelBytes})
			again := modelProject(w.api, cvtest.ExportSpec{Platform: "CoreML", Bytes: modelBytes})
			pictures := smallProject(w.api)
			r := w.start(t, replicaOptions{configure: func(o *handler.Config) {
				noWait(o)
				o.Buffer = 8 << 20
			}})
			reached, released := newSignal(), newSignal()
			t.Cleanup(released.happens)
			next := r.faults.OnRequest
			r.faults.OnRequest = func(op, key string, before bool) error {
				if before && op == "UploadPart" && strings.HasPrefix(key, "slow/") {
					reached.happens()
					<-released.c
				}
				return next(op, key, before)
			}
			slow := w.publish(t, "export", "slow", `{"project_ids":`+idList(models.ID)+`}`)
			reached.wait(t, "a part of a model")
			other := w.publish(t, "export", "other", `{"project_ids":`+idList(again.ID)+`}`)
			quick := w.publish(t, "export", "quick", `{"project_ids":`+idList(pictures.ID)+`}`)
			for _, h := range []*history{other, quick, slow} {
				if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete {
					t.Errorf("%s ended %s %s: %v", e.CommandID, e.Status, e.Outcome, e.Error)
				}
				if h == quick {
					released.happens()
				}
			}
		})
	}
}

// TestModelUploadEnds has an export end while its model is on its way to the store, on another
// replica: nothing is left of it.
func TestModelUploadEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ op, key string }{
		{"CreateMultipartUpload", ".zip"},
		{"UploadPart", ".zip"},
		{"PutObject", ".model-"},
		{"CompleteMultipartUpload", ".zip"},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after %t", c.op, after), func(t *testing.T) {
				t.Parallel()
				w := newUploadWorld(t)
				w.start(t, replicaOptions{commands: 1})
				r := w.start(t, replicaOptions{units: 2, configure: noWait})
				reached, released := newSignal(), newSignal()
				next := r.faults.OnRequest
				r.faults.OnRequest = func(op, key string, before bool) error {
					if before != after && op == c.op && strings.Contains(key, c.key) {
						reached.happens()
						select {
						case <-released.c:
						case <-t.Context().Done():
						}
					}
					return next(op, key, before)
				}
				exp := w.publish(t, "export", "disturbed", everything)
				reached.wait(t, "the model")
				w.publish(t, "cancel", "stop", `{"id":"disturbed"}`)
				w.await(t, "disturbed", "ending", func(j contract.Job) bool { return j.Phase == contract.PhaseEnding || j.State.Terminal() })
				released.happens()
				if e := w.wait(t, exp); e.Status != contract.StatusCancelled {
					t.Errorf("ended %s: %v", e.Status, e.Error)
				}
				r.stop()
				left, err := sinktest.Versions(t.Context(), w.s3.Client(), w.bucket, "disturbed/")
				if err != nil || len(left) > 0 {
					t.Errorf("left behind: %v, %v", left, err)
				}
			})
		}
	}
}

// TestModelUploadFails has the store fail while a model comes: that is the store's fault, and no
// exception of the model.
func TestModelUploadFails(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault sinktest.Fault
		waits bool // the command waits for the operator, then goes on
	}{
		{name: "to begin", fault: sinktest.Fault{Op: "CreateMultipartUpload", Status: 500}},
		{name: "to take a part", fault: sinktest.Fault{Op: "UploadPart", Status: 500}},
		{name: "to take a part in time", fault: sinktest.Fault{Op: "UploadPart", Status: 503, Code: "SlowDown"}},
		{name: "to say what it is", fault: sinktest.Fault{Op: "PutObject", Key: "*.model-*", Status: 500}},
		{name: "to make it", fault: sinktest.Fault{Op: "CompleteMultipartUpload", Status: 500}},
		{name: "the right to begin", fault: sinktest.Fault{Op: "CreateMultipartUpload", Status: 403, Code: "AccessDenied"}, waits: true},
		{name: "the right to send a part", fault: sinktest.Fault{Op: "UploadPart", Status: 403, Code: "AccessDenied"}, waits: true},
		{name: "the right to make it", fault: sinktest.Fault{Op: "CompleteMultipartUpload", Status: 403, Code: "AccessDenied"}, waits: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newUploadWorld(t)
			r := w.start(t, replicaOptions{configure: func(o *handler.Config) {
				noWait(o)
				o.MaxAttempts = 2
			}})
			c.fault.Times = -1
			r.faults.Add(c.fault)
			h := w.publish(t, "export", "disturbed", everything)
			if c.waits {
				w.waitsFor(t, "disturbed", contract.WaitStorage)
				r.stop()
				w.start(t, replicaOptions{configure: noWait})
				w.truth(t, h)
				w.bag(t, "disturbed", sink.ExportBag)
				return
			}
			e := w.wait(t, h)
			if e.Status != contract.StatusFailed || e.Error == nil || e.Error.Code != contract.CodeExhausted {
				t.Errorf("ended %s %s: %+v", e.Status, e.Outcome, e.Error)
			}
			r.stop()
			left, err := sinktest.Versions(t.Context(), w.s3.Client(), w.bucket, "disturbed/")
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// failingJob is a queue that fails to read a job, once it is told to.
type failingJob struct {
	Queue
	fails *atomic.Bool
}

func (q failingJob) Job(ctx context.Context, id string) (contract.Job, uint64, error) {
	if q.fails.Swap(false) {
		return contract.Job{}, 0, errors.New("the queue does not answer")
	}
	return q.Queue.Job(ctx, id)
}

// TestModelUploadFailsHere has NATS fail while a worker looks what is at a model's key: that is no
// exception of the model, also in the last attempt.
func TestModelUploadFailsHere(t *testing.T) {
	t.Parallel()
	w := newUploadWorld(t)
	var fails atomic.Bool
	w.before("GetExports", 1, func() {
		w.overwrite(t, w.key, []byte("PK\x03\x04 another one"))
		fails.Store(true)
	})
	w.start(t, replicaOptions{commands: 1, configure: noWait})
	w.start(t, replicaOptions{units: 1, configure: func(o *handler.Config) {
		noWait(o)
		o.MaxAttempts = 1
		o.Queue = parts(failingJob{whole(o.Queue), &fails})
	}})
	e := w.wait(t, w.publish(t, "export", "disturbed", everything))
	if e.Status != contract.StatusFailed || fails.Load() {
		t.Errorf("ended %s %s: %+v", e.Status, e.Outcome, e.Error)
	}
}
