package survey

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// manyRefused is after how many refused batches a scope may be listed instead.
const manyRefused = 16

// Present adds the ids that a scope has, whatever the selection is. listed says that listings were
// read for some of them, after too many batches were refused.
func (s Survey) Present(ctx context.Context, scope uuid.UUID, ids []uuid.UUID, found Selected) (listed bool, err error) {
	return s.eachPresent(ctx, scope, ids, found.add)
}

// ByIDs reads those of some images that a scope has, whatever the selection is.
func (s Survey) ByIDs(ctx context.Context, scope uuid.UUID, ids []uuid.UUID) (images []cv.Image, err error) {
	have := func(image cv.Image) { images = append(images, image) }
	return images, s.byIDs(ctx, scope, ids, have, func([]uuid.UUID) (bool, error) { return false, nil })
}

// eachPresent calls have with each image that a scope has of these ids. Where many are not there
// the scope is listed instead, if that takes fewer calls: then have gets ids and times only.
func (s Survey) eachPresent(ctx context.Context, scope uuid.UUID, ids []uuid.UUID, have func(cv.Image)) (listed bool, err error) {
	err = s.byIDs(ctx, scope, ids, have, func(left []uuid.UUID) (bool, error) {
		cheaper, err := s.listsWith(ctx, scope, 2*len(left))
		if err != nil || !cheaper {
			return false, err
		}
		listed = true
		return true, s.listPresent(ctx, scope, left, have)
	})
	return listed, err
}

// byIDs calls have with each image that a scope has of these ids. A batch that is refused for an
// image that is not there, or because it is too big, is asked in halves: the answer says nothing of
// the other images, nor of the scope. After manyRefused such answers it calls instead with the ids
// that are left, which may look for them in another way, and reports whether it did.
func (s Survey) byIDs(ctx context.Context, scope uuid.UUID, ids []uuid.UUID, have func(cv.Image), instead func(left []uuid.UUID) (bool, error)) error {
	todo := slices.Collect(slices.Chunk(ids, cv.MaxPage))
	for refused := 0; len(todo) > 0; {
		batch := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		images, err := s.Client.GetImagesByIDs(ctx, s.Project, scope, batch)
		switch missing := cv.Missing(err) == cv.ThingImage; {
		case (missing || errors.Is(err, cv.ErrBatchTooBig)) && len(batch) > 1:
			half := len(batch) / 2
			todo = append(todo, batch[half:], batch[:half])
			if refused++; refused == manyRefused {
				if done, err := instead(slices.Concat(todo...)); done || err != nil {
					return err
				}
			}
			continue
		case missing:
			if _, err := s.Gone(ctx, s.Project, err, cv.ThingImage); err != nil {
				return err
			}
		case err != nil && !errors.Is(err, cv.ErrUntrained):
			return fmt.Errorf("look for images in %s: %w", ScopeName(scope), err)
		}
		for _, image := range images {
			have(image)
		}
	}
	return nil
}

// listsWith reports whether listing a scope takes fewer calls than these.
func (s Survey) listsWith(ctx context.Context, scope uuid.UUID, calls int) (bool, error) {
	n, err := Count(ctx, s.Client, s.Project, Listing{Kind: All, Scope: scope})
	return 2*cv.Pages(n)+8 < calls, err // twice, beside counts and pages begun
}

// listPresent is eachPresent by listing the whole scope, in every way: an image that moves
// meanwhile must not pass for absent.
func (s Survey) listPresent(ctx context.Context, scope uuid.UUID, ids []uuid.UUID, have func(cv.Image)) error {
	s.Data = contract.Data{} // all images
	all := Selected{}
	listings := ImageListings(scope)
	if err := s.read(ctx, append(listings, witnesses(listings)...), all); err != nil {
		return err
	}
	for _, id := range ids {
		if made, ok := all[id]; ok {
			have(cv.Image{ID: id, Created: cv.Time{Time: made}})
		}
	}
	return nil
}
