package survey

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

// MaxPasses is how often a listing that changes while it is read is read again.
const MaxPasses = 3

// Survey finds the images that a selection holds.
type Survey struct {
	Client  *cv.Client
	Project uuid.UUID
	Data    contract.Data // selects the images
	// Gone reports whether an error proves that the project is not there, or one of the things that
	// the call was about. Every other error it returns.
	Gone func(ctx context.Context, project uuid.UUID, err error, about ...cv.Thing) (bool, error)
	// Progress hears now and then how many images are found so far.
	Progress func(found int) error
}

// Selected is the images that a selection holds, with the time when each was made.
type Selected map[uuid.UUID]time.Time

func (s Selected) add(image cv.Image) { s[image.ID] = image.Created.Time }

// IDs are the images' ids, in byte order.
func (s Selected) IDs() []uuid.UUID {
	return contract.SortedIDs(slices.Collect(maps.Keys(s)))
}

// Images finds the selected images in some scopes of the project.
func (s Survey) Images(ctx context.Context, scopes []uuid.UUID) (Selected, error) {
	d := s.Data
	found := Selected{}
	for _, scope := range scopes {
		var err error
		switch d.Narrowing() {
		case contract.NarrowImages:
			_, err = s.Present(ctx, scope, d.ImageIDs, found)
		case contract.NarrowTags:
			err = s.tagged(ctx, scope, found)
		default:
			err = s.list(ctx, ImageListings(scope), found)
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// tagged finds the images of a scope that carry any of the named tags.
func (s Survey) tagged(ctx context.Context, scope uuid.UUID, found Selected) error {
	tags, err := s.Client.GetTags(ctx, s.Project, scope)
	if err != nil && !errors.Is(err, cv.ErrUntrained) {
		return fmt.Errorf("read the tags of %s: %w", ScopeName(scope), err)
	}
	var here []uuid.UUID
	for _, t := range tags {
		if slices.Contains(s.Data.TagIDs, t.ID) {
			here = append(here, t.ID)
		}
	}
	return s.list(ctx, TagListings(scope, here), found)
}

// list adds the matching images of the listings of one scope. What the workspace lists moves while
// it is read: an image that is tagged between the listing of the tagged and that of the untagged
// images is in neither, while all counts agree. So the workspace is listed once more with a
// witness, where such an image stays, and the witness decides. What only the other listings have
// was removed meanwhile or does not belong to the selection any more, unless the service says that
// it does. The snapshots of iterations do not move.
func (s Survey) list(ctx context.Context, listings []Listing, found Selected) error {
	if len(listings) == 0 {
		return nil
	}
	if listings[0].Scope != uuid.Nil {
		return s.read(ctx, listings, found)
	}
	once := Selected{}
	for _, l := range listings { // each one, whatever its count says
		if _, err := s.readListing(ctx, l, notCounted, once); err != nil && !errors.Is(err, cv.ErrUnstable) {
			return err
		}
	}
	witnessed := Selected{}
	if err := s.read(ctx, witnesses(listings), witnessed); err != nil {
		return err
	}
	var doubtful []uuid.UUID
	for id := range once {
		if _, ok := witnessed[id]; !ok {
			doubtful = append(doubtful, id)
		}
	}
	maps.Copy(found, witnessed)
	_, err := s.eachPresent(ctx, uuid.Nil, doubtful, func(image cv.Image) {
		if Selects(s.Data, image) {
			found.add(image)
		}
	})
	return err
}

// read adds the matching images of listings, after reading them whole. All are counted before the
// first is read and after the last. When a count moved, or pages do not join, all are read again,
// MaxPasses times at most; then it fails with cv.ErrUnstable.
func (s Survey) read(ctx context.Context, listings []Listing, found Selected) error {
	before, err := s.countAll(ctx, listings)
	if err != nil {
		return err
	}
	for range MaxPasses {
		pass := Selected{}
		listed := make([]int, len(listings))
		moved := false
		for i, l := range listings { // each one, whatever its count says
			n, err := s.readListing(ctx, l, before[i], pass)
			if errors.Is(err, cv.ErrUnstable) {
				moved = true
				break
			}
			if err != nil && !errors.Is(err, cv.ErrUntrained) {
				return err
			}
			listed[i] = n
		}
		after, err := s.countAll(ctx, listings)
		if err != nil {
			return err
		}
		if !moved && slices.Equal(listed, before) && slices.Equal(after, before) {
			maps.Copy(found, pass)
			return nil
		}
		before = after
	}
	return fmt.Errorf("list the images of %s: %w: %w", ScopeName(listings[0].Scope), cv.ErrUnavailable, cv.ErrUnstable)
}

// countAll counts what listings hold.
func (s Survey) countAll(ctx context.Context, listings []Listing) ([]int, error) {
	counts := make([]int, 0, len(listings))
	for _, l := range listings {
		n, err := Count(ctx, s.Client, s.Project, l)
		if err != nil {
			return nil, err
		}
		counts = append(counts, n)
	}
	return counts, nil
}

const (
	// notCounted says that a listing was not counted.
	notCounted = -1
	// manyListed is how many images a listing may have that was not counted: as many as the service
	// keeps in a project.
	manyListed = 100_000
)

// readListing reads a listing once, and returns how many images it listed, matching or not. Where
// it goes on for more than a page beyond its count, it changed while it was read; so a listing that
// never ends is given up.
func (s Survey) readListing(ctx context.Context, l Listing, count int, found Selected) (listed int, err error) {
	fetch := func(ctx context.Context, skip, take int) ([]cv.Image, error) {
		return ImagePage(ctx, s.Client, s.Project, l, skip, take, KeepNone)
	}
	for page, err := range cv.EachPage(ctx, fetch) {
		if err != nil {
			return listed, err //nolint:wrapcheck // it says what was listed
		}
		listed += len(page)
		if count == notCounted && listed > manyListed {
			if count, err = Count(ctx, s.Client, s.Project, l); err != nil {
				return listed, err
			}
		}
		if count != notCounted && listed > count+cv.MaxPage {
			return listed, fmt.Errorf("%d images are listed where %d were counted: %w", listed, count, cv.ErrUnstable)
		}
		for _, image := range page {
			if Selects(s.Data, image) {
				found.add(image)
			}
		}
		if err := s.Progress(len(found)); err != nil {
			return listed, err
		}
	}
	return listed, nil
}
