package handler_test

import (
	"context"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// copyObject copies an object with its metadata, and so with its seal.
func (w *world) copyObject(t *testing.T, from, to string) {
	t.Helper()
	_, err := w.s3.Client().CopyObject(context.WithoutCancel(t.Context()), &s3.CopyObjectInput{
		Bucket: &w.bucket, Key: &to, CopySource: aws.String(w.bucket + "/" + url.PathEscape(from)),
	})
	if err != nil {
		t.Errorf("copy %s to %s: %v", from, to, err)
	}
}

// TestWaitPutBack keeps what a unit of an export waited for, and puts it back when the unit goes
// again: the export does not wait any more.
func TestWaitPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "revoked")
	var right, back atomic.Bool
	var looks, begun atomic.Int64 // once it was put back
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		if !after && back.Load() && strings.HasPrefix(effect, "PutJob running plan") {
			begun.Add(1)
		}
	}
	r := w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) {
		client, err := cv.New(w.api.URL(), cv.TrainingKeyFile(key), cv.Options{MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		c.Resources[contract.DefaultResource] = client
	}})
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		if !before && back.Load() && op == "GetObject" && strings.Contains(key, ".wait") {
			looks.Add(1)
		}
		return next(op, key, before)
	}
	r.health.BlockWhen(func(map[string]health.Problem) bool { return false })
	var once sync.Once
	var kept []string
	h := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(w.api.Snapshot().Projects[0].ID)+`}`)
	w.await(t, "exp", "waiting", waitsOrEnded)
	w.eventually(t, "the unit's wait", func() bool {
		for _, name := range w.objects(t, "exp") {
			if strings.Contains(path.Base(name), ".wait") {
				once.Do(func() {
					kept = append(kept, name)
					w.copyObject(t, "exp/"+name, "kept")
				})
			}
		}
		return len(kept) > 0
	})
	var again sync.Once
	w.api.OnCall(func(operation string, _ int) {
		if operation != "GetProject" || !right.Load() {
			return
		}
		again.Do(func() { // the unit is at work
			w.copyObject(t, "kept", "exp/"+kept[0])
			back.Store(true)
			if err := w.queue.NotifyResult(context.WithoutCancel(t.Context()), "exp", 0); err != nil {
				t.Error(err)
			}
			w.eventually(t, "the coordinator's look", func() bool { return looks.Load() > 0 })
		})
	})
	right.Store(true)
	write(t, key, w.api.Key())
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
		t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
	}
	if n := begun.Load(); n > 0 {
		t.Errorf("the export was handed back, and begun %d times more", n)
	}
}

// TestMarksTakenAway removes the mark of each attempt of a unit that always fails: it is not tried
// without end.
func TestMarksTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	w.api.Fault(cvtest.Fault{Operation: "GetIterations", Times: -1, Status: 500, Code: "ErrorUnknown"})
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		_, key, _ := strings.Cut(effect, " ")
		if key, _, _ = strings.Cut(key, "#"); after && strings.HasPrefix(effect, "PutObject") && strings.Contains(key, ".try-") {
			if err := w.store.Remove(context.WithoutCancel(t.Context()), sink.Key(key)); err != nil {
				t.Error(err)
			}
		}
	}
	w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) {
		noWait(c)
		c.MaxAttempts = 2
	}})
	e := w.run(t, "exp", everything)
	if e.Outcome != contract.OutcomeExceptions && e.Error == nil {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}

// TestResultTakenAwayAfterTheCut removes a result after it was decided what an export is made of: a
// bag with another reading of the unit is not made.
func TestResultTakenAwayAfterTheCut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, ackWait: redelivery})
	w.api.AddProject(cvtest.ProjectSpec{Images: 2, ImageBytes: cvtest.Tiny})
	f := newFate("PutObject exp/.work/cut.json#1", true)
	h := w.publish(t, contract.ActionExport, "exp", everything)
	w.start(t, replicaOptions{fate: f})
	<-f.died
	f.wait()
	if err := w.store.Remove(t.Context(), "exp/.work/units/000000.jsonl", "exp/.work/units/000000.list"); err != nil {
		t.Fatal(err)
	}
	w.start(t, replicaOptions{})
	e := w.wait(t, h)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "after the export was cut") {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}
