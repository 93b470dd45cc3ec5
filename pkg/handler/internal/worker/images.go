package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/blob"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// doImages reads one page or batch of images and, where the unit says so, their blobs.
func (a *attempt) doImages(ctx context.Context) (unit.Summary, []unit.Record, error) {
	r, mine, err := a.frozen(ctx, a.readImages)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s := r.summary()
	records := r.failures()
	if !a.unit.Fetch {
		for _, it := range r.Items {
			records = append(records, unit.Record{Image: it.Raw, ID: it.ID})
		}
		return s, records, nil
	}
	own := slices.DeleteFunc(slices.Clone(r.Items), func(it item) bool { return a.unit.Shares(it.ID, r.First) })
	blobs, err := a.fetch(ctx, own, mine, func(id uuid.UUID) sink.Path { return sink.ImageStem(a.unit.Project, id) }, a.imageLinks)
	if err != nil {
		return unit.Summary{}, nil, err
	}
	s.Tally(blobs)
	fetched := map[uuid.UUID]*unit.BlobRecord{}
	for i, it := range own {
		fetched[it.ID] = &blobs[i]
		if e := blobs[i].Error; e != nil && e.Code == unit.CodeGone {
			s.Lost = append(s.Lost, it.ID)
		}
	}
	for _, it := range r.Items {
		records = append(records, unit.Record{Image: it.Raw, ID: it.ID, Blob: fetched[it.ID]})
	}
	return s, records, nil
}

func (a *attempt) readImages(ctx context.Context) (reading, error) {
	var (
		u      = a.unit
		images []cv.Image
		err    error
	)
	if u.Again {
		if err := a.lookAgain(ctx, nil); err != nil {
			return reading{}, err
		}
	}
	if u.Kind == unit.KindBatch {
		images, err = a.imagesByID(ctx, u.Scope, u.IDs)
	} else {
		images, err = survey.ImagePage(ctx, a.client, u.Project, *u.Listing, u.Skip, cv.MaxPage, links.CutValid)
	}
	r := reading{}
	switch err = a.judgeImages(ctx, err); {
	case errors.Is(err, delivery.ErrRefused) && u.Kind == unit.KindBatch:
		r.Unread, r.Blame = u.IDs, blob.BlameOf(err)
	case errors.Is(err, delivery.ErrRefused):
		r.fail(contract.CategoryImages, survey.ScopeID(u.ImageScope()), err)
	case err != nil && !errors.Is(err, errVanished):
		return reading{}, err
	}
	for _, image := range images {
		if !r.list(image.ID) {
			continue
		}
		if u.Kind == unit.KindPage && !survey.Selects(a.command.Data, image) {
			continue
		}
		raw := image.Raw
		if u.Kind == unit.KindBatch { // in a page it is done already
			if raw, err = links.Cut(raw); err != nil {
				return reading{}, fmt.Errorf("read image %s: %w", image.ID, err)
			}
		}
		r.Items = append(r.Items, item{ID: image.ID, Raw: raw, links: blob.Candidates(image.OriginalImageURI, image.ResizedImageURI)})
	}
	return r, nil
}

// judgeImages is what err means, with which images were asked for.
func (a *attempt) judgeImages(ctx context.Context, err error) error {
	u := a.unit
	return a.judge(ctx, a.absent(ctx, err, u.ImageScope()), a.elsewhere(u.ImageScope(), true, func(ctx context.Context, scope uuid.UUID) error {
		if u.Kind == unit.KindBatch {
			_, err := a.imagesByID(ctx, scope, u.IDs)
			return err //nolint:wrapcheck // only its kind is looked at
		}
		_, err := survey.ImagePage(ctx, a.client, u.Project, survey.Listing{Kind: u.Listing.Kind, Scope: scope}, 0, 1, survey.KeepNone)
		return err //nolint:wrapcheck // only its kind is looked at
	}))
}

// imagesByID reads those of some images that a scope has.
func (a *attempt) imagesByID(ctx context.Context, scope uuid.UUID, ids []uuid.UUID) ([]cv.Image, error) {
	return survey.Survey{Client: a.client, Project: a.unit.Project, Gone: a.control.Gone}.ByIDs(ctx, scope, ids) //nolint:wrapcheck // it says what it looks for
}

// imageLinks reads the images again, for fresh links: an image that is not there any more is
// absent.
func (a *attempt) imageLinks(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]string, error) {
	images, err := inScope(ctx, a, a.unit.ImageScope(), true, func(ctx context.Context, scope uuid.UUID) ([]cv.Image, error) {
		return a.imagesByID(ctx, scope, ids)
	})
	if err != nil && !errors.Is(err, errVanished) {
		return nil, fmt.Errorf("ask for fresh links: %w", err)
	}
	links := map[uuid.UUID][]string{}
	for _, image := range images {
		links[image.ID] = blob.Candidates(image.OriginalImageURI, image.ResizedImageURI)
	}
	return links, nil
}
