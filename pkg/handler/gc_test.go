package handler_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// collect removes what a collector finds, and gives the ids.
func (w *world) collect(t *testing.T, orphans bool) []string {
	t.Helper()
	c := handler.Collector{Queue: w.queue, Store: w.store, Work: w.store}
	var ids []string
	for l, err := range c.Find(t.Context(), orphans) {
		if err != nil {
			t.Fatalf("find: %v", err)
		}
		ids = append(ids, l.ID)
		if err := c.Remove(t.Context(), l); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	return ids
}

func (w *world) put(t *testing.T, key string) {
	t.Helper()
	if _, err := w.store.Put(t.Context(), sink.Key(key), sink.Bytes([]byte("x"), "")); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func TestCollector(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	faults := sinktest.NewFaults(nil)
	faults.Add(sinktest.Fault{Op: "DeleteObjects", Key: "failed/export/*", Times: -1, Status: http.StatusForbidden, Code: "AccessDenied"})
	r := w.start(t, replicaOptions{commands: 4, units: 2, faults: faults, configure: attempts(1)})
	for _, id := range []string{"done", "forgotten"} {
		if e := w.wait(t, w.publish(t, contract.ActionExport, id, everything)); e.Status != contract.StatusCompleted {
			t.Fatalf("%s ended %s: %v", id, e.Status, e.Error)
		}
	}
	faults.Add(sinktest.Fault{Op: "PutObject", Key: "failed/export/*" + p.Images[1].String() + "*", Times: -1, Status: http.StatusInternalServerError})
	failed := w.publish(t, contract.ActionExport, "failed", everything)
	if e := w.wait(t, failed); e.Status != contract.StatusFailed {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	if len(w.objects(t, "failed")) == 0 || w.job(t, "failed").LeftBehind == "" {
		t.Fatal("nothing was left behind")
	}
	whole := len(w.objects(t, "done"))
	w.put(t, "done/.work/units/000001.jsonl") // a late one
	if err := w.queue.Forget(t.Context(), "forgotten"); err != nil {
		t.Fatal(err)
	}
	w.put(t, "forgotten/.work/plan.json")
	w.put(t, "unknown/export/data/export.json")
	w.put(t, "queued/export/data/export.json")
	w.put(t, "running/export/data/export.json")
	w.put(t, "running/.work/plan.json")
	w.put(t, "failed/delete/evidence/failure.json")
	w.put(t, "not a bundle/readme.txt")
	for _, j := range []contract.Job{
		{ID: "running", Action: contract.ActionExport, State: contract.StateRunning, Created: time.Now()},
		{ID: "stop", Action: contract.ActionCancel, State: contract.StateCompleted},
	} {
		if _, err := w.queue.PutJob(t.Context(), j, 0); err != nil {
			t.Fatal(err)
		}
	}

	if got, want := w.collect(t, false), []string{"done", "failed"}; !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
	if left := w.objects(t, "failed"); !slices.Equal(left, []string{"delete/evidence/failure.json"}) {
		t.Errorf("of the failed one there is %v", left)
	}
	if j := w.job(t, "failed"); j.LeftBehind != "" || j.State != contract.StateFailed || j.Event == nil {
		t.Errorf("its job: %+v", j)
	}
	if n := len(w.objects(t, "done")); n != whole {
		t.Errorf("of the bundle there are %d of %d objects", n, whole)
	}
	if got := w.collect(t, false); len(got) > 0 {
		t.Errorf("collected %v again", got)
	}

	r.stop() // so that the next one gets no job
	queued := w.publish(t, contract.ActionExport, "queued", everything)
	if got, want := w.collect(t, true), []string{"forgotten", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
	for id, want := range map[string]int{"forgotten": whole, "unknown": 0, "queued": 1, "running": 2, "not a bundle": 1} {
		if n := len(w.objects(t, id)); n != want {
			t.Errorf("of %s there are %d objects, want %d", id, n, want)
		}
	}
	if _, err := w.queue.Command(t.Context(), queued.seq); err != nil {
		t.Errorf("the queued one: %v", err)
	}
}

// TestCollectorLateReceipts finds receipts that came after a command had ended otherwise, or that
// are another bundle's: they keep nothing. A whole bundle stays whose command's traces are gone,
// and one that was exported for a delete which was refused.
func TestCollectorLateReceipts(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.spoiled = true
	w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, Tags: []string{"a"}})
	r := w.start(t, replicaOptions{})
	for _, id := range []string{"whole", "exported", "failed", "cut"} {
		if e := w.run(t, id, everything); e.Status != contract.StatusCompleted {
			t.Fatalf("%s ended %s: %v", id, e.Status, e.Error)
		}
		if err := w.queue.Forget(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	for _, j := range []contract.Job{
		{ID: "failed", Action: contract.ActionExport, State: contract.StateFailed},
		{ID: "exported", Action: contract.ActionDelete, State: contract.StateRefused},
		{ID: "half-way", Action: contract.ActionDelete, State: contract.StateFailed},
		{ID: "running", Action: contract.ActionExport, State: contract.StateRunning},
	} {
		if _, err := w.queue.PutJob(t.Context(), j, 0); err != nil {
			t.Fatal(err)
		}
	}
	receipt := w.fetch(t, "whole/export/")["receipt.json"]
	for _, key := range []string{"stray/export/receipt.json", "half-way/delete/receipt.json", "running/export/receipt.json"} {
		w.overwrite(t, key, receipt)
	}
	w.put(t, "rubbish/export/receipt.json")
	w.put(t, "half-way/delete/evidence/failure.json")
	if _, err := w.store.RemoveAll(t.Context(), "cut/export/tagmanifest"); err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{"whole": len(w.objects(t, "whole")), "exported": len(w.objects(t, "exported")), "half-way": 1, "running": 1}
	if got, want := w.collect(t, true), []string{"failed", "half-way", "cut", "rubbish", "stray"}; !slices.Equal(got, want) {
		t.Errorf("collected %v, want %v", got, want)
	}
	for _, id := range []string{"whole", "exported", "half-way", "running", "failed", "cut", "rubbish", "stray"} {
		if left := w.objects(t, id); len(left) != kept[id] {
			t.Errorf("of %s there are %d objects, want %d: %v", id, len(left), kept[id], left)
		}
	}
}
