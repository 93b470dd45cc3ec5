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

// missing cuts the batches of images whose blobs are still to be had: those that only the witness
// has, those that iterations know but the first scope does not, those whose blob was gone when the
// unit that listed them asked for it, and those that a page left to the page before, which turned
// out not to end with them.
func (r *rounds) missing(ctx context.Context, p *projectState) error {
	d := r.command.Data
	if d.Has(contract.CategoryImages) {
		if again, err := r.namedImages(ctx, p); again || err != nil {
			return err
		}
	}
	p.stage = stageMissing
	if !d.Has(contract.CategoryImages) {
		return nil
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
			switch {
			case l.witness && l.settled:
				units = append(units, l.pages...) // its last reading: what is not in it was removed meanwhile
			case l.of.Kind != survey.Performances:
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
				if !fetched || !slices.Contains(s.Lost, id) { // a lost one is asked for where else it is listed
					visit(u, id, s.First)
				}
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

// namedImages fails when an image that the requester named is nowhere, also when it is looked for
// again: one replica of the service that lags behind is no proof. It reports whether batches were
// cut for that.
func (r *rounds) namedImages(ctx context.Context, p *projectState) (again bool, err error) {
	if r.command.Data.Narrowing() != contract.NarrowImages || r.command.Action == contract.ActionDelete {
		return false, nil
	}
	found := map[uuid.UUID]struct{}{}
	for _, n := range p.batches {
		s, err := r.ids(ctx, n)
		if err != nil {
			return false, err
		}
		for _, id := range s.IDs {
			found[id] = struct{}{}
		}
	}
	var nowhere []uuid.UUID
	for _, id := range r.command.Data.ImageIDs {
		if _, ok := found[id]; !ok {
			nowhere = append(nowhere, id)
		}
	}
	switch {
	case len(nowhere) == 0:
		return false, nil
	case p.again:
		return false, &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("image_ids: project %s has no image %s, neither in its workspace nor in an iteration", p.id, nowhere[0])}
	}
	p.again = true
	for i, scope := range p.scopes(r.command.Data) {
		for ids := range slices.Chunk(nowhere, cv.MaxPage) {
			p.batches = append(p.batches, r.add(unit.Unit{Kind: unit.KindBatch, Project: p.id, Scope: scope, IDs: ids, Fetch: i == 0, Again: true}))
		}
	}
	return true, nil
}
