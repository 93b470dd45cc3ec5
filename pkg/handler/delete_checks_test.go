package handler_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

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
	By       string    `json:"verified_by"`
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
			if l.How == "" || l.Absent.IsZero() || !slices.Contains(bagfile.Proofs(l.Category), l.By) {
				t.Errorf("%s: %s does not say how, or when, or by which operation", name, lines.Text())
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
