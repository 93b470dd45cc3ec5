package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// noWait makes waiting take no time.
func noWait(c *handler.Config) {
	c.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
}

// delete publishes a delete and returns its terminal event's data.
func (w *world) delete(t *testing.T, id, data string) contract.EventData {
	t.Helper()
	return w.wait(t, w.publish(t, "delete", id, data))
}

// apply is what a state becomes when a delete is carried out: the test's own words for what should
// be gone. Everything else stays as it is.
type apply func(s *cvtest.State)

// without removes from items what gone says.
func without(items []cvtest.ItemState, gone func(cvtest.ItemState) bool) []cvtest.ItemState {
	return slices.DeleteFunc(slices.Clone(items), gone)
}

// everywhere removes images from the workspace and every iteration of the projects, of all when
// none is named.
func everywhere(gone func(cvtest.ItemState) bool, projects ...uuid.UUID) apply {
	return func(s *cvtest.State) {
		for i := range s.Projects {
			p := &s.Projects[i]
			if len(projects) > 0 && !slices.Contains(projects, p.ID) {
				continue
			}
			p.Workspace.Images = without(p.Workspace.Images, gone)
			for j := range p.Iterations {
				p.Iterations[j].Images = without(p.Iterations[j].Images, gone)
			}
		}
	}
}

func anyImage(cvtest.ItemState) bool { return true }

func oneOf(ids ...uuid.UUID) func(cvtest.ItemState) bool {
	return func(i cvtest.ItemState) bool { return slices.Contains(ids, i.ID) }
}

// project finds a project of a state.
func project(s *cvtest.State, id uuid.UUID) *cvtest.ProjectState {
	for i := range s.Projects {
		if s.Projects[i].ID == id {
			return &s.Projects[i]
		}
	}
	return nil
}

// outline is a state by what there is: ids and digests. What the service derives from them (counts
// of images on tags, times of change, performance) is not in it.
func outline(s cvtest.State) map[string][]string {
	out := map[string][]string{}
	note := func(where string, items []cvtest.ItemState) {
		for _, i := range items {
			out[where] = append(out[where], i.ID.String()+" "+i.SHA256)
		}
	}
	tags := func(where string, raws []json.RawMessage) {
		for _, raw := range raws {
			var tag struct{ ID, Name string }
			if err := json.Unmarshal(raw, &tag); err != nil {
				panic(err)
			}
			out[where] = append(out[where], tag.ID+" "+tag.Name)
		}
	}
	for _, p := range s.Projects {
		where := p.ID.String()
		out["projects"] = append(out["projects"], where)
		note(where+" images", p.Workspace.Images)
		note(where+" predictions", p.Predictions)
		tags(where+" tags", p.Workspace.Tags)
		for _, it := range p.Iterations {
			var published struct{ PublishName string }
			if err := json.Unmarshal(it.Iteration, &published); err != nil {
				panic(err)
			}
			out[where+" iterations"] = append(out[where+" iterations"], it.ID.String()+" "+published.PublishName)
			within := where + " " + it.ID.String()
			note(within+" images", it.Images)
			tags(within+" tags", it.Tags)
			for _, e := range it.Exports {
				out[within+" exports"] = append(out[within+" exports"], e.Platform+" "+e.Flavor+" "+e.Status+" "+e.SHA256)
			}
		}
	}
	return out
}

// checkState holds the service against what it should hold.
func (w *world) checkState(t *testing.T, before cvtest.State, changes ...apply) {
	t.Helper()
	var should cvtest.State
	unmarshal(t, encode(t, before), &should) // a copy
	for _, change := range changes {
		change(&should)
	}
	want, got := outline(should), outline(w.api.Snapshot())
	for _, where := range slices.Sorted(maps.Keys(want)) {
		if !reflect.DeepEqual(got[where], want[where]) {
			t.Errorf("%s: the service has\n%s\nand should have\n%s", where, strings.Join(got[where], "\n"), strings.Join(want[where], "\n"))
		}
		delete(got, where)
	}
	for where := range got {
		t.Errorf("%s: the service still has %v", where, got[where])
	}
}

// ledgerLine is what the tests need of a line of ledger.jsonl.
type ledgerLine struct {
	Time                    time.Time
	Kind, Operation, Target string
	Status                  int
	RequestID               string `json:"request_id"`
}

func ledgerOf(t *testing.T, files map[string][]byte) (lines []ledgerLine) {
	t.Helper()
	for raw := range bytes.Lines(files["evidence/ledger.jsonl"]) {
		var l ledgerLine
		unmarshal(t, raw, &l)
		lines = append(lines, l)
	}
	return lines
}

// checkCalls holds the ledger of a command that was not cut short against the calls that the
// service received: every one is there, and no other.
func (w *world) checkCalls(t *testing.T, files map[string][]byte) {
	t.Helper()
	calls, requests := map[string]int{}, map[string]bool{"": true}
	for _, c := range w.api.Calls() {
		calls[c.Operation+" "+c.Path]++
		requests[c.RequestID] = true
	}
	intents := map[string]int{}
	for _, l := range ledgerOf(t, files) {
		path, _, _ := strings.Cut(l.Target, " ")
		if !requests[l.RequestID] {
			t.Errorf("the ledger has a request %s that the service did not receive", l.RequestID)
		}
		switch l.Kind {
		case sink.LedgerTakeover: // by an attempt after one that trouble ended
			continue
		case sink.LedgerIntent:
			intents[l.Operation+" "+l.Target]++
			continue
		}
		calls[l.Operation+" "+path]--
		if l.Kind == sink.LedgerResult {
			intents[l.Operation+" "+l.Target]--
		}
	}
	for key, n := range calls {
		if n != 0 {
			t.Errorf("%s: the service received %d more calls than the ledger has", key, n)
		}
	}
	for key, n := range intents {
		if n != 0 {
			t.Errorf("%s: the ledger has %d more intents than results", key, n)
		}
	}
}

// deletedLine is a line of deleted.jsonl.
type deletedLine struct {
	ID       uuid.UUID `json:"id"`
	Category string    `json:"category"`
	How      string    `json:"how"`
	Absent   time.Time `json:"verified_absent"`
}

// deletedOf is what a delete bag says was deleted, by project.
func deletedOf(t *testing.T, files map[string][]byte) map[string]map[string][]string {
	t.Helper()
	out := map[string]map[string][]string{}
	for name, content := range files {
		if !strings.HasSuffix(name, "/deleted.jsonl") {
			continue
		}
		project := strings.Split(name, "/")[2]
		out[project] = map[string][]string{}
		lines := bufio.NewScanner(bytes.NewReader(content))
		for lines.Scan() {
			var l deletedLine
			unmarshal(t, lines.Bytes(), &l)
			if l.How == "" || l.Absent.IsZero() {
				t.Errorf("%s: %s does not say how or when", name, lines.Text())
			}
			out[project][l.Category] = append(out[project][l.Category], l.ID.String())
		}
	}
	return out
}

// vanished is what differs between two states, in the words of deleted.jsonl.
func vanished(before, after cvtest.State) map[string]map[string][]string {
	out := map[string]map[string][]string{}
	for _, p := range before.Projects {
		gone := map[string]map[string]bool{}
		note := func(category, id string) {
			if gone[category] == nil {
				gone[category] = map[string]bool{}
			}
			gone[category][id] = true
		}
		left := project(&after, p.ID)
		if left == nil {
			note("projects", p.ID.String())
			left = &cvtest.ProjectState{}
		}
		scopes := func(p cvtest.ProjectState) (all []cvtest.ItemState) {
			all = slices.Clone(p.Workspace.Images)
			for _, it := range p.Iterations {
				all = append(all, it.Images...)
			}
			return all
		}
		lost := func(category string, had, has []cvtest.ItemState) {
			for _, i := range had {
				if !slices.ContainsFunc(has, oneOf(i.ID)) {
					note(category, i.ID.String())
				}
			}
		}
		lost("predictions", p.Predictions, left.Predictions)
		for _, it := range p.Iterations {
			if !slices.ContainsFunc(left.Iterations, func(o cvtest.IterationState) bool { return o.ID == it.ID }) {
				note("iterations", it.ID.String())
				if len(it.Performance) > 0 && string(it.Performance) != "null" {
					note("performance", it.ID.String())
				}
			}
		}
		// An image that is in no scope any more was deleted, unless it was only in an iteration
		// that went.
		if gone["iterations"] == nil || gone["projects"] != nil {
			lost("images", scopes(p), scopes(*left))
		}
		for _, raw := range p.Workspace.Tags {
			var tag struct{ ID string }
			if err := json.Unmarshal(raw, &tag); err != nil {
				panic(err)
			}
			if !slices.ContainsFunc(left.Workspace.Tags, func(o json.RawMessage) bool { return strings.Contains(string(o), tag.ID) }) {
				note("tags", tag.ID)
			}
		}
		for category, ids := range gone {
			if out[p.ID.String()] == nil {
				out[p.ID.String()] = map[string][]string{}
			}
			out[p.ID.String()][category] = slices.Sorted(maps.Keys(ids))
		}
	}
	return out
}

// checkDeleted holds deleted.jsonl against what went, which it returns.
func checkDeleted(t *testing.T, files map[string][]byte, before, after cvtest.State) map[string]map[string][]string {
	t.Helper()
	got, want := deletedOf(t, files), vanished(before, after)
	for _, categories := range got {
		for _, ids := range categories {
			slices.Sort(ids)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("deleted.jsonl has\n%v\nand this went:\n%v", got, want)
	}
	return want
}

// checkProof holds a delete bag against what went.
func checkProof(t *testing.T, files map[string][]byte, e contract.EventData, before, after cvtest.State) {
	t.Helper()
	want := checkDeleted(t, files, before, after)
	var counts contract.Counts
	for _, categories := range want {
		counts.Projects += int64(len(categories["projects"]))
		counts.Iterations += int64(len(categories["iterations"]))
		counts.Performance += int64(len(categories["performance"]))
		counts.Tags += int64(len(categories["tags"]))
		counts.Images += int64(len(categories["images"]))
		counts.Predictions += int64(len(categories["predictions"]))
	}
	for name, content := range files {
		if strings.HasPrefix(name, "data/") && name != "data/deletion.json" {
			counts.Bytes += int64(len(content))
		}
	}
	if e.Counts != counts {
		t.Errorf("the event counts %+v, want %+v", e.Counts, counts)
	}
	if digest := fmt.Sprintf("%x", sha256.Sum256(files["evidence/plan.json"])); e.Plan == nil || e.Plan.SHA256 != digest {
		t.Errorf("the event's plan is %+v, the file's digest %s", e.Plan, digest)
	}
	if !bytes.Contains(files["index.html"], []byte(e.CommandID)) || !bytes.Contains(files["index.html"], []byte(e.Plan.SHA256)) {
		t.Error("the certificate does not name its command and plan")
	}
	if len(e.Residuals) == 0 {
		t.Error("no residuals are named")
	}
}

// testAccount is an account of the delete tests: two projects with everything in them, the other one
// with metadata.
type testAccount struct{ small, other *cvtest.Project }

func fillAccount(api *cvtest.Server) testAccount {
	small := smallProject(api)
	other := api.AddProject(cvtest.ProjectSpec{
		Name: "Other", Kind: cvtest.Detection, Tags: []string{"box", "can"}, Images: 5, Untagged: 2, ImageBytes: cvtest.Tiny,
		Iterations:  []cvtest.IterationSpec{{DropFromWorkspace: 2, Published: true}, {Untrained: true}},
		Predictions: 3,
		Metadata:    func(i int) map[string]string { return map[string]string{"subject": fmt.Sprintf("person-%d", i%3)} },
	})
	return testAccount{small, other}
}

// deleteCase is a kind of delete, and what should be gone after it.
type deleteCase struct {
	name string
	make func(t *testing.T, w *world, account testAccount) (data string, gone []apply)
}

func idList(ids ...uuid.UUID) string {
	b, err := json.Marshal(ids)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func deleteCases() []deleteCase {
	return []deleteCase{
		{"a whole project", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			return `{"project_ids":` + idList(account.small.ID) + `}`, []apply{func(s *cvtest.State) {
				s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == account.small.ID })
			}}
		}},
		{"all projects, published iterations too", func(*testing.T, *world, testAccount) (string, []apply) {
			return `{"all_projects":true,"unpublish":true}`, []apply{func(s *cvtest.State) { s.Projects = nil }}
		}},
		{"all projects, exported first", func(*testing.T, *world, testAccount) (string, []apply) {
			return `{"all_projects":true,"unpublish":true,"export_first":true}`, []apply{func(s *cvtest.State) { s.Projects = nil }}
		}},
		{"an iteration", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			it := account.small.Iterations[0]
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.small.ID), idList(it)), []apply{func(s *cvtest.State) {
				p := project(s, account.small.ID)
				p.Iterations = slices.DeleteFunc(p.Iterations, func(o cvtest.IterationState) bool { return o.ID == it })
			}}
		}},
		{"tags", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			tag := account.small.Tags[0]
			return fmt.Sprintf(`{"project_ids":%s,"tag_ids":%s}`, idList(account.small.ID), idList(tag)), []apply{func(s *cvtest.State) {
				p := project(s, account.small.ID)
				p.Workspace.Tags = slices.DeleteFunc(p.Workspace.Tags, func(raw json.RawMessage) bool { return strings.Contains(string(raw), tag.String()) })
			}}
		}},
		{"images of a tag", func(t *testing.T, w *world, account testAccount) (string, []apply) {
			tag := account.small.Tags[0]
			tagged := func(i cvtest.ItemState) bool {
				var image struct{ Tags []struct{ TagID uuid.UUID } }
				unmarshal(t, i.JSON, &image)
				return slices.ContainsFunc(image.Tags, func(l struct{ TagID uuid.UUID }) bool { return l.TagID == tag })
			}
			return fmt.Sprintf(`{"project_ids":%s,"tag_ids":%s,"categories":["images"]}`, idList(account.small.ID), idList(tag)), []apply{everywhere(tagged, account.small.ID)}
		}},
		{"images by id, one only in an iteration", func(t *testing.T, w *world, account testAccount) (string, []apply) {
			state := w.api.Snapshot()
			p := project(&state, account.small.ID)
			var old uuid.UUID
			for _, i := range p.Iterations[0].Images {
				if !slices.ContainsFunc(p.Workspace.Images, oneOf(i.ID)) {
					old = i.ID
				}
			}
			if old == uuid.Nil {
				t.Fatal("every image of the iteration is in the workspace")
			}
			ids := []uuid.UUID{old, p.Workspace.Images[0].ID}
			return fmt.Sprintf(`{"project_ids":%s,"image_ids":%s}`, idList(account.small.ID), idList(ids...)), []apply{everywhere(oneOf(ids...), account.small.ID)}
		}},
		{"a person, in every project", func(t *testing.T, _ *world, account testAccount) (string, []apply) {
			return `{"all_projects":true,"image_metadata":{"subject":"person-1"}}`, []apply{everywhere(func(i cvtest.ItemState) bool {
				var image struct{ Metadata map[string]string }
				unmarshal(t, i.JSON, &image)
				return image.Metadata["subject"] == "person-1"
			})}
		}},
		{"all images of a project", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			return fmt.Sprintf(`{"project_ids":%s,"categories":["images"]}`, idList(account.other.ID)), []apply{everywhere(anyImage, account.other.ID)}
		}},
		{"all iterations of a project", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			return fmt.Sprintf(`{"project_ids":%s,"categories":["iterations","performance"]}`, idList(account.small.ID)), []apply{func(s *cvtest.State) { project(s, account.small.ID).Iterations = nil }}
		}},
		{"the predictions of a project", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			return fmt.Sprintf(`{"project_ids":%s,"categories":["predictions"]}`, idList(account.other.ID)), []apply{func(s *cvtest.State) { project(s, account.other.ID).Predictions = nil }}
		}},
		{"all tags of a project", func(_ *testing.T, _ *world, account testAccount) (string, []apply) {
			return fmt.Sprintf(`{"project_ids":%s,"categories":["tags"]}`, idList(account.other.ID)), []apply{func(s *cvtest.State) { project(s, account.other.ID).Workspace.Tags = nil }}
		}},
	}
}

// TestDelete carries out every kind of delete under every kind of trouble and compares whole
// states: what should be gone is gone everywhere, and nothing else.
func TestDelete(t *testing.T) {
	t.Parallel()
	for _, trouble := range []struct {
		name   string
		o      cvtest.Options
		faults float64
	}{
		{name: "quiet"},
		{name: "deletions that take effect seconds later", o: cvtest.Options{DeleteDelay: 3 * time.Second}},
		{name: "a missing id fails its batch", o: cvtest.Options{MissingFailsBatch: true, DefaultIterationPredictions: true, TrailingPage: true}},
		{name: "a tenth of all calls fail", faults: 0.1},
	} {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			for i, c := range deleteCases() {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					trouble := trouble
					trouble.o.Seed = int64(i + 1)
					w := newWorld(t, worldOptions{api: trouble.o})
					account := fillAccount(w.api)
					before := w.api.Snapshot()
					data, gone := c.make(t, w, account)
					held := w.truthOf(t, before, selection{})
					if trouble.faults > 0 {
						w.api.FaultRate(trouble.faults, int64(i))
					}
					o := replicaOptions{}
					if trouble.o.DeleteDelay == 0 {
						o.configure = noWait
					}
					r := w.start(t, o)
					e := w.delete(t, "del-1", data)
					if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
						t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
					}
					r.stop()
					w.api.ClearFaults()
					w.checkState(t, before, gone...)
					checkDeleteBags(t, w, e, before, held)
				})
			}
		})
	}
}

// checkDeleteBags looks at the bags of a delete that was not cut short; held is what the service
// had before.
func checkDeleteBags(t *testing.T, w *world, e contract.EventData, before cvtest.State, held truth) {
	t.Helper()
	kinds := []sink.BagKind{sink.DeleteBag}
	if e.ExportBundle != nil {
		kinds = append(kinds, sink.ExportBag)
	}
	bags := w.bags(t, "del-1", kinds...)
	checkProof(t, bags[sink.DeleteBag], e, before, w.api.Snapshot())
	w.checkCalls(t, bags[sink.DeleteBag])
	if e.ExportBundle != nil {
		checkPayload(t, bags[sink.ExportBag], held)
	}
}

// TestRefusedDeletes shows that a refusal leaves the service exactly as it was: not one destructive
// call is made.
func TestRefusedDeletes(t *testing.T) {
	for _, c := range []struct {
		name, code string
		data       func(w *world, account testAccount) string
		prepare    func(t *testing.T, w *world, account testAccount)
		configure  func(*handler.Config)
	}{
		{name: "a published iteration", code: contract.CodeIterationPublished, data: func(_ *world, account testAccount) string { return `{"project_ids":` + idList(account.other.ID) + `}` }},
		{name: "a published iteration, by id", code: contract.CodeIterationPublished, data: func(_ *world, account testAccount) string {
			return fmt.Sprintf(`{"project_ids":%s,"iteration_ids":%s}`, idList(account.other.ID), idList(account.other.Iterations[0]))
		}},
		{name: "another name", code: contract.CodePreconditionFailed, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"expect":{"project_name":"Large"}}`
		}},
		{name: "more images than expected", code: contract.CodePreconditionFailed, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"expect":{"max_images":1}}`
		}},
		{name: "another plan was approved", code: contract.CodePlanChanged, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"approved_plan":"` + strings.Repeat("0", 64) + `"}`
		}},
		{
			name: "a legal hold", code: contract.CodeLegalHold, data: func(_ *world, account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` },
			prepare: func(t *testing.T, w *world, account testAccount) {
				if err := w.queue.PutHold(t.Context(), strings.ToUpper(account.small.ID.String()), []byte("case 7")); err != nil {
					t.Fatal(err)
				}
			},
		},
		{
			name: "disaster recovery", code: contract.CodeReadOnly, data: func(_ *world, account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` },
			prepare: func(_ *testing.T, w *world, account testAccount) { w.api.SetDRMode(account.small.ID, true) },
		},
		{
			name: "deletes are disabled", code: contract.CodeDeletesDisabled, data: func(_ *world, account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` },
			configure: func(c *handler.Config) { c.Deletes = contract.DeletesDisabled },
		},
		{
			name: "only approved plans", code: contract.CodeDeletesDisabled, data: func(_ *world, account testAccount) string { return `{"project_ids":` + idList(account.small.ID) + `}` },
			configure: func(c *handler.Config) { c.Deletes = contract.DeletesApproved },
		},
		{name: "too late", code: contract.CodeExpired, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"not_after":"2020-01-01T00:00:00Z"}`
		}},
		{name: "nothing that can be deleted", code: contract.CodeNotDeletable, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"categories":["performance","exports"]}`
		}},
		{name: "no such resource", code: contract.CodeUnknownResource, data: func(_ *world, account testAccount) string {
			return `{"project_ids":` + idList(account.small.ID) + `,"resource":"elsewhere"}`
		}},
		{
			name: "a bundle with exceptions", code: contract.CodePreconditionFailed, data: func(_ *world, account testAccount) string {
				return `{"project_ids":` + idList(account.small.ID) + `,"export_first":true}`
			},
			prepare: func(_ *testing.T, w *world, account testAccount) {
				w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Status: 404, Code: "BlobNotFound", Times: -1})
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			account := fillAccount(w.api)
			if c.prepare != nil {
				c.prepare(t, w, account)
			}
			before := w.api.Snapshot()
			r := w.start(t, replicaOptions{configure: c.configure})
			e := w.delete(t, "no-1", c.data(w, account))
			r.stop()
			if e.Status != contract.StatusRefused || e.Error == nil || e.Error.Code != c.code {
				t.Fatalf("ended %s: %v", e.Status, e.Error)
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("calls were made: %v", calls)
			}
			w.checkState(t, before)
			if n := len(w.messages(t, "CV_DEAD")); n != 1 {
				t.Errorf("%d dead letters", n)
			}
			objects := w.fetch(t, "no-1/")
			for name := range objects {
				if e.ExportBundle == nil || !strings.HasPrefix(name, "export/") {
					t.Errorf("%s is left behind", name)
				}
			}
		})
	}
}

// TestPlanApproveDelete plans, approves by the digest, and deletes; an image that comes in between
// changes the plan.
func TestPlanApproveDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		noWait(c)
		c.Deletes = contract.DeletesApproved
	}})
	before := w.api.Snapshot()
	plan := func(id string) contract.EventData {
		e := w.delete(t, id, `{"project_ids":`+idList(account.small.ID)+`,"dry_run":true}`)
		if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomePlanned || e.Plan == nil {
			t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
		}
		w.bag(t, id, sink.DeleteBag)
		return e
	}
	first, again := plan("plan-1"), plan("plan-2")
	w.checkState(t, before)
	if calls := w.api.DestructiveCalls(); len(calls) > 0 {
		t.Errorf("a plan makes calls: %v", calls)
	}
	if first.Plan.SHA256 != again.Plan.SHA256 {
		t.Error("the same selection has two plans")
	}
	if want := (contract.Counts{Projects: 1, Iterations: 2, Performance: 2, Tags: 2, Images: 4, Predictions: 2}); first.Counts != want {
		t.Errorf("the plan counts %+v, want %+v", first.Counts, want)
	}
	w.api.AddImage(account.small.ID, cvtest.ImageSpec{})
	approved := func(id, digest string) contract.EventData {
		return w.delete(t, id, `{"project_ids":`+idList(account.small.ID)+`,"approved_plan":"`+digest+`"}`)
	}
	if e := approved("del-1", first.Plan.SHA256); e.Error == nil || e.Error.Code != contract.CodePlanChanged {
		t.Fatalf("an image that was not approved: %s %v", e.Status, e.Error)
	}
	third := plan("plan-3")
	if e := approved("del-2", third.Plan.SHA256); e.Status != contract.StatusCompleted || e.Plan.SHA256 != third.Plan.SHA256 {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	w.checkState(t, before, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == account.small.ID })
	})
	for _, c := range w.api.DestructiveCalls() {
		if c.Query.Get("allImages") == "true" {
			t.Error("an approved plan deletes by its ids, never all images")
		}
	}
	// The plan of what is gone is empty, and deleting it again is a proof that there is nothing.
	e := w.delete(t, "del-3", `{"project_ids":`+idList(account.small.ID)+`,"approved_plan":"`+plan("plan-4").Plan.SHA256+`"}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeNothingFound {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.bag(t, "del-3", sink.DeleteBag)
}

// TestUnverified shows that a deletion that does not take effect in time fails with evidence and
// without a receipt.
func TestUnverified(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, DeleteDelay: 24 * time.Hour}})
	account := fillAccount(w.api)
	clock := newSkippingClock()
	w.start(t, replicaOptions{configure: func(c *handler.Config) {
		c.Now = clock.now
		c.Wait = clock.wait
	}})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodeUnverified || e.Plan == nil {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	files := w.fetch(t, "del-1/")
	for _, name := range []string{"request.json", "plan.json", "ledger.jsonl", "failure.json"} {
		if _, ok := files["delete/evidence/"+name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if len(files) != 4 {
		t.Errorf("there is more than the evidence: %v", slices.Sorted(maps.Keys(files)))
	}
	var failure struct {
		Called      []struct{ Operation string }
		KnownAbsent []struct{ Category string } `json:"known_absent"`
		NotVerified []struct{ Step string }     `json:"not_verified"`
	}
	unmarshal(t, files["delete/evidence/failure.json"], &failure)
	if len(failure.Called) != 2 || len(failure.KnownAbsent) != 1 || failure.KnownAbsent[0].Category != "predictions" || len(failure.NotVerified) != 3 {
		t.Errorf("the evidence says %+v", failure)
	}
	if w.messages(t, "CV_DEAD") == nil {
		t.Error("there is no dead letter")
	}
}

// skippingClock is a clock that waiting moves.
type skippingClock struct {
	start   time.Time
	skipped atomic.Int64
}

func newSkippingClock() *skippingClock { return &skippingClock{start: time.Now()} }

func (s *skippingClock) now() time.Time {
	return time.Now().Add(time.Duration(s.skipped.Load()))
}

func (s *skippingClock) wait(ctx context.Context, d time.Duration) error {
	s.skipped.Add(int64(d))
	return ctx.Err()
}

// TestDeleteOfWhatIsAddedMeanwhile adds an image after the plan: the project is not deleted, and
// what was deleted is told.
func TestDeleteOfWhatIsAddedMeanwhile(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	var once atomic.Bool
	w.api.OnCall(func(operation string, _ int) {
		if operation == "DeleteIteration" && once.CompareAndSwap(false, true) {
			w.api.AddImage(account.small.ID, cvtest.ImageSpec{})
		}
	})
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	if e.Status != contract.StatusFailed || e.Error.Code != contract.CodePlanChanged || e.Counts.Images != 4 || e.Counts.Projects != 0 {
		t.Fatalf("ended %s: %v, counts %+v", e.Status, e.Error, e.Counts)
	}
	if p := project(ptr(w.api.Snapshot()), account.small.ID); p == nil || len(p.Workspace.Images) != 1 {
		t.Error("the image that was not planned is not there")
	}
}

func ptr[T any](v T) *T { return &v }

// TestTrainingIsWaitedFor shows that a delete waits for a training to end, holding nothing and
// costing no attempt.
func TestTrainingIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	it := account.small.Iterations[1]
	w.api.SetStatus(account.small.ID, it, cvtest.StatusTraining)
	before := w.api.Snapshot()
	w.start(t, replicaOptions{configure: noWait})
	h := w.publish(t, "delete", "del-1", `{"project_ids":`+idList(account.small.ID)+`}`)
	w.eventually(t, "the job waits for training", func() bool {
		job, _, err := w.queue.Job(t.Context(), "del-1")
		return err == nil && job.Waiting != nil && job.Waiting.For == contract.WaitTraining
	})
	if calls := w.api.DestructiveCalls(); len(calls) > 0 {
		t.Errorf("calls were made: %v", calls)
	}
	w.api.SetStatus(account.small.ID, it, cvtest.StatusCompleted)
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Fatalf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
	w.checkState(t, before, func(s *cvtest.State) {
		s.Projects = slices.DeleteFunc(s.Projects, func(p cvtest.ProjectState) bool { return p.ID == account.small.ID })
	})
}
