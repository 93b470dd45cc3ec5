package handler_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// A program with a fault, here one that does not know its own version, makes no receipt: the bag is
// checked before that is written, and the command ends failed and names the finding. The same fault
// in the export of a delete with export_first deletes nothing.
func TestNoReceiptFromAFaultyProgram(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, action, data string
		left               []string // below the command's id
		deletes            bool
	}{
		{"export", "export", `{"all_projects":true}`, nil, false},
		{"plan", "delete", `{"all_projects":true,"unpublish":true,"dry_run":true}`, nil, false},
		{"first", "delete", `{"all_projects":true,"unpublish":true,"export_first":true}`, nil, false},
		{
			"delete", "delete", `{"all_projects":true,"unpublish":true}`,
			[]string{"delete/evidence/failure.json", "delete/evidence/ledger.jsonl", "delete/evidence/plan.json", "delete/evidence/request.json"}, true,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
			fillAccount(w.api)
			before := w.api.Snapshot()
			w.start(t, replicaOptions{configure: func(o *handler.Config) {
				noWait(o)
				o.Version = ""
			}})
			e := w.wait(t, w.publish(t, contract.Action(c.action), c.name, c.data))
			if e.Status != contract.StatusFailed || e.Error == nil || e.Error.Code != contract.CodeInternal ||
				!strings.Contains(e.Error.Message, `receipt.json: its tool is "cvconsumer" "", not a version of cvconsumer`) {
				t.Errorf("ended %s: %v", e.Status, e.Error)
			}
			if left := w.objects(t, c.name); !slices.Equal(left, c.left) {
				t.Errorf("left behind: %q", left)
			}
			if !w.dead(t, contract.Action(c.action), c.name) {
				t.Error("there is no dead letter")
			}
			if now := w.api.Snapshot(); len(now.Projects) != len(before.Projects) != c.deletes {
				t.Errorf("there were %d projects, there are %d", len(before.Projects), len(now.Projects))
			}
		})
	}
}

// The check before the receipt costs no request for what the program has just written, and one for
// each document that a worker stored: none for pictures and models.
func TestCheckBeforeTheReceiptReadsLittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	fillAccount(w.api)
	r := w.start(t, replicaOptions{})
	next := r.faults.OnRequest
	var (
		mu    sync.Mutex
		reads = map[string]int{}
		over  bool
	)
	r.faults.OnRequest = func(op, key string, before bool) error {
		mu.Lock()
		if over = over || key == "exp/export/receipt.json" && op == "PutObject"; !over && op == "GetObject" && before {
			if name, payload := strings.CutPrefix(key, "exp/export/data/"); payload {
				reads["data/"+name]++
			}
		}
		mu.Unlock()
		return next(op, key, before)
	}
	if e := w.run(t, "exp", `{"all_projects":true}`); e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	want := map[string]int{}
	for name := range w.bag(t, "exp", sink.ExportBag) {
		switch path.Base(name) {
		case "project.json", "tags.json", "iterations.json", "iteration.json", "performance.json", "exports.json":
			want[name] = 1
		}
	}
	if len(want) < 10 || !maps.Equal(reads, want) {
		t.Errorf("read %v\nwant %v", reads, want)
	}
}
