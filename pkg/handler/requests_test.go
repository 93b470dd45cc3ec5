package handler_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// sent is how many requests a replica has made: of the store, of NATS, and of the Training API.
func (w *world) sent(r *replica) (store, queue, service int) {
	return r.faults.Calls(""), int(r.conn.Stats().OutMsgs), len(w.api.Calls())
}

// TestRequestsOfADelete holds the number of requests of the smallest delete: one image, planned,
// deleted, seen to be gone, with a receipt. A look and a heartbeat in between are allowed for, and
// the eighth call where the projects were listed long before, for the delete before.
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
		if i > 0 && (store > 22 || queue > 28 || service < 7 || service > 8) {
			t.Errorf("%d requests to the store, %d to NATS, %d calls", store, queue, service)
		}
	}
}

// listsNothing is a store whose listings lag behind: there is nothing in them.
type listsNothing struct{ next http.RoundTripper }

func (s listsNothing) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.URL.Query().Get("list-type") != "2" {
		return s.next.RoundTrip(req)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/xml"}}, Request: req, ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader("<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>")),
	}, nil
}

// TestListingBehindABundle publishes a delete again whose bundle is stored, whose traces were
// forgotten, and which the store does not list: nothing is done again. Another delete under that id
// is refused.
func TestListingBehindABundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 3, ImageBytes: cvtest.Tiny})
	data := func(image int) string {
		return `{"project_ids":` + idList(p.ID) + `,"image_ids":` + idList(p.Images[image]) + `}`
	}
	r := w.start(t, replicaOptions{configure: noWait})
	first := w.delete(t, "del-1", data(0))
	r.stop()
	w.start(t, replicaOptions{configure: noWait, faults: sinktest.NewFaults(listsNothing{w.s3.Transport()})})
	w.api.ResetCalls()
	for _, image := range []int{0, 1} {
		if err := w.queue.Forget(t.Context(), "del-1"); err != nil {
			t.Fatal(err)
		}
		h := w.publish(t, "delete", "del-1", data(image))
		if image == 0 {
			if again := w.wait(t, h); again.Outcome != contract.OutcomeComplete || *again.Bundle != *first.Bundle {
				t.Errorf("ended %s %s: %+v, and before %+v", again.Status, again.Outcome, again.Bundle, first.Bundle)
			}
		} else if again := w.wait(t, h); again.Status != contract.StatusRefused || again.Error.Code != contract.CodeIDConflict {
			t.Errorf("another command ended %s: %v", again.Status, again.Error)
		}
	}
	if calls := w.api.Calls(); len(calls) > 0 {
		t.Errorf("it was carried out again: %v", calls)
	}
}
