package cv

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"
)

// Domain is a kind of model a project can be trained with.
type Domain struct {
	ID         uuid.UUID `json:"id"`
	Name       string    `json:"name"`
	Type       string    `json:"type"` // Classification or ObjectDetection; unknown values are possible
	Exportable bool      `json:"exportable"`
	Enabled    bool      `json:"enabled"`

	Raw json.RawMessage `json:"-"` // as received
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (d *Domain) UnmarshalJSON(b []byte) error {
	type plain Domain
	return decodeModel(b, (*plain)(d), &d.Raw)
}

// Identity is the domain's id.
func (d Domain) Identity() uuid.UUID { return d.ID }

// missing: every domain has a name.
func (d Domain) missing() string {
	if lacksText(d.Name, d.Raw, "name") {
		return "name"
	}
	return ""
}

// GetDomains lists all domains. It needs no right on any project, which makes it the cheapest
// question whether endpoint and credential are good. Errors: ErrMisconfigured, ErrThrottled,
// ErrUnavailable. Source: Training API v3.3, GetDomains.
func (c *Client) GetDomains(ctx context.Context) ([]Domain, error) {
	return list[Domain](ctx, c, call{op: "GetDomains", method: http.MethodGet, path: "domains"}, anyOf)
}

// GetDomain reads one domain. Errors: ErrGone when there is none of that id.
// Source: Training API v3.3, GetDomain.
func (c *Client) GetDomain(ctx context.Context, id uuid.UUID) (Domain, error) {
	return get(ctx, c, call{op: "GetDomain", method: http.MethodGet, path: "domains/" + id.String()}, only[Domain](id))
}
