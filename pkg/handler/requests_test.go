package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// sent is how many requests a replica has made: of the store, of NATS, and of the Training API.
func (w *world) sent(r *replica) (store, queue, service int) {
	return r.faults.Calls(""), int(r.conn.Stats().OutMsgs), len(w.api.Calls())
}

// TestRequestsOfADelete holds the number of requests of the smallest delete: one image, planned,
// deleted, seen to be gone, with a receipt. A look and a heartbeat in between are allowed for.
func TestRequestsOfADelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 3, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{commands: 1, configure: noWait})
	for i, id := range []string{"first", "second"} { // the first one also learns what there is to learn once
		store, queue, service := w.sent(r)
		if e := w.delete(t, id, `{"project_ids":`+idList(p.ID)+`,"image_ids":`+idList(p.Images[i])+`}`); e.Outcome != contract.OutcomeComplete {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		storeAfter, queueAfter, serviceAfter := w.sent(r)
		store, queue, service = storeAfter-store, queueAfter-queue, serviceAfter-service
		t.Logf("%d requests to the store, %d to NATS, %d calls", store, queue, service)
		if i > 0 && (store > 26 || queue > 37 || service != 8) {
			t.Errorf("%d requests to the store, %d to NATS, %d calls", store, queue, service)
		}
	}
}
