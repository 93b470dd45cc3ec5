package handler_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// rotated has each replica sign with a key of its own, as where the key is rotated whenever one
// dies, and get time stamps.
type rotated struct {
	t         *testing.T
	authority *signature.Authority
	tsa       *signaturetest.Authority

	mu   sync.Mutex
	keys []*signature.Key // of all replicas
}

func newRotated(t *testing.T) *rotated {
	t.Helper()
	r := &rotated{t: t, tsa: signaturetest.New(t, nil)}
	var err error
	if r.authority, err = signature.NewAuthority(r.tsa.URL, time.Now); err != nil {
		t.Fatal(err)
	}
	return r
}

// configure gives a replica its key.
func (r *rotated) configure(c *handler.Config) {
	_, signer, err := signature.Generate(signature.P256)
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	r.keys = append(r.keys, signer.Key)
	r.mu.Unlock()
	c.Signing = &signature.Maker{Key: func() (*signature.Signer, error) { return signer, nil }, Authority: r.authority}
}

// check looks at a signed bag, and at what the event says of it.
func (r *rotated) check(t *testing.T, w *world, kind sink.BagKind, ref *contract.BundleRef) {
	t.Helper()
	layout, err := sink.NewLayout("", cutID)
	if err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	keys := r.keys
	r.mu.Unlock()
	report, err := verify.Bag(t.Context(), verify.Stored(w.store, layout.Bag(kind)), verify.Options{Keys: keys})
	if err != nil || report.Result != verify.OK || report.Signature != verify.Signed || report.TimeStamp == nil {
		t.Errorf("the %s bag: %s, %s, %v, %v", kind, report.Result, report.Signature, report.Problems, err)
	}
	if ref == nil || !ref.Signed || !ref.TimeStamped || ref.Objects != int64(report.Files) {
		t.Errorf("the event says %+v of the %s bag, which has %d files", ref, kind, report.Files)
	}
}

// signing is a scenario whose receipts are signed.
func (s scenario) signing(t *testing.T) scenario {
	t.Helper()
	r, before, check := newRotated(t), s.configure, s.check
	s.configure = func(c *handler.Config) {
		if before != nil {
			before(c)
		}
		r.configure(c)
	}
	s.check = func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
		t.Helper()
		check(t, w, e, bags)
		for kind := range bags {
			ref := e.Bundle
			if kind == sink.ExportBag && e.ExportBundle != nil {
				ref = e.ExportBundle
			}
			r.check(t, w, kind, ref)
		}
	}
	return s
}

// A receipt waits for its time stamp: the command holds no slot and uses no attempt, and says what
// it waits for.
func TestWaitsForATimeStamp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	r := newRotated(t)
	r.tsa.Fail(signaturetest.Fault{Status: http.StatusServiceUnavailable})
	w.start(t, replicaOptions{commands: 1, units: 1, configure: func(c *handler.Config) {
		r.configure(c)
		c.MaxAttempts = 1
	}})
	exp := w.publish(t, contract.ActionExport, cutID, `{"all_projects":true}`)
	j := w.await(t, cutID, "waiting", waitsOrEnded)
	if j.State.Terminal() || j.Waiting.For != contract.WaitTimestamp || j.Attempt != 0 {
		t.Fatalf("%s, waiting %+v after %d attempts: %v", j.State, j.Waiting, j.Attempt, j.Error)
	}
	w.eventually(t, "the authority is asked again", func() bool { return len(r.tsa.Requests()) > 1 })
	for _, object := range w.objects(t, cutID) {
		if object == "export/receipt.json" || object == "export/receipt.sigstore.json" {
			t.Errorf("there is %s", object)
		}
	}
	calls := len(w.api.Calls())
	r.tsa.Fail(signaturetest.Fault{})
	e := w.wait(t, exp)
	if e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Fatalf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	if after := len(w.api.Calls()); after != calls {
		t.Errorf("%d calls of the Training API were made for the time stamp", after-calls)
	}
	r.check(t, w, sink.ExportBag, e.Bundle)
	w.bag(t, cutID, sink.ExportBag)
}
