package natsq

import (
	"context"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

func TestEventOnceForEver(t *testing.T) {
	w := newWorld(t)
	first, second := event("x", contract.StatusCompleted), event("x", contract.StatusCompleted)
	second.Data.Exceptions = 9
	ok(t, w.q.PublishEvent(w.ctx, first))
	ok(t, w.q.PublishEvent(w.ctx, second))
	got := must[contract.Event](t)(w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusCompleted))
	if got.Data.Exceptions != 0 {
		t.Fatal("the second terminal event replaced the first")
	}
	_, err := w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusFailed)
	is(t, err, contract.ErrNoMessage)
	for n := range 3 {
		e := contract.NewProgressEvent(contract.EventData{CommandID: "x", Action: contract.ActionExport, Exceptions: int64(n)}, uint64(n), time.Unix(0, 0), "")
		ok(t, w.q.PublishEvent(w.ctx, e))
	}
	got = must[contract.Event](t)(w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusProgress))
	if got.Data.Exceptions != 2 || w.messages(t, "CV_EVENTS") != 2 {
		t.Fatalf("progress is number %d of %d messages", got.Data.Exceptions, w.messages(t, "CV_EVENTS"))
	}
}

func TestWatchEvents(t *testing.T) {
	w := newWorld(t)
	ok(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusAccepted)))
	ok(t, w.q.PublishEvent(w.ctx, event("other", contract.StatusCompleted)))
	ctx, cancel := context.WithCancel(w.ctx)
	events := must[<-chan contract.Event](t)(w.q.WatchEvents(ctx, "x"))
	if e := receive(t, events); e.Data.Status != contract.StatusAccepted {
		t.Fatalf("first is %s", e.Data.Status)
	}
	ok(t, w.server.Restart())
	ok(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusCompleted)))
	if e := receive(t, events); e.Data.Status != contract.StatusCompleted || e.Data.CommandID != "x" {
		t.Fatalf("second is %s of %s", e.Data.Status, e.Data.CommandID)
	}
	cancel()
	for range events {
		t.Fatal("an event too many")
	}
}
