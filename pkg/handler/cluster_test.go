package handler_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// The names natsq gives the streams that carry work, and their consumers.
var (
	busyStreams   = []string{"CV_COMMANDS", "CV_WORK", "KV_CV_JOBS", "CV_LEDGER", "CV_EVENTS"}
	busyConsumers = [][2]string{{"CV_COMMANDS", "exports"}, {"CV_COMMANDS", "deletes"}, {"CV_WORK", "workers"}}
)

// Three NATS servers, three replicas of everything, three of the consumer. Twice a second a leader
// steps down, of a stream or of a consumer, and the leader of the commands is killed and comes
// back. Calls of the service wait for that, so that it happens from the beginning of the command to
// its end. Afterwards there is no trace of it.
func TestClusterInTheMiddleOfWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		scenario scenario
	}{
		{"export", exportScenario()},
		{"delete", deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true,"export_first":true}`), sink.ExportBag, sink.DeleteBag)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.scenario
			w := s.world(t, func(o *worldOptions) { o.cluster, o.ackWait = true, 5*time.Second })
			trouble := makeTrouble(t, w)
			const callsPerStep, leastSteps = 4, 8
			var calls atomic.Int64
			w.api.OnCall(func(string, int) {
				if calls.Add(1)%callsPerStep == 0 {
					trouble.another()
				}
			})
			var all []*replica
			for range 3 {
				all = append(all, w.start(t, replicaOptions{configure: s.configure}))
			}
			h := w.publish(t, s.action, cutID, s.data)
			e := w.wait(t, h)
			if e.Attempt > 2 { // a previous holder may take back its own after the end
				t.Errorf("it took %d attempts", e.Attempt)
			}
			steps := trouble.calm()
			if steps < leastSteps || trouble.killed == "" {
				t.Errorf("%d times a leader stepped down, and %q was killed: that is little trouble", steps, trouble.killed)
			}
			t.Logf("%d calls; %d times a leader stepped down, and %s was killed", calls.Load(), steps, trouble.killed)
			s.finish(t, w, h, &replica{stop: func() {
				for _, r := range all {
					r.stop()
				}
			}})
		})
	}
}

// trouble moves the leaders of a world's cluster until it is told to be calm.
type trouble struct {
	steps  atomic.Int64
	killed string        // the server, once one was
	moved  chan struct{} // receives each time, if another waits
	over   <-chan struct{}
	stop   func()
	ended  sync.WaitGroup
}

func makeTrouble(t *testing.T, w *world) *trouble {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	x := &trouble{moved: make(chan struct{}), over: ctx.Done(), stop: stop}
	admin := w.three.Servers[0].Dial(t)
	x.ended.Go(func() {
		ticker := time.NewTicker(500 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			once, done := context.WithTimeout(ctx, time.Second)
			var err error
			if all := len(busyStreams) + len(busyConsumers); n%all < len(busyStreams) {
				err = natstest.StepDownStream(once, admin, busyStreams[n%all])
			} else {
				consumer := busyConsumers[n%all-len(busyStreams)]
				err = natstest.StepDownConsumer(once, admin, consumer[0], consumer[1])
			}
			done()
			if n >= 4 && x.killed == "" {
				if victim := w.three.StreamLeader("CV_COMMANDS"); victim != nil {
					x.killed = victim.Name()
					victim.Stop()
					if err := victim.Start(); err != nil {
						t.Errorf("start %s again: %v", victim.Name(), err)
					}
				}
			}
			if err == nil { // else it had no leader just now
				x.steps.Add(1)
			}
			select {
			case x.moved <- struct{}{}:
			default:
			}
		}
	})
	t.Cleanup(func() { x.calm() })
	return x
}

// another waits for the next time a leader steps down.
func (x *trouble) another() {
	select {
	case <-x.moved:
	case <-x.over:
	}
}

// calm ends it, and says how often a leader stepped down.
func (x *trouble) calm() int64 {
	x.stop()
	x.ended.Wait()
	return x.steps.Load()
}
