package handler_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// collect removes what a collector finds, and gives the ids.
func (s *stage) collect(t *testing.T, orphans bool) []string {
	t.Helper()
	c := handler.Collector{Queue: s.queue, Store: s.store, Work: s.store}
	var ids []string
	for l, err := range c.Find(s.ctx, orphans) {
		if err != nil {
			t.Fatalf("find: %v", err)
		}
		ids = append(ids, l.ID)
		if err := c.Remove(s.ctx, l); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	return ids
}

func (s *stage) put(t *testing.T, key string) {
	t.Helper()
	if _, err := s.store.Put(s.ctx, sink.Key(key), sink.Bytes([]byte("x"), "")); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func TestCollector(t *testing.T) {
	s := newStage(t, cvtest.Options{Seed: 3})
	s.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	faults := sinktest.NewFaults(nil)
	faults.Add(sinktest.Fault{Op: "DeleteObjects", Key: "failed/export/*", Times: -1, Status: http.StatusForbidden, Code: "AccessDenied"})
	s.start(t, part{commands: 4, units: 2, faults: faults, attempts: 1})
	for _, id := range []string{"done", "forgotten"} {
		s.publish(t, handler.ActionExport, id, everything)
		if e := s.end(t, id); e.Status != handler.StatusCompleted {
			t.Fatalf("%s ended %s: %v", id, e.Status, e.Error)
		}
	}
	s.api.Fault(cvtest.Fault{Operation: "QueryPredictions", Times: -1, Status: http.StatusBadRequest, Code: "BadRequestInvalid"})
	s.publish(t, handler.ActionExport, "failed", everything)
	if e := s.end(t, "failed"); e.Status != handler.StatusFailed {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	if len(s.objects(t, "failed")) == 0 || s.job(t, "failed").LeftBehind == "" {
		t.Fatal("nothing was left behind")
	}
	whole := len(s.objects(t, "done"))
	s.put(t, "done/.work/units/000001.jsonl") // a late one
	if err := s.queue.Forget(s.ctx, "forgotten"); err != nil {
		t.Fatal(err)
	}
	s.put(t, "forgotten/.work/plan.json")
	s.put(t, "unknown/export/data/export.json")
	s.put(t, "queued/export/data/export.json")
	s.put(t, "running/export/data/export.json")
	s.put(t, "running/.work/plan.json")
	s.put(t, "failed/delete/evidence/failure.json")
	s.put(t, "not a bundle/readme.txt")
	for _, j := range []handler.Job{
		{ID: "running", Action: handler.ActionExport, State: handler.StateRunning, Created: time.Now()},
		{ID: "stop", Action: handler.ActionCancel, State: handler.StateCompleted},
	} {
		if _, err := s.queue.PutJob(s.ctx, j, 0); err != nil {
			t.Fatal(err)
		}
	}

	if got, want := s.collect(t, false), []string{"done", "failed"}; !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
	if left := s.objects(t, "failed"); !slices.Equal(left, []string{"delete/evidence/failure.json"}) {
		t.Errorf("of the failed one there is %v", left)
	}
	if j := s.job(t, "failed"); j.LeftBehind != "" || j.State != handler.StateFailed || j.Event == nil {
		t.Errorf("its job: %+v", j)
	}
	if n := len(s.objects(t, "done")); n != whole {
		t.Errorf("of the bundle there are %d of %d objects", n, whole)
	}
	if got := s.collect(t, false); len(got) > 0 {
		t.Errorf("collected %v again", got)
	}

	for _, stop := range s.stops { // so that the next one gets no job
		stop()
	}
	seq := s.publish(t, handler.ActionExport, "queued", everything)
	if got, want := s.collect(t, true), []string{"forgotten", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
	for id, want := range map[string]int{"forgotten": whole, "unknown": 0, "queued": 1, "running": 2, "not a bundle": 1} {
		if n := len(s.objects(t, id)); n != want {
			t.Errorf("of %s there are %d objects, want %d", id, n, want)
		}
	}
	if _, err := s.queue.Command(s.ctx, seq); err != nil {
		t.Errorf("the queued one: %v", err)
	}
}
