package cvtest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Labeller is a person who works in a project's workspace while others read it: each move tags or
// untags an image, tags one and untags another (which leaves all counts as they were), adds one, or
// removes one. It remembers what it did, so that a test can tell what was there throughout. It is
// safe for concurrent use.
type Labeller struct {
	s       *Server
	project uuid.UUID

	mu      sync.Mutex
	rnd     *rand.Rand
	moves   int
	removed map[uuid.UUID]bool // from the workspace
	added   map[uuid.UUID]bool
	tagged  map[[2]uuid.UUID]bool // tag and image: it put the tag on
	lost    map[[2]uuid.UUID]bool // tag and image: it took the tag off
}

// Labeller is a labeller of a project. The same seed gives the same moves, as long as nothing else
// changes the project.
func (s *Server) Labeller(project uuid.UUID, seed uint64) *Labeller {
	return &Labeller{
		s: s, project: project, rnd: rand.New(rand.NewPCG(seed, 1)), removed: map[uuid.UUID]bool{}, added: map[uuid.UUID]bool{},
		tagged: map[[2]uuid.UUID]bool{}, lost: map[[2]uuid.UUID]bool{},
	}
}

// Chance makes a move in the given share (0 to 1) of its calls.
func (l *Labeller) Chance(share float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rnd.Float64() < share {
		l.move()
	}
}

// move does one thing; none when the project is gone.
func (l *Labeller) move() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	p := l.s.lookup(l.project)
	if p == nil {
		return
	}
	l.moves++
	sc := p.workspace
	kind := l.rnd.IntN(8)
	if len(sc.images) == 0 || kind == 0 {
		img := l.s.upload(p, nil, map[string]string{"subject": "new"}, Tiny, l.s.o.Now().Add(time.Second))
		sc.add(img)
		l.added[img.id] = true
		return
	}
	img := sc.images[l.rnd.IntN(len(sc.images))]
	switch kind {
	case 1:
		l.removed[img.id] = true
		sc.remove(setOf([]uuid.UUID{img.id}))
	case 2, 3:
		sc.list()
		for _, from := range [][]*image{sc.tagged, sc.untagged} {
			if len(from) > 0 {
				l.toggle(sc, from[l.rnd.IntN(len(from))])
			}
		}
	default:
		l.toggle(sc, img)
	}
}

// toggle takes an image's tags off, or puts one on where it has none.
func (l *Labeller) toggle(sc *scope, img *image) {
	switch {
	case len(img.tags) > 0:
		for _, link := range img.tags {
			l.lost[[2]uuid.UUID{link.tag, img.id}] = true
		}
		sc.untag(img.id)
	case len(sc.tags) > 0:
		t := sc.tags[l.rnd.IntN(len(sc.tags))].id
		l.tagged[[2]uuid.UUID{t, img.id}] = true
		sc.tagImages(t, l.s.o.Now(), img.id)
	}
}

// Moves is how many moves it made.
func (l *Labeller) Moves() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moves
}

// Removed reports whether it took an image out of the workspace.
func (l *Labeller) Removed(image uuid.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed[image]
}

// Tagged reports whether it put a tag on an image at any time.
func (l *Labeller) Tagged(tag, image uuid.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tagged[[2]uuid.UUID{tag, image}]
}

// Untagged reports whether it took a tag off an image at any time.
func (l *Labeller) Untagged(tag, image uuid.UUID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[[2]uuid.UUID{tag, image}]
}

// Added are the images it added, in no order.
func (l *Labeller) Added() []uuid.UUID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.added))
}
