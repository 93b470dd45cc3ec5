package handler_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// waitsOrEnded is a job that waits for something, or has ended.
func waitsOrEnded(j contract.Job) bool { return j.Waiting != nil || j.State.Terminal() }

// withCure adds to a problem what the operator can do about it, as the program does.
func withCure(dependency string, err error) error {
	return fmt.Errorf("%w; look at %s", err, dependency)
}

// cureOf is the end of what withCure makes of a problem.
func cureOf(dependency string) string { return "; look at " + dependency }

// TestAWaitHoldsNoSlot has two exports of a resource with a wrong key, which their units meet, and
// then one of a good resource, with two slots in all: it is carried out at once. Each look at the
// wrong key costs a call, which is in the ledger. The two go on when the key is right.
func TestAWaitHoldsNoSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	spec := cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny}
	a, b, good := w.api.AddProject(spec), w.api.AddProject(spec), w.api.AddProject(spec)
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, "revoked")
	r := w.start(t, replicaOptions{commands: 2, units: 2, configure: func(c *handler.Config) {
		client, err := cv.New(w.api.URL(), cv.TrainingKeyFile(key), cv.Options{MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}})
		if err != nil {
			t.Fatal(err)
		}
		c.Resources["other"] = client
		c.MaxAttempts = 1
	}})
	r.health.BlockWhen(func(map[string]health.Problem) bool { return false }) // there is another resource to work on
	var exports []*history
	for i, p := range []*cvtest.Project{a, b} {
		exports = append(exports, w.publish(t, contract.ActionExport, fmt.Sprintf("bad-%d", i), `{"resource":"other","project_ids":`+idList(p.ID)+`}`))
	}
	for i := range exports {
		j := w.await(t, fmt.Sprintf("bad-%d", i), "waiting", waitsOrEnded)
		if j.State.Terminal() || j.Waiting.For != contract.WaitCredential || j.Attempt != 0 {
			t.Fatalf("%s, waiting %+v after %d attempts: %v", j.State, j.Waiting, j.Attempt, j.Error)
		}
	}
	if e := w.run(t, "good", `{"project_ids":`+idList(good.ID)+`}`); e.Status != contract.StatusCompleted {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	looks := 0
	for _, line := range strings.Split(w.log.tail(10_000), "\n") {
		if strings.Contains(line, `"message":"unit waits"`) {
			looks++
		}
	}
	refused := 0
	for _, call := range w.api.Calls() {
		if call.Status == 401 {
			refused++
		}
	}
	if refused > 2*looks { // a try, and one more as the key may have been read before it changed
		t.Errorf("%d calls were refused at %d looks", refused, looks)
	}
	write(t, key, w.api.Key())
	recorded := 0
	for i, h := range exports {
		if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
			t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
		}
		files := w.bag(t, fmt.Sprintf("bad-%d", i), sink.ExportBag)
		recorded += strings.Count(string(files["evidence/ledger.jsonl"]), `"status":401`)
	}
	refused = 0
	for _, call := range w.api.Calls() {
		if call.Status == 401 {
			refused++
		}
	}
	if recorded != refused {
		t.Errorf("the ledgers have %d of %d refused calls", recorded, refused)
	}
}

// TestUnitsThatNoWorkerTakes has an export whose units are queued when its replica stops taking
// work for a wrong key: no unit meets the problem, and the command is handed back all the same.
func TestUnitsThatNoWorkerTakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{commands: 1})
	h := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(p.ID)+`}`)
	w.await(t, "exp", "reading", func(j contract.Job) bool { return j.Phase == contract.PhaseRead })
	r.health.Fail(delivery.DependencyTraining(contract.DefaultResource), errors.New("the key is refused"))
	j := w.await(t, "exp", "waiting", waitsOrEnded)
	if j.State.Terminal() || j.Waiting.For != contract.WaitCredential || j.Waiting.Detail != "the key is refused" || j.Attempt != 0 {
		t.Errorf("%s, waiting %+v after %d attempts: %v", j.State, j.Waiting, j.Attempt, j.Error)
	}
	w.eventually(t, "no unit is queued", func() bool { return len(w.messages(t, "CV_WORK")) == 0 })
	r.health.OK(delivery.DependencyTraining(contract.DefaultResource))
	w.start(t, replicaOptions{units: 1})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
}

// TestACoordinatorThatMeetsAWrongKey has a delete's coordinator, which has no units, meet a wrong
// key: each time it says so in an event and hands the command back, after a pause that grows with
// the time it has waited since the first one.
func TestACoordinatorThatMeetsAWrongKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	var (
		later  atomic.Int64
		delays = make(chan time.Duration, 2)
	)
	r := w.start(t, replicaOptions{commands: 1, key: cv.TrainingKey("revoked"), configure: func(c *handler.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}, settles: func(_ delivery.Delivery, d delivery.Disposition) {
		if later.Add(int64(time.Minute)) <= int64(2*time.Minute) {
			delays <- d.Delay
		}
	}})
	r.health.BlockWhen(func(map[string]health.Problem) bool { return false })
	del := w.publish(t, contract.ActionDelete, "del", `{"project_ids":`+idList(p.ID)+`}`)
	for i, least := range []time.Duration{delivery.MinDelay, 15 * time.Second} {
		select {
		case d := <-delays:
			if d < least || d > least+3*time.Second {
				t.Errorf("pause %d is %s, not %s", i+1, d, least)
			}
		case <-del.terminal:
			t.Fatal("the command ended")
		}
	}
	w.eventually(t, "two events that say what it waits for", func() bool {
		del.mu.Lock()
		defer del.mu.Unlock()
		waits := 0
		for _, e := range del.events {
			if e.Data.Waiting != nil && e.Data.Waiting.For == contract.WaitCredential {
				waits++
			}
		}
		return waits == 2
	})
	if j := w.job(t, "del"); j.Attempt != 0 || j.Waiting == nil {
		t.Errorf("attempt %d, waiting %+v", j.Attempt, j.Waiting)
	}
}

// TestWhatIsWaitedFor has the service refuse something for all things alike, as where a role is
// missing, or fail as a whole, with the last attempt: that is waited for, and the export is whole
// in the end.
func TestWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		faults []cvtest.Fault
		waits  string
		red    bool
	}{
		{"a role is missing for performances", []cvtest.Fault{{Operation: "GetIterationPerformance", Status: 403}}, contract.WaitCredential, true},
		{"a role is missing for predictions", []cvtest.Fault{{Operation: "QueryPredictions", Status: 403}}, contract.WaitCredential, true},
		{"the key is refused", []cvtest.Fault{{Operation: "GetTags", Status: 401}}, contract.WaitCredential, true},
		{"a 403 while the projects are refused, too", []cvtest.Fault{{Operation: "GetTags", Status: 403}, {Operation: "GetProjects", Status: 403}}, contract.WaitCredential, true},
		{"the service is down", []cvtest.Fault{{Operation: "GetTags", Status: 500}, {Operation: "GetProjects", Status: 503}}, contract.WaitRate, false},
		{"the service throttles all", []cvtest.Fault{{Operation: "GetTags", Status: 429}, {Operation: "GetProjects", Status: 429}}, contract.WaitRate, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			p := w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny, Iterations: []cvtest.IterationSpec{{}, {}}, Predictions: 1})
			for _, f := range c.faults {
				f.Times = -1
				w.api.Fault(f)
			}
			r := w.start(t, replicaOptions{commands: 1, units: 1, configure: attempts(1)})
			r.health.BlockWhen(func(map[string]health.Problem) bool { return false })
			r.health.ExplainWith(withCure)
			exp := w.publish(t, contract.ActionExport, "exp", `{"project_ids":`+idList(p.ID)+`}`)
			j := w.await(t, "exp", "waiting", waitsOrEnded)
			if j.State.Terminal() || j.Waiting.For != c.waits || j.Attempt != 0 {
				t.Fatalf("%s, waiting %+v after %d attempts: %v", j.State, j.Waiting, j.Attempt, j.Error)
			}
			if _, red := r.health.Problems()[delivery.DependencyTraining(contract.DefaultResource)]; red != c.red {
				t.Errorf("/readyz says %v", r.health.Problems())
			}
			if cured := strings.HasSuffix(j.Waiting.Detail, cureOf(delivery.DependencyTraining(contract.DefaultResource))); cured != c.red {
				t.Errorf("the job says %q", j.Waiting.Detail)
			}
			w.api.ClearFaults()
			if e := w.wait(t, exp); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
				t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
			}
			w.bag(t, "exp", sink.ExportBag)
		})
	}
}
