package handler_test

import (
	"context"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// toldResults are units whose results the test can give word of, true or not, one after the other.
type toldResults struct {
	handler.UnitQueue
	told chan int
}

func (q toldResults) Results(ctx context.Context, id string) (<-chan int, func(), error) {
	results, stop, err := q.UnitQueue.Results(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	out := make(chan int)
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for {
			var n int
			select {
			case n = <-results:
			case n = <-q.told:
			case <-ctx.Done():
				return
			}
			select {
			case out <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, func() { cancel(); stop() }, nil
}

// heldBlobs has every download wait until the test releases it, and tells when the first one waits.
func (w *world) heldBlobs(t *testing.T) (waits, released *signal) {
	t.Helper()
	waits, released = newSignal(), newSignal()
	t.Cleanup(released.happens)
	w.api.OnCall(func(operation string, _ int) {
		if operation == cvtest.OperationBlob {
			waits.happens()
			<-released.c
		}
	})
	return waits, released
}

// TestForgedSignals gives the coordinator of an export much word of results that are not there, and
// of units that it does not have. It looks for few of them, no attempt is used up, and the export
// ends as it would have.
func TestForgedSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 600, ImageBytes: cvtest.Tiny})
	waits, released := w.heldBlobs(t)
	var looks atomic.Int64 // of the coordinator, for results
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, key string, before bool) error {
		if before && (op == "GetObject" || strings.HasPrefix(op, "List")) && strings.Contains(key, "/.work/units/") {
			looks.Add(1)
		}
		return nil
	}
	told := make(chan int)
	w.start(t, replicaOptions{commands: 1, faults: faults, configure: func(c *handler.Config) { c.Queue.Units = toldResults{c.Queue.Units, told} }})
	w.start(t, replicaOptions{units: 4})
	h := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(p.ID)+`}`)
	waits.wait(t, "a unit is at work")
	before, began := looks.Load(), time.Now()
	for range 100 {
		for _, n := range []int{0, 1, 2, 3, 4, 5, 6, -1, math.MinInt, math.MaxInt} {
			told <- n
		}
	}
	if n, most := looks.Load()-before, int64(100*(1+time.Since(began)/(5*time.Second))); n > most {
		t.Errorf("%d looks for results; at most %d are allowed", n, most)
	}
	released.happens()
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 || e.Counts.Images != 600 {
		t.Errorf("ended %s %s in attempt %d with %+v: %v", e.Status, e.Outcome, e.Attempt, e.Counts, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}

// countedJobs counts how often a job is read.
type countedJobs struct {
	handler.JobStore
	reads *atomic.Int64
}

func (q countedJobs) Job(ctx context.Context, key string) (contract.Job, uint64, error) {
	q.reads.Add(1)
	return q.JobStore.Job(ctx, key)
}

// TestForgedEnds tells a replica again and again that its command is over, which is not so: it
// looks now and then, and goes on.
func TestForgedEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 3, ImageBytes: cvtest.Tiny})
	waits, released := w.heldBlobs(t)
	var reads atomic.Int64
	w.start(t, replicaOptions{configure: func(c *handler.Config) { c.Queue.Jobs = countedJobs{c.Queue.Jobs, &reads} }})
	h := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(p.ID)+`}`)
	waits.wait(t, "a unit is at work")
	before, began := reads.Load(), time.Now()
	for range 2000 {
		if err := w.queue.NotifyOver(t.Context(), "exp"); err != nil {
			t.Fatal(err)
		}
		if err := w.conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n, most := reads.Load()-before, int64(10*(1+time.Since(began)/time.Second)); n > most {
		t.Errorf("the job was read %d times in %s; at most %d are allowed", n, time.Since(began), most)
	}
	released.happens()
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
}

// TestForgedUnits queues units that no coordinator cut: of a project that the command does not
// name, with the seal of another unit, and under a number that the command has. None of them is
// carried out, and the export ends as without them.
func TestForgedUnits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	account := fillAccount(w.api)
	named, other := account.small.ID, account.other.ID
	w.start(t, replicaOptions{commands: 1})
	h := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(named)+`}`)
	var cut map[string]any
	w.eventually(t, "a unit is queued", func() bool {
		for _, m := range w.messages(t, "CV_WORK") {
			unmarshal(t, m.Data, &cut)
		}
		return cut != nil
	})
	queue := func(n int, members map[string]any) {
		t.Helper()
		forged := maps.Clone(cut)
		forged["n"] = n
		maps.Copy(forged, members)
		if err := w.queue.PublishUnit(t.Context(), "exp", n, encode(t, forged)); err != nil {
			t.Fatal(err)
		}
	}
	queue(1, map[string]any{"project": other, "kind": "page", "listing": map[string]any{"kind": "tagged", "count": 5}, "fetch": true})
	queue(50, map[string]any{"project": other})
	queue(51, map[string]any{"project": other, "seal": ""})
	queue(52, map[string]any{"project": other, "seal": nil, "kind": "predictions", "scopes": []string{"00000000-0000-0000-0000-000000000000"}})
	queue(53, map[string]any{})
	queue(54, map[string]any{"v": 99})
	queue(55, map[string]any{"v": 99, "command": "nobody"})
	r := w.start(t, replicaOptions{units: 2})
	e := w.wait(t, h)
	w.eventually(t, "no unit is left", func() bool { return len(w.messages(t, "CV_WORK")) == 0 })
	if problems := r.health.Problems(); len(problems) > 0 {
		t.Errorf("a forged unit makes a replica unready: %v", problems)
	}
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
		t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
	}
	w.checkTruth(t, w.bag(t, "exp", sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{projects: []uuid.UUID{named}}))
	for _, c := range w.api.Calls() {
		if strings.Contains(c.Target(), other.String()) {
			t.Errorf("the other project is asked for: %s %s", c.Operation, c.Target())
		}
	}
}
