package handler_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// attempts is how often a command and a unit are attempted at most.
func attempts(n int) func(*handler.Config) { return func(c *handler.Config) { c.MaxAttempts = n } }

// A unit that fails in a way that may pass uses up its attempts; then its command ends with its
// error, as exhausted, and as a dead letter.
func TestPoisonUnit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	r := w.start(t, replicaOptions{commands: 1, units: 2, configure: attempts(2)})
	r.faults.Add(sinktest.Fault{Op: "PutObject", Key: "*/images/*", Times: -1, Status: http.StatusInternalServerError})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	e := w.wait(t, exp)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || e.Attempt != 1 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	for _, want := range []string{"(page)", "failed 2 times", "InternalError"} {
		if !strings.Contains(e.Error.Message, want) {
			t.Errorf("%q does not say %q", e.Error.Message, want)
		}
	}
	if !w.dead(t, contract.ActionExport, "exp") {
		t.Error("it is no dead letter")
	}
	if left := w.objects(t, "exp"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A coordinator's own trouble uses up the command's attempts.
func TestExhausted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.Fault(cvtest.Fault{Operation: "GetProjects", Times: -1, Status: http.StatusInternalServerError, Code: "ErrorUnknown"})
	w.start(t, replicaOptions{commands: 1, units: 1, configure: attempts(2)})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	job := w.await(t, "exp", "an attempt failed", func(j contract.Job) bool { return j.Error != nil })
	if job.State != contract.StateRunning || job.Attempt != 1 || !job.Error.Retryable {
		t.Errorf("between attempts the job is %s, attempt %d, error %+v", job.State, job.Attempt, job.Error)
	}
	e := w.wait(t, exp)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || e.Attempt != 2 || !strings.Contains(e.Error.Message, "2 attempts were made") {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	if !w.dead(t, contract.ActionExport, "exp") {
		t.Error("it is no dead letter")
	}
}

// What is the operator's to mend costs no attempt, of which there is but one here, and is over when
// it is mended.
func TestOperatorsProblemsCostNoAttempt(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	var mended atomic.Bool
	refused := sinktest.NewFaults(refusesPuts{sinktest.Shared(t).Transport(), &mended})
	for _, c := range []struct {
		name    string
		waits   string
		problem string // the dependency that /readyz shows
		begin   func(t *testing.T, w *world, p *replicaOptions)
		mend    func(t *testing.T, w *world)
	}{
		{
			name: "a key was rotated", waits: contract.WaitCredential, problem: delivery.DependencyTraining(contract.DefaultResource),
			begin: func(t *testing.T, _ *world, p *replicaOptions) {
				write(t, key, "revoked")
				p.key = cv.TrainingKeyFile(key)
			},
			mend: func(t *testing.T, w *world) { write(t, key, w.api.Key()) },
		},
		{
			name: "storage refuses", waits: contract.WaitStorage, problem: delivery.DependencyStorage,
			begin: func(_ *testing.T, _ *world, p *replicaOptions) {
				p.faults = refused
			},
			mend: func(*testing.T, *world) { mended.Store(true) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
			p := replicaOptions{commands: 1, units: 2, configure: attempts(1)}
			c.begin(t, w, &p)
			r := w.start(t, p)
			r.health.ExplainWith(withCure)
			exp := w.publish(t, contract.ActionExport, "exp", everything)
			job := w.await(t, "exp", "waiting", func(j contract.Job) bool { return j.Waiting != nil || j.State.Terminal() })
			if job.State.Terminal() || job.Waiting.For != c.waits || job.Attempt != 0 {
				t.Fatalf("%s, waiting %+v after %d attempts: %v", job.State, job.Waiting, job.Attempt, job.Error)
			}
			if !strings.HasSuffix(job.Waiting.Detail, cureOf(c.problem)) {
				t.Errorf("the job says %q", job.Waiting.Detail)
			}
			if reason := r.health.Problems()[c.problem].Reason; reason == "" {
				t.Errorf("%s is not reported: %v", c.problem, r.health.Problems())
			}
			ready, cancel := context.WithCancel(t.Context())
			cancel()
			if r.health.Ready(ready) == nil {
				t.Error("pulling goes on")
			}
			c.mend(t, w)
			if e := w.wait(t, exp); e.Status != contract.StatusCompleted || e.Attempt != 1 {
				t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
			}
			w.bag(t, "exp", sink.ExportBag)
		})
	}
}

// refusesPuts is the way to a store that refuses to store anything until the operator has mended
// it.
type refusesPuts struct {
	next   http.RoundTripper
	mended *atomic.Bool
}

func (r refusesPuts) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPut || r.mended.Load() {
		return r.next.RoundTrip(req) //nolint:wrapcheck // handed through
	}
	const body = `<Error><Code>AccessDenied</Code><Message>not for you</Message></Error>`
	return &http.Response{
		StatusCode: http.StatusForbidden, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/xml"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}, nil
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A replica that drains hands back at once what it holds, without blame: another goes on without
// waiting for the ack wait, in the first attempt.
func TestDrainHandsBackWithoutBlame(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, ackWait: time.Hour}) // what is not handed back does not come again
	w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	hangs := w.hangBlobs()
	first := w.start(t, replicaOptions{commands: 1, units: 2, configure: attempts(1)})
	exp := w.publish(t, contract.ActionExport, "exp", everything)
	hangs.wait(t, "a download")
	first.stop()
	if j := w.job(t, "exp"); j.State.Terminal() || j.Attempt != 0 {
		t.Errorf("handed back %s after %d attempts", j.State, j.Attempt)
	}
	for _, key := range w.objects(t, "exp") {
		if strings.Contains(key, ".try-") && !strings.Contains(strings.Join(w.objects(t, "exp"), " "), strings.Split(key, ".try-")[0]+".jsonl") {
			t.Errorf("%s: the unit was blamed", key)
		}
	}
	w.api.ClearFaults()
	w.start(t, replicaOptions{commands: 1, units: 2, configure: attempts(1)})
	if e := w.wait(t, exp); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
		t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}
