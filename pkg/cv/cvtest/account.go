package cvtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
)

// epoch is when the account's first project was made.
var epoch = time.Date(2026, time.March, 2, 8, 0, 0, 0, time.UTC)

// account is everything the service holds. Images, tags and predictions are immutable once made and
// may be shared by workspace, iterations and clones; a change replaces them. The Server's lock
// guards the rest.
type account struct {
	projects []*project // in order of creation
	made     int        // projects made so far
	erasures []erasure  // background deletions not yet carried out
}

// project is one project with everything in it.
type project struct {
	id                uuid.UUID
	serial            int
	name, description string
	kind              Kind
	compact           bool
	drMode            bool
	imageBytes        int
	created, modified time.Time
	thumbnail         uuid.UUID // the image its thumbnail shows, while that is in the workspace
	workspace         *scope
	iterations        []*iteration  // in order of training
	predictions       []*prediction // oldest first
	madeImages        int
	madeTags          int
	madeIterations    int
	madePredictions   int
	newest            time.Time // of all images ever uploaded
}

// scope is a set of images with its tags: the workspace or an iteration's snapshot.
type scope struct {
	tags   []*tag
	images []*image // by created, then id
	// The rest is made when first asked for and dropped by every change.
	index            map[uuid.UUID]*image
	tagged, untagged []*image
	counts           map[uuid.UUID]int // images of each tag
	listed           bool
}

type tag struct {
	id          uuid.UUID
	name        string
	description string // "": null
	kind        string // Regular, Negative, GeneralProduct
}

type image struct {
	id      uuid.UUID
	serial  int32 // number of the upload in its project, from 0
	created int64 // in nanoseconds since 1970
	picture picture
	tags    []tagLink
	regions []region
	meta    map[string]string
}

type tagLink struct {
	tag     uuid.UUID
	created int64
}

type region struct {
	id      uuid.UUID
	tag     uuid.UUID
	created int64
	box     box
}

// box is left, top, width, height as fractions of the picture.
type box [4]float32

type iteration struct {
	id                uuid.UUID
	serial            int
	name, status      string
	created, modified time.Time
	trained           time.Time // zero: untrained
	publishName       string    // "": not published
	minutes           int
	scope             *scope
	exports           []export
}

type export struct {
	platform, flavor, status string
	bytes                    int64
	newer                    bool
}

type prediction struct {
	id        uuid.UUID
	iteration uuid.UUID
	created   time.Time
	picture   picture
	guesses   []guess
}

// guess is one tag a prediction found, with the box it was found in, if any.
type guess struct {
	tag         uuid.UUID
	name, kind  string
	probability float32
	box         *box
}

// erasure is a background deletion of images from one scope (uuid.Nil is the workspace).
type erasure struct {
	due                time.Time
	project, iteration uuid.UUID
	ids                map[uuid.UUID]struct{}
}

// digest is a number made of the server's seed and labels.
func (s *Server) digest(labels ...any) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendln(fmt.Appendf(nil, "cvtest %d ", s.o.Seed), labels...))
}

// newID is a version 4 UUID made of the server's seed and labels.
func (s *Server) newID(labels ...any) uuid.UUID {
	sum := s.digest(labels...)
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// number is a pseudo-random number made of the server's seed and labels.
func (s *Server) number(labels ...any) uint64 {
	sum := s.digest(labels...)
	return binary.LittleEndian.Uint64(sum[16:])
}

func (a *account) project(id uuid.UUID) *project {
	for _, p := range a.projects {
		if p.id == id {
			return p
		}
	}
	return nil
}

func (p *project) iteration(id uuid.UUID) *iteration {
	for _, it := range p.iterations {
		if it.id == id {
			return it
		}
	}
	return nil
}

// scope returns the workspace for uuid.Nil, else the iteration's snapshot; nil when there is no
// such iteration.
func (p *project) scope(iteration uuid.UUID) *scope {
	if iteration == uuid.Nil {
		return p.workspace
	}
	if it := p.iteration(iteration); it != nil {
		return it.scope
	}
	return nil
}

func (p *project) scopes() []*scope {
	all := []*scope{p.workspace}
	for _, it := range p.iterations {
		all = append(all, it.scope)
	}
	return all
}

// image finds an image in the workspace or, failing that, in any iteration.
func (p *project) image(id uuid.UUID) *image {
	for _, sc := range p.scopes() {
		if img := sc.image(id); img != nil {
			return img
		}
	}
	return nil
}

func (p *project) prediction(id uuid.UUID) *prediction {
	for _, x := range p.predictions {
		if x.id == id {
			return x
		}
	}
	return nil
}

func (p *project) published() bool {
	return slices.ContainsFunc(p.iterations, func(it *iteration) bool { return it.publishName != "" })
}

func (p *project) training() bool {
	return slices.ContainsFunc(p.iterations, func(it *iteration) bool { return it.status == StatusTraining })
}

func (it *iteration) isTrained() bool {
	return !it.trained.IsZero() && it.status != StatusTraining && it.status != StatusNew
}

func (p *project) removeIteration(id uuid.UUID) {
	p.iterations = slices.DeleteFunc(slices.Clone(p.iterations), func(it *iteration) bool { return it.id == id })
}

func (p *project) removePredictions(ids map[uuid.UUID]struct{}) {
	p.predictions = slices.DeleteFunc(slices.Clone(p.predictions), func(x *prediction) bool {
		_, ok := ids[x.id]
		return ok
	})
}

func (sc *scope) tag(id uuid.UUID) *tag {
	for _, t := range sc.tags {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (sc *scope) image(id uuid.UUID) *image {
	if sc.index == nil {
		sc.index = make(map[uuid.UUID]*image, len(sc.images))
		for _, img := range sc.images {
			sc.index[img.id] = img
		}
	}
	return sc.index[id]
}

// list fills what is derived from the images.
func (sc *scope) list() {
	if sc.listed {
		return
	}
	sc.listed = true
	sc.tagged, sc.untagged = nil, nil
	sc.counts = make(map[uuid.UUID]int, len(sc.tags))
	for _, img := range sc.images {
		if len(img.tags) == 0 {
			sc.untagged = append(sc.untagged, img)
			continue
		}
		sc.tagged = append(sc.tagged, img)
		for _, l := range img.tags {
			sc.counts[l.tag]++
		}
	}
}

func (sc *scope) changed() {
	sc.index, sc.listed = nil, false
	sc.tagged, sc.untagged, sc.counts = nil, nil, nil
}

// snapshot is a scope of its own with the n oldest images (0: all).
func (sc *scope) snapshot(n int) *scope {
	images := sc.images
	if n > 0 && n < len(images) {
		images = images[:n]
	}
	return &scope{tags: slices.Clone(sc.tags), images: slices.Clone(images)}
}

func compareImages(a, b *image) int {
	if c := cmp.Compare(a.created, b.created); c != 0 {
		return c
	}
	return slices.Compare(a.id[:], b.id[:])
}

// add puts images, no older than the others, into the scope.
func (sc *scope) add(images ...*image) {
	sc.images = append(slices.Clone(sc.images), images...)
	slices.SortStableFunc(sc.images, compareImages)
	sc.changed()
}

// remove takes images out of the scope and says how many there were.
func (sc *scope) remove(ids map[uuid.UUID]struct{}) int {
	gone := make(map[*image]struct{}, len(ids))
	for id := range ids {
		if img := sc.image(id); img != nil {
			gone[img] = struct{}{}
		}
	}
	if len(gone) == 0 {
		return 0
	}
	kept := make([]*image, 0, len(sc.images)-len(gone))
	for _, img := range sc.images {
		if _, ok := gone[img]; !ok {
			kept = append(kept, img)
		}
	}
	sc.images = kept
	index := sc.index
	sc.changed()
	for img := range gone {
		delete(index, img.id)
	}
	sc.index = index
	return len(gone)
}

// removeTag takes a tag out of the scope, and its links and regions off the images, which stay.
func (sc *scope) removeTag(id uuid.UUID) {
	sc.tags = slices.DeleteFunc(slices.Clone(sc.tags), func(t *tag) bool { return t.id == id })
	sc.edit(func(img *image) bool {
		if !slices.ContainsFunc(img.tags, func(l tagLink) bool { return l.tag == id }) {
			return false
		}
		img.tags = slices.DeleteFunc(slices.Clone(img.tags), func(l tagLink) bool { return l.tag == id })
		img.regions = slices.DeleteFunc(slices.Clone(img.regions), func(r region) bool { return r.tag == id })
		return true
	})
}

// edit gives f a copy of every image, and keeps the copy where f changed it; images themselves are
// shared with other scopes.
func (sc *scope) edit(f func(img *image) bool) {
	images := slices.Clone(sc.images)
	for i, img := range images {
		if c := *img; f(&c) {
			images[i] = &c
		}
	}
	sc.images = images
	sc.changed()
}

// settle carries out the background deletions that are due.
func (a *account) settle(now time.Time) {
	if len(a.erasures) == 0 {
		return
	}
	a.erasures = slices.DeleteFunc(a.erasures, func(e erasure) bool {
		if e.due.After(now) {
			return false
		}
		if p := a.project(e.project); p != nil {
			if sc := p.scope(e.iteration); sc != nil {
				sc.remove(e.ids)
			}
		}
		return true
	})
}

// erase deletes images in the background: from the workspace and, if so asked, from the iterations,
// fully done after delay.
func (a *account) erase(p *project, ids map[uuid.UUID]struct{}, iterations bool, now time.Time, delay time.Duration) {
	steps := []uuid.UUID{uuid.Nil}
	if iterations {
		for _, it := range p.iterations {
			steps = append(steps, it.id)
		}
	}
	for i, it := range steps {
		due := now.Add(delay)
		if n := len(steps) - 1; n > 0 {
			due = now.Add(delay/2 + time.Duration(float64(delay-delay/2)*float64(i)/float64(n)))
		}
		a.erasures = append(a.erasures, erasure{due: due, project: p.id, iteration: it, ids: ids})
	}
	a.settle(now)
}

// clone copies everything that can change.
func (a *account) clone() account {
	c := account{made: a.made, erasures: slices.Clone(a.erasures)}
	for i := range c.erasures {
		c.erasures[i].ids = maps.Clone(c.erasures[i].ids)
	}
	for _, p := range a.projects {
		q := *p
		q.workspace = p.workspace.snapshot(0)
		q.predictions = slices.Clone(p.predictions)
		q.iterations = nil
		for _, it := range p.iterations {
			jt := *it
			jt.scope = it.scope.snapshot(0)
			jt.exports = slices.Clone(it.exports)
			q.iterations = append(q.iterations, &jt)
		}
		c.projects = append(c.projects, &q)
	}
	return c
}
