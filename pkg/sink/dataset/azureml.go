package dataset

import (
	"bufio"
	"context"
	"fmt"
	"path"
)

// azureML writes the JSON Lines that automated machine learning of Azure reads, with an MLTable
// file beside each.
type azureML struct {
	plan *plan
	sets map[string]*azureMLSet
}

type azureMLSet struct {
	file  File
	lines *bufio.Writer
}

type azureMLLine struct {
	ImageURL string         `json:"image_url"`
	Details  azureMLDetails `json:"image_details"`
	Label    any            `json:"label"` // a text, texts, or boxes
}

type azureMLDetails struct {
	Format string `json:"format"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// azureMLBox is a box, as fractions of the picture.
type azureMLBox struct {
	Label   string  `json:"label"`
	TopX    float64 `json:"topX"`
	TopY    float64 `json:"topY"`
	BottomX float64 `json:"bottomX"`
	BottomY float64 `json:"bottomY"`
	IsCrowd int     `json:"isCrowd"`
}

// azureMLNames is what the sets are called.
var azureMLNames = map[string]string{trainSet: "training", validationSet: "validation"}

// mlTable says how the lines are to be read.
const mlTable = `paths:
  - file: ./%s
transformations:
  - read_json_lines:
        encoding: utf8
        invalid_lines: error
        include_path_column: false
  - convert_column_types:
      - columns: image_url
        column_type: stream_info
`

func newAzureML(ctx context.Context, out Output, folder string, p *plan) (*azureML, error) {
	a := &azureML{plan: p, sets: map[string]*azureMLSet{}}
	for _, set := range p.sets() {
		in := path.Join(folder, azureMLNames[set]+"-mltable-folder")
		lines := azureMLNames[set] + "_annotations.jsonl"
		err := out.Put(ctx, path.Join(in, "MLTable"), fmt.Appendf(nil, mlTable, lines))
		var file File
		if err == nil {
			file, err = out.Create(ctx, path.Join(in, lines))
		}
		if err != nil {
			a.abort()
			return nil, err
		}
		a.sets[set] = &azureMLSet{file, bufio.NewWriter(file)}
	}
	return a, nil
}

// azureMLFormats is the formats of pictures that can be read, and their names.
var azureMLFormats = map[string]string{"jpeg": "jpg", "png": "png", "bmp": "bmp", "tiff": "tiff"}

// takes implements format.
func (a *azureML) takes(e *example) string {
	if azureMLFormats[e.format] == "" {
		return "Azure Machine Learning reads no " + e.format
	}
	return ""
}

// store implements format.
func (a *azureML) store(context.Context, *example) error { return nil }

// add implements format.
func (a *azureML) add(e *example) error {
	line := azureMLLine{
		ImageURL: a.plan.o.ImageURL + a.plan.project.ID.String() + "/images/" + e.name(),
		Details:  azureMLDetails{azureMLFormats[e.format], e.width, e.height},
	}
	switch a.plan.project.Kind {
	case Multiclass:
		line.Label = a.plan.classes[e.labels[0]].Name
	case Multilabel:
		names := make([]string, 0, len(e.labels))
		for _, class := range e.labels {
			names = append(names, a.plan.classes[class].Name)
		}
		line.Label = names
	default:
		boxes := make([]azureMLBox, 0, len(e.boxes))
		for _, b := range e.boxes {
			boxes = append(boxes, azureMLBox{a.plan.classes[b.class].Name, b.left, b.top, b.right, b.bottom, 0})
		}
		line.Label = boxes
	}
	set := a.sets[e.set()]
	if err := writeJSON(set.lines, line); err != nil {
		return err
	}
	return set.lines.WriteByte('\n') //nolint:wrapcheck // of the output
}

// finish implements format.
func (a *azureML) finish(context.Context) error {
	for _, set := range a.sets {
		if err := set.lines.Flush(); err != nil {
			return fmt.Errorf("write the lines: %w", err)
		}
		if err := set.file.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// abort implements format.
func (a *azureML) abort() {
	for _, set := range a.sets {
		set.file.Abort()
	}
}
