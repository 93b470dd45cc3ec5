package handler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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

// testAccount is an account of the delete tests: two projects with everything in them, the other
// one with metadata.
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
	for n, trouble := range []struct {
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
				if leftOut(n + i) {
					continue
				}
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

// TestDeleteOfAPersonNamesWhatStays deletes by metadata: the certificate names the iterations that
// were trained on what was deleted, as a residual, and the project that they are of.
func TestDeleteOfAPersonNamesWhatStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	account := fillAccount(w.api)
	w.start(t, replicaOptions{configure: noWait})
	e := w.delete(t, "del-1", `{"all_projects":true,"image_metadata":{"subject":"person-1"}}`)
	if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	page := string(w.bags(t, "del-1", sink.DeleteBag)[sink.DeleteBag]["index.html"])
	for _, want := range []string{
		fmt.Sprintf("iterations of project %s that were trained on images of the selection stay, with what they learned of them: %s<", account.other.ID, account.other.Iterations[0]),
		">GetImagesByIds does not give them, in the workspace and every iteration that has images</td>", "<bdi>Other</bdi>", "images whose metadata has &#34;subject&#34; = ",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the certificate does not say %q", want)
		}
	}
	if strings.Contains(page, "person-1") || strings.Contains(page, account.other.Iterations[1].String()) {
		t.Error("the certificate tells a metadata value, or an iteration that was never trained")
	}
	if t.Failed() {
		t.Log(page)
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
