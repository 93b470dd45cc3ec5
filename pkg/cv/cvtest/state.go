package cvtest

import (
	"encoding/json"

	"github.com/google/uuid"
)

// State is the truth about an account at one moment: a deep copy, comparable with reflect.DeepEqual, and JSON. All JSON objects are
// those the API gives, compact, with the same fields, except that URIs have no query.
type State struct {
	Projects []ProjectState `json:"projects"` // in the order of GetProjects
}

// ProjectState is the truth about a project.
type ProjectState struct {
	ID          uuid.UUID        `json:"id"`
	Project     json.RawMessage  `json:"project"`
	Workspace   ScopeState       `json:"workspace"`
	Iterations  []IterationState `json:"iterations"`
	Predictions []ItemState      `json:"predictions"` // oldest first
}

// ScopeState is what the workspace or an iteration holds.
type ScopeState struct {
	Tags   []json.RawMessage `json:"tags"`   // in the order of GetTags
	Images []ItemState       `json:"images"` // tagged and untagged, oldest first
}

// IterationState is the truth about an iteration.
type IterationState struct {
	ID        uuid.UUID       `json:"id"`
	Iteration json.RawMessage `json:"iteration"`
	ScopeState
	Performance       json.RawMessage   `json:"performance"` // at threshold 0.5, overlap 0.3; null when untrained
	ImagePerformances []json.RawMessage `json:"image_performances"`
	Exports           []ExportState     `json:"exports"`
}

// ItemState is an image or a stored prediction and what its original link leads to.
type ItemState struct {
	ID     uuid.UUID       `json:"id"`
	JSON   json.RawMessage `json:"json"`
	SHA256 string          `json:"sha256"` // hex, of the blob behind originalImageUri
	Bytes  int64           `json:"bytes"`
}

// ExportState is an exported model; SHA256 is empty and Bytes 0 unless it is Done.
type ExportState struct {
	Platform string          `json:"platform"`
	Flavor   string          `json:"flavor"`
	Status   string          `json:"status"`
	JSON     json.RawMessage `json:"json"`
	SHA256   string          `json:"sha256"`
	Bytes    int64           `json:"bytes"`
}

// BlobKind is what blob of an image or prediction is meant.
type BlobKind int

// Kinds of blobs.
const (
	BlobOriginal   BlobKind = iota // behind an image's originalImageUri
	BlobResized                    // behind an image's resizedImageUri; often the same as the original
	BlobThumbnail                  // behind an image's thumbnailUri
	BlobPrediction                 // behind a stored prediction's originalImageUri and resizedImageUri
)

// Snapshot returns the whole account's truth. Background deletions that are due by Options.Now have taken effect in it.
func (s *Server) Snapshot() State { panic("not yet") }

// Blob returns the bytes of a blob, of an image in the workspace or any iteration or of a stored prediction; nil when there is none.
func (s *Server) Blob(project uuid.UUID, kind BlobKind, id uuid.UUID) []byte { panic("not yet") }

// Model returns the bytes of an exported model; nil when there is none or it is not Done.
func (s *Server) Model(project, iteration uuid.UUID, platform, flavor string) []byte { panic("not yet") }

// Clone returns an account of its own with the same truth, not listening, whose links look like those of s: the expected state of
// a change can be made there by the methods that change an account and then be compared by Snapshot.
func (s *Server) Clone() *Server { panic("not yet") }

// Pending is how many background deletions have not yet taken full effect by Options.Now.
func (s *Server) Pending() int { panic("not yet") }
