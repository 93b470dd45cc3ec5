package handler_test

import (
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestExportWithTheKeyOfAnotherAccount gives an export the key of another account at the same
// endpoint in the middle of its work. To that key nothing is there, which proves nothing: the
// export waits for the right key, and is whole then.
func TestExportWithTheKeyOfAnotherAccount(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"GetIterations", "GetTaggedImages", "QueryPredictions", "GetImages"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			p := smallProject(w.api)
			w.api.OtherAccount(otherKey)
			key := newKeyring(w.api.Key())
			w.before(operation, 1, func() { key.key.Store(otherKey) })
			r := w.start(t, replicaOptions{key: key, commands: 1, units: 1, configure: noWait})
			h := w.publish(t, contract.ActionExport, "exp-1", `{"project_ids":`+idList(p.ID)+`}`)
			w.waitsFor(t, "exp-1", contract.WaitCredential)
			key.key.Store(w.api.Key())
			r.health.OK("training:" + contract.DefaultResource) // as the probe of /readyz finds
			if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
				t.Fatalf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
			}
			w.bag(t, "exp-1", sink.ExportBag)
		})
	}
}

// TestExportNotFound tells what was asked for and is not there: a project that was never seen is
// looked for again, and the end says where, and how many others the account lists. A replica of the
// service that lags behind ends nothing.
func TestExportNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := smallProject(w.api)
	w.start(t, replicaOptions{configure: noWait})
	const never = "7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11"
	e := w.run(t, "never", `{"project_ids":["`+never+`"]}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeNotFound || !strings.Contains(e.Error.Message, "which lists 1 projects") {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	w.api.Fault(cvtest.Fault{Operation: "GetProject", Status: 404, Code: "NotFoundProject"})
	w.api.Fault(cvtest.Fault{Operation: "GetTags", Status: 404, Code: "NotFoundProject"})
	w.api.Fault(cvtest.Fault{Operation: "GetUntaggedImages", Status: 404, Code: "NotFoundProject"})
	if e := w.run(t, "lags", `{"project_ids":`+idList(p.ID)+`}`); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if unhit := w.api.Unhit(); len(unhit) > 0 {
		t.Errorf("not hit: %v", unhit)
	}
}
