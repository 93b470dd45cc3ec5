package verify

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// thing is a planned thing: a hash of category, project and id.
type thing [16]byte

func thingOf(category string, project, id uuid.UUID) thing {
	var b [64]byte
	n := copy(b[:], project[:])
	n += copy(b[n:], id[:])
	n += copy(b[n:], category)
	sum := sha256.Sum256(b[:n])
	return thing(sum[:16])
}

// planned is what a delete planned, and what became of it.
type planned struct {
	read     bool
	head     bagfile.Plan
	things   []thing // sorted
	fates    []fate  // of the things
	projects []plannedProject
	places   map[uuid.UUID]int // of the projects, by id
}

// fate is what the ledger and the records say of a thing.
type fate struct {
	intent int64 // time of its first call that may have been carried out, in ns; 0: there was none
	seen   bool  // a record has it
	also   bool  // of an iteration: a record has its performance
}

// plannedProject is the head of one project of a plan.
type plannedProject struct {
	id      uuid.UUID
	whole   bool
	counts  bagfile.Counts
	intents int64 // as of a fate: of a call for all images of the project
}

// project is a project of the plan, nil when it has none.
func (p *planned) project(id uuid.UUID) *plannedProject {
	i, ok := p.places[id]
	if !ok {
		return nil
	}
	return &p.projects[i]
}

// fate is that of a thing, nil when it was not planned.
func (p *planned) fate(category string, project, id uuid.UUID) *fate {
	i, ok := slices.BinarySearchFunc(p.things, thingOf(category, project, id), func(a, b thing) int { return bytes.Compare(a[:], b[:]) })
	if !ok {
		return nil
	}
	return &p.fates[i]
}

// readPlan reads plan.json piece by piece.
func (v *verifier) readPlan(f *file) {
	var p planned
	s := newStream(f)
	err := p.decode(s, func(category string, project, id uuid.UUID) error {
		if len(p.things) >= maxPlanned {
			return fmt.Errorf("it plans more than %d things", maxPlanned)
		}
		p.things = append(p.things, thingOf(category, project, id))
		return nil
	})
	if err == nil {
		err = s.end()
	}
	switch {
	case f.err != nil:
		return
	case err != nil:
		v.problem(f.name, "it is not what it should be: %v", err)
		return
	case p.head.V != bagfile.Version:
		v.problem(f.name, "it has version %d, only %d is known", p.head.V, bagfile.Version)
		return
	}
	slices.SortFunc(p.things, func(a, b thing) int { return bytes.Compare(a[:], b[:]) })
	if n := len(p.things); len(slices.Compact(p.things)) != n {
		v.problem(f.name, "it plans something twice")
		return
	}
	p.read, p.fates = true, make([]fate, len(p.things))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.planned = p
}

// decode reads a plan and passes on everything that it plans.
func (p *planned) decode(s *stream, plan func(category string, project, id uuid.UUID) error) error {
	return s.object(func(name string) error {
		switch name {
		case "api_version":
			return s.value(&p.head.APIVersion)
		case "categories":
			return s.value(&p.head.Categories)
		case "host":
			return s.value(&p.head.Host)
		case "selection":
			return s.own(&p.head.Selection)
		case "unpublish":
			return s.value(&p.head.Unpublish)
		case "v":
			return s.value(&p.head.V)
		case "projects":
			return s.list(func() error { return p.readProject(s, plan) })
		}
		return fmt.Errorf("the member %s is none of a plan", quote(name))
	})
}

// readProject reads one project of a plan. Its id comes first.
func (p *planned) readProject(s *stream, plan func(category string, project, id uuid.UUID) error) error {
	var q plannedProject
	every := func(category string, n *int64) error {
		return s.list(func() error {
			var id uuid.UUID
			if err := s.value(&id); err != nil {
				return err
			}
			if *n++; q.id == uuid.Nil || id == uuid.Nil {
				return fmt.Errorf("of %s something has no id, or comes before the id of its project", category)
			}
			return plan(category, q.id, id)
		})
	}
	err := s.object(func(name string) error {
		switch name {
		case "id":
			return s.value(&q.id)
		case "images":
			return every(bagfile.Images, &q.counts.Images)
		case "iterations":
			return every(bagfile.Iterations, &q.counts.Iterations)
		case "tags":
			return every(bagfile.Tags, &q.counts.Tags)
		case "project":
			return s.value(&q.whole)
		}
		return fmt.Errorf("the member %s is none of a planned project", quote(name))
	})
	if err != nil {
		return err
	}
	if q.id == uuid.Nil || p.project(q.id) != nil || len(p.projects) >= maxProjects {
		return fmt.Errorf("project %s has no id, is there twice, or is one of too many", q.id)
	}
	if q.whole {
		q.counts.Projects = 1
		if err := plan(bagfile.Projects, q.id, q.id); err != nil {
			return err
		}
	}
	if p.places == nil {
		p.places = map[uuid.UUID]int{}
	}
	p.places[q.id] = len(p.projects)
	p.projects = append(p.projects, q)
	return nil
}

// checkPlan compares the plan with what the command asks for.
func (v *verifier) checkPlan() {
	bad := func(format string, args ...any) { v.problem(sink.PlanFile, format, args...) }
	p, s, h := &v.planned, &v.scope, &v.planned.head
	if !slices.Equal(h.Categories, slices.Sorted(slices.Values(s.Categories))) || h.Unpublish != s.Unpublish {
		bad("its categories or unpublish are not those of the command")
	}
	sel := h.Selection
	equal := func(plan, scope []uuid.UUID) bool {
		plan, _ = sorted(slices.Clone(plan))
		return slices.Equal(plan, scope)
	}
	if sel.AllProjects != s.AllProjects || !equal(sel.ProjectIDs, s.ProjectIDs) || !equal(sel.ImageIDs, s.ImageIDs) || !equal(sel.IterationIDs, s.IterationIDs) ||
		!equal(sel.TagIDs, s.TagIDs) || !sameMetadata(sel.ImageMetadata, s.ImageMetadata) {
		bad("its selection is not that of the command")
	}
	if s.AllProjects == (len(s.ProjectIDs) > 0) {
		bad("the command names neither all projects nor some, or both")
	}
	whole := s.Has(bagfile.Projects) && !s.Narrowed()
	for _, q := range p.projects {
		switch {
		case !s.AllProjects && !ids(s.ProjectIDs).has(q.id):
			bad("it has project %s, which the command does not name", q.id)
		case q.whole != whole:
			bad("project %s is planned as a whole, or not, unlike what the command asks for", q.id)
		case q.counts.Iterations > 0 && !s.Has(bagfile.Iterations) && !whole, q.counts.Images > 0 && !s.Has(bagfile.Images) && !whole, q.counts.Tags > 0 && !s.Has(bagfile.Tags) && !whole:
			bad("of project %s it plans something of a category that the command does not name", q.id)
		case len(s.ImageIDs) > 0 && q.counts.Images > int64(len(s.ImageIDs)), len(s.IterationIDs) > 0 && q.counts.Iterations > int64(len(s.IterationIDs)), len(s.TagIDs) > 0 && q.counts.Tags > int64(len(s.TagIDs)):
			bad("of project %s it plans more than the command names", q.id)
		}
		if !ids(s.ProjectIDs).has(q.id) {
			continue
		}
		v.checkNamed(q.id, bagfile.Images, s.ImageIDs, q.counts.Images)
		v.checkNamed(q.id, bagfile.Iterations, s.IterationIDs, q.counts.Iterations)
		v.checkNamed(q.id, bagfile.Tags, s.TagIDs, q.counts.Tags)
	}
}

// checkNamed checks that what is planned of a category is among the ids that the command names.
func (v *verifier) checkNamed(project uuid.UUID, category string, named []uuid.UUID, n int64) {
	if len(named) == 0 {
		return
	}
	for _, id := range named {
		if v.planned.fate(category, project, id) != nil {
			n--
		}
	}
	if n != 0 {
		v.problem(sink.PlanFile, "of project %s it plans %s that the command does not name", project, category)
	}
}

// sameMetadata reports whether two selections by metadata are the same.
func sameMetadata(a, b []map[string]string) bool {
	return slices.EqualFunc(a, b, func(x, y map[string]string) bool {
		if len(x) != len(y) {
			return false
		}
		for name, value := range x {
			if other, ok := y[name]; !ok || other != value {
				return false
			}
		}
		return true
	})
}
