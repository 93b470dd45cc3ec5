package cv

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"
)

// Project is one Custom Vision project.
type Project struct {
	ID            uuid.UUID       `json:"id"`
	Name          string          `json:"name"`
	Description   string          `json:"description"` // empty when null
	Settings      ProjectSettings `json:"settings"`
	Created       Time            `json:"created"`
	LastModified  Time            `json:"lastModified"`
	ThumbnailURI  string          `json:"thumbnailUri"`  // empty without images; absolute and signed, or a path for GetArtifact
	DRModeEnabled bool            `json:"drModeEnabled"` // read-only during disaster recovery
	Status        string          `json:"status"`        // Succeeded, Importing or Failed; unknown values are possible

	Raw json.RawMessage `json:"-"` // as received; holds a signed link: see package links
}

// ProjectSettings says how a project is trained.
type ProjectSettings struct {
	DomainID              uuid.UUID `json:"domainId"`           // its Domain.Type is classification or detection
	ClassificationType    string    `json:"classificationType"` // Multiclass or Multilabel; empty for detection
	TargetExportPlatforms []string  `json:"targetExportPlatforms"`
	UseNegativeSet        bool      `json:"useNegativeSet"`
	DetectionParameters   string    `json:"detectionParameters"`
	// Only later API versions show these two: places of the customer's own that hold copies which
	// no delete here reaches.
	ExportModelContainerURI string `json:"exportModelContainerUri"`
	NotificationQueueURI    string `json:"notificationQueueUri"`
}

// UnmarshalJSON decodes leniently and keeps the JSON in Raw.
func (p *Project) UnmarshalJSON(b []byte) error {
	type plain Project
	return decodeModel(b, (*plain)(p), &p.Raw, "drModeEnabled")
}

// Identity is the project's id.
func (p Project) Identity() uuid.UUID { return p.ID }

// missing: every project has a name.
func (p Project) missing() string {
	if lacksText(p.Name, p.Raw, "name") {
		return "name"
	}
	return ""
}

// GetProjects lists every project of the resource, each once; the operation has no paging.
// Source: Training API v3.3, GetProjects.
func (c *Client) GetProjects(ctx context.Context) ([]Project, error) {
	return distinct(list[Project](ctx, c, call{op: "GetProjects", method: http.MethodGet, path: "projects"}, anyOf))
}

// GetProject reads one project. Errors: ErrGone when there is none of that id.
// Source: Training API v3.3, GetProject.
func (c *Client) GetProject(ctx context.Context, p uuid.UUID) (Project, error) {
	return get(ctx, c, call{op: "GetProject", method: http.MethodGet, path: projectPath(p)}, only[Project](p))
}

// DeleteProject deletes a project with all that is in it. The service refuses while an iteration is
// published. It may be repeated: ErrGone then means that it was gone already; the caller decides
// what that means. Errors: also ErrReadOnly, ErrPublished. Source: Training API v3.3,
// DeleteProject.
func (c *Client) DeleteProject(ctx context.Context, p uuid.UUID) error {
	_, err := c.delete(ctx, call{op: "DeleteProject", path: projectPath(p)})
	return err
}

func projectPath(p uuid.UUID) string { return "projects/" + p.String() }
