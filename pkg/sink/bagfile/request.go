package bagfile

import (
	"time"

	"github.com/google/uuid"
)

// Request is evidence/request.json: the command as it may be kept. Its data has the form of a
// [Scope], and is decoded as the reader needs it.
type Request[Data any] struct {
	V         int       `json:"v"`
	ID        string    `json:"id"`
	Action    string    `json:"action"`
	Account   string    `json:"account"` // that the data's resource meant
	Source    string    `json:"source,omitempty"`
	Published time.Time `json:"published"`
	Data      Data      `json:"data"`
	Digest    string    `json:"digest"` // salted or keyed: an id that comes again is compared with it

	// NKey public keys by which the command was signed and approved; empty where that was not
	// demanded.
	Signer   string `json:"signer,omitempty"`
	Approver string `json:"approver,omitempty"`
}

// Scope is what a command asked for, with metadata values as pseudonyms. The same scope is in
// request, summary and receipt.
type Scope struct {
	Resource          string              `json:"resource"`
	AllProjects       bool                `json:"all_projects"`
	ProjectIDs        []uuid.UUID         `json:"project_ids"`
	IterationIDs      []uuid.UUID         `json:"iteration_ids"`
	TagIDs            []uuid.UUID         `json:"tag_ids"`
	ImageIDs          []uuid.UUID         `json:"image_ids"`
	ImageMetadata     []map[string]string `json:"image_metadata"`
	Categories        []string            `json:"categories"`
	Reference         string              `json:"reference"`
	RetainUntil       *time.Time          `json:"retain_until"`
	DryRun            bool                `json:"dry_run"`
	ApprovedPlan      string              `json:"approved_plan"`
	ExportFirst       bool                `json:"export_first"`
	ExportRetainUntil *time.Time          `json:"export_retain_until"`
	Unpublish         bool                `json:"unpublish"`
}

// Has reports whether a category is asked for.
func (s Scope) Has(category string) bool { return known(s.Categories, category) }

// Narrowed reports whether the scope is less than whole projects.
func (s Scope) Narrowed() bool {
	return len(s.IterationIDs)+len(s.TagIDs)+len(s.ImageIDs)+len(s.ImageMetadata) > 0
}
