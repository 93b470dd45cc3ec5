package handler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// MaxReadings is how often a listing that changes while it is read is read again.
const MaxReadings = 3

// survey finds the images that a selection holds.
type survey struct {
	client  *cv.Client
	project uuid.UUID
	data    contract.Data // selects the images
	// gone reports whether an error proves that what was asked for is not there. Every other error
	// it returns.
	gone func(context.Context, error) (bool, error)
	// progress hears now and then how many images are found so far.
	progress func(found int) error
}

// selected is the images that a selection holds, with the time when each was made.
type selected map[uuid.UUID]time.Time

func (s selected) add(image cv.Image) { s[image.ID] = image.Created.Time }

// ids are the images' ids, in byte order.
func (s selected) ids() []uuid.UUID {
	return contract.SortedIDs(slices.Collect(maps.Keys(s)))
}

// images finds the selected images in some scopes of the project.
func (s survey) images(ctx context.Context, scopes []uuid.UUID) (selected, error) {
	d := s.data
	found := selected{}
	for _, scope := range scopes {
		var err error
		switch d.Narrowing() {
		case contract.NarrowImages:
			err = s.present(ctx, scope, d.ImageIDs, found)
		case contract.NarrowTags:
			err = s.selectTagged(ctx, scope, found)
		default:
			err = s.list(ctx, []Listing{{Kind: Tagged, Scope: scope}, {Kind: Untagged, Scope: scope}}, found)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// selectTagged finds the images of a scope that carry any of the named tags.
func (s survey) selectTagged(ctx context.Context, scope uuid.UUID, found selected) error {
	tags, err := s.client.GetTags(ctx, s.project, scope)
	none, err := s.holdsNothing(ctx, scope, err)
	if err != nil {
		return fmt.Errorf("read the tags of %s: %w", scopeName(scope), err)
	}
	if none {
		return nil
	}
	var here []uuid.UUID
	for _, t := range tags {
		if slices.Contains(s.data.TagIDs, t.ID) {
			here = append(here, t.ID)
		}
	}
	var listings []Listing
	for chunk := range slices.Chunk(here, cv.MaxTagIDs) {
		listings = append(listings, Listing{Kind: Tagged, Scope: scope, Tags: chunk})
	}
	return s.list(ctx, listings, found)
}

// holdsNothing reports whether err says that a scope holds nothing: an iteration that was never
// trained, or that is gone. Every other error it returns.
func (s survey) holdsNothing(ctx context.Context, scope uuid.UUID, err error) (bool, error) {
	if errors.Is(err, cv.ErrUntrained) {
		return true, nil
	}
	if scope == uuid.Nil {
		return false, err
	}
	return s.gone(ctx, err)
}

// present adds the ids that a scope has. A batch that fails for an image that is not there is asked
// in halves: the answer says nothing of the others, nor of the scope.
func (s survey) present(ctx context.Context, scope uuid.UUID, ids []uuid.UUID, found selected) error {
	for chunk := range slices.Chunk(ids, cv.MaxPage) {
		images, err := s.client.GetImagesByIDs(ctx, s.project, scope, chunk)
		if isNotFoundImage(err) {
			if len(chunk) > 1 {
				half := len(chunk) / 2
				err = s.present(ctx, scope, chunk[:half], found)
				if err == nil {
					err = s.present(ctx, scope, chunk[half:], found)
				}
			} else {
				_, err = s.gone(ctx, err)
			}
			if err != nil {
				return err
			}
			continue
		}
		none, err := s.holdsNothing(ctx, scope, err)
		if err != nil {
			return fmt.Errorf("look for images in %s: %w", scopeName(scope), err)
		}
		if none {
			return nil
		}
		for _, image := range images {
			found.add(image)
		}
	}
	return nil
}

// list adds the matching images of the listings of one scope, after reading them whole. All are
// counted before the first is read and after the last: an image that moves from one to the other
// meanwhile, as one that is tagged does, may be in neither. When a count moved all are read again.
func (s survey) list(ctx context.Context, listings []Listing, found selected) error {
	if len(listings) == 0 {
		return nil
	}
	before, err := s.countAll(ctx, listings)
	if err != nil {
		return err
	}
	for range MaxReadings {
		listed := make([]int, len(listings))
		moved := false
		for i, l := range listings { // each one, whatever its count says
			n, err := s.readListing(ctx, l, found)
			if errors.Is(err, cv.ErrUnstable) {
				moved = true
				break
			}
			if _, err := s.holdsNothing(ctx, l.Scope, err); err != nil {
				return err
			}
			listed[i] = n
		}
		after, err := s.countAll(ctx, listings)
		if err != nil {
			return err
		}
		if !moved && slices.Equal(listed, before) && slices.Equal(after, before) {
			return nil
		}
		before = after
	}
	return fmt.Errorf("list the images of %s: %w: %w", scopeName(listings[0].Scope), cv.ErrUnavailable, cv.ErrUnstable)
}

// countAll counts what listings hold.
func (s survey) countAll(ctx context.Context, listings []Listing) ([]int, error) {
	counts := make([]int, 0, len(listings))
	for _, l := range listings {
		n, err := countListing(ctx, s.client, s.project, l)
		none, err := s.holdsNothing(ctx, l.Scope, err)
		if err != nil {
			return nil, err
		}
		if none {
			n = 0
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// readListing reads a listing once, and returns how many images it listed, matching or not.
func (s survey) readListing(ctx context.Context, l Listing, found selected) (listed int, err error) {
	fetch := func(ctx context.Context, skip, take int) ([]cv.Image, error) {
		return imagePage(ctx, s.client, s.project, l, skip, take)
	}
	for page, err := range cv.EachPage(ctx, fetch) {
		if err != nil {
			return listed, err //nolint:wrapcheck // it says what was listed
		}
		listed += len(page)
		for _, image := range page {
			if matches(image.Metadata, s.data.ImageMetadata) {
				found.add(image)
			}
		}
		if err := s.progress(len(found)); err != nil {
			return listed, err
		}
	}
	return listed, nil
}

// isNotFoundImage reports whether the Training API answered that an image is not there.
func isNotFoundImage(err error) bool {
	var api *cv.Error
	return errors.As(err, &api) && api.Code == "NotFoundImage"
}
