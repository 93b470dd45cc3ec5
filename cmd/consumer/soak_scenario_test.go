package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// asked is a command that was published, and how it may end.
type asked struct {
	id     string
	action contract.Action
	data   string
	ends   []ending
	victim *victim // of a delete, and of the exports around it
	cancel string  // id of the cancel that was published for it
	event  contract.EventData
}

// ending is one way to end.
type ending struct {
	status  contract.Status
	outcome contract.Outcome
	code    string
}

var (
	complete   = ending{status: contract.StatusCompleted, outcome: contract.OutcomeComplete}
	exceptions = ending{status: contract.StatusCompleted, outcome: contract.OutcomeExceptions}
	nothing    = ending{status: contract.StatusCompleted, outcome: contract.OutcomeNothingFound}
	planned    = ending{status: contract.StatusCompleted, outcome: contract.OutcomePlanned}
	answered   = ending{status: contract.StatusCompleted}
	cancelled  = ending{status: contract.StatusCancelled}
)

func refusedAs(c string) ending { return ending{status: contract.StatusRefused, code: c} }

func failedAs(c string) ending { return ending{status: contract.StatusFailed, code: c} }

// message is one that was published: its action, the id that it gave, and where JetStream put it.
type message struct {
	action contract.Action
	id     string
	seq    uint64
}

// publish publishes a message and notes what must become of it. An id of "" is for a message that
// cannot have one.
func (s *soak) publish(a asked, body string) *asked {
	s.t.Helper()
	m := contract.Message{Subject: "cv.commands." + string(a.action), Body: []byte(body)}
	if a.id != "" {
		m.Header = map[string][]string{contract.HeaderMsgID: {a.id}}
	}
	seq, err := s.queue.PublishCommand(s.ctx, m)
	if err != nil {
		s.t.Fatalf("publish: %v", err)
	}
	s.messages++
	s.sent = append(s.sent, message{a.action, a.id, seq})
	a.data = body
	if a.id == "" || len(a.ends) == 1 && a.ends[0].code == contract.CodeIDConflict {
		a.id = contract.SeqID(seq)
	}
	s.asked[a.id] = &a
	return &a
}

func (s *soak) newID() string { return fmt.Sprintf("soak-%d-%04d", *soakSeed, s.messages) }

// pick chooses one of several.
func pick[T any](s *soak, from []T) T { return from[s.random.IntN(len(from))] }

// want publishes a well-formed command.
func (s *soak) want(action contract.Action, data string, ends ...ending) *asked {
	switch { // the last calls of a burst may concern one thing each
	case *soakBursts == 0:
	case action == contract.ActionExport && ends[0].status == contract.StatusCompleted:
		ends = append(ends, exceptions)
	case strings.Contains(data, "export_first"):
		ends = append(ends, refusedAs(contract.CodePreconditionFailed))
	}
	return s.publish(asked{id: s.newID(), action: action, ends: ends}, data)
}

// soakKind is a kind of load.
type soakKind struct {
	name   string
	weight int
	ask    func(s *soak)
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

type fields map[string]any

// exportData is an export's selection of what nothing changes.
func (s *soak) exportData(kind string) string {
	p := pick(s, s.sample[:4])
	switch kind {
	case "project":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}})
	case "projects":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[0].ID, s.sample[2].ID, s.sample[4].ID}})
	case "many":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[5].ID}})
	case "iteration":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "iteration_ids": p.Iterations[:1]})
	case "tag":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "tag_ids": p.Tags[:1]})
	case "images":
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "image_ids": p.Images[:5]})
	case "metadata":
		return jsonOf(fields{"project_ids": []uuid.UUID{s.sample[3].ID}, "image_metadata": fields{"subject": fmt.Sprintf("person-%03d", 1+s.random.IntN(3))}})
	default:
		return jsonOf(fields{"project_ids": []uuid.UUID{p.ID}, "categories": []string{"predictions", "exports"}})
	}
}

func (s *soak) kinds() []soakKind {
	export := func(kind string, weight int) soakKind {
		return soakKind{kind, weight, func(s *soak) { s.want(contract.ActionExport, s.exportData(kind), complete) }}
	}
	return []soakKind{
		export("project", 8), export("projects", 3), export("many", 2), export("iteration", 2), export("tag", 2), export("images", 3), export("metadata", 2), export("categories", 2),
		{"no such person", 1, func(s *soak) {
			s.want(contract.ActionExport, jsonOf(fields{"project_ids": []uuid.UUID{s.sample[3].ID}, "image_metadata": fields{"subject": "nobody"}}), nothing)
		}},
		{"no such project", 1, func(s *soak) {
			s.want(contract.ActionExport, jsonOf(fields{"project_ids": []string{"00000000-0000-4000-8000-000000000000"}}), failedAs(contract.CodeNotFound))
		}},
		{"expired", 1, func(s *soak) {
			s.want(contract.ActionExport, `{"all_projects":true,"not_after":"2020-01-01T00:00:00Z"}`, refusedAs(contract.CodeExpired))
		}},
		{"unknown resource", 1, func(s *soak) {
			s.want(contract.ActionExport, `{"all_projects":true,"resource":"other"}`, refusedAs(contract.CodeUnknownResource))
		}},
		{"malformed", 3, func(s *soak) {
			s.publish(asked{action: contract.ActionExport, ends: []ending{refusedAs(contract.CodeInvalidCommand)}}, pick(s, []string{`{`, `{"all_projects":true}`, `[]`, `{"All_projects":true}`, ""}))
		}},
		{"again", 3, func(s *soak) {
			if a := s.earlier(); a != nil { // its end stays as it is
				s.messages++
				seq, err := s.queue.PublishCommand(s.ctx, contract.Message{Subject: "cv.commands." + string(a.action), Header: map[string][]string{contract.HeaderMsgID: {a.id}}, Body: []byte(a.data)})
				if err != nil {
					s.t.Fatalf("publish: %v", err)
				}
				s.sent = append(s.sent, message{a.action, a.id, seq})
			}
		}},
		{"conflict", 2, func(s *soak) {
			a := s.earlier()
			switch {
			case a == nil:
			case a.action == contract.ActionCancel: // cancels have ids of their own
				s.publish(asked{id: a.id, action: a.action, ends: []ending{refusedAs(contract.CodeIDConflict)}}, `{"id":"another"}`)
			default:
				s.publish(asked{id: a.id, action: contract.ActionExport, ends: []ending{refusedAs(contract.CodeIDConflict)}}, `{"all_projects":true,"reference":"another"}`)
			}
		}},
		{"cancel an export", 2, func(s *soak) {
			s.cancel(s.want(contract.ActionExport, s.exportData("many"), complete, cancelled))
		}},
		{"delete a project", 3, func(s *soak) { s.erase(fields{"unpublish": true}, (*victim).loseAll, complete) }},
		{"delete images", 3, func(s *soak) { s.erase(fields{"image_ids": true}, (*victim).loseImages, complete) }},
		{"delete a tag", 1, func(s *soak) { s.erase(fields{"tag_ids": true}, (*victim).loseTag, complete) }},
		{"delete an iteration", 1, func(s *soak) {
			s.erase(fields{"iteration_ids": true, "unpublish": true}, (*victim).loseIteration, complete)
		}},
		{"export first", 2, func(s *soak) { s.erase(fields{"export_first": true, "unpublish": true}, (*victim).loseAll, complete) }},
		{"dry run", 1, func(s *soak) { s.erase(fields{"dry_run": true, "unpublish": true}, nil, planned) }},
		{"delete what is published", 1, func(s *soak) { s.erase(fields{}, nil, refusedAs(contract.CodeIterationPublished)) }},
		{"cancel a delete", 1, func(s *soak) {
			s.cancel(s.erase(fields{"unpublish": true}, (*victim).loseAll, complete, cancelled))
		}},
		{"export beside a labeller", 1, (*soak).exportLabelled},
		{"delete beside a labeller", 1, (*soak).deleteLabelled},
		{"delete between exports", 2, func(s *soak) {
			v := s.newVictim()
			export := jsonOf(fields{"project_ids": []uuid.UUID{v.project.ID}})
			s.want(contract.ActionExport, export, complete).victim = v
			s.eraseVictim(v, fields{"unpublish": true}, (*victim).loseAll, complete)
			s.want(contract.ActionExport, export, failedAs(contract.CodeNotFound))
		}},
	}
}

// earlier is a command that was published before, and has an id of its own.
func (s *soak) earlier() *asked {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(s.asked)) {
		if !strings.HasPrefix(id, "seq-") {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return s.asked[pick(s, ids)]
}

func (s *soak) cancel(a *asked) {
	c := s.want(contract.ActionCancel, jsonOf(fields{"id": a.id}), answered, refusedAs(contract.CodeTooLate))
	a.cancel = c.id
}

// victim is a project that a delete is for, and no other.
type victim struct {
	project *cvtest.Project
	deletes bool                  // the delete is one that deletes
	loses   func(*victim, *truth) // what it takes away
	command string                // id of the delete
}

// truth is which things a project has.
type truth struct {
	Gone        bool
	Workspace   []string
	Iterations  map[string][]string // images, by iteration
	Tags        []string            // of the workspace
	Predictions int
}

func (s *soak) newVictim() *victim {
	v := &victim{project: s.vision.AddProject(cvtest.ProjectSpec{
		Name: "Victim", Images: 12, Untagged: 2, Predictions: 3, ImageBytes: cvtest.Tiny, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 2}, {Published: true}},
	})}
	s.victims = append(s.victims, v)
	return v
}

// erase publishes a delete for a project of its own.
func (s *soak) erase(what fields, loses func(*victim, *truth), ends ...ending) *asked {
	return s.eraseVictim(s.newVictim(), what, loses, ends...)
}

func (s *soak) eraseVictim(v *victim, what fields, loses func(*victim, *truth), ends ...ending) *asked {
	p := v.project
	what["project_ids"] = []uuid.UUID{p.ID}
	for name, ids := range map[string][]uuid.UUID{"image_ids": p.Images[:4], "tag_ids": p.Tags[:1], "iteration_ids": p.Iterations[1:]} {
		if what[name] != nil {
			what[name] = ids
		}
	}
	v.loses, v.deletes = loses, loses != nil
	a := s.want(contract.ActionDelete, jsonOf(what), ends...)
	a.victim, v.command = v, a.id
	return a
}

func (*victim) loseAll(h *truth) { *h = truth{Gone: true} }

func (v *victim) loseImages(h *truth) {
	gone := func(id string) bool {
		return slices.ContainsFunc(v.project.Images[:4], func(u uuid.UUID) bool { return u.String() == id })
	}
	h.Workspace = slices.DeleteFunc(h.Workspace, gone)
	for it, images := range h.Iterations {
		h.Iterations[it] = slices.DeleteFunc(images, gone)
	}
}

func (v *victim) loseTag(h *truth) {
	h.Tags = slices.DeleteFunc(h.Tags, func(id string) bool { return id == v.project.Tags[0].String() })
}

func (v *victim) loseIteration(h *truth) { delete(h.Iterations, v.project.Iterations[1].String()) }

// truthOf is what the service has of a project.
func truthOf(state cvtest.State, id uuid.UUID) truth {
	i := slices.IndexFunc(state.Projects, func(p cvtest.ProjectState) bool { return p.ID == id })
	if i < 0 {
		return truth{Gone: true}
	}
	p := state.Projects[i]
	ids := func(items []cvtest.ItemState) []string {
		out := []string{}
		for _, item := range items {
			out = append(out, item.ID.String())
		}
		slices.Sort(out)
		return out
	}
	h := truth{Workspace: ids(p.Workspace.Images), Iterations: map[string][]string{}, Tags: []string{}, Predictions: len(p.Predictions)}
	for _, it := range p.Iterations {
		h.Iterations[it.ID.String()] = ids(it.Images)
	}
	for _, raw := range p.Workspace.Tags {
		var tag struct{ ID string }
		_ = json.Unmarshal(raw, &tag) // our own
		h.Tags = append(h.Tags, tag.ID)
	}
	slices.Sort(h.Tags)
	return h
}
