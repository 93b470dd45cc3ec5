package cvtest

import (
	"fmt"
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
