package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// project is what is known of one project of an export.
type project struct {
	id         uuid.UUID
	has        map[shape]bool
	iterations map[uuid.UUID]*iteration // by the folders and by iterations.json
	modelBytes int64

	// Guarded by the verifier's lock, once documents and records are read.
	tags   map[uuid.UUID]bool
	images recorded
	stored recorded // predictions
}

// iteration is what is known of one iteration of an export.
type iteration struct {
	has     map[shape]bool
	named   bool                 // by iterations.json
	digests [2][sha256.Size]byte // of its object, in iterations.json and in iteration.json
	models  map[string]int       // files below exports/, without extensions: how many
	offers  []object             // models that exports.json offers
	others  []object             // models of exports.json that it does not offer
}

func newProject(id uuid.UUID) *project {
	return &project{id: id, has: map[shape]bool{}, iterations: map[uuid.UUID]*iteration{}, tags: map[uuid.UUID]bool{}}
}

// list notes a file of the project.
func (p *project) list(at place) {
	if at.iteration == uuid.Nil {
		p.has[at.shape] = true
		return
	}
	it := p.iteration(at.iteration)
	it.has[at.shape] = true
	if at.shape == modelFile {
		it.models[at.model]++
	}
}

// iteration is an iteration of the project, which is made when it is not known yet.
func (p *project) iteration(id uuid.UUID) *iteration {
	it := p.iterations[id]
	if it == nil {
		it = &iteration{has: map[shape]bool{}, models: map[string]int{}}
		p.iterations[id] = it
	}
	return it
}

// documents reports whether a file is a document of the service.
func (s shape) documents() bool {
	switch s {
	case projectFile, tagsFile, iterationsFile, iterationFile, iterationTags, performanceFile, exportsFile:
		return true
	}
	return false
}

// readDocument reads a document of the service: it is JSON without signed links, of this project
// and iteration.
func (v *verifier) readDocument(f *file, at place) {
	b := f.all()
	if b == nil {
		return
	}
	switch i, err := links.Find(b); {
	case err != nil:
		v.problem(f.name, "it is not valid JSON")
		return
	case i >= 0:
		v.problem(f.name, "the string at byte %d has a link with its query, which may be signed", i)
	}
	if err := checkValid(b, false); err != nil {
		v.problem(f.name, "%v", err)
		return
	}
	var objects []json.RawMessage
	switch at.shape {
	case tagsFile, iterationTags, iterationsFile, exportsFile:
		if json.Unmarshal(b, &objects) != nil {
			v.problem(f.name, "it is not a list")
			return
		}
	default:
		objects = []json.RawMessage{bytes.TrimSpace(b)}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.projects[at.project]
	if p == nil {
		return
	}
	seen := map[uuid.UUID]bool{}
	for _, raw := range objects {
		o := decodeObject(raw)
		if at.shape != performanceFile && at.shape != exportsFile {
			if o.ID == uuid.Nil || seen[o.ID] {
				v.note(f.name, "an object in it has no id, or one that is there twice")
				continue
			}
			seen[o.ID] = true
		}
		if o.Project != uuid.Nil && o.Project != at.project {
			v.note(f.name, "it has something of project %s", o.Project)
		}
		switch at.shape {
		case projectFile:
			if o.ID != at.project {
				v.note(f.name, "it is of project %s", o.ID)
			}
		case iterationFile:
			if o.ID != at.iteration {
				v.note(f.name, "it is of iteration %s", o.ID)
			}
			p.iteration(at.iteration).digests[1] = sha256.Sum256(raw)
		case iterationsFile:
			it := p.iteration(o.ID)
			it.named, it.digests[0] = true, sha256.Sum256(raw)
		case tagsFile, iterationTags:
			p.tags[o.ID] = true
		case exportsFile:
			it := p.iteration(at.iteration)
			if o.Status == "Done" {
				it.offers = append(it.offers, o)
			} else {
				it.others = append(it.others, o)
			}
		}
	}
}

// object is what verification needs of an object of the service.
type object struct {
	ID       uuid.UUID
	Project  uuid.UUID // of an iteration
	Platform string
	Flavor   string
	Status   string
}

// decodeObject reads the service's object leniently: what it cannot read is left out.
func decodeObject(raw json.RawMessage) object {
	var members struct {
		ID, ProjectID, Platform, Flavor, Status json.RawMessage
	}
	_ = json.Unmarshal(raw, &members)
	text := func(raw json.RawMessage) (s string) {
		_ = json.Unmarshal(raw, &s)
		return s
	}
	id := func(raw json.RawMessage) uuid.UUID {
		parsed, err := uuid.Parse(text(raw))
		if err != nil {
			return uuid.Nil
		}
		return parsed
	}
	return object{ID: id(members.ID), Project: id(members.ProjectID), Platform: text(members.Platform), Flavor: text(members.Flavor), Status: text(members.Status)}
}

// offered is the names, without extensions, of the files of the models that exports.json offers. Of
// several of one platform and flavor all but the first have a number.
func (it *iteration) offered(project, id uuid.UUID) []string {
	name := func(platform, flavor string) string {
		stem := string(sink.ModelStem(project, id, platform, flavor))
		return stem[strings.LastIndexByte(stem, '/')+1:]
	}
	var (
		names []string
		taken = map[string]bool{}
		again []object
		next  = map[object]int{} // the next number, by platform and flavor
	)
	for _, o := range it.offers {
		n := name(o.Platform, o.Flavor)
		if taken[n] {
			again = append(again, o)
			continue
		}
		taken[n] = true
		names = append(names, n)
	}
	for _, o := range again {
		n, of := "", object{Platform: o.Platform, Flavor: o.Flavor}
		for k := max(next[of], 2); n == "" || taken[n]; k++ {
			n, next[of] = name(o.Platform, o.Flavor+strconv.Itoa(k)), k+1
		}
		taken[n] = true
		names = append(names, n)
	}
	return names
}
