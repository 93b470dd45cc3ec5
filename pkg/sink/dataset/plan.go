package dataset

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// Why images are left out of all formats: see ProjectReport.
const (
	leftNoFile    = "no picture in the bundle"
	LeftUntagged  = "no tag"
	leftSeveral   = "several tags, where the project has one for each image"
	LeftIteration = "only in iterations"
)

// plan says which images of a project are taken, and for which set.
type plan struct {
	src     verify.Source
	o       Options
	project Project
	classes []Class
	index   map[uuid.UUID]int // of the classes
	known   map[uuid.UUID]Tag // all tags

	validation []bool // of each image that is taken, in order
	left       map[string]int
}

// Class is what a tag is called in training sets.
type Class struct {
	Tag    uuid.UUID `json:"tag"`
	Name   string    `json:"name"` // the tag's, made unique
	Images int       `json:"images"`
}

// newPlan reads all listings of a project once.
func newPlan(ctx context.Context, src verify.Source, id uuid.UUID, o Options) (*plan, error) {
	project, err := ReadProject(ctx, src, id)
	if err != nil {
		return nil, err
	}
	p := &plan{src: src, o: o, project: project, index: map[uuid.UUID]int{}, known: map[uuid.UUID]Tag{}, left: map[string]int{}}
	p.learn(project.Tags)
	if o.Iterations {
		for _, i := range project.Iterations {
			tags, err := readTags(ctx, src, sink.IterationPath(id, i.ID, "tags.json"))
			if err != nil {
				return nil, err
			}
			p.learn(tags)
		}
	}
	var all []member
	for image, err := range p.listed(ctx) {
		if err != nil {
			return nil, err
		}
		if image.iteration && !o.Iterations {
			p.left[LeftIteration]++
			continue
		}
		p.learnNames(image.Image)
		labels, why := p.labels(image.Image)
		if why != "" {
			p.left[why]++
			continue
		}
		for _, class := range labels {
			p.classes[class].Images++
		}
		all = append(all, member{stratum: stratum(labels), order: orderOf(o.Seed, image.ID), at: len(all)})
	}
	p.validation = make([]bool, len(all))
	if o.Split > 0 {
		p.split(all)
	}
	return p, nil
}

// learn makes classes of tags. A negative tag is a class only where each image has one class.
func (p *plan) learn(tags []Tag) {
	for _, t := range tags {
		if _, ok := p.known[t.ID]; ok {
			continue
		}
		p.known[t.ID] = t
		if t.Negative && p.project.Kind != Multiclass {
			continue
		}
		p.index[t.ID] = len(p.classes)
		p.classes = append(p.classes, Class{Tag: t.ID, Name: p.unique(t)})
	}
}

// learnNames makes classes of the tags that only an image names.
func (p *plan) learnNames(image Image) {
	for _, id := range image.Tags {
		p.learn([]Tag{{ID: id, Name: image.names[id]}})
	}
	for _, box := range image.Boxes {
		p.learn([]Tag{{ID: box.Tag, Name: image.names[box.Tag]}})
	}
}

// unique is the name of a tag, with a part of its id where it has none, or another has it.
func (p *plan) unique(t Tag) string {
	taken := func(name string) bool {
		return strings.TrimSpace(name) == "" || slices.ContainsFunc(p.classes, func(c Class) bool { return c.Name == name })
	}
	name := t.Name
	if taken(name) {
		name = fmt.Sprintf("%s (%s)", cmp.Or(strings.TrimSpace(t.Name), "tag"), t.ID.String()[:8])
	}
	if taken(name) {
		name = fmt.Sprintf("%s (%s)", t.Name, t.ID)
	}
	for taken(name) {
		name += "_"
	}
	return name
}

// listing is an image, and whether it is from an iteration.
type listing struct {
	Image
	iteration bool
}

// listed yields each image once: those of the workspace, then those that only iterations have, each
// as the newest iteration has it.
func (p *plan) listed(ctx context.Context) iter.Seq2[listing, error] {
	return func(yield func(listing, error) bool) {
		seen := map[uuid.UUID]struct{}{}
		each := func(path sink.Path, iteration bool) bool {
			for image, err := range images(ctx, p.src, p.project.ID, path) {
				if err != nil {
					yield(listing{}, err)
					return false
				}
				if _, twice := seen[image.ID]; twice {
					continue
				}
				seen[image.ID] = struct{}{}
				if !yield(listing{image, iteration}, nil) {
					return false
				}
			}
			return true
		}
		if !each(sink.ProjectPath(p.project.ID, "images.jsonl"), false) {
			return
		}
		for _, i := range p.project.Iterations {
			if !each(sink.IterationPath(p.project.ID, i.ID, "images.jsonl"), true) {
				return
			}
		}
	}
}

// labels is the classes of an image, sorted, each once, or why it is left out.
func (p *plan) labels(image Image) (labels []int, why string) {
	if image.File == "" {
		return nil, leftNoFile
	}
	negative := false
	tags := image.Tags
	if p.project.Kind == Detection {
		tags = nil
		for _, box := range image.Boxes {
			tags = append(tags, box.Tag)
		}
		for _, id := range image.Tags {
			negative = negative || p.known[id].Negative
		}
	}
	for _, id := range tags {
		if class, ok := p.index[id]; ok {
			labels = append(labels, class)
		} else {
			negative = true
		}
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	switch {
	case p.project.Kind == Multiclass && len(labels) > 1:
		return nil, leftSeveral
	case len(labels) == 0 && (p.project.Kind == Multiclass || !negative && !p.o.Untagged):
		return nil, LeftUntagged
	}
	return labels, ""
}

// taken yields the images that are taken, with their classes, in the order of the plan.
func (p *plan) taken(ctx context.Context) iter.Seq2[*example, error] {
	return func(yield func(*example, error) bool) {
		n := 0
		for image, err := range p.listed(ctx) {
			if err != nil {
				yield(nil, err)
				return
			}
			if image.iteration && !p.o.Iterations {
				return // all that follow are from iterations, too
			}
			labels, why := p.labels(image.Image)
			if why != "" {
				continue
			}
			if n == len(p.validation) {
				yield(nil, &verify.FormatError{Path: sink.ProjectPath(p.project.ID, "images.jsonl"), Err: fmt.Errorf("it changed while it was read")})
				return
			}
			if !yield(&example{Image: image.Image, labels: labels, validation: p.validation[n]}, nil) {
				return
			}
			n++
		}
	}
}

// member is an image that is taken: which classes it has, and its place among those with the same.
type member struct {
	stratum string
	order   uint64
	at      int // in the order of the plan
}

// stratum stands for a set of classes.
func stratum(labels []int) string {
	key := make([]byte, 0, 4*len(labels))
	for _, class := range labels {
		key = binary.BigEndian.AppendUint32(key, uint32(class)) //nolint:gosec // a few hundred
	}
	return string(key)
}

// orderOf is a number that depends only on the seed and the image.
func orderOf(seed uint64, id uuid.UUID) uint64 {
	sum := sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, seed), id[:]...))
	return binary.BigEndian.Uint64(sum[:])
}

// split chooses the images for validation: of those with the same classes, the share that is asked
// for. What remains of a share is carried on to the sets of classes that follow, and those with the
// same rarest class follow each other.
func (p *plan) split(all []member) {
	rarest := map[string]int{}
	for _, m := range all {
		if _, ok := rarest[m.stratum]; ok {
			continue
		}
		best := -1
		for i := 0; i < len(m.stratum); i += 4 {
			class := int(binary.BigEndian.Uint32([]byte(m.stratum[i:])))
			if best < 0 || p.classes[class].Images < p.classes[best].Images {
				best = class
			}
		}
		rarest[m.stratum] = best
	}
	slices.SortFunc(all, func(a, b member) int {
		return cmp.Or(cmp.Compare(rarest[a.stratum], rarest[b.stratum]), cmp.Compare(a.stratum, b.stratum), cmp.Compare(a.order, b.order), cmp.Compare(a.at, b.at))
	})
	carried := 0.0
	for from := 0; from < len(all); {
		to := from
		for to < len(all) && all[to].stratum == all[from].stratum {
			to++
		}
		wanted := float64(to-from)*(1-p.o.Split) + carried
		n := min(int(math.Floor(wanted+0.5)), to-from)
		carried = wanted - float64(n)
		for _, m := range all[from : from+n] {
			p.validation[m.at] = true
		}
		from = to
	}
}

// sets names the sets that are written.
func (p *plan) sets() []string {
	if p.o.Split == 0 {
		return []string{trainSet}
	}
	return []string{trainSet, validationSet}
}
