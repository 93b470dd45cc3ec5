package handler_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// forgedScenario is a command about one project of an account with two, into whose working objects
// another writer puts what a command about the other project left there, and what it left itself.
type forgedScenario struct {
	name    string
	mine    scenario          // about the small project
	foreign string            // the data of the same command about the other project
	own     map[string][]byte // what the command stored, undisturbed, by key below its id
	others  map[string][]byte // what the foreign command stored
	bags    map[sink.BagKind]map[string][]byte
	end     contract.EventData
}

// objectKind is a kind of objects that a later attempt, or another part of the command, reads.
type objectKind struct {
	name    string
	pattern *regexp.Regexp // of keys below the command's id
	in      []string       // the scenarios that have it
	// made is an example where a command that meets no trouble stores none: its key and content.
	key, content string
	// final says that the command fails where it is replaced after it was stored: nothing else
	// knows what is to be deleted.
	final bool
}

func objectKinds() []objectKind {
	of := func(pattern string) *regexp.Regexp { return regexp.MustCompile(`^` + pattern + `$`) }
	const forgedCall = `[{"time":"2026-11-24T09:00:00Z","operation":"DeleteProject","target":"projects/x","status":204,"attempt":1}]`
	return []objectKind{
		{name: "owner", pattern: of(`\.work/owner\.json`), in: []string{"export", "export first"}},
		{name: "plan of an export", pattern: of(`\.work/plan\.json`), in: []string{"export", "export first"}},
		{name: "reading", pattern: of(`\.work/units/\d+\.list`), in: []string{"export"}},
		{name: "result", pattern: of(`\.work/units/\d+\.jsonl`), in: []string{"export", "export first"}},
		{name: "mark", pattern: of(`\.work/units/\d+\.try-\d+`), in: []string{"export"}},
		{name: "cut", pattern: of(`\.work/cut\.json`), in: []string{"export", "export first"}},
		{name: "picture", pattern: of(`export/data/.*/images/.*`), in: []string{"export"}},
		{name: "model", pattern: of(`export/data/.*/exports/.*`), in: []string{"export"}},
		{name: "summary", pattern: of(`(export/data/export|delete/data/deletion)\.json`), in: []string{"export", "delete", "plan"}},
		{name: "evidence", pattern: of(`(export|delete)/evidence/(request|plan|inventory|verification)\.json`), in: []string{"export", "export first"}},
		{name: "manifest", pattern: of(`(export|delete)/(tag)?manifest-sha256\.txt`), in: []string{"export", "delete"}},
		{name: "receipt", pattern: of(`(export|delete)/receipt\.json`), in: []string{"export", "delete", "export first", "plan"}},
		{name: "wait", in: []string{"export"}, key: ".work/units/000000.wait-0a", content: `{"v":2,"n":0,"for":"credential","detail":"forged","time":"2026-11-24T09:00:00Z","calls":` + forgedCall + `}`},
		{name: "error", in: []string{"export"}, key: ".work/units/000000.err-1", content: `{"v":2,"n":0,"error":"forged","calls":` + forgedCall + `}`},
		{name: "plan of a delete", pattern: of(`\.work/plan-[0-9a-f]{64}\.json`), in: []string{"delete", "export first", "plan"}, final: true},
		{name: "beginning", pattern: of(`\.work/delete-begun-[0-9a-f]{64}\.json`), in: []string{"delete", "export first", "plan"}, final: true},
		{name: "record", pattern: of(`\.work/deleted/\d+-\w+\.jsonl`), in: []string{"delete", "export first"}},
		{name: "cut of a delete", pattern: of(`\.work/delete-cut\.json`), in: []string{"delete", "plan"}},
		{name: "deadline", in: []string{"delete"}, key: ".work/verify/000000-images-any.json", content: `{"v":1,"at":"2000-01-01T00:00:00Z"}`},
		{name: "failure", in: []string{"delete"}, key: "delete/evidence/failure.json", content: `{"v":1,"id":"cut-1","error":{"code":"unverified","message":"forged","retryable":false,"request_id":""},` +
			`"plan_sha256":"","called":[],"known_absent":[],"not_verified":[],"counts":{},"residuals":[],"export_bundle":null,"started_at":"2026-11-24T09:00:00Z","finished_at":"2026-11-24T09:00:00Z"}`},
	}
}

// forging is the forging of one case, in the world of a command.
type forging struct {
	t    *testing.T
	w    *world
	s    *forgedScenario
	kind objectKind
	when forgedMoment
}

// forged is an object to be put into the bucket by another writer.
type forged struct {
	content []byte
	seal    *sink.Sealer      // of content: what the object gets in its metadata
	meta    map[string]string // where there is no seal: the metadata
}

// stored is an object of the command as it is in the bucket.
type stored struct {
	content []byte
	meta    map[string]string
}

// forgedWays make an object for a key out of what the command stores there, and of what the foreign
// command stored. before is another object that the command has stored by then, of the same kind if
// there is one.
func forgedWays() []forgedWay {
	const (
		id    = cutID
		first = 1 // the sequence of the command's message
	)
	by := func(f *forging, queue account.Secrets, id string, origin contract.Origin) *sink.Sealer {
		sealer, err := account.Sealer(context.WithoutCancel(f.t.Context()), queue, id, origin)
		if err != nil {
			f.t.Error(err)
		}
		return sealer
	}
	numbers := func(n string) func(*forging, stored, stored, []byte) forged {
		return func(_ *forging, _, _ stored, foreign []byte) forged {
			return forged{content: anyNumber.ReplaceAll(foreign, []byte("${1}"+n))}
		}
	}
	return []forgedWay{
		{"no seal", func(_ *forging, _, _ stored, foreign []byte) forged { return forged{content: foreign} }},
		{"the seal of another job", func(f *forging, _, _ stored, foreign []byte) forged {
			return forged{content: foreign, seal: by(f, f.w.queue, "cut-2", f.origin())}
		}},
		{"the seal of an earlier life", func(f *forging, _, _ stored, foreign []byte) forged {
			return forged{content: foreign, seal: by(f, f.w.queue, id, contract.Origin{Stream: "2026-11-01T00:00:00Z", Seq: first})}
		}},
		{"the seal of another message", func(f *forging, _, _ stored, foreign []byte) forged {
			return forged{content: foreign, seal: by(f, f.w.queue, id, contract.Origin{Stream: f.origin().Stream, Seq: first + 1})}
		}},
		{"the seal of another deployment", func(f *forging, _, _ stored, foreign []byte) forged {
			return forged{content: foreign, seal: by(f, anotherDeployment{}, id, f.origin())}
		}},
		{"the seal of another key", func(f *forging, _, _ stored, foreign []byte) forged {
			return forged{content: foreign, seal: sink.NewSealer([]byte("another key"), id, f.origin().String())}
		}},
		{"a right seal of other content", func(_ *forging, own, _ stored, foreign []byte) forged {
			return forged{content: foreign, meta: own.meta}
		}},
		{"damaged", func(_ *forging, own, _ stored, _ []byte) forged {
			content := bytes.Clone(own.content)
			if len(content) > 0 {
				content[len(content)/2] ^= 1
			}
			return forged{content: content, meta: own.meta}
		}},
		{"truncated", func(_ *forging, own, _ stored, _ []byte) forged {
			return forged{content: own.content[:len(own.content)/2], meta: own.meta}
		}},
		{"empty", func(_ *forging, own, _ stored, _ []byte) forged { return forged{content: []byte{}, meta: own.meta} }},
		{"doubled", func(_ *forging, own, _ stored, _ []byte) forged {
			return forged{content: slices.Concat(own.content, own.content), meta: own.meta}
		}},
		{"swapped", func(_ *forging, _, before stored, _ []byte) forged {
			return forged{content: before.content, meta: before.meta}
		}},
		{"huge numbers", numbers("9000000000000000000")},
		{"negative numbers", numbers("-1")},
		{"no numbers", numbers("null")},
	}
}

// forgedWay is one way to forge.
type forgedWay struct {
	name string
	make func(f *forging, own, before stored, foreign []byte) forged
}

var anyNumber = regexp.MustCompile(`(":)\d+`)

// anotherDeployment has secrets of its own.
type anotherDeployment struct{}

func (anotherDeployment) Secret(context.Context, string) (string, error) {
	return "ABCDEFGHIJKLMNOPQRSTUVWXYZ", nil
}

// forgedMoment is when something is put into the bucket.
type forgedMoment string

const (
	beforeTheCommand forgedMoment = "before the command"
	beforeTheObject  forgedMoment = "just before the command stores it"
	afterTheObject   forgedMoment = "when the command has stored it, for a later attempt"
)

// origin is the message that the objects of the command are sealed for.
func (f *forging) origin() contract.Origin {
	job, _, err := f.w.queue.Job(context.WithoutCancel(f.t.Context()), cutID)
	if err != nil {
		return contract.Origin{Seq: 1}
	}
	return job.Origin()
}

// at is an object of the command as it is in the bucket, or as it would be.
func (f *forging) at(key string) stored {
	f.t.Helper()
	ctx := context.WithoutCancel(f.t.Context())
	o, err := f.w.store.Head(ctx, sink.Key(cutID+"/"+key))
	if err != nil {
		return stored{content: f.s.own[key]}
	}
	content, err := f.w.store.ReadAll(ctx, sink.Key(cutID+"/"+key), 1<<20)
	if err != nil { // it was removed just now
		return stored{content: f.s.own[key]}
	}
	return stored{content, o.Meta}
}

// put makes an object for a key of the command, and puts it there.
func (f *forging) put(key string, way forgedWay) {
	f.t.Helper()
	ctx := context.WithoutCancel(f.t.Context())
	before := stored{content: []byte("{}")}
	for o, err := range f.w.store.List(ctx, sink.Key(cutID+"/")) {
		name := strings.TrimPrefix(string(o.Key), cutID+"/")
		if err != nil {
			f.t.Error(err)
		}
		if name != key && (before.meta == nil || f.kind.has(name)) {
			before = f.at(name)
		}
	}
	object := way.make(f, f.at(key), before, f.foreign(key))
	full := sink.Key(cutID + "/" + key)
	put := func(store *sink.Store, body sink.Body) {
		err := store.Unsealed().Remove(ctx, full)
		if err == nil {
			_, err = store.Put(ctx, full, body)
		}
		if err != nil {
			f.t.Errorf("put %s: %v", full, err)
		}
	}
	body := sink.Bytes(object.content, "application/json")
	if object.seal != nil {
		put(f.w.store.Sealed(object.seal), body)
		return
	}
	body.Meta = object.meta
	put(f.w.store, body)
}

// has reports whether an object is of the kind.
func (k objectKind) has(key string) bool {
	return k.pattern == nil && key == k.key || k.pattern != nil && k.pattern.MatchString(key)
}

// foreign is the content that the foreign command stored under a key or, where it has none, under
// another one of the kind.
func (f *forging) foreign(key string) []byte {
	if f.kind.pattern == nil {
		return []byte(f.kind.content)
	}
	if content, ok := f.s.others[key]; ok {
		return content
	}
	for _, name := range slices.Sorted(maps.Keys(f.s.others)) {
		if f.kind.has(name) {
			return f.s.others[name]
		}
	}
	return append([]byte("forged "), f.s.own[key]...) // the foreign command stored none
}

// keys are those that are forged before the command: its own, as far as they can be known, and
// those of the foreign one.
func (f *forging) keys() []string {
	if f.kind.pattern == nil {
		return []string{f.kind.key}
	}
	var keys []string
	for _, objects := range []map[string][]byte{f.s.own, f.s.others} {
		for key := range objects {
			if f.kind.has(key) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// triggers reports whether something is to be forged as an object is stored, and under which key.
func (f *forging) triggers(name string) (key string, yes bool) {
	if f.kind.pattern != nil {
		return name, f.kind.has(name)
	}
	return f.kind.key, strings.HasSuffix(name, "/000000.try-1") || strings.HasPrefix(name, ".work/delete-begun-")
}

// run carries the command out while an object is forged.
func (f *forging) run(way forgedWay) {
	t, w, s := f.t, f.w, f.s.mine
	t.Helper()
	if f.when == beforeTheCommand {
		for _, key := range f.keys() {
			f.put(key, way)
		}
	}
	r := w.start(t, replicaOptions{configure: s.configure})
	var (
		placed, drained = newSignal(), newSignal()
		done            = map[string]bool{}
		mu              sync.Mutex
		next            = r.faults.OnRequest
	)
	t.Cleanup(drained.happens)
	forge := func(name string) bool {
		key, yes := f.triggers(name)
		mu.Lock()
		defer mu.Unlock()
		if !yes || done[key] || f.when == afterTheObject && len(done) > 0 {
			return false
		}
		done[key] = true
		f.put(key, way)
		return true
	}
	r.faults.OnRequest = func(op, key string, before bool) error {
		name, mine := strings.CutPrefix(key, cutID+"/")
		writes := mine && (op == "PutObject" || op == "CreateMultipartUpload" && before || op == "CompleteMultipartUpload" && !before)
		if writes && before && f.when == beforeTheObject {
			forge(name)
		}
		if writes && !before && f.when == afterTheObject && forge(name) {
			placed.happens()
			<-drained.c
		}
		return next(op, key, before)
	}
	h := w.publish(t, s.action, cutID, s.data)
	if f.when == afterTheObject {
		placed.wait(t, "the object to be replaced")
		r.drain()
		drained.happens()
		r.stop()
		r = w.start(t, replicaOptions{configure: s.configure})
	}
	e := w.end(t, h)
	if f.when != beforeTheCommand && !t.Failed() && len(done) == 0 {
		t.Error("nothing was forged")
	}
	if f.kind.final && f.when == afterTheObject && e.Status == contract.StatusFailed {
		if e.Error.Code != contract.CodeInternal || !strings.Contains(e.Error.Message, "working object") {
			t.Errorf("ended %s: %v", e.Status, e.Error)
		}
		if n := len(w.api.DestructiveCalls()); n > 0 {
			t.Errorf("%d destructive calls were made", n)
		}
		w.wait(t, h)
		return
	}
	for kind, files := range s.finish(t, w, h, r) {
		for name, content := range f.s.bags[kind] {
			if want, got := stable(name, content), stable(name, files[name]); !bytes.Equal(got, want) {
				t.Errorf("%s/%s is not what it is without a forged object:\n got %s\nwant %s", kind, name, got, want)
			}
		}
		if got, want := len(files), len(f.s.bags[kind]); got != want {
			t.Errorf("the %s bag has %d objects, and %d without a forged object", kind, got, want)
		}
	}
	if e.Counts != f.s.end.Counts && e.Counts.Bytes == f.s.end.Counts.Bytes {
		t.Errorf("it counts %+v, and %+v without a forged object", e.Counts, f.s.end.Counts)
	}
}

// forgedScenarios are the commands, each carried out undisturbed, and its foreign counterpart in
// another deployment.
func forgedScenarios(t *testing.T) []*forgedScenario {
	t.Helper()
	twin := newWorld(t, worldOptions{api: cvtest.Options{Seed: cutSeed}}) // has the same ids
	accounts := fillAccount(twin.api)
	mine, other := accounts.small.ID, accounts.other.ID
	of := func(id uuid.UUID, rest string) string { return `{"project_ids":` + idList(id) + rest + `}` }
	isolated := func(s scenario) scenario { // nothing is read of the other project
		check := s.check
		s.check = func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
			t.Helper()
			check(t, w, e, bags)
			for _, c := range w.api.Calls() {
				if strings.Contains(c.Target(), other.String()) {
					t.Errorf("the other project is asked for: %s %s", c.Operation, c.Target())
				}
			}
		}
		return s
	}
	fill := func(api *cvtest.Server) { fillAccount(api) }
	export := scenario{action: contract.ActionExport, data: of(mine, ""), bags: []sink.BagKind{sink.ExportBag}, fill: fill}
	export.check = func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
		t.Helper()
		if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		w.checkTruth(t, bags[sink.ExportBag], e, w.truthOf(t, w.api.Snapshot(), selection{projects: []uuid.UUID{mine}}))
	}
	plan := scenario{action: contract.ActionDelete, data: of(mine, `,"dry_run":true`), bags: []sink.BagKind{sink.DeleteBag}, fill: fill, configure: noWait}
	plan.check = func(t *testing.T, w *world, e contract.EventData, _ map[sink.BagKind]map[string][]byte) {
		t.Helper()
		if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomePlanned || len(w.api.DestructiveCalls()) > 0 {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
	}
	whole := func(rest string) deleteCase {
		return deleteCase{make: func(*testing.T, *world, testAccount) (string, []apply) {
			return of(mine, rest), []apply{withoutProject(mine)}
		}}
	}
	all := []*forgedScenario{
		{name: "export", mine: isolated(export), foreign: of(other, "")},
		{name: "delete", mine: isolated(deleteScenario(t, fillAccount, whole(""), sink.DeleteBag)), foreign: of(other, `,"unpublish":true`)},
		{
			name: "export first", mine: isolated(deleteScenario(t, fillAccount, whole(`,"export_first":true`), sink.ExportBag, sink.DeleteBag)),
			foreign: of(other, `,"unpublish":true,"export_first":true`),
		},
		{name: "plan", mine: isolated(plan), foreign: of(other, `,"unpublish":true`)}, // the foreign one is carried out
	}
	for _, s := range all {
		w := s.mine.world(t)
		kept := w.keep(t, func(r *replica) {
			s.bags = s.mine.finish(t, w, w.publish(t, s.mine.action, cutID, s.mine.data), r)
			s.end = w.job(t, cutID).Event.Data
		}, s.mine.configure)
		s.own = kept
		other := s.mine.world(t)
		s.others = other.keep(t, func(*replica) {
			if e := other.wait(t, other.publish(t, s.mine.action, cutID, s.foreign)); e.Status != contract.StatusCompleted {
				t.Fatalf("the foreign command ended %s: %v", e.Status, e.Error)
			}
		}, s.mine.configure)
	}
	return all
}

// keep is every object that a replica stored while do was done, by key below the command's id.
func (w *world) keep(t *testing.T, do func(*replica), configure func(*handler.Config)) map[string][]byte {
	t.Helper()
	kept, mu := map[string][]byte{}, sync.Mutex{}
	r := w.start(t, replicaOptions{configure: configure})
	next := r.faults.OnRequest
	r.faults.OnRequest = func(op, key string, before bool) error {
		if name, mine := strings.CutPrefix(key, cutID+"/"); mine && (op == "PutObject" || op == "CompleteMultipartUpload") && !before {
			content, err := w.store.ReadAll(context.WithoutCancel(t.Context()), sink.Key(key), 1<<20)
			if err != nil {
				t.Errorf("read %s: %v", key, err)
			}
			mu.Lock()
			kept[name] = content
			mu.Unlock()
		}
		return next(op, key, before)
	}
	do(r)
	r.stop()
	return kept
}

// TestForgedWorkingObjects puts forged and damaged objects of every kind into the bucket, in every
// way and at every time, while commands are carried out: nothing is deleted, read or stored that
// the command does not name, and it ends as without them. Where what decides a delete is replaced
// after it was begun, the delete fails, and makes no call.
func TestForgedWorkingObjects(t *testing.T) {
	var cases []func(t *testing.T)
	names := []string{}
	n := 0
	moments := []forgedMoment{beforeTheCommand, beforeTheObject, afterTheObject}
	for _, s := range forgedScenarios(t) {
		if t.Failed() {
			return
		}
		for _, kind := range objectKinds() {
			if !slices.Contains(kind.in, s.name) {
				continue
			}
			for _, way := range forgedWays() {
				n++
				turn := n + n/len(forgedWays()) // another one for each kind
				when := moments[turn%len(moments)]
				if kind.name == "evidence" && way.name == "the seal of an earlier life" {
					when = beforeTheObject // before the command it is an earlier command's: its id is taken
				}
				if leftOut(turn) {
					continue
				}
				names = append(names, fmt.Sprintf("%s/%s/%s/%s", s.name, kind.name, way.name, when))
				cases = append(cases, func(t *testing.T) {
					t.Helper()
					w := s.mine.world(t)
					(&forging{t: t, w: w, s: s, kind: kind, when: when}).run(way)
				})
			}
		}
	}
	t.Logf("%d of %d cases", len(cases), n)
	if n < 200 {
		t.Errorf("there are %d cases; 200 are wanted", n)
	}
	var (
		next    = make(chan int)
		workers sync.WaitGroup
	)
	for range 12 {
		workers.Go(func() {
			for i := range next {
				t.Run(names[i], cases[i])
			}
		})
	}
	for i := range cases {
		next <- i
	}
	close(next)
	workers.Wait()
}
