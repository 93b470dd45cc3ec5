package handler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// ListingKind is one of the listings the service offers.
type ListingKind string

// The listings of a project.
const (
	Tagged       ListingKind = "tagged"
	Untagged     ListingKind = "untagged"
	Performances ListingKind = "performances"
)

// Listing is one listing that pages are cut from, with what the service counted in it.
type Listing struct {
	Kind  ListingKind `json:"kind"`
	Scope uuid.UUID   `json:"scope,omitzero"` // an iteration; zero is the workspace
	Tags  []uuid.UUID `json:"tags,omitempty"` // narrowed to images with any of these, at most 20
	Count int         `json:"count"`
}

// key is what tells listings apart.
func (l Listing) key() string {
	return fmt.Sprint(l.Kind, l.Scope, l.Tags)
}

// countListing asks the service how many items a listing has.
func countListing(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing) (n int, err error) {
	switch l.Kind {
	case Tagged:
		n, err = client.GetTaggedImageCount(ctx, project, l.Scope, l.Tags)
	case Untagged:
		n, err = client.GetUntaggedImageCount(ctx, project, l.Scope)
	case Performances:
		n, err = client.GetImagePerformanceCount(ctx, project, l.Scope)
	}
	if errors.Is(err, cv.ErrUntrained) {
		return 0, nil // an iteration that was never trained has no snapshot
	}
	if err != nil {
		return 0, fmt.Errorf("count the %s images of %s: %w", l.Kind, scopeName(l.Scope), err)
	}
	return n, nil
}

// imagePage reads one page of a listing of images, the oldest first.
func imagePage(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing, skip, take int) ([]cv.Image, error) {
	q := cv.ImageQuery{Scope: l.Scope, TagIDs: l.Tags, OrderBy: cv.Oldest, Take: take, Skip: skip}
	var (
		images []cv.Image
		err    error
	)
	if l.Kind == Tagged {
		images, err = client.GetTaggedImages(ctx, project, q)
	} else {
		images, err = client.GetUntaggedImages(ctx, project, q)
	}
	if err != nil {
		return nil, fmt.Errorf("list the %s images of %s: %w", l.Kind, scopeName(l.Scope), err)
	}
	return images, nil
}

// performancePage reads one page of an iteration's image performances, the oldest first.
func performancePage(ctx context.Context, client *cv.Client, project uuid.UUID, l Listing, skip, take int) ([]cv.ImagePerformance, error) {
	page, err := client.GetImagePerformances(ctx, project, l.Scope, cv.PageQuery{OrderBy: cv.Oldest, Take: take, Skip: skip})
	if err != nil {
		return nil, fmt.Errorf("list the image performances of iteration %s: %w", l.Scope, err)
	}
	return page, nil
}

// statusTraining is the status of an iteration that is being trained.
const statusTraining = "Training"

// trained is iterations without the workspace, which old services list among them with status New:
// it cannot be deleted by itself.
func trained(iterations []cv.Iteration) []cv.Iteration {
	return slices.DeleteFunc(iterations, func(it cv.Iteration) bool { return it.Status == "New" })
}

// scopesOf is the workspace and iterations.
func scopesOf(iterations []cv.Iteration) []uuid.UUID {
	scopes := []uuid.UUID{uuid.Nil}
	for _, it := range iterations {
		scopes = append(scopes, it.ID)
	}
	return scopes
}

// scopeName names a scope for people.
func scopeName(scope uuid.UUID) string {
	if scope == uuid.Nil {
		return "the workspace"
	}
	return "iteration " + scope.String()
}

// matches reports whether an image's metadata equals all pairs of any of the objects; no objects match
// everything.
func matches(metadata map[string]string, objects []map[string]string) bool {
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

// projectGone reports whether an error says that the whole project is not there.
func projectGone(err error) bool {
	var api *cv.Error
	return errors.Is(err, cv.ErrGone) && errors.As(err, &api) && (api.Op == "GetProject" || api.Code == "NotFoundProject")
}
