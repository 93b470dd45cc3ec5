package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// deleteScenario is a kind of delete for the matrix of cuts, in an account that fill makes.
func deleteScenario(t *testing.T, fill func(*cvtest.Server) testAccount, c deleteCase, bags ...sink.BagKind) scenario {
	t.Helper()
	s := scenario{action: "delete", bags: bags, configure: noWait, fill: func(api *cvtest.Server) { fill(api) }}
	twin := newWorld(t, worldOptions{api: cvtest.Options{Seed: cutSeed}}) // has the same ids
	data, gone := c.make(t, twin, fill(twin.api))
	before := twin.api.Snapshot()
	s.data = data
	s.check = func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
		t.Helper()
		if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		w.checkState(t, before, gone...)
		proof := bags[sink.DeleteBag]
		checkDeleted(t, proof, before, w.api.Snapshot())
		// Destructive calls are written down before they are made: whatever the service received
		// has its intent.
		intents := map[string]int{}
		for _, l := range ledgerOf(t, proof) {
			if l.Kind == sink.LedgerIntent {
				intents[l.Operation+" "+l.Target]++
			}
		}
		for _, c := range w.api.DestructiveCalls() {
			if intents[c.Operation+" "+c.Target()]--; intents[c.Operation+" "+c.Target()] < 0 {
				t.Errorf("%s %s was made without an intent", c.Operation, c.Target())
			}
		}
	}
	return s
}

// smallAccount is one project with one of everything.
func smallAccount(api *cvtest.Server) testAccount { return testAccount{small: smallProject(api)} }

// wholeAccount is a delete of all projects of the account.
func wholeAccount(data string) deleteCase {
	return deleteCase{make: func(*testing.T, *world, testAccount) (string, []apply) {
		return data, []apply{func(s *cvtest.State) { s.Projects = nil }}
	}}
}

func TestDeleteCutAtEveryEffect(t *testing.T) {
	cuts(t, deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true}`), sink.DeleteBag))
}

func TestExportFirstCutAtEveryEffect(t *testing.T) {
	s := deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true,"export_first":true}`), sink.ExportBag, sink.DeleteBag).signing(t)
	s.since = "PutObject cut-1/export/receipt.sigstore.json" // what goes before is an export like any other
	cuts(t, s)
}

// TestEachDeleteCutAtEveryEffect cuts the other kinds of delete while they delete: planning,
// exporting and proving are cut above.
func TestEachDeleteCutAtEveryEffect(t *testing.T) {
	for _, c := range deleteCases() {
		if c.name == "a whole project" || c.name == "all projects, exported first" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := deleteScenario(t, fillAccount, c, sink.DeleteBag)
			s.since, s.until = "PutObject cut-1/.work/delete-begun-", "PutObject cut-1/.work/delete-cut.json"
			cuts(t, s)
		})
	}
}
