package handler_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

func TestExportEqualsTheServicesTruth(t *testing.T) {
	t.Parallel()
	for n, c := range []struct {
		name   string
		o      cvtest.Options
		faults float64
	}{
		{name: "a tenth of all calls and downloads fail", faults: 0.1},
		{name: "absolute links"},
		{name: "relative links of a protected resource", o: cvtest.Options{VNet: true}},
		{name: "links that expire after two seconds", o: cvtest.Options{LinkTTL: 2 * time.Second}},
		{name: "recorded shapes", o: cvtest.Options{Recorded: true, Compact: true}},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			c.o.Seed = 7
			w := newWorld(t, worldOptions{api: c.o})
			r := w.start(t, replicaOptions{})
			w.api.Sample()
			if c.faults > 0 {
				w.api.FaultRate(c.faults, 11)
			}
			e := w.run(t, "all-1", `{"all_projects":true}`)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			r.stop()
			w.checkTruth(t, w.bag(t, "all-1", sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{}))
			if leaks := w.api.Leaks(); len(leaks) > 0 {
				t.Errorf("credentials were sent to the blob host: %v", leaks)
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("an export changed the service: %v", calls)
			}
		})
	}
}

func TestExportOfNothing(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 1}})
	r := w.start(t, replicaOptions{})
	e := w.run(t, "none-1", `{"all_projects":true}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeNothingFound || e.Bundle == nil {
		t.Fatalf("ended %s %s with bundle %v: %v", e.Status, e.Outcome, e.Bundle, e.Error)
	}
	r.stop()
	w.checkTruth(t, w.bag(t, "none-1", sink.ExportBag), e, truth{})
}

// TestExportOutlivesItsTraces publishes an export again when its job is forgotten: the bundle of
// before stands, and its end.
func TestExportOutlivesItsTraces(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	smallProject(w.api)
	w.start(t, replicaOptions{})
	first := w.run(t, "all-1", `{"all_projects":true}`)
	if first.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", first.Status, first.Error)
	}
	if err := w.queue.Forget(t.Context(), "all-1"); err != nil {
		t.Fatal(err)
	}
	w.api.AddImages(smallProject(w.api).ID, 1, cvtest.Tiny)
	w.api.ResetCalls()
	again := w.run(t, "all-1", `{"all_projects":true}`)
	if again.Status != first.Status || again.Counts != first.Counts || !reflect.DeepEqual(again.Bundle, first.Bundle) {
		t.Errorf("ended %s: %v\n%+v\nand before\n%+v", again.Status, again.Error, again, first)
	}
	if calls := w.api.Calls(); len(calls) > 0 {
		t.Errorf("it was carried out again: %v", calls)
	}
	w.bag(t, "all-1", sink.ExportBag)
}
