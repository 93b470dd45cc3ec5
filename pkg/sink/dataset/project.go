package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// What is read into memory at once, in bytes.
const (
	maxDocument = 16 << 20 // of a document of the service
	maxRecord   = 16 << 20 // of a line of images.jsonl
)

// Kind is what the models of a project learn.
type Kind string

// Kinds of projects.
const (
	Multiclass Kind = "multiclass" // one tag for each image
	Multilabel Kind = "multilabel" // any number of tags for each image
	Detection  Kind = "detection"  // boxes with a tag each
)

// Project is a project of an export.
type Project struct {
	ID         uuid.UUID
	Name       string // the customer's text
	Kind       Kind
	Tags       []Tag
	Iterations []Iteration // the newest first
}

// Tag is a tag of a project.
type Tag struct {
	ID       uuid.UUID
	Name     string // the customer's text
	Negative bool   // its images show nothing of what the other tags are about
}

// Iteration is an iteration of a project.
type Iteration struct {
	ID      uuid.UUID
	Name    string // the customer's text
	Created time.Time
}

// Projects gives the ids of a bag's projects, in order.
func Projects(ctx context.Context, src verify.Source) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	for file, err := range src.List(ctx) {
		if err != nil {
			return nil, fmt.Errorf("list the bundle: %w", err)
		}
		rest, ok := strings.CutPrefix(file.Name, "data/projects/")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(rest, "/")
		if id, err := uuid.Parse(name); err == nil && (len(ids) == 0 || ids[len(ids)-1] != id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return ids, nil
}

// ReadProject reads what a bag has of a project. An export of some categories may have only its id.
func ReadProject(ctx context.Context, src verify.Source, id uuid.UUID) (Project, error) {
	p := Project{ID: id}
	var says struct {
		Name     string `json:"name"`
		Settings struct {
			ClassificationType string `json:"classificationType"`
		} `json:"settings"`
	}
	if _, err := verify.ReadJSON(ctx, src, sink.ProjectPath(id, "project.json"), maxDocument, &says); err != nil {
		return p, err
	}
	p.Name = says.Name
	switch says.Settings.ClassificationType { // the service names no kind of project; only classification has a type
	case "Multiclass":
		p.Kind = Multiclass
	case "Multilabel":
		p.Kind = Multilabel
	default:
		p.Kind = Detection
	}
	var err error
	if p.Tags, err = readTags(ctx, src, sink.ProjectPath(id, "tags.json")); err != nil {
		return p, err
	}
	var iterations []struct {
		ID      uuid.UUID `json:"id"`
		Name    string    `json:"name"`
		Created time.Time `json:"created"`
	}
	if _, err := verify.ReadJSON(ctx, src, sink.ProjectPath(id, "iterations.json"), maxDocument, &iterations); err != nil {
		return p, err
	}
	for _, i := range iterations {
		p.Iterations = append(p.Iterations, Iteration(i))
	}
	slices.SortStableFunc(p.Iterations, func(a, b Iteration) int { return b.Created.Compare(a.Created) })
	return p, nil
}

// readTags reads a list of tags.
func readTags(ctx context.Context, src verify.Source, path sink.Path) ([]Tag, error) {
	var says []struct {
		ID   uuid.UUID `json:"id"`
		Name string    `json:"name"`
		Type string    `json:"type"`
	}
	if _, err := verify.ReadJSON(ctx, src, path, maxDocument, &says); err != nil {
		return nil, err
	}
	tags := make([]Tag, 0, len(says))
	for _, t := range says {
		tags = append(tags, Tag{ID: t.ID, Name: t.Name, Negative: t.Type == "Negative"})
	}
	return tags, nil
}

// Image is an image of a project, in the workspace or in an iteration.
type Image struct {
	ID     uuid.UUID
	File   sink.Path // in the bag; empty: it could not be had
	SHA256 string
	Tags   []uuid.UUID
	Boxes  []Box
	names  map[uuid.UUID]string // of its tags
}

// Box is a box around what a tag is about, as fractions of the picture as it is shown, origin top
// left.
type Box struct {
	Tag                      uuid.UUID
	Left, Top, Width, Height float64
}

// images yields the images of a listing in its order.
func images(ctx context.Context, src verify.Source, project uuid.UUID, path sink.Path) iter.Seq2[Image, error] {
	return func(yield func(Image, error) bool) {
		body, err := src.Open(ctx, string(path))
		if verify.IsMissing(err) {
			return
		}
		if err != nil {
			yield(Image{}, fmt.Errorf("open %s: %w", path, err))
			return
		}
		defer func() { _ = body.Close() }()
		for line, err := range sink.Lines(body, maxRecord) {
			var image Image
			var broken *sink.ReadError
			switch {
			case errors.As(err, &broken):
				err = fmt.Errorf("read %s: %w", path, err)
			case err == nil:
				image, err = readImage(project, line)
				fallthrough
			default:
				if err != nil {
					err = &verify.FormatError{Path: path, Err: err}
				}
			}
			if err != nil {
				yield(Image{}, err)
				return
			}
			if !yield(image, nil) {
				return
			}
		}
	}
}

// readImage reads a line of images.jsonl.
func readImage(project uuid.UUID, line []byte) (Image, error) {
	var record bagfile.ImageRecord
	if err := json.Unmarshal(line, &record); err != nil {
		return Image{}, err
	}
	type tag struct {
		ID   uuid.UUID `json:"tagId"`
		Name string    `json:"tagName"`
	}
	var says struct {
		ID      uuid.UUID `json:"id"`
		Tags    []tag     `json:"tags"`
		Regions []struct {
			tag
			Left   float64 `json:"left"`
			Top    float64 `json:"top"`
			Width  float64 `json:"width"`
			Height float64 `json:"height"`
		} `json:"regions"`
	}
	if err := json.Unmarshal(record.Image, &says); err != nil {
		return Image{}, err
	}
	image := Image{ID: says.ID, SHA256: record.SHA256, names: map[uuid.UUID]string{}}
	if record.File != nil {
		image.File = sink.ProjectPath(project, *record.File)
		if err := image.File.Check(); err != nil {
			return Image{}, fmt.Errorf("image %s: %w", says.ID, err)
		}
	}
	for _, t := range says.Tags {
		image.Tags = append(image.Tags, t.ID)
		image.names[t.ID] = t.Name
	}
	for _, r := range says.Regions {
		image.Boxes = append(image.Boxes, Box{r.ID, r.Left, r.Top, r.Width, r.Height})
		image.names[r.ID] = r.Name
	}
	return image, nil
}
