package cv

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"
)

// Scope says which set of images and tags is meant: an iteration's id for the snapshot that
// iteration was trained on, uuid.Nil for the workspace, the live set.
type Scope = uuid.UUID

// Tag is a label of a project.
type Tag struct {
	ID          uuid.UUID `json:"id"`
	Name        string    `json:"name"`
	Description string    `json:"description"` // empty when null
	Type        string    `json:"type"`        // Regular, Negative or GeneralProduct; unknown values are possible
	ImageCount  int       `json:"imageCount"`  // images of the scope that carry it

	Raw json.RawMessage `json:"-"` // as received
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (t *Tag) UnmarshalJSON(b []byte) error {
	type plain Tag
	return decodeModel(b, (*plain)(t), &t.Raw)
}

// Identity is the tag's id.
func (t Tag) Identity() uuid.UUID { return t.ID }

// missing: every tag has a name.
func (t Tag) missing() string {
	if lacksText(t.Name, t.Raw, "name") {
		return "name"
	}
	return ""
}

// GetTags lists the tags of the scope, each once; the operation has no paging. Errors: ErrGone when
// project or iteration is not there. Source: Training API v3.3, GetTags.
func (c *Client) GetTags(ctx context.Context, p uuid.UUID, scope Scope) ([]Tag, error) {
	return distinct(list[Tag](ctx, c, call{op: "GetTags", method: http.MethodGet, path: projectPath(p) + "/tags", query: newQuery().scope(scope)}, anyOf))
}

// GetTag reads one tag as the scope knows it. Errors: ErrGone.
// Source: Training API v3.3, GetTag.
func (c *Client) GetTag(ctx context.Context, p, tag uuid.UUID, scope Scope) (Tag, error) {
	return get(ctx, c, call{op: "GetTag", method: http.MethodGet, path: projectPath(p) + "/tags/" + tag.String(), query: newQuery().scope(scope)}, only[Tag](tag))
}

// DeleteTag deletes a tag from the workspace; its images stay and lose it. Iterations keep their
// own copy. It may be repeated: ErrGone then says that it was gone already. Errors: also
// ErrReadOnly. Source: Training API v3.3, DeleteTag.
func (c *Client) DeleteTag(ctx context.Context, p, tag uuid.UUID) error {
	_, err := c.delete(ctx, call{op: "DeleteTag", path: projectPath(p) + "/tags/" + tag.String()})
	return err
}
