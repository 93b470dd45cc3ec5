package natsq

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

func TestForget(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"x", "xy"} {
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id}, 0))
		must[uint64](t)(w.q.AppendLedger(w.ctx, id, []byte("1\n"), 0))
		ok(t, w.q.PublishUnit(w.ctx, id, 1, nil))
		ok(t, w.q.PublishEvent(w.ctx, event(id, contract.StatusAccepted)))
		ok(t, w.q.PublishEvent(w.ctx, event(id, contract.StatusFailed)))
		ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{ID: id, Action: contract.ActionExport}))
	}
	ok(t, w.q.Forget(w.ctx, "x"))
	for stream, want := range map[string]uint64{"KV_CV_JOBS": 1, "CV_LEDGER": 1, "CV_WORK": 1, "CV_EVENTS": 2, "CV_DEAD": 1} {
		if n := w.messages(t, stream); n != want {
			t.Errorf("%s has %d messages, want %d", stream, n, want)
		}
	}
	if err := w.q.Forget(w.ctx, "*"); err == nil {
		t.Error("forgot every id")
	}
}
