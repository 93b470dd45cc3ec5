package handler_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestIDUsedAgain has a command forgotten by force in the middle of its work, and its id used
// again: for the same, when the account has changed meanwhile, or for something else. Nothing that
// the first one froze, read or did counts for the second one.
func TestIDUsedAgain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		action contract.Action
		left   string                                    // what the first one leaves of its working objects
		at     string                                    // the call that the first one is not allowed to make
		again  func(account testAccount) *cvtest.Project // that the second one names
	}{
		{"an export, the same", contract.ActionExport, ".work/owner.json", "GetExports", func(account testAccount) *cvtest.Project { return account.small }},
		{"an export, another", contract.ActionExport, ".work/owner.json", "GetExports", func(account testAccount) *cvtest.Project { return account.other }},
		{"a delete, the same", contract.ActionDelete, ".work/delete-begun-", "DeleteIteration", func(account testAccount) *cvtest.Project { return account.small }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.Fault(cvtest.Fault{Operation: c.at, Status: 401, Times: -1})
			r := w.start(t, replicaOptions{configure: noWait})
			h := w.publish(t, c.action, "cmd-1", `{"project_ids":`+idList(account.small.ID)+`}`)
			w.eventually(t, "the first one has got as far as that", func() bool { return w.api.Count(c.at) > 0 })
			r.stop()
			if left := w.objects(t, "cmd-1"); !slices.ContainsFunc(left, func(key string) bool { return strings.HasPrefix(key, c.left) }) || len(left) < 3 {
				t.Fatalf("the first one left %v", left)
			}
			m, err := w.queue.Command(t.Context(), h.seq)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.queue.RemoveCommand(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if err := w.queue.Forget(t.Context(), "cmd-1"); err != nil {
				t.Fatal(err)
			}
			w.api.ClearFaults()
			again := c.again(account).ID
			w.api.AddImages(again, 3, cvtest.Tiny)
			before := w.api.Snapshot()
			w.start(t, replicaOptions{configure: noWait})
			e := w.wait(t, w.publish(t, c.action, "cmd-1", `{"project_ids":`+idList(again)+`}`))
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			if c.action == contract.ActionDelete {
				w.bag(t, "cmd-1", sink.DeleteBag)
				if e.Counts.Images != 3 {
					t.Errorf("%d images are counted as deleted, and 3 were there", e.Counts.Images)
				}
				return
			}
			w.checkTruth(t, w.bag(t, "cmd-1", sink.ExportBag), e, w.truthOf(t, before, selection{projects: []uuid.UUID{again}}))
		})
	}
}
