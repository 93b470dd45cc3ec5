package export

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
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
	witness  bool  // it lists the workspace once more, after all else
	waits    bool  // a witness whose turn has not come
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
	again           bool  // named images were looked for again
}

// rounds cuts an export into units, round by round: a round's units follow from the plan and from
// what the units before them found, and from nothing else, so that every coordinator cuts the same.
type rounds struct {
	plan     exportPlan
	command  contract.Command
	units    []unit.Unit
	sums     []unit.Summary // by unit, without ids and calls
	projects []*projectState
	read     contract.Progress
	tooMany  error // more units are needed than an export may have
	// ids reads a result's ids again: they are too many to be kept.
	ids func(ctx context.Context, n int) (unit.Summary, error)
}

func newRounds(p exportPlan, c contract.Command, ids func(context.Context, int) (unit.Summary, error)) *rounds {
	r := &rounds{plan: p, command: c, ids: ids}
	for _, id := range p.Projects {
		s := &projectState{id: id}
		s.unit = r.add(unit.Unit{Kind: unit.KindProject, Project: id, Measure: &unit.Measure{Threshold: p.Threshold, Overlap: p.Overlap}})
		r.projects = append(r.projects, s)
	}
	return r
}

// witnessUnits is into how many units a witness is cut at least, if it has as many pages: they are
// read side by side. Their pages need little memory, so a unit reads several.
const witnessUnits = 4

// maxUnits bounds the units of an export, which are kept in memory: pages of 255 million images.
const maxUnits = 1_000_000

// add numbers a unit and returns its number.
func (r *rounds) add(u unit.Unit) int {
	u.V, u.Command, u.N, u.Named = u.Oldest(), r.command.ID, len(r.units), r.plan.Named
	u.Action, u.Seq, u.Stream, u.Digest = r.command.Action, r.command.Seq, contract.Text(r.command.Stream), r.plan.Digest
	u.Host, u.Proven = r.plan.Host, r.plan.Proven
	for _, p := range r.projects {
		if p.id == u.Project && p.info.Proven != "" {
			u.Proven = p.info.Proven
		}
	}
	u.Known = r.known(u.Proven)
	r.units = append(r.units, u)
	r.expect(u)
	return u.N
}

// known are the projects by which a credential is known to be the account's: it lists one of them.
// With all_projects they are those that were listed when the export was planned; else those of the
// named ones that were read with the proven credential.
func (r *rounds) known(proven string) []uuid.UUID {
	known := r.plan.Projects
	if !r.command.Data.AllProjects { // a named project may never have been there
		known = nil
		for _, p := range r.projects {
			if p.unit < len(r.sums) && proven != "" && r.sums[p.unit].Proven == proven {
				known = append(known, p.id)
			}
		}
	}
	return known[:min(len(known), account.MaxKnown)]
}

// done notes a unit's result.
func (r *rounds) done(s unit.Summary) {
	for len(r.sums) <= s.N {
		r.sums = append(r.sums, unit.Summary{})
	}
	s.IDs, s.Lost, s.Calls = nil, nil, nil
	r.sums[s.N] = s
	r.count(r.units[s.N], s)
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
			if err := cmp.Or(r.advance(ctx, p), r.tooMany); err != nil {
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
	p.listings = append(r.witnesses(p), p.listings...)
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

// witnesses are the listings of the workspace's images, tagged or not, that are read after all
// others: an image that was tagged between the listing of the tagged and that of the untagged
// images is in neither, while all counts agree. They come first among the project's listings, so
// that what only they have is fetched from the workspace. Selections by iterations or images have
// none.
func (r *rounds) witnesses(p *projectState) []*listing {
	if !r.plan.witnessed() {
		return nil
	}
	var out []*listing
	for _, l := range p.info.Listings {
		if l.Scope == uuid.Nil && l.Kind == survey.Tagged {
			out = append(out, &listing{of: survey.Listing{Kind: survey.All, Tags: l.Tags}, witness: true, waits: true})
		}
	}
	return out
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
	of := l.of // a unit stays what it is when the listing is counted again
	pages := cv.Pages(of.Count)
	if r.plan.witnessed() {
		pages = max(pages, 1) // whatever the count says
	}
	if len(r.units)+pages > maxUnits {
		r.tooMany = &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf(
			"project %s would need more than %d units: the service counts %d %s items of %s; export fewer projects at a time", p.id, maxUnits, l.of.Count, l.of.Kind, survey.ScopeName(l.of.Scope))}
		return
	}
	each := 1 // pages of a unit
	if l.witness {
		each = min((pages+witnessUnits-1)/witnessUnits, unit.MaxPages)
	}
	for k := 0; k < pages; k += each {
		u := unit.Unit{Kind: kind, Project: p.id, Listing: &of, Pass: l.pass, Skip: k * cv.PageStride, Fetch: l.fetch}
		if n := min(each, pages-k); n > 1 {
			u.Pages = n
		}
		l.pages = append(l.pages, r.add(u))
	}
	l.all = append(l.all, l.pages...)
}

// toCount is what was read since it was counted, and then what is to be read next.
func (p *projectState) toCount() []survey.Listing {
	var read, waiting []survey.Listing
	for _, l := range p.listings {
		switch {
		case l.waits:
			waiting = append(waiting, l.of)
		case !l.settled && !l.unstable:
			read = append(read, l.of)
		}
	}
	return append(read, waiting...)
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
		if !ok || l.waits {
			continue
		}
		l.after = after
		joined := r.join(l)
		switch {
		case joined && l.listed == l.of.Count && l.after == l.of.Count:
			l.settled = true
		case l.pass >= l.passes():
			l.unstable = true
		default:
			l.pass++
			l.of.Count = after
			r.pages(p, l)
			again = true
		}
	}
	return again || r.openWitnesses(p, counted)
}

// openWitnesses cuts the first reading of the witnesses, once all other listings are done, and
// reports whether there are any.
func (r *rounds) openWitnesses(p *projectState, counted map[string]int) bool {
	opened := false
	for _, l := range p.listings {
		if !l.waits {
			continue
		}
		l.waits, opened = false, true
		l.of.Count = counted[l.of.Key()]
		l.before = l.of.Count
		r.pages(p, l)
	}
	return opened
}

// passes is how often a listing may be read again. A witness is read MaxPasses times in all.
func (l *listing) passes() int {
	if l.witness {
		return survey.MaxPasses - 1
	}
	return survey.MaxPasses
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
		whole = whole && !s.Torn
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

// progress is how much of what was counted has been read.
func (r *rounds) progress() contract.Progress {
	p := r.read
	p.Total = max(p.Total, p.Done)
	return p
}

// expect counts what a unit is about to read.
func (r *rounds) expect(u unit.Unit) {
	switch {
	case u.Kind == unit.KindBatch:
		r.read.Total += int64(len(u.IDs))
	case u.Listing != nil && u.Skip == 0 && !u.Witness():
		r.read.Total += int64(u.Listing.Count)
	}
}

// count counts what a unit has read.
func (r *rounds) count(u unit.Unit, s unit.Summary) {
	r.read.Bytes += s.Bytes
	if u.Witness() {
		return
	}
	r.read.Done += int64(s.Listed)
	if u.Skip > 0 && s.Listed > 0 {
		r.read.Done-- // the overlap with the page before
	}
	if u.Kind == unit.KindPredictions || u.Kind == unit.KindExports {
		r.read.Total += int64(s.Listed)
	}
}
