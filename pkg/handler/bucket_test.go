package handler_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// overwrite writes an object as any holder of a key of the bucket can: what is there is replaced.
func (w *world) overwrite(t *testing.T, key string, content []byte) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := w.store.Remove(ctx, sink.Key(key)); err != nil {
		t.Errorf("remove %s: %v", key, err)
	}
	if _, err := w.store.Put(ctx, sink.Key(key), sink.Bytes(content, "application/json")); err != nil {
		t.Errorf("put %s: %v", key, err)
	}
}

// forgery is what a command left in storage when it began to delete: its plan, and the beginning.
type forgery struct {
	plan, begun []byte
	digest      string // of the plan
}

// forge has an account like w's begin a delete, and copies what it stored.
func forge(t *testing.T, seed int64, id string, data func(testAccount) string) forgery {
	t.Helper()
	other := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
	account := fillAccount(other.api)
	r := other.start(t, replicaOptions{configure: noWait})
	var f forgery
	var once sync.Once
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		if op == "PutObject" && (strings.Contains(key, "/.work/verify/") || strings.Contains(key, "/.work/deleted/")) {
			once.Do(func() {
				for name, content := range other.fetch(t, id+"/.work/") {
					switch {
					case strings.HasPrefix(name, "plan-"):
						f.plan, f.digest = content, strings.TrimSuffix(strings.TrimPrefix(name, "plan-"), ".json")
					case strings.HasPrefix(name, "delete-begun"):
						f.begun = content
					}
				}
			})
		}
		return next(op, key, before)
	}
	if e := other.delete(t, id, data(account)); e.Status != contract.StatusCompleted {
		t.Fatalf("the delete to copy from ended %s: %v", e.Status, e.Error)
	}
	if f.plan == nil || f.begun == nil {
		t.Fatal("nothing was found to copy")
	}
	return f
}

// with is the beginning with other members, and no ledger before it.
func (f forgery) with(t *testing.T, members map[string]any) []byte {
	t.Helper()
	var begun map[string]any
	unmarshal(t, f.begun, &begun)
	begun["ledger"] = map[string]any{"seq": 0, "entries": 0, "head": strings.Repeat("0", 64)}
	for name, v := range members {
		begun[name] = v
	}
	return encode(t, begun)
}

// place puts a forged beginning, and its plan, where the consumer keeps such things.
func (w *world) place(t *testing.T, id string, f forgery, begun []byte) {
	t.Helper()
	sum := sha256.Sum256(begun)
	w.overwrite(t, id+"/.work/plan-"+f.digest+".json", f.plan)
	w.overwrite(t, id+"/.work/delete-begun-"+hex.EncodeToString(sum[:])+".json", begun)
}

// deleteUntil has a replica carry out the delete del-1 until the service refuses its credential for
// an operation, and stops it there. The next replica is not refused.
func (w *world) deleteUntil(t *testing.T, operation, data string) *history {
	t.Helper()
	w.api.Fault(cvtest.Fault{Operation: operation, Status: 401, Times: -1})
	r := w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", data)
	w.waitsFor(t, "del-1", contract.WaitCredential)
	r.stop()
	w.api.ClearFaults()
	return h
}

// waitsFor waits until a command says that it waits for something.
func (w *world) waitsFor(t *testing.T, id, what string) {
	t.Helper()
	w.await(t, id, "waiting for "+what, func(j contract.Job) bool { return j.Waiting != nil && j.Waiting.For == what })
}

// TestForgedBeginning puts into the bucket what says that a delete of another project was begun
// under the command's id. A writer to the bucket can make a command fail, and cannot choose what it
// deletes.
func TestForgedBeginning(t *testing.T) {
	t.Parallel()
	const seed = 4
	f := forge(t, seed, "cmd-1", func(account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` })
	for _, c := range []struct {
		name   string
		data   func(testAccount) string
		policy contract.DeletePolicy
		dryRun bool
		status contract.Status
		code   string
		gone   bool // the project that the command names goes
	}{
		{
			name: "a dry run", policy: contract.DeletesDisabled, dryRun: true, status: contract.StatusCompleted,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true,"dry_run":true}`
			},
		},
		{
			name: "deletes disabled", policy: contract.DeletesDisabled, status: contract.StatusRefused, code: contract.CodeDeletesDisabled,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true}`
			},
		},
		{
			name: "only approved deletes", policy: contract.DeletesApproved, status: contract.StatusRefused, code: contract.CodeDeletesDisabled,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true}`
			},
		},
		{
			name: "another plan approved", policy: contract.DeletesApproved, status: contract.StatusRefused, code: contract.CodePlanChanged,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true,"approved_plan":"` + strings.Repeat("ab", 32) + `"}`
			},
		},
		{
			name: "too late", policy: contract.DeletesEnabled, status: contract.StatusRefused, code: contract.CodeExpired,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true,"not_after":"2020-01-01T00:00:00Z"}`
			},
		},
		{
			name: "another scope", policy: contract.DeletesEnabled, status: contract.StatusCompleted, gone: true,
			data: func(account testAccount) string {
				return `{"project_ids":` + idList(account.other.ID) + `,"unpublish":true}`
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
			account := fillAccount(w.api)
			w.place(t, "cmd-1", f, f.with(t, map[string]any{"dry_run": false, "host": hostOf(w.api.URL())}))
			w.start(t, replicaOptions{configure: func(cfg *handler.Config) {
				noWait(cfg)
				cfg.Deletes = c.policy
			}})
			e := w.delete(t, "cmd-1", c.data(account))
			code := ""
			if e.Error != nil {
				code = e.Error.Code
			}
			if e.Status != c.status || code != c.code {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
			state := w.api.Snapshot()
			if project(&state, account.small.ID) == nil {
				t.Error("the project of the forged plan was deleted")
			}
			if gone := project(&state, account.other.ID) == nil; gone != c.gone {
				t.Errorf("the named project is gone: %t", gone)
			}
			if n := len(w.api.DestructiveCalls()); n > 0 && !c.gone {
				t.Errorf("%d destructive calls were made", n)
			}
		})
	}
}

// hostOf is the host of a URL.
func hostOf(url string) string {
	_, rest, _ := strings.Cut(url, "//")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// TestSwappedPlan replaces the stored plan by a wider one after it was approved and begun: nothing
// is deleted that was not approved.
func TestSwappedPlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	one := `{"project_ids":` + idList(account.other.ID) + `,"image_ids":` + idList(account.other.Images[3])
	planner := w.start(t, replicaOptions{configure: noWait})
	planned := w.delete(t, "plan-1", one+`,"dry_run":true}`)
	if planned.Plan == nil {
		t.Fatalf("ended %s: %v", planned.Status, planned.Error)
	}
	planner.stop()
	h := w.deleteUntil(t, "DeleteImages", one+`,"approved_plan":"`+planned.Plan.SHA256+`"}`)
	key := "del-1/.work/plan-" + planned.Plan.SHA256 + ".json"
	plan := w.fetch(t, "del-1/.work/")["plan-"+planned.Plan.SHA256+".json"]
	var ids []string
	for _, id := range account.other.Images[3:8] {
		ids = append(ids, `"`+id.String()+`"`)
	}
	wider := bytes.Replace(plan, []byte(`"images":["`+account.other.Images[3].String()+`"]`), []byte(`"images":[`+strings.Join(ids, ",")+`]`), 1)
	if bytes.Equal(wider, plan) || !json.Valid(wider) {
		t.Fatalf("the plan is %s", plan)
	}
	w.overwrite(t, key, wider)
	before := w.api.Snapshot()
	w.start(t, replicaOptions{configure: noWait})
	e := w.wait(t, h)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "plan-") {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	w.checkState(t, before)
	failure := w.fetch(t, "del-1/delete/")["evidence/failure.json"]
	if !strings.Contains(string(failure), planned.Plan.SHA256) {
		t.Errorf("the evidence says %s", failure)
	}
}

// TestHugePlan puts something huge where the plan of a delete under way is kept: no more of it is
// read than the plan has.
func TestHugePlan(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
	for name := range w.fetch(t, "del-1/.work/") {
		if strings.HasPrefix(name, "plan-") {
			w.overwrite(t, "del-1/.work/"+name, bytes.Repeat([]byte(" "), 4<<20))
		}
	}
	before := w.api.Snapshot()
	var reads atomic.Int64 // requests for what is at the plan's key, or for the rest of it
	faults := sinktest.NewFaults(nil)
	faults.Add(sinktest.Fault{Op: "GetObject", Key: "del-1/.work/plan-*", Effect: sinktest.Cut, Times: -1})
	faults.OnRequest = func(op, key string, before bool) error {
		if before && op == "GetObject" && strings.Contains(key, "/.work/plan-") {
			reads.Add(1)
		}
		return nil
	}
	w.start(t, replicaOptions{configure: noWait, faults: faults})
	e := w.wait(t, h)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "plan-") {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	if n := reads.Load(); n > 3 {
		t.Errorf("what is in place of the plan was asked for %d times", n)
	}
	w.checkState(t, before)
}

// TestBeginningTakenAway removes a working object that decides what is deleted: the delete ends
// with what the ledger knows, and deletes nothing more.
func TestBeginningTakenAway(t *testing.T) {
	t.Parallel()
	for _, which := range []string{"plan-", "delete-begun-"} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
			for name := range w.fetch(t, "del-1/.work/") {
				if strings.HasPrefix(name, which) {
					if err := w.store.Remove(t.Context(), sink.Key("del-1/.work/"+name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			calls := len(w.api.DestructiveCalls())
			w.start(t, replicaOptions{configure: noWait})
			e := w.wait(t, h)
			if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
			if n := len(w.api.DestructiveCalls()); n != calls {
				t.Errorf("%d calls were made after that", n-calls)
			}
			files := w.fetch(t, "del-1/delete/")
			if !strings.Contains(string(files["evidence/failure.json"]), "DeleteImages") || len(files["evidence/ledger.jsonl"]) == 0 {
				t.Errorf("the evidence says %s", files["evidence/failure.json"])
			}
		})
	}
}

// TestPolicyChangedMeanwhile disables deletes while one is under way: what was not deleted yet
// stays.
func TestPolicyChangedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
	before := w.api.Snapshot()
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Deletes = contract.DeletesDisabled
	}})
	e := w.wait(t, h)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeDeletesDisabled || e.Counts.Images != 4 {
		t.Errorf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	w.checkState(t, before)
}

// TestForgedBeginningOfALostJob removes the job of a delete that was begun, and puts a beginning of
// another project beside the true one: the delete ends as it does without that.
func TestForgedBeginningOfALostJob(t *testing.T) {
	t.Parallel()
	for _, forged := range []bool{false, true} {
		t.Run(fmt.Sprintf("forged %t", forged), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
			w.loseJob(t, "del-1")
			if forged {
				var f forgery
				for name, content := range w.fetch(t, "del-1/.work/") {
					switch {
					case strings.HasPrefix(name, "plan-"):
						f.plan = bytes.ReplaceAll(content, []byte(account.small.ID.String()), []byte(account.other.ID.String()))
					case strings.HasPrefix(name, "delete-begun-"):
						f.begun = content
					}
				}
				sum := sha256.Sum256(f.plan)
				f.digest = hex.EncodeToString(sum[:])
				var begun map[string]any
				unmarshal(t, f.begun, &begun)
				begun["digest"] = f.digest
				begun["ledger"].(map[string]any)["entries"] = 1000
				w.place(t, "del-1", f, encode(t, begun))
			}
			w.start(t, replicaOptions{configure: noWait})
			e := w.wait(t, h)
			state := w.api.Snapshot()
			if project(&state, account.other.ID) == nil {
				t.Error("the project of the forged plan was deleted")
			}
			if e.Status != contract.StatusCompleted || project(&state, account.small.ID) != nil {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
		})
	}
}

// TestPlanTakenAwayAfterAnExport removes the plan of a delete that exported first: the end still
// names the bundle.
func TestPlanTakenAwayAfterAnExport(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`,"export_first":true}`)
	for name := range w.fetch(t, "del-1/.work/") {
		if strings.HasPrefix(name, "plan-") {
			if err := w.store.Remove(t.Context(), sink.Key("del-1/.work/"+name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.start(t, replicaOptions{configure: noWait})
	e := w.wait(t, h)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || e.ExportBundle == nil || e.Counts.Images == 0 {
		t.Errorf("ended %s, with the bundle %+v: %v", e.Status, e.ExportBundle, e.Error)
	}
}

// loseJob removes a command's job from NATS.
func (w *world) loseJob(t *testing.T, id string) {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := js.Stream(t.Context(), "KV_CV_JOBS")
	if err != nil {
		t.Fatal(err)
	}
	if err := jobs.Purge(t.Context(), jetstream.WithPurgeSubject("$KV.CV_JOBS."+id)); err != nil {
		t.Fatal(err)
	}
}

// TestLostJob removes the job of a delete that was begun, and has something else go wrong, too: it
// ends with the evidence of what it called.
func TestLostJob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		happens func(t *testing.T, w *world)
	}{
		{"it is cancelled", func(t *testing.T, w *world) { w.publish(t, "cancel", "stop-1", `{"id":"del-1"}`) }},
		{"its beginning is rubbish", func(t *testing.T, w *world) {
			for name := range w.fetch(t, "del-1/.work/") {
				if strings.HasPrefix(name, "delete-begun-") {
					w.overwrite(t, "del-1/.work/"+name, []byte("rubbish"))
				}
			}
			sum := sha256.Sum256([]byte("rubbish"))
			w.overwrite(t, "del-1/.work/delete-begun-"+hex.EncodeToString(sum[:])+".json", []byte("rubbish"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
			w.loseJob(t, "del-1")
			c.happens(t, w)
			w.start(t, replicaOptions{configure: func(c *handler.Config) {
				noWait(c)
				c.MaxAttempts = 2
			}})
			e := w.wait(t, h)
			if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
			if failure := w.fetch(t, "del-1/delete/")["evidence/failure.json"]; !strings.Contains(string(failure), "DeleteImages") {
				t.Errorf("the evidence says %s", failure)
			}
		})
	}
}

// TestLostJobOfAnUnknownAlias has only replicas that do not know the alias of a delete whose job
// was removed: it waits for one that does.
func TestLostJobOfAnUnknownAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	h := w.deleteUntil(t, "DeleteIteration", `{"project_ids":`+idList(account.small.ID)+`}`)
	w.loseJob(t, "del-1")
	handedBack := newSignal()
	second := w.start(t, replicaOptions{
		configure: func(c *handler.Config) {
			noWait(c)
			c.Resources = map[string]*cv.Client{"other": c.Resources[contract.DefaultResource]}
		},
		settles: func(_ delivery.Delivery, d delivery.Disposition) {
			if d.Verb == delivery.Nak && strings.Contains(d.Reason, "resource") {
				handedBack.happens()
			}
		},
	})
	handedBack.wait(t, "the delete is handed back")
	second.stop()
	if len(h.ends()) > 0 {
		t.Errorf("ended %+v", h.ends())
	}
}
