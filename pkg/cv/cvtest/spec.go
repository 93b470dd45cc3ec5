package cvtest

import (
	"time"

	"github.com/google/uuid"
)

// Kind is what a project trains.
type Kind int

// Kinds of projects.
const (
	Multiclass Kind = iota // classification, one tag to an image
	Multilabel             // classification, one to three tags to an image
	Detection              // object detection, tags with regions
)

// Export statuses and the iteration statuses met in the service.
const (
	StatusDone      = "Done"
	StatusFailed    = "Failed"
	StatusExporting = "Exporting"
	StatusCompleted = "Completed"
	StatusTraining  = "Training"
	// StatusNew is the hidden workspace iteration that old versions of the API listed; it cannot be
	// deleted.
	StatusNew = "New"
)

// Tiny, as ProjectSpec.ImageBytes, is a valid picture of 8 by 8 pixels, some hundred bytes, the
// same for every Go version.
const Tiny = 1

// ProjectSpec describes a project to make.
type ProjectSpec struct {
	Name        string
	Description string
	Kind        Kind
	// Compact puts the project on a compact domain, whose iterations can be exported.
	Compact bool
	// Tags are the names of the regular tags; when empty and Images is not 0 there are two, "alpha"
	// and "beta".
	Tags []string
	// NegativeTag is the name of a tag of type Negative, given to every ninth tagged image of a
	// classification project.
	NegativeTag string
	// Images is how many tagged, Untagged how many untagged images are uploaded; untagged ones come
	// spread among the others.
	Images, Untagged int
	// Iterations are trained in this order, each on the workspace as it is then.
	Iterations []IterationSpec
	// Predictions is how many stored predictions there are, spread over the trained iterations.
	Predictions int
	// Metadata gives the metadata of the i-th image, or nil. It is called once per image; the map
	// is kept, not copied.
	Metadata func(i int) map[string]string
	// DRMode makes the project read-only.
	DRMode bool
	// ImageBytes is 0 for drawn scenes of some hundred pixels a side, Tiny for the smallest
	// pictures, and more for tiny pictures that are filled up to this many bytes.
	ImageBytes int
}

// IterationSpec describes an iteration to train.
type IterationSpec struct {
	// Name is "Iteration <n>" when empty.
	Name string
	// Images is how many of the workspace's images, oldest first, the snapshot keeps; 0 is all.
	Images int
	// Published publishes it as "<name>-published".
	Published bool
	// Untrained makes one without performance: its training failed (or Status says otherwise).
	Untrained bool
	// Status overrides the status: Completed, or Failed when Untrained.
	Status string
	// Exports are its exported models.
	Exports []ExportSpec
	// DropFromWorkspace is how many images, oldest first, are deleted from the workspace after the
	// training: they survive in the iterations trained so far.
	DropFromWorkspace int
}

// ExportSpec describes an exported model.
type ExportSpec struct {
	Platform string // CoreML TensorFlow DockerFile ONNX VAIDK
	Flavor   string // "" or Linux Windows ONNX10 ONNX12 ARM TensorFlowNormal TensorFlowLite
	Status   string // Done when empty
	Bytes    int64  // size of the file, at least; about 4 kB when 0
	Newer    bool   // newerVersionAvailable
}

// ImageSpec describes one image to add to a workspace.
type ImageSpec struct {
	Tags       []uuid.UUID
	Metadata   map[string]string
	ImageBytes int       // as in ProjectSpec
	Created    time.Time // zero: newer than all others of the project
}

// Project names what was made of a ProjectSpec; it does not follow later changes.
type Project struct {
	ID uuid.UUID
	// Tags are the regular tags in the order of the specification, then the negative one.
	Tags []uuid.UUID
	// Images are all uploaded images, oldest first; Dropped are those no longer in the workspace.
	Images, Dropped []uuid.UUID
	Iterations      []uuid.UUID
	Predictions     []uuid.UUID
}
