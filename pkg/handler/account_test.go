package handler_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// keyring is a credential whose key is changed in the middle of work, as a key file is.
type keyring struct{ key atomic.Value }

func newKeyring(key string) *keyring {
	k := &keyring{}
	k.key.Store(key)
	return k
}

// Apply implements cv.Credential.
func (k *keyring) Apply(_ context.Context, req *http.Request) error {
	req.Header.Set("Training-Key", k.key.Load().(string))
	return nil
}

const otherKey = "00000000000000000000000000000000"

// TestKeyOfAnotherAccount gives a delete the key of another account at the same endpoint in the
// middle of its work. To that key nothing of the plan is there, which proves nothing: the delete
// waits for the right key.
func TestKeyOfAnotherAccount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		operation string
		call      int // the key is changed when the service gets this call
		data      func(testAccount) string
	}{
		{"GetIterations", 1, func(account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID, account.other.ID) + `,"unpublish":true}`
		}},
		{"GetProject", 1, func(account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID, account.other.ID) + `,"unpublish":true}`
		}},
		{"GetProjects", 1, func(testAccount) string { return `{"all_projects":true,"unpublish":true}` }},
		{"QueryPredictions", 1, func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` }},
		{"DeletePrediction", 1, func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` }},
		{"DeleteImages", 1, func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` }},
		{"DeleteIteration", 1, func(account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(account.small.Iterations[0]))
		}},
		{"DeleteTag", 1, func(account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"categories":["tags"]}`, idList(account.small.ID))
		}},
		{"DeleteProject", 1, func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` }},
	} {
		t.Run(c.operation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.OtherAccount(otherKey)
			key := newKeyring(w.api.Key())
			before := w.api.Snapshot()
			w.before(c.operation, c.call, func() { key.key.Store(otherKey) })
			w.start(t, replicaOptions{key: key, configure: noWait})
			h := w.publish(t, "delete", "del-1", c.data(account))
			w.waitsFor(t, "del-1", contract.WaitCredential)
			if len(h.ends()) > 0 {
				t.Fatalf("ended: %+v", h.ends())
			}
			key.key.Store(w.api.Key())
			e := w.wait(t, h)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
				t.Fatalf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
			}
			after := w.api.Snapshot()
			if slices.Equal(outline(before)["projects"], outline(after)["projects"]) && e.Counts.Projects > 0 {
				t.Errorf("%d projects are counted, and all are there", e.Counts.Projects)
			}
			for _, p := range []uuid.UUID{account.small.ID, account.other.ID} {
				named := strings.Contains(c.data(account), p.String()) || strings.Contains(c.data(account), "all_projects")
				whole := named && !strings.Contains(c.data(account), "iteration_ids") && !strings.Contains(c.data(account), "categories")
				if there := project(&after, p) != nil; there == whole {
					t.Errorf("project %s is there: %t", p, there)
				}
			}
			w.bag(t, "del-1", sink.DeleteBag)
		})
	}
}

// TestKeyRotatedMeanwhile replaces the key by another one of the same account: the delete goes on.
func TestKeyRotatedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		operation string
		data      func(testAccount) string
	}{
		{"DeleteImages", func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` }},
		// The project is gone when the new key is first used: another one of the plan shows whose
		// it is.
		{"DeleteProject", func(account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID, account.other.ID) + `,"unpublish":true}`
		}},
	} {
		t.Run(c.operation, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			key := newKeyring(w.api.Key())
			w.start(t, replicaOptions{key: key, configure: noWait})
			var once atomic.Bool
			w.api.OnCall(func(operation string, _ int) {
				if done := operation == "GetProject" || c.operation == "DeleteImages"; done && w.api.Count(c.operation) > 0 && once.CompareAndSwap(false, true) {
					w.api.SetKey(otherKey)
					key.key.Store(otherKey)
				}
			})
			e := w.delete(t, "del-1", c.data(account))
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			if !once.Load() {
				t.Error("the key was not changed")
			}
		})
	}
}

// TestLoneProject deletes the only project of an account, whose deletion is not answered: nothing
// is listed any more, but the credential was seen to be the account's.
func TestLoneProject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := smallProject(w.api)
	w.api.Fault(cvtest.Fault{Operation: "DeleteProject", Reset: true, AfterEffect: true})
	w.api.Fault(cvtest.Fault{Operation: "DeleteProject", Call: 1, Status: 401})
	first := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(p.ID)+`}`)
	w.waitsFor(t, "del-1", contract.WaitCredential)
	first.stop()
	w.start(t, replicaOptions{configure: noWait}) // which never saw the project
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Projects != 1 {
		t.Fatalf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
	}
}

// TestRefusedPredictions has the deletion of predictions refused, and another client delete them:
// they are not counted as deleted by this command.
func TestRefusedPredictions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeletePrediction", `{"project_ids":`+idList(account.small.ID)+`,"categories":["predictions"]}`)
	w.api.RemoveProject(account.small.ID)
	w.start(t, replicaOptions{configure: noWait})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeNothingFound || e.Counts.Predictions != 0 {
		t.Errorf("ended %s %s with %d predictions: %v", e.Status, e.Outcome, e.Counts.Predictions, e.Error)
	}
}

// TestRefusedImages has the deletion of images refused, and another client delete one of them: only
// the others are counted as deleted by this command.
func TestRefusedImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, MissingFailsBatch: true}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteImages", fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.other.ID), idList(account.other.Images[3:5]...)))
	w.api.EraseImage(account.other.ID, account.other.Images[3])
	w.start(t, replicaOptions{configure: noWait})
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Counts.Images != 1 {
		t.Errorf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	want := map[uuid.UUID]string{account.other.Images[3]: "already_gone", account.other.Images[4]: "DeleteImages"}
	if got := removalMethods(t, w.bag(t, "del-1", sink.DeleteBag), "images"); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("deleted.jsonl says %v, want %v", got, want)
	}
}

// TestNeverSeen deletes a project that the account does not list: it is told as not found, where
// and among how many, and not as deleted.
func TestNeverSeen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	fillAccount(w.api)
	listed := len(w.api.Snapshot().Projects)
	w.start(t, replicaOptions{configure: noWait})
	never := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	e := w.delete(t, "del-1", `{"project_ids":`+idList(never)+`}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeNothingFound {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	want := fmt.Sprintf("not found at %s, which listed %d projects: %s", hostOf(w.api.URL()), listed, never)
	if !slices.ContainsFunc(e.Residuals, func(r contract.Residual) bool { return strings.HasPrefix(r.Reason, want) }) {
		t.Errorf("the residuals are %+v, want one that says %q", e.Residuals, want)
	}
	w.bag(t, "del-1", sink.DeleteBag)
}

// TestAnotherAccountsReceipt has two deployments, each with an account of its own, share a bucket
// without a prefix: what one did under an id is no result of the other's command.
func TestAnotherAccountsReceipt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		action contract.Action
		data   string
	}{
		{contract.ActionDelete, `{"all_projects":true,"unpublish":true}`},
		{contract.ActionExport, everything},
	} {
		t.Run(string(c.action), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			fillAccount(w.api)
			r := w.start(t, replicaOptions{configure: noWait})
			if e := w.wait(t, w.publish(t, c.action, "cmd-1", c.data)); e.Status != contract.StatusCompleted {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			r.stop()
			bags := w.objects(t, "cmd-1")

			other := newWorld(t, worldOptions{api: cvtest.Options{Seed: 9}})
			fillAccount(other.api)
			before := other.api.Snapshot()
			other.bucket, other.store = w.bucket, w.store
			other.start(t, replicaOptions{configure: func(c *handler.Config) {
				noWait(c)
				c.Store = w.store
			}})
			h := other.publish(t, c.action, "cmd-1", c.data)
			e := other.wait(t, h)
			if e.Status != contract.StatusRefused || e.Error.Code != contract.CodeIDConflict || e.CommandID != contract.SeqID(h.seq) || e.ConflictsWith != "cmd-1" {
				t.Errorf("ended %s as %s, in conflict with %q: %v", e.Status, e.CommandID, e.ConflictsWith, e.Error)
			}
			other.checkState(t, before)
			if !slices.Equal(w.objects(t, "cmd-1"), bags) {
				t.Error("the first account's bundle was changed")
			}
		})
	}
}

// TestEndpointChangedAfterTraces publishes a command again after its traces were forgotten and its
// alias means another account; under the name of the same account it is the earlier result.
func TestEndpointChangedAfterTraces(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} {
		t.Run(fmt.Sprintf("same account %t", same), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			fillAccount(w.api)
			named := func(account string) func(*handler.Config) {
				return func(c *handler.Config) {
					noWait(c)
					c.Accounts = map[string]string{contract.DefaultResource: account}
				}
			}
			r := w.start(t, replicaOptions{configure: named("faces")})
			first := w.delete(t, "del-1", `{"all_projects":true,"unpublish":true}`)
			if first.Status != contract.StatusCompleted {
				t.Fatalf("ended %s: %v", first.Status, first.Error)
			}
			r.stop()
			if err := w.queue.Forget(t.Context(), "del-1"); err != nil {
				t.Fatal(err)
			}
			name := "other"
			if same {
				name = "Faces"
			}
			w.start(t, replicaOptions{configure: named(name)})
			e := w.delete(t, "del-1", `{"all_projects":true,"unpublish":true}`)
			if same && (e.Status != contract.StatusCompleted || e.Counts != first.Counts) {
				t.Errorf("ended %s with %+v: %v", e.Status, e.Counts, e.Error)
			}
			if !same && (e.Status != contract.StatusRefused || e.Error.Code != contract.CodeIDConflict) {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
		})
	}
}

// TestReceiptOfSomethingElse puts receipts where a command's own will be, before it is published or
// while it is carried out: none of them is believed, and each makes way for the command's own.
func TestReceiptOfSomethingElse(t *testing.T) {
	t.Parallel()
	changes := map[string]func(predicate, command map[string]any, statement map[string]any){
		"another command": func(_, command, _ map[string]any) { command["id"] = "exp-2" },
		"another action":  func(_, command, _ map[string]any) { command["action"] = "delete" },
		"another kind":    func(_, _, statement map[string]any) { statement["predicateType"] = sink.DeletePredicateType },
		"another account": func(_, command, _ map[string]any) { command["account"] = "other" },
		"no account":      func(_, command, _ map[string]any) { delete(command, "account") },
		"another position": func(predicate, _, _ map[string]any) {
			predicate["bundle"].(map[string]any)["uri"] = "s3://b/exp-2/export/"
		},
		"its bundle was given up": func(_, _, _ map[string]any) {},
		"not a receipt":           func(_, _, statement map[string]any) { clear(statement) },
	}
	for n, name := range slices.Sorted(maps.Keys(changes)) {
		if leftOut(n) {
			continue
		}
		change := changes[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			fillAccount(w.api)
			r := w.start(t, replicaOptions{})
			first := w.run(t, "exp-1", everything)
			if first.Status != contract.StatusCompleted {
				t.Fatalf("ended %s: %v", first.Status, first.Error)
			}
			r.stop()
			var statement map[string]any
			unmarshal(t, w.fetch(t, "exp-1/")["export/receipt.json"], &statement)
			predicate := statement["predicate"].(map[string]any)
			change(predicate, predicate["command"].(map[string]any), statement)
			receipt := encode(t, statement)
			forget := func() {
				t.Helper()
				if _, err := w.store.RemoveAll(t.Context(), "exp-1/"); err != nil {
					t.Fatal(err)
				}
				if err := w.queue.Forget(t.Context(), "exp-1"); err != nil {
					t.Fatal(err)
				}
			}
			forget()
			w.overwrite(t, "exp-1/export/receipt.json", receipt)
			w.start(t, replicaOptions{})
			if e := w.run(t, "exp-1", everything); e.Status != contract.StatusCompleted || e.Bundle.ReceiptSHA256 == first.Bundle.ReceiptSHA256 {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.bag(t, "exp-1", sink.ExportBag)
			if name != "another command" {
				return
			}
			forget()
			w.before("GetProject", 1, func() { w.overwrite(t, "exp-1/export/receipt.json", receipt) })
			if e := w.run(t, "exp-1", everything); e.Status != contract.StatusCompleted {
				t.Errorf("one that appears: ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.bag(t, "exp-1", sink.ExportBag)
		})
	}
}

// TestReceiptContradicted changes a whole bundle that was forgotten in one place: its receipt is
// not believed any more, and the command is carried out again.
func TestReceiptContradicted(t *testing.T) {
	t.Parallel()
	number := func(content []byte, before string) []byte {
		at := bytes.Index(content, []byte(before)) + len(before)
		return slices.Concat(content[:at], []byte("9"), content[at:])
	}
	changes := map[string]func(content []byte) []byte{
		"receipt.json":           func(c []byte) []byte { return number(c, `"images":`) },
		"data/export.json":       func(c []byte) []byte { return number(c, `"images":`) },
		"evidence/request.json":  func(c []byte) []byte { return append(c, '\n') },
		"manifest-sha256.txt":    func(c []byte) []byte { return c[:len(c)/2] },
		"tagmanifest-sha256.txt": func([]byte) []byte { return nil },
		"nothing":                nil, // the receipt is believed
	}
	for n, name := range slices.Sorted(maps.Keys(changes)) {
		if leftOut(n) {
			continue
		}
		change := changes[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			smallProject(w.api)
			w.start(t, replicaOptions{})
			first := w.run(t, "exp-1", everything)
			if change != nil {
				w.overwrite(t, "exp-1/export/"+name, change(w.fetch(t, "exp-1/export/")[name]))
			}
			if err := w.queue.Forget(t.Context(), "exp-1"); err != nil {
				t.Fatal(err)
			}
			e := w.run(t, "exp-1", everything)
			if e.Status != contract.StatusCompleted || e.Counts != first.Counts {
				t.Errorf("ended %s %s with %+v, at first with %+v: %v", e.Status, e.Outcome, e.Counts, first.Counts, e.Error)
			}
			if same := e.Bundle.ReceiptSHA256 == first.Bundle.ReceiptSHA256; same != (change == nil) {
				t.Errorf("it has the same receipt: %t", same)
			}
			w.bag(t, "exp-1", sink.ExportBag)
		})
	}
}
