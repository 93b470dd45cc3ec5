package export

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// listing is one listing as the coordinator follows it.
type listing struct {
	of       survey.Listing
	fetch    bool
	pass     int
	pages    []int // units of the current reading
	all      []int // units of all readings
	listed   int   // distinct items of the current reading
	before   int   // counted before the first reading
	after    int   // counted after the last
	settled  bool  // the current reading was counted, and found right
	unstable bool  // it changed during every pass
}

// stage is how far a project's rounds are.
type stage int

const (
	stageProject stage = iota // its project unit is out
	stagePages                // pages are out
	stageCounts               // counts are out
	stageMissing              // images that only iterations hold are out
	stageDone
)

// projectState is one project of an export as the coordinator follows it.
type projectState struct {
	id              uuid.UUID
	info            unit.Summary // of its project unit
	unit            int          // its project unit
	stage           stage
	gone            bool // some unit found it gone
	counts          int  // unit of the counts that are out
	listings        []*listing
	batches         []int // units that read images by id: named ones first, then those that only iterations hold
	predictionUnits []int // of predictions, in order
}

// rounds cuts an export into units, round by round: a round's units follow from the plan and from
// what the units before them found, and from nothing else, so that every coordinator cuts the same.
type rounds struct {
	plan     exportPlan
	command  contract.Command
	units    []unit.Unit
	sums     []unit.Summary // by unit, without ids and calls
	projects []*projectState
	// ids reads a result's ids again: they are too many to be kept.
	ids func(ctx context.Context, n int) (unit.Summary, error)
}

func newRounds(p exportPlan, c contract.Command, ids func(context.Context, int) (unit.Summary, error)) *rounds {
	r := &rounds{plan: p, command: c, ids: ids}
	for _, id := range p.Projects {
		s := &projectState{id: id}
		s.unit = r.add(unit.Unit{Kind: unit.KindProject, Project: id})
		r.projects = append(r.projects, s)
	}
	return r
}

// add numbers a unit and returns its number.
func (r *rounds) add(u unit.Unit) int {
	u.V, u.Command, u.N, u.Named = unit.Version, r.command.ID, len(r.units), r.plan.Named
	u.Action, u.Seq, u.Stream, u.Digest = r.command.Action, r.command.Seq, contract.Text(r.command.Stream), r.plan.Digest
	r.units = append(r.units, u)
	return u.N
}

// done notes a unit's result.
func (r *rounds) done(s unit.Summary) {
	for len(r.sums) <= s.N {
		r.sums = append(r.sums, unit.Summary{})
	}
	s.IDs, s.Calls = nil, nil
	r.sums[s.N] = s
	if s.Gone {
		for _, p := range r.projects {
			p.gone = p.gone || p.id == r.units[s.N].Project
		}
	}
}

// next cuts the units of the next round, once all before it are done. It returns false when there
// is nothing left to do.
func (r *rounds) next(ctx context.Context) (bool, error) {
	before := len(r.units)
	for open := true; open && len(r.units) == before; { // a stage may have no units: that of a listing that became empty
		open = false
		for _, p := range r.projects {
			if err := r.advance(ctx, p); err != nil {
				return false, err
			}
			open = open || p.stage != stageDone
		}
	}
	return len(r.units) > before, nil
}

func (r *rounds) advance(ctx context.Context, p *projectState) error {
	if p.gone {
		p.stage = stageDone
		return nil
	}
	if n := len(p.predictionUnits); n > 0 && p.stage != stageProject {
		if last := r.sums[p.predictionUnits[n-1]]; len(last.Scopes) > 0 {
			p.predictionUnits = append(p.predictionUnits, r.add(unit.Unit{Kind: unit.KindPredictions, Project: p.id, Scopes: last.Scopes, Token: last.Token, Fetch: true}))
		}
	}
	switch p.stage {
	case stageProject:
		p.info = r.sums[p.unit]
		r.open(p)
		p.stage = stagePages
	case stagePages:
		if counted := p.toCount(); len(counted) > 0 {
			p.counts = r.add(unit.Unit{Kind: unit.KindCounts, Project: p.id, Listings: counted})
			p.stage = stageCounts
			return nil
		}
		return r.missing(ctx, p)
	case stageCounts:
		if r.reconcileCounts(p) {
			p.stage = stagePages
			return nil
		}
		return r.missing(ctx, p)
	case stageMissing, stageDone:
		p.stage = stageDone
	}
	return nil
}

// open cuts the first units of a project whose counts are known.
func (r *rounds) open(p *projectState) {
	d := r.command.Data
	scopes := p.scopes(d)
	first := uuid.Nil
	if len(scopes) > 0 {
		first = scopes[0]
	}
	tagged := false // some listing of named tags is fetched already: an image may be in those of several tags
	for _, l := range p.info.Listings {
		follow := &listing{of: l, before: l.Count, fetch: l.Kind != survey.Performances && l.Scope == first && !tagged}
		tagged = tagged || len(l.Tags) > 0 && follow.fetch
		p.listings = append(p.listings, follow)
		r.pages(p, follow)
	}
	if d.Has(contract.CategoryImages) && d.Narrowing() == contract.NarrowImages {
		for _, scope := range scopes {
			for ids := range slices.Chunk(d.ImageIDs, cv.MaxPage) {
				p.batches = append(p.batches, r.add(unit.Unit{Kind: unit.KindBatch, Project: p.id, Scope: scope, IDs: ids, Fetch: scope == first}))
			}
		}
	}
	if d.Has(contract.CategoryExports) {
		for _, it := range p.info.Iterations {
			r.add(unit.Unit{Kind: unit.KindExports, Project: p.id, Scope: it.ID})
		}
	}
	if d.Has(contract.CategoryPredictions) && len(scopes) > 0 {
		p.predictionUnits = append(p.predictionUnits, r.add(unit.Unit{Kind: unit.KindPredictions, Project: p.id, Scopes: scopes, Fetch: true}))
	}
}

// scopes are where the project is looked into, the one whose images are fetched page by page first.
func (p *projectState) scopes(d contract.Data) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(p.info.Iterations))
	for _, it := range p.info.Iterations {
		ids = append(ids, it.ID)
	}
	return survey.ScopesFor(d, ids)
}

// pages cuts one reading of a listing.
func (r *rounds) pages(p *projectState, l *listing) {
	kind := unit.KindPage
	if l.of.Kind == survey.Performances {
		kind = unit.KindPerformances
	}
	l.pages = nil
	for k := range cv.Pages(l.of.Count) {
		n := r.add(unit.Unit{Kind: kind, Project: p.id, Listing: &l.of, Pass: l.pass, Skip: k * cv.PageStride, Fetch: l.fetch})
		l.pages = append(l.pages, n)
	}
	l.all = append(l.all, l.pages...)
}

// toCount is what was read since it was counted.
func (p *projectState) toCount() []survey.Listing {
	var out []survey.Listing
	for _, l := range p.listings {
		if !l.settled && !l.unstable {
			out = append(out, l.of)
		}
	}
	return out
}

// reconcileCounts compares what was listed with what was counted before and after. It reports
// whether some listing has to be read again.
func (r *rounds) reconcileCounts(p *projectState) bool {
	again := false
	counted := map[string]int{}
	for _, l := range r.sums[p.counts].Listings {
		counted[l.Key()] = l.Count
	}
	for _, l := range p.listings {
		after, ok := counted[l.of.Key()]
		if !ok {
			continue
		}
		l.after = after
		joined := r.join(l)
		switch {
		case joined && l.listed == l.of.Count && l.after == l.of.Count:
			l.settled = true
		case l.pass >= survey.MaxPasses:
			l.unstable = true
		default:
			l.pass++
			l.of.Count = after
			r.pages(p, l)
			again = true
		}
	}
	return again
}

// join counts the distinct items of a reading, and reports whether its pages overlap as they must:
// each begins with the item that the one before ends with.
func (r *rounds) join(l *listing) bool {
	l.listed = 0
	last := ""
	whole := true
	for i, n := range l.pages {
		s := r.sums[n]
		l.listed += s.Listed
		if i > 0 {
			if s.First != last || s.Listed == 0 {
				whole = false
			} else {
				l.listed--
			}
		}
		last = s.Last
	}
	return whole
}

// missing cuts the batches of images whose blobs are still to be had: those that iterations know
// but the first scope does not, and those that a page left to the page before, which turned out not
// to end with them.
func (r *rounds) missing(ctx context.Context, p *projectState) error {
	p.stage = stageMissing
	d := r.command.Data
	if !d.Has(contract.CategoryImages) {
		return nil
	}
	if err := r.namedImages(ctx, p); err != nil {
		return err
	}
	var (
		known  = map[uuid.UUID]struct{}{}
		wanted = map[uuid.UUID][]uuid.UUID{} // by scope
		shared [][2]uuid.UUID                // scope and id
	)
	want := func(scope, id uuid.UUID) {
		if _, ok := known[id]; !ok {
			known[id] = struct{}{}
			wanted[scope] = append(wanted[scope], id)
		}
	}
	scan := func(fetched bool, visit func(u unit.Unit, id uuid.UUID, first string)) error {
		units := slices.Clone(p.batches)
		for _, l := range p.listings {
			if l.of.Kind != survey.Performances {
				units = append(units, l.all...)
			}
		}
		for _, n := range units {
			u := r.units[n]
			if u.Fetch != fetched {
				continue
			}
			s, err := r.ids(ctx, n)
			if err != nil {
				return err
			}
			for _, id := range s.IDs {
				visit(u, id, s.First)
			}
		}
		return nil
	}
	if err := scan(true, func(u unit.Unit, id uuid.UUID, first string) {
		if u.Shares(id, first) {
			shared = append(shared, [2]uuid.UUID{u.ImageScope(), id})
			return
		}
		known[id] = struct{}{}
	}); err != nil {
		return err
	}
	for _, s := range shared {
		want(s[0], s[1])
	}
	if err := scan(false, func(u unit.Unit, id uuid.UUID, _ string) { want(u.ImageScope(), id) }); err != nil {
		return err
	}
	for _, scope := range p.scopes(d) {
		for ids := range slices.Chunk(wanted[scope], cv.MaxPage) {
			p.batches = append(p.batches, r.add(unit.Unit{Kind: unit.KindBatch, Project: p.id, Scope: scope, IDs: ids, Fetch: true}))
		}
	}
	return nil
}

// namedImages fails when an image that the requester named is nowhere.
func (r *rounds) namedImages(ctx context.Context, p *projectState) error {
	if r.command.Data.Narrowing() != contract.NarrowImages || r.command.Action == contract.ActionDelete {
		return nil
	}
	found := map[uuid.UUID]struct{}{}
	for _, n := range p.batches {
		s, err := r.ids(ctx, n)
		if err != nil {
			return err
		}
		for _, id := range s.IDs {
			found[id] = struct{}{}
		}
	}
	for _, id := range r.command.Data.ImageIDs {
		if _, ok := found[id]; !ok {
			return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("image_ids: project %s has no image %s, neither in its workspace nor in an iteration", p.id, id)}
		}
	}
	return nil
}

// progress is how much of what was counted has been read.
func (r *rounds) progress() contract.Progress {
	var p contract.Progress
	for _, u := range r.units {
		switch {
		case u.Kind == unit.KindBatch:
			p.Total += int64(len(u.IDs))
		case u.Listing != nil && u.Skip == 0:
			p.Total += int64(u.Listing.Count)
		}
	}
	for n, s := range r.sums {
		if s.V == 0 {
			continue
		}
		p.Bytes += s.Bytes
		p.Done += int64(s.Listed)
		if r.units[n].Skip > 0 && s.Listed > 0 {
			p.Done-- // the overlap with the page before
		}
		if r.units[n].Kind == unit.KindPredictions || r.units[n].Kind == unit.KindExports {
			p.Total += int64(s.Listed)
		}
	}
	p.Total = max(p.Total, p.Done)
	return p
}
