package verify

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// inventory is what is kept of inventory.json.
type inventory struct {
	projects map[uuid.UUID]*listed
	order    []uuid.UUID
	few      int // iterations and models that it lists
}

// another counts an iteration or a model that the inventory lists.
func (inv *inventory) another() error {
	if inv.few++; inv.few > maxListed {
		return fmt.Errorf("it lists more than %d iterations and models", maxListed)
	}
	return nil
}

// listed is one project of the inventory.
type listed struct {
	gone       bool
	categories map[string]*category
	untrained  map[uuid.UUID]bool
	unstable   int
	removed    ids // images that were listed and removed before they were fetched
}

// category is one category of a project of the inventory.
type category struct {
	listed, exported int
	bytes            int64
	failed           int64
	pending          int64 // models that may still be made
	scopes           int   // the sum of what they listed; -1 where it has none
	distinct         *int
	unfinished       map[uuid.UUID]int // models that the service did not offer: how many, by the keys of their names and statuses
	things           ids               // failed: ids of images and predictions, keys of the names of models
	named            ids               // failed: keys of ids and operations
	calls            int               // failed: those that name a call which the service refused: what it would have given need not be there
}

// readInventory reads inventory.json piece by piece: it may name every image of every project.
func (v *verifier) readInventory(f *file) {
	s := newStream(f)
	inv := &inventory{projects: map[uuid.UUID]*listed{}}
	version := -1
	err := s.object(func(name string) error {
		switch name {
		case "v":
			return s.value(&version)
		case "projects":
			return s.list(func() error { return inv.project(s) })
		}
		return s.skip()
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
	case version != bagfile.Version:
		v.problem(f.name, "it has version %d, only %d is known", version, bagfile.Version)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.statements.inventory = inv
}

// project reads one project.
func (inv *inventory) project(s *stream) error {
	var id string
	p := &listed{categories: map[string]*category{}, untrained: map[uuid.UUID]bool{}}
	err := s.object(func(name string) error {
		switch name {
		case "id":
			return s.value(&id)
		case "gone":
			return s.value(&p.gone)
		case "categories":
			return s.object(func(name string) error {
				if !bagfile.KnownCategory(name) {
					return fmt.Errorf("%s is no category", quote(name))
				}
				p.categories[name] = &category{scopes: -1}
				return p.categories[name].read(s, name, inv.another)
			})
		case "untrained":
			return s.list(func() error {
				var id uuid.UUID
				err := s.value(&id)
				p.untrained[id] = true
				return cmp.Or(err, inv.another())
			})
		case "unstable":
			return s.list(func() error {
				p.unstable++
				return s.skip()
			})
		case "removed":
			return s.list(func() error {
				var id uuid.UUID
				err := s.value(&id)
				p.removed = append(p.removed, id)
				return err
			})
		}
		return s.skip()
	})
	if err != nil {
		return err
	}
	project := plainID(id)
	if project == uuid.Nil || inv.projects[project] != nil || len(inv.order) >= maxProjects {
		return fmt.Errorf("project %s has no id, is there twice, or is one of too many", quote(id))
	}
	p.removed, _ = sorted(p.removed)
	inv.projects[project] = p
	inv.order = append(inv.order, project)
	return nil
}

// read reads one category. It calls another for each thing listed that is no image or prediction.
func (c *category) read(s *stream, of string, another func() error) error {
	err := s.object(func(name string) error {
		switch name {
		case "listed":
			return s.value(&c.listed)
		case "exported":
			return s.value(&c.exported)
		case "bytes":
			return s.value(&c.bytes)
		case "distinct":
			return s.value(&c.distinct)
		case "scopes":
			c.scopes = 0
			seen := map[string]bool{}
			return s.list(func() error {
				var scope bagfile.InventoryScope
				if err := s.own(&scope); err != nil {
					return err
				}
				if scope.Listed < 0 || seen[scope.ID] || scope.ID != bagfile.Workspace && plainID(scope.ID) == uuid.Nil {
					return fmt.Errorf("the scope %s of %s is none, is there twice, or listed less than nothing", quote(scope.ID), of)
				}
				seen[scope.ID] = true
				c.scopes += scope.Listed
				return another()
			})
		case "unfinished":
			c.unfinished = map[uuid.UUID]int{}
			return s.list(func() error {
				var u bagfile.Unfinished
				err := s.own(&u)
				c.unfinished[nameKey(u.ID+"\x00"+u.Status)]++
				if u.Exception() {
					c.pending++
				}
				return cmp.Or(err, another())
			})
		case "failed":
			return s.list(func() error { return c.failure(s, of) })
		}
		return s.skip()
	})
	if c.listed < 0 || c.exported < 0 || c.bytes < 0 {
		return fmt.Errorf("a count of %s is negative", of)
	}
	c.things, _ = sorted(c.things)
	if _, twice := sorted(c.named); err == nil && twice != uuid.Nil {
		err = fmt.Errorf("of %s something failed that is there twice", of)
	}
	return err
}

// failure reads one thing that could not be had.
func (c *category) failure(s *stream, of string) error {
	var f bagfile.Failure
	if err := s.own(&f); err != nil {
		return err
	}
	c.failed++
	if f.Code == "" || f.ID == "" {
		return fmt.Errorf("of %s something failed that has no id or no code", of)
	}
	id := plainID(f.ID)
	if id != uuid.Nil || of == bagfile.Exports && strings.Contains(f.ID, "/") { // several listings of one iteration can be refused
		c.named = append(c.named, nameKey(f.ID+"\x00"+f.Operation))
	}
	switch {
	case of == bagfile.Exports && strings.Contains(f.ID, "/"): // a model, not the list of an iteration's
		c.things = append(c.things, nameKey(f.ID))
	case id != uuid.Nil && (of == bagfile.Images && !aboutScope(f.Operation) || of == bagfile.Predictions):
		c.things = append(c.things, id)
	}
	if f.Operation != "" {
		c.calls++
	}
	return nil
}

// aboutScope reports whether an operation is about the images of a scope: what failed then is an
// iteration, of which several operations may fail.
func aboutScope(operation string) bool {
	switch operation {
	case "GetImages", "GetTaggedImages", "GetUntaggedImages", "GetImageCount", "GetTaggedImageCount", "GetUntaggedImageCount":
		return true
	}
	return false
}

// exceptions is how many exceptions the inventory tells.
func (inv *inventory) exceptions(action string) int64 {
	n := int64(0)
	for _, p := range inv.projects {
		for _, c := range p.categories {
			n += c.failed + c.pending
		}
		n += int64(p.unstable)
		if p.gone && action == bagfile.ActionExport {
			n++
		}
	}
	return n
}

// skip reads a value of any size that is not needed.
func (s *stream) skip() error {
	depth := 0
	for {
		token, err := s.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxDepth {
				return fmt.Errorf("it is nested too deeply")
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}
