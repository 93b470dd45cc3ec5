package main

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// In the middle of a delete that exports first a stream becomes full, or all that NATS may store:
// /readyz says which, nothing is deleted meanwhile, and when there is room again the command ends
// as if nothing had been, in its first attempt.
func TestFullStreamsAreWaitedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ stream, says string }{
		{"CV_WORK", "CV_WORK: maximum bytes exceeded"},
		{"KV_CV_JOBS", "KV_CV_JOBS: maximum bytes exceeded"},
		{"CV_LEDGER", "CV_LEDGER: maximum bytes exceeded"},
		{"CV_EVENTS", "CV_EVENTS: maximum bytes exceeded"},
		{"all of them", "resource limits exceeded for account"},
	} {
		t.Run(c.stream, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, cvtest.Options{Seed: 1})
			f.vision.Sample()
			js, err := jetstream.New(f.nats.Dial(t))
			if err != nil {
				t.Fatal(err)
			}
			room := func(bytes int64) {
				if c.stream == "all of them" {
					if err := f.nats.LimitStore(bytes); err != nil {
						t.Error(err)
					}
					return
				}
				s, err := js.Stream(t.Context(), c.stream)
				if err != nil {
					t.Error(err)
					return
				}
				config := s.CachedInfo().Config
				config.MaxBytes = bytes
				if _, err := js.UpdateStream(t.Context(), config); err != nil {
					t.Error(err)
				}
			}
			r := f.start(t)
			r.await("all is well", isReady)
			var once sync.Once
			f.vision.OnCall(func(operation string, _ int) {
				if operation == "GetProjects" { // the plan begins
					once.Do(func() { room(1) })
				}
			})
			type result struct {
				contract.Event
				error
			}
			ended := make(chan result, 1)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			go func() {
				e, err := request(ctx, f.config.NATS, order{
					action: contract.ActionDelete, id: "full", data: []byte(`{"all_projects":true,"unpublish":true,"export_first":true}`),
				}, func(contract.Event) {})
				ended <- result{e, err}
			}()
			r.await("it is full", isDown("nats", c.says))
			if calls := f.vision.DestructiveCalls(); len(calls) > 0 && c.stream != "CV_EVENTS" { // a delete does not depend on it
				t.Errorf("%d destructive calls were made while %s was full", len(calls), c.stream)
			}
			room(-1)
			r.await("there is room", isReady)
			e := <-ended
			if e.error != nil || e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
				t.Errorf("%v, in attempt %d: %s\n%s", e.error, e.Data.Attempt, describeEvent(e.Event), f.log)
			}
			for _, bag := range []string{"export", "delete"} {
				report, err := verify.Bag(t.Context(), verify.Stored(r.store, sink.Key("full/"+bag+"/")), verify.Options{})
				if err != nil || report.Result != verify.OK {
					t.Errorf("verify the %s: %v %v %v", bag, report.Result, report.Problems, err)
				}
			}
			r.end()
		})
	}
}
