package survey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// ListingKind is one of the listings the service offers.
type ListingKind string

// The listings of a project.
const (
	Tagged       ListingKind = "tagged"
	Untagged     ListingKind = "untagged"
	All          ListingKind = "all" // tagged or not, in one listing: an image that is tagged meanwhile stays in it
	Performances ListingKind = "performances"
)

// Listing is one listing that pages are cut from, with what the service counted in it.
type Listing struct {
	Kind  ListingKind `json:"kind"`
	Scope uuid.UUID   `json:"scope,omitzero"` // an iteration; zero is the workspace
	Tags  []uuid.UUID `json:"tags,omitempty"` // narrowed to images with any of these, at most 20
	Count int         `json:"count"`
}

// Key is what tells listings apart.
func (l Listing) Key() string {
	return fmt.Sprint(l.Kind, l.Scope, l.Tags)
}

// ImageListings are the listings of all images of a scope.
func ImageListings(scope uuid.UUID) []Listing {
	return []Listing{{Kind: Tagged, Scope: scope}, {Kind: Untagged, Scope: scope}}
}

// TagListings are the listings of the images of a scope that carry any of these tags, of which one
// listing takes no more than cv.MaxTagIDs.
func TagListings(scope uuid.UUID, tags []uuid.UUID) []Listing {
	var listings []Listing
	for chunk := range slices.Chunk(tags, cv.MaxTagIDs) {
		listings = append(listings, Listing{Kind: Tagged, Scope: scope, Tags: chunk})
	}
	return listings
}

// witnesses are listings of the same images in which one that is tagged or untagged meanwhile
// stays.
func witnesses(listings []Listing) []Listing {
	if len(listings[0].Tags) == 0 {
		return []Listing{{Kind: All, Scope: listings[0].Scope}}
	}
	all := slices.Clone(listings)
	for i := range all {
		all[i].Kind = All
	}
	return all
}

// Count asks the service how many items a listing has.
func Count(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing) (n int, err error) {
	switch l.Kind {
	case Tagged:
		n, err = client.GetTaggedImageCount(ctx, project, l.Scope, l.Tags)
	case Untagged:
		n, err = client.GetUntaggedImageCount(ctx, project, l.Scope)
	case All:
		n, err = client.GetImageCount(ctx, project, cv.ImageQuery{Scope: l.Scope, TagIDs: l.Tags, TaggingStatus: cv.All})
	case Performances:
		n, err = client.GetImagePerformanceCount(ctx, project, l.Scope)
	}
	if errors.Is(err, cv.ErrUntrained) {
		return 0, nil // an iteration that was never trained has no snapshot
	}
	if err != nil {
		return 0, fmt.Errorf("count the %s images of %s: %w", l.Kind, ScopeName(l.Scope), err)
	}
	return n, nil
}

// Keep gives what is kept of an image's JSON, which stands until it returns.
type Keep func(received json.RawMessage) json.RawMessage

// KeepNone is a Keep for callers that need no JSON.
func KeepNone(json.RawMessage) json.RawMessage { return nil }

// ImagePage reads one page of a listing of images, the oldest first. Of each image it has the id,
// the time when it was made, links, the ids of tags, metadata, and as Raw what keep gives.
func ImagePage(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing, skip, take int, keep Keep) ([]cv.Image, error) {
	q := cv.ImageQuery{Scope: l.Scope, TagIDs: l.Tags, OrderBy: cv.Oldest, Take: take, Skip: skip, Keep: keep}
	var (
		images []cv.Image
		err    error
	)
	switch l.Kind {
	case Tagged:
		images, err = client.GetTaggedImages(ctx, project, q)
	case All:
		q.TaggingStatus = cv.All
		images, err = client.GetImages(ctx, project, q)
	default:
		images, err = client.GetUntaggedImages(ctx, project, q)
	}
	if err != nil {
		return nil, fmt.Errorf("list the %s images of %s: %w", l.Kind, ScopeName(l.Scope), err)
	}
	return images, nil
}

// PerformancePage reads one page of an iteration's image performances, the oldest first.
func PerformancePage(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing, skip, take int) ([]cv.ImagePerformance, error) {
	page, err := client.GetImagePerformances(ctx, project, l.Scope, cv.PageQuery{OrderBy: cv.Oldest, Take: take, Skip: skip})
	if err != nil {
		return nil, fmt.Errorf("list the image performances of iteration %s: %w", l.Scope, err)
	}
	return page, nil
}

// StatusTraining is the status of an iteration that is being trained.
const StatusTraining = "Training"

// Settled reports whether an iteration is one of which all can be seen: it was trained, that
// failed, or it is the workspace, as old services list it. Any other status, also one that is not
// known, says that it is still on its way.
func Settled(it cv.Iteration) bool {
	return it.Status == "Completed" || it.Status == "Failed" || it.Status == "New"
}

// WithoutWorkspace is iterations without the workspace, which old services list among them with
// status New: it cannot be deleted by itself.
func WithoutWorkspace(iterations []cv.Iteration) []cv.Iteration {
	return slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return it.Status == "New" })
}

// ScopesOf is the workspace and iterations.
func ScopesOf(iterations []cv.Iteration) []uuid.UUID {
	scopes := []uuid.UUID{uuid.Nil}
	for _, it := range iterations {
		scopes = append(scopes, it.ID)
	}
	return scopes
}

// ScopesFor is where a selection looks for images, tags and predictions: in the iterations of the
// project, of which a selection by iterations has only those, and else in the workspace first.
func ScopesFor(d contract.Data, iterations []uuid.UUID) []uuid.UUID {
	if d.Narrowing() == contract.NarrowIterations {
		return iterations
	}
	return append([]uuid.UUID{uuid.Nil}, iterations...)
}

// ScopeName names a scope for people.
func ScopeName(scope uuid.UUID) string {
	if scope == uuid.Nil {
		return "the workspace"
	}
	return "iteration " + scope.String()
}

// ScopeID is what inventories name a scope by: an iteration's id, or "workspace".
func ScopeID(scope uuid.UUID) string {
	if scope == uuid.Nil {
		return "workspace"
	}
	return scope.String()
}

// Selects reports whether a selection holds an image of one of its scopes, by the image's own
// metadata and tags: the service's filters are not believed.
func Selects(d contract.Data, image cv.Image) bool {
	return Matches(image.Metadata, d.ImageMetadata) &&
		(len(d.TagIDs) == 0 || slices.ContainsFunc(image.Tags, func(t cv.ImageTag) bool { return slices.Contains(d.TagIDs, t.TagID) }))
}

// Matches reports whether an image's metadata equals all pairs of any of the objects; no objects
// match everything.
func Matches(metadata map[string]string, objects []map[string]string) bool {
	if len(objects) == 0 {
		return true
	}
	return slices.ContainsFunc(objects, func(pairs map[string]string) bool {
		for k, v := range pairs {
			if have, ok := metadata[k]; !ok || have != v {
				return false
			}
		}
		return true
	})
}

// ProjectGone reports whether an error says that the whole project is not there.
func ProjectGone(err error) bool {
	var api *cv.Error
	return errors.Is(err, cv.ErrGone) && errors.As(err, &api) && (api.Op == "GetProject" || api.Code == "NotFoundProject")
}
