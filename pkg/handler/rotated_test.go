package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// rotatedKey is the account's own key after a rotation.
const rotatedKey = "11111111111111111111111111111111"

// deleteUnseen has a replica delete a whole project as del-1, and stops it before it could see that
// the project is gone.
func (w *world) deleteUnseen(t *testing.T, project uuid.UUID, o replicaOptions) *history {
	t.Helper()
	w.api.Fault(cvtest.Fault{Operation: "DeleteProject", Reset: true, AfterEffect: true})
	w.api.Fault(cvtest.Fault{Operation: "DeleteProject", Call: 1, Status: 401})
	o.configure = noWait
	r := w.start(t, o)
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(project)+`,"unpublish":true}`)
	w.waitsFor(t, "del-1", contract.WaitCredential)
	r.stop()
	if state := w.api.Snapshot(); len(w.api.Unhit()) > 0 || len(state.Projects) > 0 && state.Projects[0].ID == project {
		t.Fatal("the project was not deleted")
	}
	return h
}

// rotate replaces the account's key for good.
func (w *world) rotate(key *keyring) {
	w.api.SetKey(rotatedKey)
	key.key.Store(rotatedKey)
}

// keepsWaiting has the service answer more than a delete asks to its end: del-1 waits as before.
func (w *world) keepsWaiting(t *testing.T, h *history) {
	t.Helper()
	asked := w.api.Count("GetProjects")
	w.eventually(t, "the delete looks at the account again", func() bool { return w.api.Count("GetProjects") > asked+4 || len(h.ends()) > 0 })
	if ends := h.ends(); len(ends) > 0 {
		t.Fatalf("ended: %+v", ends)
	}
	w.waitsFor(t, "del-1", contract.WaitCredential)
}

// completes waits for the end of del-1, which deleted one project.
func (w *world) completes(t *testing.T, h *history) {
	t.Helper()
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Projects != 1 {
		t.Fatalf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	w.bag(t, "del-1", sink.DeleteBag)
}

// TestKeyRotatedForGood replaces the account's key when the only planned project is gone, and the
// old key is valid no more: any other project that was there when the delete began shows whose the
// new key is.
func TestKeyRotatedForGood(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		meanwhile func(t *testing.T, w *world, account testAccount)
		waits     bool // for the old key
	}{
		{name: "others stay", meanwhile: func(*testing.T, *world, testAccount) {}},
		{name: "others come, and all but one go", meanwhile: func(_ *testing.T, w *world, account testAccount) {
			w.api.AddProject(cvtest.ProjectSpec{})
			w.api.RemoveProject(account.other.ID)
		}},
		{name: "all others go", waits: true, meanwhile: func(_ *testing.T, w *world, _ testAccount) {
			for _, p := range w.api.Snapshot().Projects {
				w.api.RemoveProject(p.ID)
			}
			w.api.AddProject(cvtest.ProjectSpec{}) // which says nothing: it was not there
		}},
		{name: "it was begun by a version that kept no others", waits: true, meanwhile: func(t *testing.T, w *world, _ testAccount) {
			work := w.sealed(t, "del-1")
			w.loseJob(t, "del-1")
			var begun map[string]any
			for name, content := range w.fetch(t, "del-1/.work/") {
				if strings.HasPrefix(name, "delete-begun-") {
					unmarshal(t, content, &begun)
					if err := w.store.Remove(t.Context(), sink.Key("del-1/.work/"+name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if begun["others"] == nil {
				t.Error("the beginning names no others")
			}
			delete(begun, "others")
			body := sink.Bytes(encode(t, begun), "application/json")
			if _, err := work.Put(t.Context(), sink.Key("del-1/.work/delete-begun-"+body.SHA256+".json"), body); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.AddProject(cvtest.ProjectSpec{})
			old := w.api.Key()
			h := w.deleteUnseen(t, account.small.ID, replicaOptions{})
			key := newKeyring(old)
			w.rotate(key)
			c.meanwhile(t, w, account)
			w.start(t, replicaOptions{key: key, configure: noWait})
			if c.waits {
				w.keepsWaiting(t, h)
				w.api.SetKey(old)
				key.key.Store(old)
			}
			w.completes(t, h)
		})
	}
}

// TestKeyOfAnotherAccountIsNotARotatedOne gives a delete whose only planned project is gone the key
// of another account at the same endpoint, which has projects of its own. Nothing that this account
// lists is proof, not even if it was asked when the plan was made.
func TestKeyOfAnotherAccountIsNotARotatedOne(t *testing.T) {
	t.Parallel()
	foreign := uuid.MustParse("0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111")
	for _, planned := range []bool{false, true} {
		t.Run(fmt.Sprintf("asked when the plan was made %t", planned), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			w.api.OtherAccount(otherKey, foreign)
			key := newKeyring(w.api.Key())
			h := w.deleteUnseen(t, account.small.ID, replicaOptions{key: &swappedKey{keyring: key, listing: planned}})
			if planned != (w.api.CountElsewhere() == 1) {
				t.Errorf("the other account was asked %d times", w.api.CountElsewhere())
			}
			key.key.Store(otherKey)
			w.start(t, replicaOptions{key: key, configure: noWait})
			w.keepsWaiting(t, h)
			key.key.Store(w.api.Key())
			w.completes(t, h)
		})
	}
}

// TestProjectsOfTwoAccounts has the key be swapped for another account's while the plan is made,
// which names projects of both: what the second key shows is no proof that a project of the first
// account is gone.
func TestProjectsOfTwoAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	foreign := uuid.MustParse("ffffffff-3a57-4b8c-9a67-5c1c1df0a111") // read last
	w.api.OtherAccount(otherKey, foreign)
	key := &swappedKey{keyring: newKeyring(w.api.Key()), before: foreign.String()}
	w.start(t, replicaOptions{key: key, configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID, foreign)+`}`)
	if e.Status != contract.StatusCompleted || e.Counts.Projects != 1 {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	if !slices.ContainsFunc(e.Residuals, func(r contract.Residual) bool {
		return strings.Contains(r.Reason, "not found at") && strings.Contains(r.Reason, account.small.ID.String())
	}) {
		t.Errorf("the residuals are %+v", e.Residuals)
	}
	if how := removalMethods(t, w.bag(t, "del-1", sink.DeleteBag), "projects"); len(how) != 1 {
		t.Errorf("the bag has %v", how)
	}
	w.checkState(t, before)
}

// swappedKey is a keyring that gets the other account's key before the first call about something,
// for good; or for the first GetProjects alone.
type swappedKey struct {
	*keyring
	before  string
	listing bool
}

// Apply implements cv.Credential.
func (k *swappedKey) Apply(ctx context.Context, req *http.Request) error {
	if k.listing && strings.HasSuffix(req.URL.Path, "/projects") {
		k.listing = false
		return newKeyring(otherKey).Apply(ctx, req)
	}
	if k.before != "" && strings.Contains(req.URL.Path, k.before) {
		k.key.Store(otherKey)
	}
	return k.keyring.Apply(ctx, req)
}

// TestKeyRotatedInAnExport replaces the account's key in the middle of an export, of which one
// project goes meanwhile: another one that it read shows whose the new key is.
func TestKeyRotatedInAnExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.api.Fault(cvtest.Fault{Operation: "GetTaggedImages", Status: 401, Times: -1})
	r := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, contract.ActionExport, "exp-1", `{"project_ids":`+idList(account.small.ID, account.other.ID)+`}`)
	w.waitsFor(t, "exp-1", contract.WaitCredential)
	r.stop()
	w.api.ClearFaults()
	w.api.RemoveProject(account.small.ID)
	key := newKeyring("")
	w.rotate(key)
	w.start(t, replicaOptions{key: key, configure: noWait})
	if e := w.wait(t, h); e.Status != contract.StatusFailed || e.Error.Code != contract.CodeNotFound || !strings.Contains(e.Error.Message, account.small.ID.String()) {
		t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
}
