package bagfile

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"
)

// Deletion is data/deletion.json: a delete in a nutshell.
type Deletion struct {
	V            int               `json:"v"`
	ID           string            `json:"id"`
	Reference    Text              `json:"reference"`
	Method       string            `json:"method"`
	Endpoint     string            `json:"endpoint"` // host of the Training API
	APIVersion   string            `json:"api_version"`
	Scope        json.RawMessage   `json:"scope"`
	DryRun       bool              `json:"dry_run"` // nothing was deleted: the counts are what would be
	Outcome      string            `json:"outcome"`
	Counts       Counts            `json:"counts"`
	PlanSHA256   string            `json:"plan_sha256"`
	Projects     []DeletionProject `json:"projects"`
	ExportBundle *BundleRef        `json:"export_bundle"`
	Residuals    []Residual        `json:"residuals"`
	StartedAt    time.Time         `json:"started_at"`
	BegunAt      time.Time         `json:"begun_at"` // predictions stored up to this time were deleted
	FinishedAt   time.Time         `json:"finished_at"`
	Tool         string            `json:"tool"`
}

// DeletionProject is one project of a delete.
type DeletionProject struct {
	ID      uuid.UUID `json:"id"`
	Project bool      `json:"project"` // the project itself, too
	Counts  Counts    `json:"counts"`
}

// BundleRef points to another bag.
type BundleRef struct {
	URI            string     `json:"uri"`
	ManifestSHA256 string     `json:"manifest_sha256"`
	ReceiptSHA256  string     `json:"receipt_sha256"`
	Signed         bool       `json:"signed"`
	TimeStamped    bool       `json:"timestamped,omitempty"` // its signature has a time stamp
	Objects        int64      `json:"objects"`
	RetainUntil    *time.Time `json:"retain_until"`
}

// Residual is something that stays although it was selected.
type Residual struct {
	Category string `json:"category"`
	Reason   string `json:"reason"`
}

// Deleted is a line of deleted.jsonl.
type Deleted struct {
	ID             uuid.UUID `json:"id"`
	Category       string    `json:"category"`
	How            string    `json:"how"` // see Ways
	VerifiedAbsent time.Time `json:"verified_absent"`
	VerifiedBy     string    `json:"verified_by,omitempty"` // see Proofs; empty in records of older versions
}

// Verification is evidence/verification.json: what was seen to be gone, how, and when.
type Verification struct {
	V        int     `json:"v"`
	Executed bool    `json:"executed"` // false of a dry run: there is nothing to verify
	Checks   []Check `json:"checks"`
}

// Check says how the absence of a project's things of one category was seen.
type Check struct {
	Project     string    `json:"project"`
	Category    string    `json:"category"`
	Items       int       `json:"items"`
	AlreadyGone int       `json:"already_gone"` // of these, what was gone when its turn came: nothing of it was deleted
	How         string    `json:"how"`
	First       time.Time `json:"first"` // when the first of them was seen to be gone
	Last        time.Time `json:"last"`
}

// Plan is evidence/plan.json but for its projects. The fields of a plan are in the order of their
// names, so that its JSON is canonical.
type Plan struct {
	APIVersion string        `json:"api_version"`
	Categories []string      `json:"categories"`
	Host       string        `json:"host"`
	Selection  PlanSelection `json:"selection"`
	Unpublish  bool          `json:"unpublish"`
	V          int           `json:"v"`
}

// PlanSelection is what of a command a plan covers.
type PlanSelection struct {
	AllProjects   bool                `json:"all_projects"`
	ImageIDs      []uuid.UUID         `json:"image_ids"`
	ImageMetadata []map[string]string `json:"image_metadata"` // pseudonyms
	IterationIDs  []uuid.UUID         `json:"iteration_ids"`
	ProjectIDs    []uuid.UUID         `json:"project_ids"`
	TagIDs        []uuid.UUID         `json:"tag_ids"`
}

// PlanProject is what a delete will remove of one project: ids in byte order.
type PlanProject struct {
	ID         uuid.UUID   `json:"id"`
	Images     []uuid.UUID `json:"images"`
	Iterations []uuid.UUID `json:"iterations"`
	Project    bool        `json:"project"` // the project itself goes, and everything with it
	Tags       []uuid.UUID `json:"tags"`
}

// Empty reports whether nothing of the project is planned, but perhaps its predictions.
func (p PlanProject) Empty() bool {
	return !p.Project && len(p.Images)+len(p.Iterations)+len(p.Tags) == 0
}

// Failed is evidence/failure.json, the last object of a delete that failed after its first
// destructive call may have gone out: no receipt, but what was called and what is known to be gone.
type Failed struct {
	V            int              `json:"v"`
	ID           string           `json:"id"`
	Error        FailedError      `json:"error"`
	PlanSHA256   string           `json:"plan_sha256"`
	Called       []CallCount      `json:"called"`
	KnownAbsent  []Check          `json:"known_absent"` // whole steps of a project, whose ids are in the plan; those of predictions in the ledger
	NotVerified  []UnverifiedStep `json:"not_verified"`
	Counts       Counts           `json:"counts"` // of what is known to be gone
	Residuals    []Residual       `json:"residuals"`
	ExportBundle *BundleRef       `json:"export_bundle"`
	StartedAt    time.Time        `json:"started_at"`
	FinishedAt   time.Time        `json:"finished_at"`
}

// FailedError says why a delete failed.
type FailedError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
	RequestID Text   `json:"request_id"` // the service's, of the call that failed
}

// CallCount counts the calls of one destructive operation.
type CallCount struct {
	Operation string `json:"operation"`
	Intended  int    `json:"intended"`  // intents, the calls that were about to be made
	Answered  int    `json:"answered"`  // those with any answer
	Succeeded int    `json:"succeeded"` // those answered with 2xx
}

// UnverifiedStep is a step that was to be done and whose end was not seen.
type UnverifiedStep struct {
	Project uuid.UUID `json:"project"`
	Step    string    `json:"step"`
}
