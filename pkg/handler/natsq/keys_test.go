package natsq

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// leaveTraces stores something of a command in every stream that keeps something of such a one.
func (w *world) leaveTraces(t *testing.T, a contract.Action, id string) {
	t.Helper()
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id, Action: a, State: contract.StateRefused}, 0))
	e := contract.NewEvent(contract.EventData{CommandID: id, Action: a, Status: contract.StatusRefused}, w.q.options.Now(), "")
	ok(t, w.q.PublishEvent(w.ctx, e))
	ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{ID: id, Action: a}))
}

// A cancel and a command may have the same id: what is kept of one is not the other's.
func TestCancelsHaveANameSpace(t *testing.T) {
	w := newWorld(t)
	w.leaveTraces(t, contract.ActionExport, "x")
	w.leaveTraces(t, contract.ActionCancel, "x")
	for key, action := range map[string]contract.Action{"x": contract.ActionExport, "cancel.x": contract.ActionCancel} {
		if j, _, err := w.q.Job(w.ctx, key); err != nil || j.Action != action {
			t.Errorf("the job of %s is %s, %v", key, j.Action, err)
		}
		if d, err := w.q.DeadLetter(w.ctx, key); err != nil || d.Action != action || d.Key() != key {
			t.Errorf("the dead letter of %s is %s, %v", key, d.Action, err)
		}
		if e := receive(t, must[<-chan contract.Event](t)(w.q.WatchEvents(w.ctx, key))); e.Data.Action != action {
			t.Errorf("watched for %s: %s", key, e.Subject)
		}
		if e, err := w.q.Answer(w.ctx, key); err != nil || e.Data.Action != action {
			t.Errorf("the answer to %s is %s, %v", key, e.Type, err)
		}
	}
	ok(t, w.q.RemoveDead(w.ctx, "x"))
	must[contract.DeadLetter](t)(w.q.DeadLetter(w.ctx, "cancel.x"))
	for _, key := range []string{"x", "cancel.x"} {
		if !must[bool](t)(w.q.HasTraces(w.ctx, key)) {
			t.Errorf("%s has no traces before it is forgotten", key)
		}
		ok(t, w.q.Forget(w.ctx, key))
		if must[bool](t)(w.q.HasTraces(w.ctx, key)) {
			t.Errorf("%s has traces after it was forgotten", key)
		}
	}
	for _, stream := range []string{"KV_CV_JOBS", "CV_EVENTS", "CV_DEAD"} {
		if n := w.messages(t, stream); n != 0 {
			t.Errorf("%s has %d messages", stream, n)
		}
	}
}

// An earlier version kept the job of a cancel under its bare id. It is found under the cancel's
// key, and is in no command's way.
func TestCancelOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t)
	jobs := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS"))
	old := func(id string) {
		t.Helper()
		must[uint64](t)(jobs.Put(w.ctx, id, must[[]byte](t)(json.Marshal(contract.Job{ID: id, Action: contract.ActionCancel, State: contract.StateAccepted}))))
	}
	listed := func() (keys []string) {
		t.Helper()
		for j, err := range w.q.Jobs(w.ctx) {
			ok(t, err)
			keys = append(keys, j.Key())
		}
		slices.Sort(keys)
		return keys
	}
	old("stop")
	old("kept")
	j, rev, err := w.q.Job(w.ctx, "cancel.stop")
	if err != nil || j.State != contract.StateAccepted {
		t.Fatalf("the cancel is %+v, %v", j, err)
	}
	if keys := listed(); !slices.Equal(keys, []string{"cancel.kept", "cancel.stop"}) {
		t.Errorf("listed %q", keys)
	}
	j.State = contract.StateCompleted
	must[uint64](t)(w.q.PutJob(w.ctx, j, rev))
	if keys := listed(); !slices.Equal(keys, []string{"cancel.kept", "cancel.stop"}) {
		t.Errorf("listed %q after one was written again", keys)
	}
	if j, _, err := w.q.Job(w.ctx, "cancel.stop"); err != nil || j.State != contract.StateCompleted {
		t.Errorf("the cancel is %+v, %v", j, err)
	}
	_, rev, err = w.q.Job(w.ctx, "stop")
	is(t, err, contract.ErrNoJob)
	ok(t, w.q.Forget(w.ctx, "kept")) // no command has this id
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "stop", Action: contract.ActionExport, State: contract.StateRunning}, rev))
	if keys := listed(); !slices.Equal(keys, []string{"cancel.kept", "cancel.stop", "stop"}) {
		t.Errorf("listed %q beside a command", keys)
	}
	ok(t, w.q.Forget(w.ctx, "cancel.kept"))
	ok(t, w.q.Forget(w.ctx, "cancel.stop"))
	if keys := listed(); !slices.Equal(keys, []string{"stop"}) {
		t.Errorf("listed %q after the cancels were forgotten", keys)
	}
}

// An answer is what ends a command, or says of which message this one is a duplicate.
func TestAnswer(t *testing.T) {
	w := newWorld(t)
	none := func(id string) {
		t.Helper()
		_, err := w.q.Answer(w.ctx, id)
		is(t, err, contract.ErrNoMessage)
	}
	none("x")
	ok(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusAccepted)))
	ok(t, w.q.PublishEvent(w.ctx, contract.NewProgressEvent(contract.EventData{CommandID: "x", Action: contract.ActionExport}, 1, w.q.options.Now(), "")))
	none("x")
	for id, status := range map[string]contract.Status{"x": contract.StatusFailed, "seq-7": contract.StatusDuplicate} {
		ok(t, w.q.PublishEvent(w.ctx, event(id, status)))
		if e := must[contract.Event](t)(w.q.Answer(w.ctx, id)); e.Data.Status != status {
			t.Errorf("the answer to %s is %s", id, e.Data.Status)
		}
	}
}
