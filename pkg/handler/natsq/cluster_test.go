package natsq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// Three servers, three replicas of everything, and leaders that step down all the time, one killed
// in between: still every compare-and-set has one winner, every event is stored once, every ledger
// is a chain, and every command and unit is worked on and gone.
func TestClusterWhileLeadersStepDown(t *testing.T) {
	t.Parallel()
	c := natstest.NewCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	queues := make([]*Queue, len(c.Servers))
	var opening sync.WaitGroup
	for i, s := range c.Servers { // at once, as replicas start
		nc := s.Dial(t)
		opening.Go(func() {
			var err error
			if queues[i], err = Open(ctx, nc, options(t, func(o *Options) { o.Replicas = 3; o.AckWait = 5 * time.Second })); err != nil {
				t.Error(err)
			}
		})
	}
	opening.Wait()
	if t.Failed() {
		t.FailNow()
	}

	// Disturbances: a leader steps down twice a second, and one server dies and comes back.
	admin := c.Servers[0].Dial(t)
	disturbing, calm := context.WithCancel(ctx)
	var disturbances sync.WaitGroup
	var steps atomic.Int64
	disturbances.Go(func() {
		streams := queues[0].streamNames()
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-disturbing.Done():
				return
			case <-ticker.C:
			}
			once, done := context.WithTimeout(disturbing, time.Second)
			if natstest.StepDownStream(once, admin, streams[n%len(streams)]) == nil {
				steps.Add(1)
			}
			if n%4 == 0 {
				_ = natstest.StepDownConsumer(once, admin, queues[0].names.Work, workDurable) // it may have no leader just now
			}
			done()
			if n == 6 {
				victim := c.Servers[2]
				victim.Stop()
				if err := victim.Start(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	defer disturbances.Wait()
	defer calm()

	const leastRounds, leastSteps, units = 12, 12, 8
	worked := make(chan string, 10000)
	serving, stop := context.WithCancelCause(ctx)
	var loops sync.WaitGroup
	for _, q := range queues {
		loops.Go(func() {
			err := q.ServeUnits(serving, ctx, UnitLoop{Slots: 4, Handle: func(_ context.Context, d delivery.UnitDelivery) delivery.Disposition {
				worked <- fmt.Sprintf("%s.%d", d.Command, d.N)
				return delivery.Disposition{Verb: delivery.Ack}
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	defer loops.Wait()
	defer stop(delivery.ErrStopping)

	rounds := 0
	for ; rounds < leastRounds || steps.Load() < leastSteps; rounds++ {
		if ctx.Err() != nil {
			t.Fatalf("only %d rounds and %d steps", rounds, steps.Load())
		}
		id := fmt.Sprintf("r%d", rounds)
		job, fence := make([]bool, len(queues)), make([]bool, len(queues))
		var wg sync.WaitGroup
		for i, q := range queues {
			wg.Go(func() {
				rev, err := q.PutJob(ctx, contract.Job{ID: id}, 0)
				job[i] = err == nil
				if err != nil && !errors.Is(err, contract.ErrConflict) {
					t.Error(err)
				}
				if err == nil { // what was acknowledged is read, from whichever server
					for _, other := range queues {
						_, got, err := other.Job(ctx, id)
						if err != nil || got != rev {
							t.Errorf("%s: read revision %d after writing %d: %v", id, got, rev, err)
						}
					}
				}
				_, err = q.AppendLedger(ctx, id, []byte("line\n"), 0)
				fence[i] = err == nil
				if err != nil && !errors.Is(err, delivery.ErrFenced) {
					t.Error(err)
				}
				for n := range units {
					if err := q.PublishUnit(ctx, id, n, []byte("unit")); err != nil {
						t.Error(err)
					}
				}
				if err := q.PublishEvent(ctx, event(id, contract.StatusCompleted)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if count(job) != 1 || count(fence) != 1 {
			t.Fatalf("%s: %d created the job, %d hold the fence", id, count(job), count(fence))
		}
	}
	t.Logf("%d rounds, %d times a leader stepped down", rounds, steps.Load())
	for _, q := range queues {
		n := 0
		for range q.Ledger(ctx, "r0", jsapi.MaxSequence) {
			n++
		}
		if n != 1 {
			t.Errorf("ledger r0 has %d messages", n)
		}
	}
	calm()
	disturbances.Wait()

	done := map[string]bool{}
	for len(done) < rounds*units {
		select {
		case u := <-worked:
			done[u] = true
		case <-ctx.Done():
			t.Fatalf("%d of %d units were worked on", len(done), rounds*units)
		}
	}
	// Acknowledged ones leave. The server may forget to remove one, after which it looks only every
	// few minutes: the end of a command does not wait for that.
	var draining sync.WaitGroup
	for n := range rounds {
		draining.Go(func() {
			if err := queues[n%len(queues)].DrainUnits(ctx, fmt.Sprintf("r%d", n)); err != nil {
				t.Error(err)
			}
		})
	}
	draining.Wait()
	if i := requestInfo(ctx, t, queues[0], "CV_WORK", "STREAM.INFO.CV_WORK"); i.State.Messages != 0 {
		t.Errorf("%d units are left", i.State.Messages)
	}
	if i := requestInfo(ctx, t, queues[0], "CV_EVENTS", "STREAM.INFO.CV_EVENTS"); i.State.Messages != rounds || i.Config.Replicas != 3 {
		t.Errorf("%d events, %d replicas", i.State.Messages, i.Config.Replicas)
	}
	if i := requestInfo(ctx, t, queues[0], "CV_WORK", "CONSUMER.INFO.CV_WORK."+workDurable); len(i.Cluster.Replicas) != 2 {
		t.Errorf("the consumer has %d replicas beside its leader", len(i.Cluster.Replicas))
	}
	stop(delivery.ErrStopping)
	loops.Wait()
}

// info is what a leader reports about a stream or a consumer.
type info struct {
	Config struct {
		Replicas int `json:"num_replicas"`
	}
	State   struct{ Messages int }
	Cluster struct{ Replicas []struct{} }
}

// requestInfo asks for it until a leader answers.
func requestInfo(ctx context.Context, t *testing.T, q *Queue, stream, subject string) (i info) {
	t.Helper()
	ok(t, q.api.APIRequest(ctx, stream, subject, nil, &i))
	return i
}

// Replicas of what exists are raised.
func TestClusterRaisesReplicas(t *testing.T) {
	c := natstest.NewCluster(t)
	ctx := deadline(t)
	nc := c.Servers[0].Dial(t)
	q := must[*Queue](t)(Open(ctx, nc, options(t)))
	must[uint64](t)(q.PutJob(ctx, contract.Job{ID: "x"}, 0))
	must[*Queue](t)(Open(ctx, nc, options(t, func(o *Options) { o.Replicas = 3 })))
	q = must[*Queue](t)(Open(ctx, nc, options(t))) // and not lowered again
	_, _, err := q.Job(ctx, "x")
	ok(t, err)
	for _, name := range q.streamNames() {
		if i := requestInfo(ctx, t, q, name, "STREAM.INFO."+name); i.Config.Replicas != 3 {
			t.Errorf("%s has %d replicas", name, i.Config.Replicas)
		}
	}
}
