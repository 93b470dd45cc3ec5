package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"path/filepath"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// atOnce is how many pictures are read at once.
const atOnce = 8

// ReportFile is the last file that is written: what was made of what.
const ReportFile = "conversion.json"

// Report is what was made.
type Report struct {
	V        int             `json:"v"`
	Bundle   string          `json:"bundle"` // SHA-256 of its manifest
	Command  string          `json:"command"`
	Pictures Pictures        `json:"images"`
	Split    float64         `json:"split"` // 0: all is for training
	Seed     uint64          `json:"seed"`
	Projects []ProjectReport `json:"projects"`
}

// Written reports whether there is any training set.
func (r Report) Written() bool {
	for _, p := range r.Projects {
		for _, f := range p.Formats {
			if f.NotOffered == "" {
				return true
			}
		}
	}
	return false
}

// ProjectReport is what was made of a project.
type ProjectReport struct {
	ID      uuid.UUID      `json:"id"`
	Name    string         `json:"name"` // the customer's text
	Kind    Kind           `json:"kind"`
	Classes []Class        `json:"classes"`  // in the order of their numbers
	LeftOut map[string]int `json:"left_out"` // images, of all formats, by reason
	Rotated int            `json:"rotated"`  // pictures that EXIF data turn by 90 degrees
	Cut     int            `json:"boxes_cut"`
	Dropped int            `json:"boxes_dropped"` // that were outside their picture
	Formats []FormatReport `json:"formats"`
}

// FormatReport is what was made of a project in one format.
type FormatReport struct {
	Format     Format            `json:"format"`
	NotOffered string            `json:"not_offered,omitempty"` // why there is nothing
	Train      Counts            `json:"train"`
	Validation Counts            `json:"validation"`
	LeftOut    map[string]int    `json:"left_out"` // images that the format, or its tool, does not take
	Folders    map[string]string `json:"folders,omitempty"`
}

// Counts is how many images and labels, or boxes, a set has.
type Counts struct {
	Images int `json:"images"`
	Labels int `json:"labels"`
}

// NeedsPictures is why there is no classification for YOLO with PicturesNone.
const NeedsPictures = "YOLO classification is folders of pictures, which were to be neither copied nor linked"

// example is an image that is taken.
type example struct {
	Image
	picture
	labels     []int
	boxes      []labelled
	validation bool
	content    []byte // the picture, if it is copied
	why        string // why it is left out after all; empty: it is not
	cut        int    // boxes that were cut
	dropped    int    // boxes that were outside
}

// labelled is a box with its class, within the picture.
type labelled struct {
	class                    int
	left, top, right, bottom float64
}

// name is what the picture's file is called.
func (e *example) name() string { return path.Base(string(e.File)) }

// set is the set that the image is in.
func (e *example) set() string {
	if e.validation {
		return validationSet
	}
	return trainSet
}

// The sets that images are in.
const (
	trainSet      = "train"
	validationSet = "val"
)

// format writes the training set of one project in one format.
type format interface {
	// takes says why an image is no part of the format; empty: it is.
	takes(e *example) string
	// store writes the files that an image has of its own. Several goroutines call it at once.
	store(ctx context.Context, e *example) error
	// add adds an image, in the order of the bag.
	add(e *example) error
	finish(ctx context.Context) error
	abort()
}

// Convert writes the training sets of all projects of a bag. Its last file is conversion.json:
// without it, what is there is not complete.
//
// Errors: verify.FormatError, those of the source and of the output.
func Convert(ctx context.Context, src verify.Source, receipt *sink.Receipt, out Output, o Options) (Report, error) {
	r := Report{V: 1, Command: receipt.Predicate.Command.ID, Bundle: receipt.Subject[0].Digest["sha256"], Pictures: o.Pictures, Split: o.Split, Seed: o.Seed, Projects: []ProjectReport{}}
	ids, err := Projects(ctx, src)
	if err != nil {
		return r, err
	}
	for _, id := range ids {
		project, err := convertProject(ctx, src, id, out, o)
		if err != nil {
			return r, fmt.Errorf("project %s: %w", id, err)
		}
		r.Projects = append(r.Projects, project)
	}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return r, fmt.Errorf("print the report: %w", err)
	}
	return r, out.Put(ctx, ReportFile, append(content, '\n'))
}

// conversion is that of one project.
type conversion struct {
	*plan
	out     Output
	report  ProjectReport
	formats []format // those that are offered
	reports []int    // for each format, its index in report.Formats
	shared  bool     // pictures are stored once for several formats
}

// convertProject writes the training sets of a project.
func convertProject(ctx context.Context, src verify.Source, id uuid.UUID, out Output, o Options) (ProjectReport, error) {
	p, err := newPlan(ctx, src, id, o)
	if err != nil {
		return ProjectReport{}, err
	}
	c := &conversion{plan: p, out: out, report: ProjectReport{ID: id, Name: p.project.Name, Kind: p.project.Kind, Classes: p.classes, LeftOut: p.left}}
	defer func() {
		for _, f := range c.formats {
			f.abort()
		}
	}()
	for _, f := range o.Formats {
		if err := c.begin(ctx, f); err != nil {
			return c.report, err
		}
	}
	done := 0
	err = inOrder(ctx, c.taken(ctx), c.prepare, func(e *example) error {
		if done++; o.Progress != nil {
			o.Progress(done, len(p.validation))
		}
		return c.add(e)
	})
	if err != nil {
		return c.report, err
	}
	for _, f := range c.formats {
		if err := f.finish(ctx); err != nil {
			return c.report, err
		}
	}
	return c.report, nil
}

// begin adds a format, or reports why the project has none in it.
func (c *conversion) begin(ctx context.Context, name Format) error {
	says := FormatReport{Format: name, LeftOut: map[string]int{}}
	var f format
	var err error
	folder := c.project.ID.String() + "/" + string(name)
	switch {
	case len(c.validation) == 0:
		says.NotOffered = "no image can be taken"
	case name == COCO:
		f, err = newCOCO(ctx, c.out, folder, c.plan)
	case name == AzureML:
		f, err = newAzureML(ctx, c.out, folder, c.plan)
	case c.project.Kind == Multilabel:
		says.NotOffered = "YOLO classifies with one class for each image; take azureml or coco"
	case c.project.Kind == Multiclass && c.o.Pictures == PicturesNone:
		says.NotOffered = NeedsPictures
	case c.project.Kind == Multiclass:
		classes := newYOLOClasses(c.out, folder, c.plan)
		says.Folders = classes.byTag()
		f = classes
	default:
		f = newYOLO(c.out, folder, c.plan)
	}
	if err != nil {
		return err
	}
	if f != nil {
		c.shared = c.shared || name != YOLO
		c.formats, c.reports = append(c.formats, f), append(c.reports, len(c.report.Formats))
	}
	c.report.Formats = append(c.report.Formats, says)
	return nil
}

// prepare reads an image's picture, and stores the files that the image has of its own.
func (c *conversion) prepare(ctx context.Context, e *example) error {
	body, err := c.src.Open(ctx, string(e.File))
	if verify.IsMissing(err) {
		return &verify.FormatError{Path: e.File, Err: errors.New("it is missing")}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", e.File, err)
	}
	defer func() { _ = body.Close() }()
	copied := c.o.Pictures == PicturesCopy
	picture, content, err := measure(body, copied)
	var unfit *pictureError
	switch {
	case errors.As(err, &unfit):
		e.why = "no picture that can be measured"
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", e.File, err)
	}
	e.picture = picture
	if copied {
		if got := sink.HexSHA256(content); got != e.SHA256 {
			return &verify.FormatError{Path: e.File, Err: fmt.Errorf("its SHA-256 is %s, its record has %s", got, e.SHA256)}
		}
		e.content = content
	}
	c.place(e)
	if c.shared {
		if err := c.storeIn(ctx, c.out, e, c.project.ID.String()+"/images/"+e.name()); err != nil {
			return err
		}
	}
	for _, f := range c.formats {
		if f.takes(e) == "" {
			if err := f.store(ctx, e); err != nil {
				return err
			}
		}
	}
	e.content = nil
	return nil
}

// place cuts the boxes of an image to its picture, and leaves out those outside it.
func (c *conversion) place(e *example) {
	if c.project.Kind != Detection {
		return
	}
	within := func(x float64) float64 { return min(max(x, 0), 1) }
	for _, box := range e.Boxes {
		class, ok := c.index[box.Tag]
		if !ok {
			continue // of a negative tag
		}
		b := labelled{class, within(box.Left), within(box.Top), within(box.Left + box.Width), within(box.Top + box.Height)}
		if b.right <= b.left || b.bottom <= b.top {
			e.dropped++
			continue
		}
		const rounding = 1e-6 // of the service's numbers
		if box.Left < -rounding || box.Top < -rounding || box.Left+box.Width > 1+rounding || box.Top+box.Height > 1+rounding {
			e.cut++
		}
		e.boxes = append(e.boxes, b)
	}
}

// storeIn copies or links the picture of an image, if the options ask for it.
func (p *plan) storeIn(ctx context.Context, out Output, e *example, name string) error {
	switch p.o.Pictures {
	case PicturesCopy:
		return out.Put(ctx, name, e.content)
	case PicturesLink:
		return out.Link(name, filepath.Join(p.o.LinkTo, filepath.FromSlash(string(e.File))))
	}
	return nil
}

// add adds an image to all formats that take it.
func (c *conversion) add(e *example) error {
	if e.why != "" {
		c.left[e.why]++
		return nil
	}
	c.report.Cut += e.cut
	c.report.Dropped += e.dropped
	if e.rotated {
		c.report.Rotated++
	}
	for i, f := range c.formats {
		says := &c.report.Formats[c.reports[i]]
		if why := f.takes(e); why != "" {
			says.LeftOut[why]++
			continue
		}
		if err := f.add(e); err != nil {
			return err
		}
		counts := &says.Train
		if e.validation {
			counts = &says.Validation
		}
		counts.Images++
		counts.Labels += len(e.labels)
		if c.project.Kind == Detection {
			counts.Labels += len(e.boxes) - len(e.labels)
		}
	}
	return nil
}

// inOrder calls work for several elements at once, and then use for each, in their order.
func inOrder[T any](ctx context.Context, all iter.Seq2[T, error], work func(context.Context, T) error, use func(T) error) error {
	type pending struct {
		element T
		done    chan error
	}
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan pending, atOnce-1)
	group.Go(func() error {
		defer close(queue)
		for element, err := range all {
			if err != nil {
				return err
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			one := pending{element, make(chan error, 1)}
			select {
			case queue <- one: // waits while as many are being worked on
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			group.Go(func() error { one.done <- work(ctx, one.element); return nil })
		}
		return nil
	})
	group.Go(func() error {
		for one := range queue {
			if err := <-one.done; err != nil {
				return err
			}
			if err := use(one.element); err != nil {
				return err
			}
		}
		return nil
	})
	return group.Wait() //nolint:wrapcheck // of the functions
}

// writeJSON writes a value without a line break at its end.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(b)
	}
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}
