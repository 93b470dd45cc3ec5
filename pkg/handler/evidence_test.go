package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestDeleteOutlivesTheRetention has the time for which traces are kept pass in the middle of a
// delete, before each destructive call: its ledger is sealed with its beginning, and its job is
// there until it has ended.
func TestDeleteOutlivesTheRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	expired := 0
	w.api.OnCall(func(operation string, _ int) {
		n, err := w.queue.ExpireTraces(t.Context(), 0)
		if expired += n; err != nil {
			t.Errorf("before %s: %v", operation, err)
		}
	})
	w.start(t, replicaOptions{commands: 1, configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted || expired > 0 {
		t.Fatalf("ended %s, %d traces removed meanwhile: %v", e.Status, expired, e.Error)
	}
	w.bag(t, "del-1", sink.DeleteBag) // it verifies: the ledger is whole
	if n, err := w.queue.ExpireTraces(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("%d traces removed at the end: %v", n, err)
	}
	if left := len(w.messages(t, "CV_LEDGER")) + len(w.messages(t, "KV_CV_JOBS")); left > 0 {
		t.Errorf("%d messages of it are left", left)
	}
}

// TestFailureOfAnotherCommand puts the evidence of another command's failure where that of a delete
// will be: the delete is carried out.
func TestFailureOfAnotherCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.overwrite(t, "del-1/delete/evidence/failure.json", []byte(`{"v":1,"id":"del-9","error":{"code":"unverified","message":"it is still there"}}`))
	w.start(t, replicaOptions{commands: 1, configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusCompleted || e.Counts.Projects != 1 {
		t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
	w.bag(t, "del-1", sink.DeleteBag)
}
