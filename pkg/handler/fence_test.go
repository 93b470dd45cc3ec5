package handler_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestFrozenCoordinatorIsFencedOut stops a replica that carries out a delete at each of its
// effects, as SIGSTOP would: nothing of it moves, heartbeats included. Another one takes over and
// finishes. Then the first goes on, and must have no effect any more: no call to the service that
// changes something, no event, no settling of the message. What it tries to write where the next
// holder is the writer now is refused.
func TestFrozenCoordinatorIsFencedOut(t *testing.T) {
	s := deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true}`), sink.DeleteBag)
	clock := newSkippingClock()
	s.configure = func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait }
	o := worldOptions{api: cvtest.Options{Seed: 5}}
	leftAlone(&o)
	w := newWorld(t, o)
	s.fill(w.api)
	r := w.start(t, replicaOptions{configure: s.configure})
	s.finish(t, w, w.publish(t, s.action, cutID, s.data), r)
	if t.Failed() {
		return
	}
	var todo []*fate
	for _, f := range chooseCuts(t, r.fate.effects) {
		if strings.HasPrefix(f.at, "PutJob accepted") || strings.HasPrefix(f.at, "PublishEvent accepted") || strings.HasPrefix(f.at, "settle") {
			continue // no replica holds anything yet, or any more
		}
		if strings.Contains(f.at, "/.work/plan-") {
			continue // its name is another one in every world
		}
		f.freezes = true
		todo = append(todo, f)
	}
	each(t, todo, s.freeze)
}

func (s scenario) freeze(t *testing.T, f *fate) {
	at := f.at
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: redelivery})
	s.fill(w.api)
	clock := newSkippingClock()
	configure := func(c *handler.Config) { c.Now, c.Wait = clock.now, clock.wait }
	said := make(chan delivery.Disposition, 1) // of the delivery that it froze at; others may come to it later
	first := w.start(t, replicaOptions{fate: f, configure: configure, settles: func(d delivery.Delivery, verdict delivery.Disposition) {
		if d.Delivered == 1 {
			said <- verdict
		}
	}})
	h := w.publish(t, s.action, cutID, s.data)
	select {
	case <-f.died:
	case <-time.After(patience):
		t.Fatalf("the effect never happens; these did:\n%s", strings.Join(f.effects, "\n"))
	}
	next := w.start(t, replicaOptions{configure: configure})
	s.finish(t, w, h, next)
	calls, events := len(w.api.DestructiveCalls()), len(w.messages(t, "CV_EVENTS"))
	clock.skipped.Add(int64(time.Minute)) // what the first one knows is old now
	f.thaw()
	select {
	case verdict := <-said:
		decided := strings.HasPrefix(at, "PublishEvent completed") || strings.HasPrefix(at, "PutJob completed") && f.after
		if verdict.Verb != delivery.Abandon && !(decided && verdict.Verb == delivery.Ack) { // a replica that knows the end may say so
			t.Errorf("it says %s of a command that another one carried out", verdict.Verb)
		}
	case <-time.After(patience):
		t.Fatal("the first replica never gives up")
	}
	first.stop()
	if got := w.api.DestructiveCalls()[calls:]; len(got) > 0 {
		t.Errorf("it made calls after it was replaced: %v", got)
	}
	if got := len(w.messages(t, "CV_EVENTS")); got != events {
		t.Errorf("it published %d events after it was replaced", got-events)
	}
	if n := len(h.ends()); n != 1 {
		t.Errorf("there are %d terminal events", n)
	}
	w.bag(t, cutID, sink.DeleteBag)
}
