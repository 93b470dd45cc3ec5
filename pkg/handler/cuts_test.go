package handler_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

var matrix = flag.String("matrix", "kinds", "how much of the large tables to run: `kinds` is a cut of each kind of effect, and a third of the other tables; full is all")

// scenario is a command that is cut short at each of its effects.
type scenario struct {
	action    contract.Action
	data      string                   // of the command
	bags      []sink.BagKind           // what it leaves
	since     string                   // the first effect to cut at begins so; empty: the first of all
	until     string                   // the last effect to cut at begins so; empty: the last of all
	fill      func(api *cvtest.Server) // makes the account; the same one each time
	configure func(*handler.Config)    // changes the settings of its replicas
	locked    bool                     // the bucket has Object Lock
	// check looks at a finished command: undisturbed, and after each cut. The common things are
	// checked already: exactly one terminal event, a terminal job, the command and its units gone,
	// every bag whole and nothing beside it.
	check func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte)
}

// leftOut reports whether case n of a large table is left to -matrix=full. Most cases of a table
// take the same way through the code. Tests that call it, or that cut a command short, are run by
// `make cuts`, without the race detector; see the Makefile.
func leftOut(n int) bool { return *matrix != "full" && n%3 != 0 }

const (
	cutID   = "cut-1" // the id of the command of a scenario
	cutSeed = 5       // of its account
)

// redelivery is how long the queue of a cut world waits for the dead. Living replicas that are kept
// from the processor for longer lose their lease, which the product has to bear as well.
const redelivery = time.Second

// leftAlone keeps the queue of a world from delivering anything again: what a replica does there is
// the same however busy this machine is.
func leftAlone(o *worldOptions) { o.ackWait = patience }

// stepClock moves on by a millisecond each time it is asked, so that no two calls happen at one
// time.
func stepClock() func() time.Time {
	var steps atomic.Int64
	return func() time.Time {
		return time.Date(2026, time.November, 24, 9, 30, 0, 0, time.UTC).Add(time.Duration(steps.Add(1)) * time.Millisecond)
	}
}

func (s scenario) world(t *testing.T, differs ...func(*worldOptions)) *world {
	t.Helper()
	o := worldOptions{
		api: cvtest.Options{Seed: cutSeed}, bucket: sinktest.BucketOptions{Versioned: true, Locked: s.locked}, now: stepClock(), ackWait: redelivery,
		store: sink.StoreOptions{MultipartAbove: 64 << 10}, // models go by multipart, nothing else does
	}
	for _, differ := range differs {
		differ(&o)
	}
	w := newWorld(t, o)
	s.fill(w.api)
	return w
}

// finish waits for the end of the command, carried out by r last, and checks what must be so
// whatever happened on the way.
func (s scenario) finish(t *testing.T, w *world, h *history, r *replica) map[sink.BagKind]map[string][]byte {
	t.Helper()
	e := w.wait(t, h)
	r.stop()
	if n := len(h.ends()); n != 1 {
		t.Errorf("there are %d terminal events", n)
	}
	job, _, err := w.queue.Job(t.Context(), cutID)
	if err != nil || !job.State.Terminal() || job.State != contract.State(e.Status) || job.Event == nil {
		t.Errorf("the job is %+v, %v; the event says %s", job, err, e.Status)
	}
	if left := w.messages(t, "CV_COMMANDS"); len(left) > 0 {
		t.Errorf("%d commands are left", len(left))
	}
	wantDead := 0
	if e.Status == contract.StatusFailed || e.Status == contract.StatusRefused {
		wantDead = 1
	}
	if n := len(w.messages(t, "CV_DEAD")); n != wantDead {
		t.Errorf("there are %d dead letters of a command that is %s", n, e.Status)
	}
	bags := w.bags(t, cutID, s.bags...)
	s.check(t, w, e, bags)
	return bags
}

// cuts carries a scenario out once to learn its effects: S3 writes, Training API calls and
// downloads, JetStream writes and settlements. Then, for each, it kills the replica just before the
// effect and, in another world, just after it, lets a fresh replica finish, and checks that there
// is no trace of it.
func cuts(t *testing.T, s scenario) {
	w := s.world(t, leftAlone)
	r := w.start(t, replicaOptions{configure: s.configure})
	undisturbed := s.finish(t, w, w.publish(t, s.action, cutID, s.data), r)
	if t.Failed() {
		return
	}
	todo := chooseCuts(t, s.within(t, r.fate.effects))
	t.Logf("%d effects, %d cuts", len(r.fate.effects), len(todo))
	each(t, todo, func(t *testing.T, f *fate) { s.cut(t, f, undisturbed) })
}

// within is what of the effects the scenario cuts at.
func (s scenario) within(t *testing.T, effects []string) []string {
	t.Helper()
	from, to := 0, len(effects)-1
	if s.since != "" {
		from = slices.IndexFunc(effects, func(e string) bool { return strings.HasPrefix(e, s.since) })
	}
	if s.until != "" {
		to = slices.IndexFunc(effects, func(e string) bool { return strings.HasPrefix(e, s.until) })
	}
	if from < 0 || to < from {
		t.Fatalf("there are no effects from %q to %q; these happened:\n%s", s.since, s.until, strings.Join(effects, "\n"))
	}
	return effects[from : to+1]
}

// each runs a subtest for each fate, some at a time: they mostly wait for redelivery.
func each(t *testing.T, todo []*fate, test func(t *testing.T, f *fate)) {
	next := make(chan *fate)
	var workers sync.WaitGroup
	for range 9 {
		workers.Go(func() {
			for f := range next {
				when := "before"
				if f.after {
					when = "after"
				}
				t.Run(when+" "+f.at, func(t *testing.T) { test(t, f) })
			}
		})
	}
	for _, f := range todo {
		next <- f
	}
	close(next)
	workers.Wait()
}

func (s scenario) cut(t *testing.T, f *fate, undisturbed map[sink.BagKind]map[string][]byte) {
	w := s.world(t)
	first := w.start(t, replicaOptions{fate: f, configure: s.configure})
	h := w.publish(t, s.action, cutID, s.data)
	select {
	case <-f.died:
	case <-time.After(patience):
		t.Fatalf("the effect never happens; these did:\n%s", strings.Join(f.effects, "\n"))
	}
	first.stop()
	for kind, files := range s.finish(t, w, h, w.start(t, replicaOptions{configure: s.configure})) {
		for _, name := range slices.Sorted(maps.Keys(undisturbed[kind])) {
			if want, got := stable(name, undisturbed[kind][name]), stable(name, files[name]); !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what it is without a cut:\n got %s\nwant %s", kind, name, got, want)
			}
		}
		if got, want := len(files), len(undisturbed[kind]); got != want {
			t.Errorf("the %s bag has %d objects, without a cut %d", kind, got, want)
		}
	}
}

var (
	timesAndAttempts = regexp.MustCompile(`"(started_at|finished_at|attempt)":("[^"]*"|\d+)`)
	bucketNames      = regexp.MustCompile(`s3://[^/]+/`)
	// A delete's record also has times of a width of their own, and the digests of the other bag.
	timesOfDelete = regexp.MustCompile(`"(begun_at|verified_absent|bytes|manifest_sha256|receipt_sha256)":("[^"]*"|\d+)`)
)

// stable is what of a file does not depend on when, and how often, a command was tried: the payload
// but for its times, and the inventory.
func stable(name string, content []byte) []byte {
	switch {
	case name == "data/export.json":
		return timesAndAttempts.ReplaceAll(content, []byte(`"$1":…`))
	case name == "data/deletion.json", strings.HasSuffix(name, "/deleted.jsonl"):
		content = timesOfDelete.ReplaceAll(timesAndAttempts.ReplaceAll(content, []byte(`"$1":…`)), []byte(`"$1":…`))
		return bucketNames.ReplaceAll(content, []byte("s3://…/"))
	case strings.HasPrefix(name, "data/"), name == "evidence/inventory.json", name == "evidence/plan.json":
		return content
	default:
		return nil
	}
}

// chooseCuts makes the cuts of a run's effects that the flag asks for: before and after each, or
// one of each kind, by turns before the first and after the last.
func chooseCuts(t *testing.T, effects []string) (out []*fate) {
	t.Helper()
	last := map[string]string{}
	for _, e := range effects {
		last[kindOf(e)] = e
	}
	seen := map[string]bool{}
	for _, e := range effects {
		kind := kindOf(e)
		switch {
		case *matrix == "full":
			out = append(out, newFate(e, false), newFate(e, true))
		case *matrix != "kinds":
			t.Fatalf("-matrix=%s: full or kinds", *matrix)
		case seen[kind]:
		case len(seen)%2 == 0:
			out = append(out, newFate(e, false))
		default:
			out = append(out, newFate(last[kind], true))
		}
		seen[kind] = true
	}
	return out
}

// kinds are how effects are told apart: objects by their place in the bag, calls by what they are
// about, the rest by its words.
var kinds = []struct {
	pattern *regexp.Regexp
	kind    string
}{
	{regexp.MustCompile(`/data/projects/.*\.(jpg|png|bmp|gif)$`), "/data/projects/… picture"},
	{regexp.MustCompile(`/data/projects/.*(\.\w+)$`), "/data/projects/…$1"},
	{regexp.MustCompile(`/evidence/.*$`), "/evidence/…"},
	{regexp.MustCompile(`/bag[a-z-]+\.txt$`), "/bag….txt"},
	{regexp.MustCompile(`^(GET|POST|DELETE|PATCH) (projects)(/[0-9a-f-]{36})?(/\w+)?.*$`), "$1 $2$3$4"},
	{regexp.MustCompile(`^blob /.*$`), "blob"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`), "<id>"},
	{regexp.MustCompile(`\d+`), "<n>"},
}

func kindOf(effect string) string {
	effect, _, _ = strings.Cut(effect, "#")
	for _, k := range kinds {
		effect = k.pattern.ReplaceAllString(effect, k.kind)
	}
	return effect
}

// smallProject has one of everything: images that are tagged, untagged, and only in an iteration,
// two iterations, a model, predictions, metadata.
func smallProject(api *cvtest.Server) *cvtest.Project {
	return api.AddProject(cvtest.ProjectSpec{
		Name: "Small", Kind: cvtest.Multiclass, Compact: true, Tags: []string{"sun", "rain"}, Images: 3, Untagged: 1,
		Iterations: []cvtest.IterationSpec{
			{DropFromWorkspace: 1, Exports: []cvtest.ExportSpec{{Platform: "TensorFlow", Flavor: "TensorFlowLite", Bytes: 80 << 10}}},
			{},
		},
		Predictions: 2, ImageBytes: cvtest.Tiny,
		Metadata: func(i int) map[string]string { return map[string]string{"subject": fmt.Sprintf("person-%d", i)} },
	})
}

func exportScenario() scenario {
	return scenario{
		action: "export", data: `{"all_projects":true}`, bags: []sink.BagKind{sink.ExportBag},
		fill: func(api *cvtest.Server) { smallProject(api) },
		check: func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
			t.Helper()
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.checkTruth(t, bags[sink.ExportBag], e, w.truthOf(t, w.api.Snapshot(), selection{}))
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("an export changed the service: %v", calls)
			}
		},
	}
}

func TestExportCutAtEveryEffect(t *testing.T) { cuts(t, exportScenario().signing(t)) }

// Effects come in one order: what the bag is made of, the cut, generated files, manifests,
// signature, receipt, clean-up, job, event, acknowledgement. A unit is acknowledged when its result
// is stored.
func TestEffectsComeInOneOrder(t *testing.T) {
	t.Parallel()
	s := exportScenario().signing(t)
	w := s.world(t)
	r := w.start(t, replicaOptions{configure: s.configure})
	s.finish(t, w, w.publish(t, s.action, cutID, s.data), r)
	effects := r.fate.effects
	at := map[string][]int{} // by kind
	for i, e := range effects {
		at[kindOf(e)] = append(at[kindOf(e)], i)
	}
	bag := "PutObject cut-<n>/export"
	order := [][]string{
		{"PutJob accepted"},
		{"PublishEvent accepted"},
		{"PutJob running plan"},
		{"PutObject cut-<n>/.work/plan.json"},
		{"PublishUnit <n>"},
		{"PutObject cut-<n>/.work/units/<n>.jsonl", bag + "/data/projects/….json", bag + "/data/projects/… picture", "CompleteMultipartUpload cut-<n>/export/data/projects/….zip"},
		{"PutJob running commit"},
		{"PutObject cut-<n>/.work/cut.json"},
		{bag + "/data/projects/….jsonl", bag + "/data/export.json", bag + "/evidence/…"},
		{bag + "/bag….txt"},
		{bag + "/manifest-sha<n>.txt"},
		{bag + "/tagmanifest-sha<n>.txt"},
		{bag + "/receipt.sigstore.json"},
		{bag + "/receipt.json"},
		{"PutJob running clean up"},
		{"PurgeUnits", "DeleteObjects cut-<n>/.work/cut.json"},
		{"PutJob completed"},
		{"PublishEvent completed"},
		{"settle CV_COMMANDS <n> +ACK"},
	}
	for i, step := range order {
		for _, kind := range step {
			if len(at[kind]) == 0 {
				t.Fatalf("no effect is a %q; these happened:\n%s", kind, strings.Join(effects, "\n"))
			}
			// Units are published round by round, as results come: only the first of them has a
			// fixed place.
			if i == 0 || step[0] == "PublishUnit <n>" {
				continue
			}
			for _, earlier := range order[i-1] {
				e := at[earlier][len(at[earlier])-1]
				if earlier == "PublishUnit <n>" {
					e = at[earlier][0]
				}
				if l := at[kind][0]; e > l {
					t.Errorf("%s comes after %s", effects[e], effects[l])
				}
			}
		}
	}
	for n := range at["PublishUnit <n>"] {
		stored := slices.Index(effects, fmt.Sprintf("PutObject cut-1/.work/units/%06d.jsonl#1", n))
		if settled := slices.Index(effects, fmt.Sprintf("settle CV_WORK %d +ACK#1", n+1)); settled < stored {
			t.Errorf("unit %d is acknowledged before its result is stored", n)
		}
	}
}
