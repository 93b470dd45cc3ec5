package export

import (
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// tally fills in the counts that follow from the project unit and the listings.
func (p *projectCommit) tally(cut cutProject) {
	d, info := p.c.x.Command.Data, p.state.info
	set := func(c contract.Category, n int) {
		if d.Has(c) {
			category := p.category(c)
			category.Listed, category.Exported = n, n
		}
	}
	set(contract.CategoryProjects, 1) // it has a folder, also where the service refused project.json
	set(contract.CategoryIterations, len(info.Iterations))
	set(contract.CategoryTags, info.Tags)
	performances := 0
	for _, it := range info.Iterations {
		if it.Performance {
			performances++
		}
		if !it.Trained {
			p.inventory.Untrained = append(p.inventory.Untrained, it.ID.String())
		}
	}
	set(contract.CategoryPerformance, performances)
	if d.Has(contract.CategoryProjects) {
		p.c.counts.Projects++
	}
	if d.Has(contract.CategoryIterations) {
		p.c.counts.Iterations += int64(len(info.Iterations))
	}
	if d.Has(contract.CategoryTags) {
		p.c.counts.Tags += int64(info.Tags)
	}
	p.c.counts.Performance += int64(performances)
	p.c.counts.Images += int64(p.pictures.written)
	if !d.Has(contract.CategoryImages) {
		return
	}
	images := p.category(contract.CategoryImages)
	distinct := p.pictures.written
	images.Distinct = &distinct
	if d.Narrowing() == contract.NarrowImages {
		images.Listed = distinct
		return
	}
	images.Before, images.After = new(int), new(int)
	for _, l := range cut.Listings {
		if l.Kind == survey.All {
			if p.inventory.Witness == nil {
				p.inventory.Witness = &bagfile.Witness{}
			}
			w := p.inventory.Witness
			w.Listed, w.Before, w.After = w.Listed+l.Listed, w.Before+l.Before, w.After+l.After
		}
		if l.Kind != survey.Performances && l.Kind != survey.All {
			images.Listed += l.Listed
			images.Scopes = listedIn(images.Scopes, l)
			*images.Before += l.Before
			*images.After += l.After
		}
	}
}

// scopeID is how an inventory names a scope.
func scopeID(scope uuid.UUID) string {
	if scope == uuid.Nil {
		return bagfile.Workspace
	}
	return scope.String()
}

// listedIn adds what a listing gave to its scope's number. The listings of a scope follow each
// other.
func listedIn(scopes []bagfile.InventoryScope, l cutListing) []bagfile.InventoryScope {
	if l.Scope == "" {
		return scopes
	}
	if n := len(scopes); n == 0 || scopes[n-1].ID != l.Scope {
		scopes = append(scopes, bagfile.InventoryScope{ID: l.Scope})
	}
	scopes[len(scopes)-1].Listed += l.Listed
	return scopes
}
