package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
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

// While NATS has little room left, a command that is under way ends with what is left, and a new
// one waits: /readyz says so, and it begins when there is room again.
func TestNewCommandsWaitForRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	r := f.start(t)
	r.await("all is well", isReady)
	q, err := natsq.Open(t.Context(), f.nats.Dial(t), natsq.Options{Retention: time.Minute, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	const full = 60 << 20
	var once sync.Once
	f.vision.OnCall(func(operation string, _ int) {
		if operation != "GetProjects" { // the first command reads
			return
		}
		once.Do(func() {
			for i := range 120 {
				if _, err := q.AppendLedger(t.Context(), fmt.Sprint("filler-", i), make([]byte, full/120), 0); err != nil {
					t.Error(err)
				}
			}
			if err := f.nats.LimitStore(full + 6<<20); err != nil {
				t.Error(err)
			}
		})
	})
	ended, later := make(chan contract.Event, 1), make(chan contract.Event, 1)
	go func() { ended <- f.order(t, "under-way") }()
	r.await("there is little room", isDown("nats", "new commands wait"))
	go func() { later <- f.order(t, "later") }()
	if e := <-ended; e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("a command under way: %s", describeEvent(e))
	}
	f.awaitLog(t, `"verb":"nak","delay_ms":5000,"reason":"JetStream's account holds`)
	if _, _, err := q.Job(t.Context(), "later"); !errors.Is(err, contract.ErrNoJob) {
		t.Errorf("a new command has a job: %v", err)
	}
	if err := f.nats.LimitStore(-1); err != nil {
		t.Fatal(err)
	}
	if e := <-later; e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("a new command: %s", describeEvent(e))
	}
	r.await("there is room", isReady)
	r.end()
}

// awaitLog waits until the log has a text.
func (f *fixture) awaitLog(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(f.log.String(), text) {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the log does not say %s", text)
		}
	}
}
