package worker

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// doWitness reads which images there are, some pages one after the other: what no other unit has is
// read by its id.
func (a *attempt) doWitness(ctx context.Context) (unit.Summary, []unit.Record, error) {
	var (
		r    reading
		last uuid.UUID // of the page before
		torn bool
	)
	for k := range max(a.unit.Pages, 1) {
		page, err := survey.ImagePage(ctx, a.client, a.unit.Project, *a.unit.Listing, a.unit.Skip+k*cv.PageStride, cv.MaxPage, survey.KeepNone)
		switch err = a.judgeImages(ctx, err); {
		case errors.Is(err, delivery.ErrRefused):
			r.fail(contract.CategoryImages, survey.ScopeID(a.unit.ImageScope()), err)
		case err != nil && !errors.Is(err, errVanished):
			return unit.Summary{}, nil, err
		}
		torn = torn || k > 0 && (len(page) == 0 || page[0].ID != last)
		for _, image := range page {
			last = image.ID
			if r.list(image.ID) && survey.Selects(a.command.Data, image) {
				r.Items = append(r.Items, item{ID: image.ID})
			}
		}
	}
	s := r.summary()
	s.Last, s.Torn = "", torn
	if r.Listed > 0 {
		s.Last = last.String()
	}
	return s, r.failures(), nil
}
