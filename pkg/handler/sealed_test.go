package handler_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// sealed is the bucket as the workers of a command have it.
func (w *world) sealed(t *testing.T, id string) *sink.Store {
	t.Helper()
	sealer, err := account.Sealer(t.Context(), w.queue, id, w.job(t, id).Origin())
	if err != nil {
		t.Error(err)
	}
	return w.store.Sealed(sealer)
}

// everyWorkingObject is what an export stored of working objects and payload, by key below its id,
// while it was carried out.
func everyWorkingObject(t *testing.T, seed int64, id, data string) map[string][]byte {
	t.Helper()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
	fillAccount(w.api)
	r := w.start(t, replicaOptions{})
	var once sync.Once
	kept := map[string][]byte{}
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		if op == "PutObject" && before && strings.HasSuffix(key, "/export/data/export.json") {
			once.Do(func() { kept = w.fetch(t, id+"/") })
		}
		return next(op, key, before)
	}
	if e := w.run(t, id, data); e.Status != contract.StatusCompleted {
		t.Fatalf("the export to copy from ended %s: %v", e.Status, e.Error)
	}
	for name, content := range w.fetch(t, id+"/") { // and the finished bag
		kept[name] = content
	}
	return kept
}

// TestForgedExport puts what an export of another project stored where an export of the same id
// will look for its own, before it begins and while it is carried out: it reads what it names, and
// ends as without it. A bundle that seems to be whole, there before the command, may be one of a
// deployment that lost its key: the id is taken.
func TestForgedExport(t *testing.T) {
	t.Parallel()
	const seed, all = 4, ""
	forged := everyWorkingObject(t, seed, "exp-1", everything)
	for _, below := range []string{".work/", "export/data/", "export/evidence/", "export/receipt.json", all} {
		for _, begun := range []bool{false, true} {
			t.Run(fmt.Sprintf("%q, begun %t", below, begun), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
				account := fillAccount(w.api)
				before := w.api.Snapshot()
				place := func() {
					for name, content := range forged {
						if strings.HasPrefix(name, below) {
							w.overwrite(t, "exp-1/"+name, content)
						}
					}
				}
				if begun {
					w.before("GetIterations", 1, place)
				} else {
					place()
				}
				w.start(t, replicaOptions{})
				h := w.publish(t, "export", "exp-1", `{"project_ids":`+idList(account.other.ID)+`}`)
				if below == all && !begun {
					if e := w.wait(t, h); e.Status != contract.StatusRefused || e.Error.Code != contract.CodeIDConflict {
						t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
					}
					return
				}
				e := w.wait(t, h)
				if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
					t.Fatalf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
				}
				w.checkTruth(t, w.bag(t, "exp-1", sink.ExportBag), e, w.truthOf(t, before, selection{projects: []uuid.UUID{account.other.ID}}))
			})
		}
	}
}

// TestForgedResults puts results with numbers that no unit has, results without content, and marks
// of attempts that were never made where those of an export will be.
func TestForgedResults(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T, w *world){
		"a number that is too large": func(t *testing.T, w *world) {
			w.overwrite(t, "exp-1/.work/units/000000.jsonl", []byte(`{"v":2,"n":9000000000,"kind":"project","listed":0,"calls":[]}`+"\n"))
		},
		"a negative number": func(t *testing.T, w *world) {
			w.overwrite(t, "exp-1/.work/units/000000.jsonl", []byte(`{"v":2,"n":-1,"kind":"project","listed":0,"calls":[]}`+"\n"))
		},
		"nothing there": func(t *testing.T, w *world) {
			for n := range 40 {
				w.overwrite(t, fmt.Sprintf("exp-1/.work/units/%06d.jsonl", n), fmt.Appendf(nil, `{"v":2,"n":%d,"kind":"project","gone":true,"listed":0,"calls":[]}`+"\n", n))
			}
		},
		"attempts used up": func(t *testing.T, w *world) {
			for n := range 20 {
				for k := range handler.DefaultMaxAttempts + 1 {
					w.overwrite(t, fmt.Sprintf("exp-1/.work/units/%06d.try-%d", n, k+1), []byte(`{"id":"x"}`))
				}
			}
		},
		"waits and errors": func(t *testing.T, w *world) {
			for n := range 20 {
				w.overwrite(t, fmt.Sprintf("exp-1/.work/units/%06d.wait-0a", n), []byte(`{"v":2,"for":"credential"}`))
				w.overwrite(t, fmt.Sprintf("exp-1/.work/units/%06d.err-1", n), []byte(`{"v":2,"calls":[{"operation":"DeleteProject","target":"x"}]}`))
			}
		},
	}
	for n, name := range slices.Sorted(maps.Keys(places)) {
		if leftOut(n) {
			continue
		}
		place := places[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			smallProject(w.api)
			before := w.api.Snapshot()
			w.before("GetProject", 1, func() { place(t, w) })
			w.start(t, replicaOptions{})
			e := w.run(t, "exp-1", everything)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			files := w.bag(t, "exp-1", sink.ExportBag)
			w.checkTruth(t, files, e, w.truthOf(t, before, selection{}))
			if strings.Contains(string(files["evidence/ledger.jsonl"]), "DeleteProject") {
				t.Error("a forged call is in the ledger")
			}
		})
	}
}

// TestForgedPictures puts pictures under the names that an export is about to give them, also where
// it gets none: none of them is taken for the service's.
func TestForgedPictures(t *testing.T) {
	t.Parallel()
	for _, denied := range []bool{false, true} {
		t.Run(fmt.Sprintf("denied %t", denied), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			named := smallProject(w.api)
			before := w.api.Snapshot()
			forged := []byte("\xff\xd8\xff\xe0 another picture")
			w.before("GetProject", 1, func() {
				for _, image := range named.Images {
					for _, ext := range []string{"jpg", "png", "bin"} {
						w.overwrite(t, "exp-1/export/"+string(sink.ImageStem(named.ID, image))+"."+ext, forged)
					}
				}
			})
			if denied {
				w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Status: 404, Times: -1})
			}
			w.start(t, replicaOptions{})
			e := w.run(t, "exp-1", everything)
			want := contract.OutcomeComplete
			if denied {
				want = contract.OutcomeExceptions
			}
			if e.Status != contract.StatusCompleted || e.Outcome != want {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			files := w.bag(t, "exp-1", sink.ExportBag)
			for name, content := range files {
				if slices.Equal(content, forged) {
					t.Errorf("%s was adopted", name)
				}
			}
			if !denied {
				w.checkTruth(t, files, e, w.truthOf(t, before, selection{}))
			}
		})
	}
}

// TestRepublishedKeepsItsObjects has the stream of commands made again while an export waits: what
// it stored before counts for the message that it is published with then.
func TestRepublishedKeepsItsObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	smallProject(w.api)
	before := w.api.Snapshot()
	w.api.Fault(cvtest.Fault{Operation: "GetExports", Status: 401, Times: -1})
	r := w.start(t, replicaOptions{configure: noWait})
	next, first := r.faults.OnRequest, newSignal()
	t.Cleanup(first.happens)
	picture := func(key string) bool {
		return strings.Contains(key, "/images/") || strings.Contains(key, "/predictions/")
	}
	r.faults.OnRequest = func(op, key string, before bool) error {
		if op == "PutObject" && !before && picture(key) {
			first.happens()
		}
		return next(op, key, before)
	}
	w.before("GetExports", 1, func() { <-first.c })
	w.publish(t, contract.ActionExport, "exp-1", everything)
	w.waitsFor(t, "exp-1", contract.WaitCredential)
	r.stop()
	stored := 0
	for _, key := range w.objects(t, "exp-1") {
		if picture(key) {
			stored++
		}
	}
	pictures := w.api.Count(cvtest.OperationBlob)
	w.remake(t)
	w.api.ClearFaults()
	w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, contract.ActionExport, "exp-1", everything)
	e := w.wait(t, h)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	all := int(e.Counts.Images + e.Counts.Predictions + e.Counts.Exports)
	if n := w.api.Count(cvtest.OperationBlob) - pictures; stored == 0 || n > all-stored {
		t.Errorf("of %d files %d were stored before the stream was made again, %d fetched after", all, stored, n)
	}
	w.checkTruth(t, w.bag(t, "exp-1", sink.ExportBag), e, w.truthOf(t, before, selection{}))
}

// TestLostJobRepublished loses the job and the message of a delete that was begun, and has it
// published again: it goes on with what was begun for the earlier message.
func TestLostJobRepublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	data := `{"project_ids":` + idList(account.small.ID) + `}`
	w.deleteUntil(t, "DeleteIteration", data)
	w.loseJob(t, "del-1")
	w.remake(t)
	w.start(t, replicaOptions{configure: noWait})
	e := w.wait(t, w.publish(t, contract.ActionDelete, "del-1", data))
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != int64(len(account.small.Images)) {
		t.Errorf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
	}
	w.bag(t, "del-1", sink.DeleteBag)
}

// TestSwappedExport replaces the whole bundle of an export that goes before a delete by one of
// another project, which verifies, just before it is verified: nothing is deleted.
func TestSwappedExport(t *testing.T) {
	t.Parallel()
	const seed = 4
	elsewhere := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
	other := fillAccount(elsewhere.api).other
	elsewhere.start(t, replicaOptions{})
	if e := elsewhere.run(t, "del-1", `{"project_ids":`+idList(other.ID)+`}`); e.Status != contract.StatusCompleted {
		t.Fatalf("the export to copy from ended %s: %v", e.Status, e.Error)
	}
	forged := elsewhere.fetch(t, "del-1/export/")

	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: seed}})
	account := fillAccount(w.api)
	before := w.api.Snapshot()
	r := w.start(t, replicaOptions{configure: noWait})
	var (
		committed atomic.Bool
		once      sync.Once
	)
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		switch {
		case op == "PutObject" && key == "del-1/export/receipt.json" && !before:
			committed.Store(true)
		case op == "ListObjectsV2" && before && committed.Load():
			once.Do(func() {
				if _, err := w.store.RemoveAll(context.Background(), "del-1/export/"); err != nil {
					t.Error(err)
				}
				for name, content := range forged {
					w.overwrite(t, "del-1/export/"+name, content)
				}
			})
		}
		return next(op, key, before)
	}
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`,"export_first":true}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "nothing is deleted") {
		t.Errorf("ended %s: %v", e.Status, e.Error)
	}
	w.checkState(t, before)
}

// TestBegunWithoutSeals has a delete, and an export, be under way when a version without seals is
// replaced: the delete goes on with what its job names, the export starts again.
func TestBegunWithoutSeals(t *testing.T) {
	t.Parallel()
	for _, action := range []contract.Action{contract.ActionDelete, contract.ActionExport} {
		t.Run(string(action), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			account := fillAccount(w.api)
			data := `{"project_ids":` + idList(account.small.ID) + `}`
			at, kind := "DeleteIteration", sink.DeleteBag
			if action == contract.ActionExport {
				at, kind = "GetExports", sink.ExportBag
			}
			before := w.api.Snapshot()
			w.api.Fault(cvtest.Fault{Operation: at, Status: 401, Times: -1})
			r := w.start(t, replicaOptions{configure: noWait})
			h := w.publish(t, action, "cmd-1", data)
			w.waitsFor(t, "cmd-1", contract.WaitCredential)
			r.stop()
			w.api.ClearFaults()
			for name, content := range w.fetch(t, "cmd-1/") {
				w.overwrite(t, "cmd-1/"+name, content)
			}
			w.start(t, replicaOptions{configure: noWait})
			e := w.wait(t, h)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Counts.Images != int64(len(account.small.Images)) {
				t.Fatalf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
			}
			files := w.bag(t, "cmd-1", kind)
			if action == contract.ActionExport {
				w.checkTruth(t, files, e, w.truthOf(t, before, selection{projects: []uuid.UUID{account.small.ID}}))
			}
		})
	}
}
