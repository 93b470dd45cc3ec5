package dataset

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// coco writes COCO files: one for each set. Of detection they have boxes in pixels; of
// classification annotations without boxes, one for each class of an image.
type coco struct {
	plan *plan
	sets map[string]*cocoSet
}

// cocoSet is one file. Annotations are kept in a temporary file, since they follow the images.
type cocoSet struct {
	file        File
	images      *bufio.Writer
	annotations *sink.Spool
	image       int // ids, from 1
	annotation  int
}

type cocoImage struct {
	ID       int    `json:"id"`
	FileName string `json:"file_name"` // below the folder of the project's images
	Width    int    `json:"width"`
	Height   int    `json:"height"`
}

type cocoAnnotation struct {
	ID           int         `json:"id"`
	ImageID      int         `json:"image_id"`
	CategoryID   int         `json:"category_id"`
	BBox         *[4]float64 `json:"bbox,omitempty"` // x and y of the top left corner, width, height: pixels
	Area         *float64    `json:"area,omitempty"`
	IsCrowd      *int        `json:"iscrowd,omitempty"`
	Segmentation *[]any      `json:"segmentation,omitempty"` // none
}

type cocoCategory struct {
	ID            int    `json:"id"`
	Name          string `json:"name"`
	Supercategory string `json:"supercategory"`
}

func newCOCO(ctx context.Context, out Output, folder string, p *plan) (*coco, error) {
	c := &coco{plan: p, sets: map[string]*cocoSet{}}
	stem := "labels"
	if p.project.Kind == Detection {
		stem = "instances"
	}
	for _, name := range p.sets() {
		file, err := out.Create(ctx, fmt.Sprintf("%s/%s_%s.json", folder, stem, name))
		if err != nil {
			c.abort()
			return nil, err
		}
		set := &cocoSet{file: file, images: bufio.NewWriter(file), annotations: sink.NewSpool(p.o.SpoolDir)}
		c.sets[name] = set
		_, _ = io.WriteString(set.images, `{"info":{"description":"made by consumer convert"},"licenses":[],"images":[`) // Flush tells
	}
	return c, nil
}

// takes implements format.
func (c *coco) takes(*example) string { return "" }

// store implements format.
func (c *coco) store(context.Context, *example) error { return nil }

// add implements format.
func (c *coco) add(e *example) error {
	set := c.sets[e.set()]
	set.image++
	if err := element(set.images, set.image, cocoImage{set.image, e.name(), e.width, e.height}); err != nil {
		return err
	}
	if c.plan.project.Kind != Detection {
		for _, class := range e.labels {
			set.annotation++
			if err := element(set.annotations, set.annotation, cocoAnnotation{ID: set.annotation, ImageID: set.image, CategoryID: class + 1}); err != nil {
				return err
			}
		}
		return nil
	}
	for _, b := range e.boxes {
		set.annotation++
		pixels := func(from, to float64, of int) (at, length float64) {
			at = hundredths(from * float64(of))
			return at, max(hundredths(to*float64(of)-at), 0.01)
		}
		x, w := pixels(b.left, b.right, e.width)
		y, h := pixels(b.top, b.bottom, e.height)
		area := hundredths(w * h)
		a := cocoAnnotation{ID: set.annotation, ImageID: set.image, CategoryID: b.class + 1, BBox: &[4]float64{x, y, w, h}, Area: &area, IsCrowd: new(int), Segmentation: &[]any{}}
		if err := element(set.annotations, set.annotation, a); err != nil {
			return err
		}
	}
	return nil
}

// element writes the n-th element of a list.
func element(w io.Writer, n int, v any) error {
	separator := ",\n"
	if n == 1 {
		separator = "\n"
	}
	if _, err := io.WriteString(w, separator); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return writeJSON(w, v)
}

// hundredths rounds to hundredths of a pixel.
func hundredths(x float64) float64 { return math.Round(x*100) / 100 }

// finish implements format.
func (c *coco) finish(context.Context) error {
	categories := make([]cocoCategory, 0, len(c.plan.classes))
	for i, class := range c.plan.classes {
		categories = append(categories, cocoCategory{ID: i + 1, Name: class.Name, Supercategory: "none"})
	}
	for _, set := range c.sets {
		_, _ = io.WriteString(set.images, "],\n\"annotations\":[")
		if _, err := io.Copy(set.images, set.annotations.ReadSeeker()); err != nil {
			return fmt.Errorf("write annotations: %w", err)
		}
		_, _ = io.WriteString(set.images, "],\n\"categories\":")
		if err := writeJSON(set.images, categories); err != nil {
			return err
		}
		_, _ = io.WriteString(set.images, "}\n")
		if err := set.images.Flush(); err != nil {
			return fmt.Errorf("write the COCO file: %w", err)
		}
		if err := set.file.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// abort implements format.
func (c *coco) abort() {
	for _, set := range c.sets {
		set.file.Abort()
		if set.annotations != nil {
			_ = set.annotations.Close()
		}
	}
}
