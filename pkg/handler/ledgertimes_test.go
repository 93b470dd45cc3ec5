package handler_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// answerTakes is how long the service takes for each answer, by the clock of slowWorld.
const answerTakes = 3 * time.Second

// slowWorld is a world in which time passes while a call is under way.
func slowWorld(t *testing.T) (*world, *skippingClock) {
	t.Helper()
	clock := newSkippingClock()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, now: clock.now, ackWait: redelivery})
	w.api.OnCall(func(string, int) { clock.skipped.Add(int64(answerTakes)) })
	return w, clock
}

// checkTimes holds the times of a ledger against those at which the service received the calls: an
// intent was written before its call was made, a call that was answered has the time of the answer,
// and neither intents nor results go back. What has no request id was not answered.
func (w *world) checkTimes(t *testing.T, lines []ledgerLine) {
	t.Helper()
	arrived := map[string]time.Time{}
	for _, c := range w.api.Calls() {
		arrived[c.RequestID] = c.Time
	}
	var intent, last ledgerLine
	for _, l := range lines {
		if l.Kind == sink.LedgerIntent || l.Kind == sink.LedgerResult {
			if l.Time.Before(last.Time) {
				t.Errorf("%s of %s at %v comes after %s of %s at %v", l.Kind, l.Operation, l.Time, last.Kind, last.Operation, last.Time)
			}
			last = l
		}
		if l.Kind == sink.LedgerIntent {
			intent = l
		}
		if l.RequestID == "" {
			continue
		}
		at, ok := arrived[l.RequestID]
		switch {
		case !ok:
			t.Errorf("the service did not receive %s of %s", l.RequestID, l.Operation)
		case l.Time.Before(at.Add(answerTakes)):
			t.Errorf("%s of %s has the time %v, its request arrived at %v and was answered %v later", l.Kind, l.Operation, l.Time, at, answerTakes)
		case l.Kind == sink.LedgerResult && intent.Time.After(at):
			t.Errorf("the intent of %s has the time %v, its request arrived at %v", l.Operation, intent.Time, at)
		}
	}
}

func TestLedgerHasTheTimesOfAnswers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action contract.Action
		bag    sink.BagKind
	}{{contract.ActionExport, sink.ExportBag}, {contract.ActionDelete, sink.DeleteBag}} {
		t.Run(string(c.action), func(t *testing.T) {
			w, clock := slowWorld(t)
			smallProject(w.api)
			r := w.start(t, replicaOptions{configure: func(c *handler.Config) { c.Wait = clock.wait }})
			if e := w.wait(t, w.publish(t, c.action, "cmd-1", `{"all_projects":true}`)); e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			r.stop()
			w.checkTimes(t, ledgerOf(t, w.bag(t, "cmd-1", c.bag)))
		})
	}
}

// TestLedgerTimesDoNotGoBack kills a coordinator when its call was carried out and its answer is
// not known. The clock of the next holder is behind: it waits all the same until that call is
// surely over, and its lines are not older than those of the previous holder.
func TestLedgerTimesDoNotGoBack(t *testing.T) {
	t.Parallel()
	w, clock := slowWorld(t)
	p := smallProject(w.api)
	f := newFate("DELETE projects/"+p.ID.String()+"/iterations/"+p.Iterations[0].String()+"#1", true)
	first := w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) { c.Wait = clock.wait }})
	h := w.publish(t, contract.ActionDelete, "del-1", `{"all_projects":true}`)
	select {
	case <-f.died:
	case <-time.After(patience):
		t.Fatalf("the iteration is not deleted; these effects happened:\n%s", strings.Join(f.effects, "\n"))
	}
	first.stop()
	made := len(w.api.DestructiveCalls())
	var waited atomic.Int64 // by the next holder, before its first destructive call
	behind := func() time.Time { return clock.now().Add(-10 * time.Minute) }
	r := w.start(t, replicaOptions{now: behind, configure: func(c *handler.Config) {
		c.Wait = func(ctx context.Context, d time.Duration) error {
			if len(w.api.DestructiveCalls()) == made {
				waited.Add(int64(d))
			}
			return clock.wait(ctx, d)
		}
	}})
	if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	r.stop()
	if d := time.Duration(waited.Load()); d < 35*time.Second {
		t.Errorf("the next holder waited %v for the call that may be under way", d)
	}
	lines := ledgerOf(t, w.bag(t, "del-1", sink.DeleteBag))
	var last time.Time // of an intent or a result
	takeovers := 0
	for _, l := range lines {
		switch l.Kind {
		case sink.LedgerTakeover:
			takeovers++
		case sink.LedgerCall:
			continue
		}
		if l.Time.Before(last) {
			t.Errorf("line %s of %q has the time %v, and one before it %v", l.Kind, l.Operation, l.Time, last)
		}
		last = l.Time
	}
	if takeovers == 0 {
		t.Error("there is no takeover")
	}
}
