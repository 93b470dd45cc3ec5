package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/uuid"
)

// MaxTagIDs is how many tag ids a listing may be narrowed to.
const MaxTagIDs = 20

// Values of ImageQuery.OrderBy and ImageQuery.TaggingStatus.
const (
	Oldest = "Oldest"
	Newest = "Newest"

	All      = "All"
	Tagged   = "Tagged"
	Untagged = "Untagged"
)

// Image is one image of a project, as the workspace or an iteration knows it.
type Image struct {
	ID               uuid.UUID         `json:"id"`
	Created          Time              `json:"created"`
	Width            int               `json:"width"`            // pixels, of the resized image it seems
	Height           int               `json:"height"`           // pixels
	ResizedImageURI  string            `json:"resizedImageUri"`  // absolute and signed, or a path for GetArtifact
	ThumbnailURI     string            `json:"thumbnailUri"`     // likewise
	OriginalImageURI string            `json:"originalImageUri"` // likewise; equal to ResizedImageURI when no resize was needed
	Tags             []ImageTag        `json:"tags"`             // nil when null or absent
	Regions          []ImageRegion     `json:"regions"`          // nil when null or absent
	Metadata         map[string]string `json:"metadata"`         // nil when null or absent; personal data

	Raw json.RawMessage `json:"-"` // as received; holds signed links: see package links
}

// ImageTag is a tag on an image.
type ImageTag struct {
	TagID   uuid.UUID `json:"tagId"`
	TagName string    `json:"tagName"`
	Created Time      `json:"created"`
}

// ImageRegion is a tagged box on an image: fractions of its width and height, in [0,1], origin top
// left.
type ImageRegion struct {
	RegionID uuid.UUID `json:"regionId"`
	TagID    uuid.UUID `json:"tagId"`
	TagName  string    `json:"tagName"`
	Created  Time      `json:"created"`
	BoundingBox
}

// BoundingBox is a box on an image: fractions of its width and height, in [0,1], origin top left.
type BoundingBox struct {
	Left   float64 `json:"left"`
	Top    float64 `json:"top"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (i *Image) UnmarshalJSON(b []byte) error {
	if i.decodePlain(b) {
		i.Raw = bytes.Clone(bytes.TrimLeft(b, " \t\r\n"))
		return nil
	}
	type lenient Image
	return decodeModel(b, (*lenient)(i), &i.Raw, "tags", "metadata", "originalImageUri", "resizedImageUri")
}

// briefImage is an image of which not everything needs to be decoded. Its Raw stands as long as
// what it was decoded of.
type briefImage struct{ Image }

// unmarshal decodes leniently, of JSON whose members are known.
func (i *briefImage) unmarshal(raw json.RawMessage, members []named) error {
	if raw[0] == '{' && i.decodeBrief(members) {
		i.Raw = raw
		return nil
	}
	i.Image = Image{}
	return i.UnmarshalJSON(raw)
}

// Identity is the image's id.
func (i Image) Identity() uuid.UUID { return i.ID }

// missing: a tag on an image says which tag it is.
func (i Image) missing() string {
	if slices.ContainsFunc(i.Tags, func(t ImageTag) bool { return t.TagID == uuid.Nil }) {
		return "tagId"
	}
	return ""
}

// ImageQuery says which images of a project are meant. Every operation reads the fields its comment
// names and ignores the others.
type ImageQuery struct {
	Scope         Scope       // uuid.Nil: the workspace
	TagIDs        []uuid.UUID // only images with these tags; at most MaxTagIDs in listings
	Filter        string      // metadata filter in the service's own syntax, whose quoting is undocumented
	TaggingStatus string      // All (default), Tagged or Untagged
	OrderBy       string      // Oldest (default here, whatever the service's own is) or Newest
	Take          int         // images, 1 to MaxPage; 0 is MaxPage
	Skip          int         // images to leave out at the start
	// Keep gives what Raw is to have of an image's JSON, which stands until Keep returns; nil: all.
	// With it regions, and names and times of tags, may be left out.
	Keep func(received json.RawMessage) json.RawMessage
}

func (q ImageQuery) pageQuery() PageQuery {
	return PageQuery{OrderBy: q.OrderBy, Take: q.Take, Skip: q.Skip}
}

// GetTaggedImages lists one page of the tagged images of q.Scope; it reads Scope, TagIDs, OrderBy,
// Take and Skip. Errors: ErrGone when project or iteration is not there. Source: Training API v3.3,
// GetTaggedImages.
func (c *Client) GetTaggedImages(ctx context.Context, p uuid.UUID, q ImageQuery) ([]Image, error) {
	k := call{op: "GetTaggedImages", path: projectPath(p) + "/images/tagged"}
	return c.images(ctx, k, q, newQuery().scope(q.Scope).ids("tagIds", q.TagIDs), func(i Image) error {
		if len(q.TagIDs) > 0 && len(i.Tags) == 0 { // it would be taken for one that was not asked for
			return unusable("image %s is listed by its tags, and has none", i.ID)
		}
		return nil
	})
}

// GetUntaggedImages lists one page of the untagged images of q.Scope; it reads Scope, OrderBy, Take
// and Skip. Errors: ErrGone. Source: Training API v3.3, GetUntaggedImages.
func (c *Client) GetUntaggedImages(ctx context.Context, p uuid.UUID, q ImageQuery) ([]Image, error) {
	q.TagIDs = nil
	return c.images(ctx, call{op: "GetUntaggedImages", path: projectPath(p) + "/images/untagged"}, q, newQuery().scope(q.Scope), anyOf)
}

// GetImages lists one page of the images of q.Scope, tagged or not; it reads every field of q and
// always sends the tagging status, whose default the service's own description contradicts. Errors:
// ErrGone. Source: Training API v3.3, GetImages.
func (c *Client) GetImages(ctx context.Context, p uuid.UUID, q ImageQuery) ([]Image, error) {
	return c.images(ctx, call{op: "GetImages", path: projectPath(p) + "/images"}, q, q.all(), anyOf)
}

func (c *Client) images(ctx context.Context, k call, q ImageQuery, params query, check func(Image) error) ([]Image, error) {
	k.method = http.MethodGet
	if len(q.TagIDs) > MaxTagIDs {
		return nil, invalid(k.op, fmt.Errorf("%d tag ids, at most %d", len(q.TagIDs), MaxTagIDs))
	}
	if err := q.pageQuery().check(); err != nil {
		return nil, invalid(k.op, err)
	}
	k.query, k.asked = params.page(q.pageQuery()), q.pageQuery().take()
	if q.Keep == nil {
		return list(ctx, c, k, check)
	}
	return ask(ctx, c, k, func(r *answerReader) ([]Image, error) {
		return elementsBy(r, func(r *answerReader) (Image, error) {
			brief, err := decode[briefImage](r)
			if err == nil {
				brief.Raw = q.Keep(brief.Raw)
			}
			return brief.Image, err
		}, check)
	})
}

func (q ImageQuery) all() query {
	status := q.TaggingStatus
	if status == "" {
		status = All
	}
	return newQuery().scope(q.Scope).ids("tagIds", q.TagIDs).text("taggingStatus", status).text("$filter", q.Filter)
}

// GetTaggedImageCount counts the tagged images of the scope, all of them or those with the tags.
// Errors: ErrGone. Source: Training API v3.3, GetTaggedImageCount.
func (c *Client) GetTaggedImageCount(ctx context.Context, p uuid.UUID, scope Scope, tagIDs []uuid.UUID) (int, error) {
	return c.count(ctx, call{op: "GetTaggedImageCount", path: projectPath(p) + "/images/tagged/count", query: newQuery().scope(scope).ids("tagIds", tagIDs)})
}

// GetUntaggedImageCount counts the untagged images of the scope. Errors: ErrGone.
// Source: Training API v3.3, GetUntaggedImageCount.
func (c *Client) GetUntaggedImageCount(ctx context.Context, p uuid.UUID, scope Scope) (int, error) {
	return c.count(ctx, call{op: "GetUntaggedImageCount", path: projectPath(p) + "/images/untagged/count", query: newQuery().scope(scope)})
}

// GetImageCount counts the images of q.Scope; it reads Scope, TagIDs, Filter and TaggingStatus.
// Errors: ErrGone. Source: Training API v3.3, GetImageCount.
func (c *Client) GetImageCount(ctx context.Context, p uuid.UUID, q ImageQuery) (int, error) {
	return c.count(ctx, call{op: "GetImageCount", path: projectPath(p) + "/images/count", query: q.all()})
}

// GetImagesByIDs reads up to MaxPage images by id, with fresh links. Ids the scope does not know
// are missing from the answer. Without ids no call is made. Errors: ErrGone when project or
// iteration is not there. Source: Training API v3.3, GetImagesByIds.
func (c *Client) GetImagesByIDs(ctx context.Context, p uuid.UUID, scope Scope, ids []uuid.UUID) ([]Image, error) {
	k := call{op: "GetImagesByIds", method: http.MethodGet, path: projectPath(p) + "/images/id"}
	switch {
	case len(ids) == 0:
		return nil, nil
	case len(ids) > MaxPage:
		return nil, invalid(k.op, fmt.Errorf("%d image ids, at most %d", len(ids), MaxPage))
	}
	k.query, k.asked = newQuery().scope(scope).ids("imageIds", ids), len(ids)
	return list(ctx, c, k, only[Image](ids...))
}

// DeleteImagesQuery says which images to delete: either IDs (at most MaxPage) or AllImages.
type DeleteImagesQuery struct {
	IDs           []uuid.UUID
	AllImages     bool
	AllIterations bool // also from the snapshot of every iteration; without it trained iterations keep them
}

// DeleteImages deletes images from the workspace, and with AllIterations from every iteration.
// Accepted reports whether the service answered 202 and goes on in the background, where only the
// counts show its progress. It may be repeated: ErrGone says that they were gone already. Errors:
// also ErrReadOnly; a query that names nothing, both or too much is an error before any call.
// Source: Training API v3.3, DeleteImages.
func (c *Client) DeleteImages(ctx context.Context, p uuid.UUID, q DeleteImagesQuery) (accepted bool, err error) {
	k := call{op: "DeleteImages", path: projectPath(p) + "/images"}
	switch {
	case q.AllImages && len(q.IDs) > 0:
		return false, invalid(k.op, errors.New("both image ids and all images"))
	case !q.AllImages && len(q.IDs) == 0:
		return false, invalid(k.op, errors.New("neither image ids nor all images"))
	case len(q.IDs) > MaxPage:
		return false, invalid(k.op, fmt.Errorf("%d image ids, at most %d", len(q.IDs), MaxPage))
	}
	k.query = newQuery().ids("imageIds", q.IDs).flag("allImages", q.AllImages).flag("allIterations", q.AllIterations)
	status, err := c.delete(ctx, k)
	return status == http.StatusAccepted, err
}
