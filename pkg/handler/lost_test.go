package handler_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// An operator deletes a stream, or a consumer, in the middle of work: it is made again, and the
// command ends as if nothing had been.
func TestStreamsDeletedInTheMiddle(t *testing.T) {
	t.Parallel()
	n := -1
	for _, c := range []struct {
		name     string
		scenario scenario
		at       string // the effect after which it is deleted
	}{
		{"export", exportScenario(), "PutObject cut-1/.work/units/"},
		{"delete", deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true,"export_first":true}`), sink.ExportBag, sink.DeleteBag), "DELETE "},
	} {
		for _, object := range []string{"CV_WORK", "KV_CV_JOBS", "CV_WORK > workers", "CV_COMMANDS > " + c.name + "s", "CV_LEDGER"} {
			if c.name == "delete" && object == "CV_LEDGER" {
				continue // TestLedgerDeletedInTheMiddle
			}
			if n++; leftOut(n) {
				continue
			}
			t.Run(c.name+" "+object, func(t *testing.T) {
				t.Parallel()
				s := c.scenario
				w := s.world(t, func(o *worldOptions) { o.ackWait = 2 * time.Second })
				r := w.start(t, replicaOptions{fate: w.deletes(t, object, c.at), configure: s.configure})
				h := w.publish(t, s.action, cutID, s.data)
				s.finish(t, w, h, r)
			})
		}
	}
}

// Where the ledger of a delete is removed after its first destructive call, it is not known any
// more what was called: the delete fails, and deletes nothing more.
func TestLedgerDeletedInTheMiddle(t *testing.T) {
	t.Parallel()
	s := deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true}`), sink.DeleteBag)
	w := s.world(t, func(o *worldOptions) { o.ackWait = 2 * time.Second })
	w.start(t, replicaOptions{fate: w.deletes(t, "CV_LEDGER", "DELETE "), configure: s.configure})
	h := w.publish(t, s.action, cutID, s.data)
	e := w.wait(t, h)
	checkLedgerRemoved(t, e)
	if n := len(w.api.DestructiveCalls()); n != 1 {
		t.Errorf("%d destructive calls were made; the ledger was removed after the first", n)
	}
	if failure := w.fetch(t, cutID+"/delete/")["evidence/failure.json"]; !strings.Contains(string(failure), "cv.ledger."+cutID) {
		t.Errorf("the evidence says %s", failure)
	}
}

// Where the ledger is removed after it was decided how far it goes into the bag, there is no bag:
// not with another ledger either, which may be as long by then.
func TestLedgerDeletedAfterTheCut(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cut string
		action    contract.Action
		data      string
	}{
		{"export", "cut.json", contract.ActionExport, `{"all_projects":true}`},
		{"dry run", "delete-cut.json", contract.ActionDelete, `{"all_projects":true,"dry_run":true}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: cutSeed}, ackWait: 2 * time.Second})
			smallProject(w.api)
			w.start(t, replicaOptions{fate: w.deletes(t, "CV_LEDGER", "PutObject "+cutID+"/.work/"+c.cut)})
			e := w.wait(t, w.publish(t, c.action, cutID, c.data))
			checkLedgerRemoved(t, e)
			if left := w.objects(t, cutID); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
}

// checkLedgerRemoved demands that a command failed because its ledger is gone, and says which.
func checkLedgerRemoved(t *testing.T, e contract.EventData) {
	t.Helper()
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "cv.ledger."+cutID) {
		t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
	}
}

// A delete whose job is removed after its beginning is not judged again: it is half done by then,
// though it may not be begun any more.
func TestJobDeletedAfterTheBeginning(t *testing.T) {
	t.Parallel()
	s := deleteScenario(t, smallAccount, wholeAccount(`{"all_projects":true,"not_after":"2026-11-24T10:00:00Z"}`), sink.DeleteBag)
	clock, hours := stepClock(), atomic.Int64{}
	w := s.world(t, func(o *worldOptions) {
		o.ackWait = 2 * time.Second
		o.now = func() time.Time { return clock().Add(time.Duration(hours.Load()) * time.Hour) }
	})
	r := w.start(t, replicaOptions{fate: w.deletes(t, "KV_CV_JOBS", "DELETE ", func() { hours.Store(1) }), configure: s.configure})
	s.finish(t, w, w.publish(t, s.action, cutID, s.data), r)
}

// deletes is the fate of a replica that sees a stream, or a consumer "STREAM > NAME", deleted after
// its first effect that begins so, and what else happens then.
func (w *world) deletes(t *testing.T, object, at string, then ...func()) *fate {
	t.Helper()
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			t.Errorf("%s was not deleted", object)
		}
	})
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		if !after || !strings.HasPrefix(effect, at) {
			return
		}
		once.Do(func() {
			deleted = true
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var err error
			if stream, consumer, ok := strings.Cut(object, " > "); ok {
				err = js.DeleteConsumer(ctx, stream, consumer)
			} else {
				err = js.DeleteStream(ctx, stream)
			}
			if err != nil {
				t.Errorf("delete %s: %v", object, err)
			}
			for _, happens := range then {
				happens()
			}
		})
	}
	return f
}
