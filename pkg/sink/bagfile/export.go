package bagfile

import (
	"encoding/json"
	"time"
)

// Export is data/export.json: the bag of an export in a nutshell.
type Export struct {
	V                    int             `json:"v"`
	ID                   string          `json:"id"`
	Reference            Text            `json:"reference"`
	Endpoint             string          `json:"endpoint"` // host of the Training API
	APIVersion           string          `json:"api_version"`
	Scope                json.RawMessage `json:"scope"`
	PerformanceThreshold float64         `json:"performance_threshold"`
	OverlapThreshold     float64         `json:"performance_overlap_threshold"`
	Outcome              string          `json:"outcome"`
	Counts               Counts          `json:"counts"`
	Exceptions           int64           `json:"exceptions"`
	StartedAt            time.Time       `json:"started_at"`
	FinishedAt           time.Time       `json:"finished_at"`
	Tool                 string          `json:"tool"`
}

// Inventory is evidence/inventory.json: what was listed, counted, stored, and what could not be
// had.
type Inventory struct {
	V        int                `json:"v"`
	Projects []InventoryProject `json:"projects"`
}

// InventoryProject is one project of an inventory.
type InventoryProject struct {
	ID         string                        `json:"id"`
	Gone       bool                          `json:"gone,omitempty"` // listed when the export was planned, not there when it was read
	Categories map[string]*InventoryCategory `json:"categories"`
	Untrained  []string                      `json:"untrained"`
	Unstable   []string                      `json:"unstable"`
	Witness    *Witness                      `json:"witness,omitempty"` // of the workspace, listed once more
	Removed    []string                      `json:"removed,omitempty"` // images that were removed after they were listed, before they could be fetched
}

// Witness counts the images that the workspace had when it was listed once more, after all else.
type Witness struct {
	Listed int `json:"listed"`
	Before int `json:"before"`
	After  int `json:"after"`
}

// InventoryCategory counts one category of a project. Listed counts what listings gave, over all
// scopes; Exported distinct things in the bag; Before and After are what the service counted before
// and after the listings were read.
type InventoryCategory struct {
	Listed     int              `json:"listed"`
	Exported   int              `json:"exported"`
	Bytes      int64            `json:"bytes"`
	Before     *int             `json:"before,omitempty"`
	After      *int             `json:"after,omitempty"`
	Scopes     []InventoryScope `json:"scopes,omitempty"`     // of images: where Listed comes from
	Distinct   *int             `json:"distinct,omitempty"`   // of images: how many different ones have a record
	Unfinished []Unfinished     `json:"unfinished,omitempty"` // exported models that the service lists and does not offer
	Failed     []Failure        `json:"failed"`
}

// Workspace is how an inventory calls the scope that is no iteration.
const Workspace = "workspace"

// InventoryScope is how many images the listings of one scope gave. An image that is in several
// scopes is listed in each of them.
type InventoryScope struct {
	ID     string `json:"id"` // of the iteration, or Workspace
	Listed int    `json:"listed"`
}

// Unfinished is an exported model that is not done: it was never made, or is being made.
type Unfinished struct {
	ID     string `json:"id"`     // "<iteration>/<platform>-<flavor>"
	Status string `json:"status"` // as the service says it
}

// Exception reports whether the model may still be made, so that the export lacks it. Of one that
// failed there is none.
func (u Unfinished) Exception() bool { return u.Status != "Failed" }

// Failure is one thing that an export could not have.
type Failure struct {
	ID        string `json:"id"`
	Operation string `json:"operation,omitempty"` // that the service did not carry out
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"` // of the service's answer
}

// ExportVerification is what the receipt of an export says of how it was verified.
type ExportVerification struct {
	PayloadObjects int `json:"payload_objects_listed"`
	Unstable       int `json:"unstable"` // listings that did not stand still
}

// Blame says why a blob could not be had, or what is wrong with it.
type Blame struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Operation string `json:"operation,omitempty"`  // that the service did not carry out
	RequestID string `json:"request_id,omitempty"` // of the service's answer
}

// Of is the failure of one thing for this reason.
func (b Blame) Of(id string) Failure {
	return Failure{ID: id, Operation: b.Operation, Code: b.Code, Message: b.Message, RequestID: b.RequestID}
}

// Blob is what a line of images.jsonl or predictions.jsonl says of a picture, beside the service's
// object.
type Blob struct {
	File        *string `json:"file"` // relative to the project's folder; null: there is none
	SHA256      string  `json:"sha256,omitempty"`
	Bytes       *int64  `json:"bytes,omitempty"`
	ContentType string  `json:"content_type,omitempty"`
	Source      string  `json:"source,omitempty"` // see Sources
	Error       *Blame  `json:"error,omitempty"`
}

// ImageRecord is a line of images.jsonl.
type ImageRecord struct {
	Image json.RawMessage `json:"image"` // as the service gave it
	Blob
}

// PredictionRecord is a line of predictions.jsonl.
type PredictionRecord struct {
	Prediction json.RawMessage `json:"prediction"`
	Blob
}
