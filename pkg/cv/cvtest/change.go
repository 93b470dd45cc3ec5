package cvtest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// change runs f on a project under the lock; it panics when there is no such project, since that is
// a mistake in the test.
func (s *Server) change(id uuid.UUID, f func(p *project)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.settle(s.o.Now())
	p := s.account.project(id)
	if p == nil {
		panic(fmt.Sprintf("cvtest: no project %s", id))
	}
	f(p)
}

func (s *Server) changeIteration(id, iteration uuid.UUID, f func(it *iteration)) {
	s.change(id, func(p *project) {
		it := p.iteration(iteration)
		if it == nil {
			panic(fmt.Sprintf("cvtest: no iteration %s in project %s", iteration, id))
		}
		f(it)
	})
}

func setOf(ids []uuid.UUID) map[uuid.UUID]struct{} {
	set := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		set[id] = struct{}{}
	}
	return set
}

// AddImage adds an image to the workspace and returns its id.
func (s *Server) AddImage(projectID uuid.UUID, spec ImageSpec) uuid.UUID {
	var id uuid.UUID
	s.change(projectID, func(p *project) {
		at := spec.Created
		if at.IsZero() {
			at = p.newest.Add(time.Second)
		}
		img := s.upload(p, spec.Tags, maps.Clone(spec.Metadata), spec.ImageBytes, at)
		p.workspace.add(img)
		id = img.id
	})
	return id
}

// AddImages adds n tagged images, the project's tags in turn, and returns their ids, oldest first.
func (s *Server) AddImages(projectID uuid.UUID, n, imageBytes int) []uuid.UUID {
	ids := make([]uuid.UUID, 0, n)
	s.change(projectID, func(p *project) {
		images := make([]*image, 0, n)
		for range n {
			images = append(images, s.upload(p, s.chooseTags(p, p.madeImages), nil, imageBytes, s.uploadTime(p, p.madeImages)))
		}
		slices.SortStableFunc(images, compareImages)
		for _, img := range images {
			ids = append(ids, img.id)
		}
		p.workspace.add(images...)
	})
	return ids
}

// RemoveImage removes images from the workspace only.
func (s *Server) RemoveImage(projectID uuid.UUID, images ...uuid.UUID) {
	s.change(projectID, func(p *project) { p.workspace.remove(setOf(images)) })
}

// EraseImage removes images from the workspace and every iteration.
func (s *Server) EraseImage(projectID uuid.UUID, images ...uuid.UUID) {
	ids := setOf(images)
	s.change(projectID, func(p *project) {
		for _, sc := range p.scopes() {
			sc.remove(ids)
		}
	})
}

// AddTag adds a regular tag to the workspace and returns its id.
func (s *Server) AddTag(projectID uuid.UUID, name string) uuid.UUID {
	var id uuid.UUID
	s.change(projectID, func(p *project) { id = s.addTag(p, name, "Regular").id })
	return id
}

// RemoveTag removes tags from the workspace, with their links and regions; the images stay.
func (s *Server) RemoveTag(projectID uuid.UUID, tags ...uuid.UUID) {
	s.change(projectID, func(p *project) {
		for _, id := range tags {
			p.workspace.removeTag(id)
		}
	})
}

// AddIteration trains the workspace as it is now.
func (s *Server) AddIteration(projectID uuid.UUID, spec IterationSpec) uuid.UUID {
	var id uuid.UUID
	s.change(projectID, func(p *project) {
		it, _ := s.train(p, spec)
		id = it.id
	})
	return id
}

// RemoveIteration removes iterations, published or not.
func (s *Server) RemoveIteration(projectID uuid.UUID, iterations ...uuid.UUID) {
	s.change(projectID, func(p *project) {
		for _, id := range iterations {
			p.removeIteration(id)
		}
	})
}

// SetStatus sets an iteration's status, for example StatusTraining and later StatusCompleted.
func (s *Server) SetStatus(projectID, iterationID uuid.UUID, status string) {
	s.changeIteration(projectID, iterationID, func(it *iteration) { it.status = status })
}

// Publish publishes an iteration under a name; an empty name unpublishes it.
func (s *Server) Publish(projectID, iterationID uuid.UUID, name string) {
	s.changeIteration(projectID, iterationID, func(it *iteration) { it.publishName = name })
}

// AddPrediction stores a prediction of an iteration, newer than all others, and returns its id.
func (s *Server) AddPrediction(projectID, iterationID uuid.UUID) uuid.UUID {
	var id uuid.UUID
	s.change(projectID, func(p *project) { id = s.predict(p, p.iteration(iterationID)).id })
	return id
}

// RemovePrediction removes stored predictions; without ids all of the project.
func (s *Server) RemovePrediction(projectID uuid.UUID, predictions ...uuid.UUID) {
	s.change(projectID, func(p *project) {
		if len(predictions) == 0 {
			p.predictions = nil
			return
		}
		p.removePredictions(setOf(predictions))
	})
}

// RemoveProject removes projects with everything in them, published iterations or not.
func (s *Server) RemoveProject(projects ...uuid.UUID) {
	ids := setOf(projects)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account.removeProjects(ids)
}

func (a *account) removeProjects(ids map[uuid.UUID]struct{}) {
	a.projects = slices.DeleteFunc(slices.Clone(a.projects), func(p *project) bool {
		_, ok := ids[p.id]
		return ok
	})
}

// SetDRMode makes a project read-only, or ends that.
func (s *Server) SetDRMode(projectID uuid.UUID, on bool) {
	s.change(projectID, func(p *project) { p.drMode = on })
}

// SetKey replaces the training key demanded from now on.
func (s *Server) SetKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Key = key
}

// SetToken replaces the token that is also accepted from now on.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.o.Token = token
}

// OtherAccount makes a key good for another account at the same endpoint, as a regional one has
// many: an account with these projects, which are empty. To its key, everything of this account is
// not found.
func (s *Server) OtherAccount(key string, projects ...uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others == nil {
		s.others = map[string]account{}
	}
	var other account
	for i, id := range projects {
		other.projects = append(other.projects, &project{id: id, serial: i, name: fmt.Sprintf("Project %d", i+1), workspace: &scope{}})
	}
	s.others[key] = other
}

// TagImages puts a tag on images of the workspace, as a person labelling them does: they move from
// the untagged to the tagged ones.
func (s *Server) TagImages(projectID, tag uuid.UUID, images ...uuid.UUID) {
	s.change(projectID, func(p *project) { p.workspace.tagImages(tag, s.o.Now(), images...) })
}

// UntagImages takes all tags and regions from images of the workspace.
func (s *Server) UntagImages(projectID uuid.UUID, images ...uuid.UUID) {
	s.change(projectID, func(p *project) { p.workspace.untag(images...) })
}

func (sc *scope) tagImages(tag uuid.UUID, at time.Time, images ...uuid.UUID) {
	sc.edit(func(img *image) bool {
		if !slices.Contains(images, img.id) {
			return false
		}
		img.tags = append(slices.Clone(img.tags), tagLink{tag: tag, created: at.UnixNano()})
		return true
	})
}

func (sc *scope) untag(images ...uuid.UUID) {
	sc.edit(func(img *image) bool {
		if !slices.Contains(images, img.id) {
			return false
		}
		img.tags, img.regions = nil, nil
		return true
	})
}
