package cvtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// State is the truth about an account at one moment: a deep copy, comparable with
// reflect.DeepEqual, and JSON. All JSON objects are those the API gives, compact, with the same
// fields, except that URIs have no query.
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

// Snapshot returns the whole account's truth. Background deletions that are due by Options.Now have
// taken effect in it.
func (s *Server) Snapshot() State {
	frozen := s.Clone() // immutable parts are shared; so the pictures can be made outside the lock
	l := linker{s: frozen, origin: frozen.blobURL}
	state := State{Projects: []ProjectState{}}
	for _, p := range slices.Backward(frozen.account.projects) {
		state.Projects = append(state.Projects, l.projectState(s, p))
	}
	return state
}

func (l linker) projectState(s *Server, p *project) ProjectState {
	ps := ProjectState{
		ID: p.id, Project: raw(l.project(p)), Workspace: l.scopeState(s, p, p.workspace), Iterations: []IterationState{}, Predictions: []ItemState{},
	}
	for _, it := range p.iterations {
		is := IterationState{
			ID: it.id, Iteration: raw(l.iteration(p, it)), ScopeState: l.scopeState(s, p, it.scope),
			ImagePerformances: []json.RawMessage{}, Exports: []ExportState{},
		}
		if untrained(it) == nil {
			is.Performance = raw(l.s.performance(p, it, 0.5, 0.3))
			for _, img := range it.evaluated() {
				is.ImagePerformances = append(is.ImagePerformances, raw(l.imagePerformance(p, it, img)))
			}
		}
		for _, e := range it.exports {
			es := ExportState{Platform: e.platform, Flavor: e.flavor, Status: e.status, JSON: raw(l.export(p, it, e))}
			name := modelBlob(p.id, it.id, e)
			if src := p.findModel(name); src != nil {
				f := s.files.open(name, src)
				es.SHA256, es.Bytes = f.sha256, f.size
			}
			is.Exports = append(is.Exports, es)
		}
		ps.Iterations = append(ps.Iterations, is)
	}
	for _, x := range p.predictions {
		f := s.files.open(predictionBlob(p.id, 'o', x.id), x.picture.source('o'))
		ps.Predictions = append(ps.Predictions, ItemState{ID: x.id, JSON: raw(l.prediction(p, x)), SHA256: f.sha256, Bytes: f.size})
	}
	return ps
}

func (l linker) scopeState(s *Server, p *project, sc *scope) ScopeState {
	ss := ScopeState{Tags: []json.RawMessage{}, Images: make([]ItemState, 0, len(sc.images))}
	for _, t := range sc.tags {
		ss.Tags = append(ss.Tags, raw(sc.jsonTag(t)))
	}
	for _, img := range sc.images {
		letter := byte('i')
		if img.picture.resized {
			letter = 'o'
		}
		f := s.files.open(imageBlob(p.id, letter, img.id), img.picture.source(letter))
		ss.Images = append(ss.Images, ItemState{ID: img.id, JSON: raw(l.image(p, sc, img)), SHA256: f.sha256, Bytes: f.size})
	}
	return ss
}

func raw(value any) json.RawMessage { return encodeJSON(value, true) }

// Blob returns the bytes of a blob, of an image in the workspace or any iteration or of a stored
// prediction; nil when there is none.
func (s *Server) Blob(project uuid.UUID, kind BlobKind, id uuid.UUID) []byte {
	name := imageBlob(project, 'i', id)
	switch kind {
	case BlobOriginal:
		s.mu.Lock()
		if p := s.lookup(project); p != nil {
			if img := p.image(id); img != nil && img.picture.resized {
				name = imageBlob(project, 'o', id)
			}
		}
		s.mu.Unlock()
	case BlobThumbnail:
		name = imageBlob(project, 't', id)
	case BlobPrediction:
		name = predictionBlob(project, 'o', id)
	case BlobResized:
	}
	return s.read(name)
}

// Model returns the bytes of an exported model; nil when there is none or it is not Done.
func (s *Server) Model(project, iteration uuid.UUID, platform, flavor string) []byte {
	return s.read(modelBlob(project, iteration, export{platform: platform, flavor: flavor}))
}

func (s *Server) read(name string) []byte {
	f := s.openBlob(name, uuid.Nil)
	if f == nil {
		return nil
	}
	var b bytes.Buffer
	if err := f.writeTo(&b); err != nil {
		panic(fmt.Sprintf("cvtest: read %s: %v", name, err)) // a bytes.Buffer does not fail
	}
	return b.Bytes()
}
