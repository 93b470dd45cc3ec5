package cvtest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// AddProject makes a project and returns the ids of what is in it. Ids depend on Options.Seed and
// on how many projects were added before, not on names.
func (s *Server) AddProject(spec ProjectSpec) *Project {
	s.mu.Lock()
	defer s.mu.Unlock()
	serial := s.account.made
	s.account.made++
	created := epoch.Add(time.Duration(serial) * 26 * time.Hour).Add(time.Duration(s.number("project", serial)%3_600_000) * time.Millisecond)
	p := &project{
		id: s.newID("project", serial), serial: serial, name: spec.Name, description: spec.Description, kind: spec.Kind,
		compact: spec.Compact, drMode: spec.DRMode, imageBytes: spec.ImageBytes,
		created: created, modified: created, newest: created.Add(7 * time.Minute), workspace: &scope{},
	}
	if p.name == "" {
		p.name = fmt.Sprintf("Project %d", serial+1)
	}
	s.account.projects = append(s.account.projects, p)

	names := spec.Tags
	if len(names) == 0 && spec.Images > 0 {
		names = []string{"alpha", "beta"}
	}
	made := &Project{ID: p.id}
	for _, name := range names {
		made.Tags = append(made.Tags, s.addTag(p, name, "Regular").id)
	}
	if spec.NegativeTag != "" {
		made.Tags = append(made.Tags, s.addTag(p, spec.NegativeTag, "Negative").id)
	}

	total, tagged := spec.Images+spec.Untagged, 0
	images := make([]*image, 0, total)
	for i := range total {
		var tags []uuid.UUID
		if (i+1)*spec.Untagged/total == i*spec.Untagged/total {
			tags = s.chooseTags(p, tagged)
			tagged++
		}
		var meta map[string]string
		if spec.Metadata != nil {
			meta = spec.Metadata(i)
		}
		images = append(images, s.upload(p, tags, meta, spec.ImageBytes, s.uploadTime(p, i)))
	}
	p.workspace.add(images...)
	if len(p.workspace.images) > 0 {
		p.thumbnail = p.workspace.images[len(p.workspace.images)-1].id
		p.modified = p.newest.Truncate(time.Millisecond).Add(40 * time.Millisecond)
	}
	for _, img := range p.workspace.images {
		made.Images = append(made.Images, img.id)
	}
	for _, is := range spec.Iterations {
		it, dropped := s.train(p, is)
		made.Iterations = append(made.Iterations, it.id)
		made.Dropped = append(made.Dropped, dropped...)
	}
	trained := slices.DeleteFunc(slices.Clone(p.iterations), func(it *iteration) bool { return !it.isTrained() })
	for i := range spec.Predictions {
		var it *iteration
		if len(trained) > 0 {
			it = trained[i%len(trained)]
		}
		made.Predictions = append(made.Predictions, s.predict(p, it).id)
	}
	return made
}

// uploadTime is when the i-th image of a specification was uploaded, in steps of 100 ns: some are
// equal, none goes back.
func (s *Server) uploadTime(p *project, i int) time.Time {
	if i%7 == 3 || i%7 == 4 {
		return p.newest // of the same batch as the one before
	}
	return p.newest.Add(time.Duration(1+s.number("pause", p.serial, i)%2_000_000) * 100 * time.Nanosecond)
}

func (s *Server) addTag(p *project, name, kind string) *tag {
	t := &tag{id: s.newID("tag", p.serial, p.madeTags), name: name, kind: kind}
	if p.madeTags%3 == 1 {
		t.description = "Pictures that show " + name
	}
	p.madeTags++
	p.workspace.tags = append(slices.Clone(p.workspace.tags), t)
	return t
}

// chooseTags gives the i-th tagged image of a project its tags.
func (s *Server) chooseTags(p *project, i int) []uuid.UUID {
	var regular, negative []uuid.UUID
	for _, t := range p.workspace.tags {
		if t.kind == "Negative" {
			negative = append(negative, t.id)
		} else {
			regular = append(regular, t.id)
		}
	}
	switch {
	case len(negative) > 0 && p.kind != Detection && i%9 == 8:
		return negative[:1]
	case len(regular) == 0:
		return nil
	case p.kind == Multiclass:
		return []uuid.UUID{regular[i%len(regular)]}
	}
	n := min(1+i%3, len(regular))
	var tags []uuid.UUID
	for k := range n {
		tags = append(tags, regular[(i+k)%len(regular)])
	}
	return tags
}

// upload makes an image with tags; in a detection project each tag gets a region, and the first one
// two.
func (s *Server) upload(p *project, tags []uuid.UUID, meta map[string]string, imageBytes int, at time.Time) *image {
	n := p.madeImages
	p.madeImages++
	if at.After(p.newest) {
		p.newest = at
	}
	img := &image{id: s.newID("image", p.serial, n), serial: int32(n), created: at.UnixNano(), meta: meta}
	// Tags and regions follow the image by some milliseconds.
	linked := at.Add(time.Duration(50_000+s.number("link", p.serial, n)%150_000) * 100 * time.Nanosecond).UnixNano()
	var items []item
	for _, id := range tags {
		t := p.workspace.tag(id)
		if t == nil {
			panic(fmt.Sprintf("cvtest: add image: no tag %s in project %s", id, p.id))
		}
		img.tags = append(img.tags, tagLink{tag: id, created: linked})
		items = append(items, item{name: t.name})
	}
	if p.kind == Detection && len(items) > 0 {
		if n%2 == 1 {
			items = append(items, items[0])
			tags = append(slices.Clone(tags), tags[0])
		}
		for i := range items {
			b := s.place(p, n, i, len(items))
			items[i].box = &b
			img.regions = append(img.regions, region{id: s.newID("region", p.serial, n, i), tag: tags[i], created: linked, box: b})
		}
	}
	img.picture = newPicture(s.number("picture", p.serial, n), n, imageBytes, items)
	return img
}

// place puts the i-th of n things side by side in a picture, each somewhere in its own share of the
// width.
func (s *Server) place(p *project, serial, i, n int) box {
	r := s.number("box", p.serial, serial, i)
	share := 1 / float32(n)
	f := func(shift uint) float32 { return float32(r>>shift&0xffff) / 0xffff }
	width := share * (0.55 + 0.35*f(0))
	height := min(0.75, width*1.3) * (0.8 + 0.2*f(16))
	return box{float32(i)*share + (share-width)*f(32), 0.08 + (0.8-height)*f(48), width, height}
}

func (s *Server) train(p *project, spec IterationSpec) (it *iteration, dropped []uuid.UUID) {
	n := p.madeIterations
	p.madeIterations++
	at := p.newest.Truncate(time.Millisecond).Add(time.Hour + time.Duration(n)*24*time.Hour)
	r := s.number("iteration", p.serial, n)
	it = &iteration{
		id: s.newID("iteration", p.serial, n), serial: n, name: spec.Name, status: spec.Status,
		created: at, modified: at.Add(time.Duration(200_000+r%400_000) * time.Millisecond),
		scope: p.workspace.snapshot(spec.Images),
	}
	if it.name == "" {
		it.name = fmt.Sprintf("Iteration %d", n+1)
	}
	if it.status == "" {
		it.status = StatusCompleted
		if spec.Untrained {
			it.status = StatusFailed
		}
	}
	if !spec.Untrained {
		it.trained = it.modified.Add(-time.Duration(300+r%700) * time.Millisecond)
		it.minutes = 1 + int(r%5)
	}
	if spec.Published {
		it.publishName = it.name + "-published"
	}
	for _, e := range spec.Exports {
		status := e.Status
		if status == "" {
			status = StatusDone
		}
		it.exports = append(it.exports, export{platform: e.Platform, flavor: e.Flavor, status: status, bytes: e.Bytes, newer: e.Newer})
	}
	p.iterations = append(slices.Clone(p.iterations), it)
	gone := map[uuid.UUID]struct{}{}
	for _, img := range p.workspace.images[:min(spec.DropFromWorkspace, len(p.workspace.images))] {
		gone[img.id] = struct{}{}
		dropped = append(dropped, img.id)
	}
	p.workspace.remove(gone)
	return it, dropped
}

func (s *Server) predict(p *project, it *iteration) *prediction {
	n := p.madePredictions
	p.madePredictions++
	at := p.newest
	if len(p.predictions) > 0 {
		at = p.predictions[len(p.predictions)-1].created
	} else if it != nil {
		at = p.iterations[len(p.iterations)-1].modified
	}
	r := s.number("prediction", p.serial, n)
	x := &prediction{
		id:      s.newID("prediction", p.serial, n),
		created: at.Add(time.Duration(1000+r%90_000) * time.Millisecond).Truncate(time.Millisecond),
	}
	sc := p.workspace
	if it != nil {
		x.iteration, sc = it.id, it.scope
	}
	for i, t := range sc.tags {
		q := s.number("guess", p.serial, n, i)
		g := guess{tag: t.id, name: t.name, kind: t.kind, probability: float32(q%1_000_000) / 2_000_000}
		switch (i + n) % len(sc.tags) {
		case 0:
			g.probability = 1 - g.probability/8
		case 1:
			g.probability = 1.1920929e-07
		}
		if p.kind == Detection {
			b := s.place(p, -1-n, i, len(sc.tags))
			g.box = &b
		}
		x.guesses = append(x.guesses, g)
	}
	slices.SortStableFunc(x.guesses, func(a, b guess) int {
		switch {
		case a.probability > b.probability:
			return -1
		case a.probability < b.probability:
			return 1
		}
		return 0
	})
	var items []item
	for _, g := range x.guesses {
		if g.probability > 0.5 {
			items = append(items, item{name: g.name, box: g.box})
		}
	}
	x.picture = newPicture(s.number("prediction picture", p.serial, n), n, p.imageBytes, items)
	x.picture.resized = false
	p.predictions = append(slices.Clone(p.predictions), x)
	return x
}

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

// OtherAccount makes a key good for another account at the same endpoint, as a regional one has
// many: an account without projects. To its key, everything of this account is not found.
func (s *Server) OtherAccount(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.others == nil {
		s.others = map[string]account{}
	}
	s.others[key] = account{}
}

// TagImages puts a tag on images of the workspace, as a person labelling them does: they move from
// the untagged to the tagged ones.
func (s *Server) TagImages(projectID, tag uuid.UUID, images ...uuid.UUID) {
	s.change(projectID, func(p *project) {
		p.workspace.edit(func(img *image) bool {
			if !slices.Contains(images, img.id) {
				return false
			}
			img.tags = append(slices.Clone(img.tags), tagLink{tag: tag, created: s.o.Now().UnixNano()})
			return true
		})
	})
}

// UntagImages takes all tags and regions from images of the workspace.
func (s *Server) UntagImages(projectID uuid.UUID, images ...uuid.UUID) {
	s.change(projectID, func(p *project) {
		p.workspace.edit(func(img *image) bool {
			if !slices.Contains(images, img.id) {
				return false
			}
			img.tags, img.regions = nil, nil
			return true
		})
	})
}
