package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/dataset"
	"github.com/cvconsumer/cvconsumer/pkg/sink/transfer"
)

type convertCmd struct {
	Where      string   `arg:"" name:"where" help:"A folder, a .zip file or s3://bucket/prefix/ that holds one bundle of an export."`
	Dest       string   `arg:"" name:"dest" help:"Folder or s3://bucket/prefix/ to write into, new or empty."`
	To         []string `name:"to" required:"" placeholder:"FORMAT" help:"Formats to write: coco, azureml (JSON Lines of Azure Machine Learning), yolo (Ultralytics)."`
	Images     string   `name:"images" enum:"none,link,copy" default:"none" placeholder:"HOW" help:"What becomes of the picture files: none, link (symbolic links, from folder to folder) or copy; default ${default}."`
	Split      float64  `name:"split" placeholder:"SHARE" help:"Share of the images for training, such as 0.8; the others are for validation. Default: all are for training."`
	Seed       uint64   `name:"seed" default:"0" placeholder:"N" help:"Another seed chooses other images; default ${default}."`
	ImageURL   string   `name:"image-url" placeholder:"URL" help:"For azureml: where you will upload DEST; URLs of pictures begin with it."`
	Iterations bool     `name:"iterations" help:"Take images, too, that only iterations have, as the newest of them has each."`
	Untagged   bool     `name:"untagged" help:"Take images without tags as such that show nothing of what the tags are about. By default they are left out: an image that was never tagged may show anything."`
	keyFlag    `embed:""`
	outputFlag `embed:""`
	S3         storeAccess        `embed:"" group:"Storage, for s3://:"`
	SSE        encryptionSettings `embed:"" group:"Storage, for s3://:"`
}

// Help implements kong.HelpProvider.
func (convertCmd) Help() string {
	return "Verifies the bundle of an export, and writes training sets of its projects for other tools: DEST/PROJECT-ID/FORMAT/, and pictures in DEST/PROJECT-ID/images/ or in the layout of the format. " +
		"docs/migrate.md shows how each is loaded, and what becomes of negative tags, boxes that are partly outside, and rotated pictures. " +
		"Exits 3 when there is nothing to make a training set of."
}

// Run writes the training sets of one bundle.
func (c convertCmd) Run(p *program) error {
	keys, err := readPublicKeys(c.Key)
	if err != nil {
		return err
	}
	o := c.options()
	if wrong := o.Check(); len(wrong) > 0 {
		return wrongOptions(wrong)
	}
	from, err := c.S3.openBundle(p.ctx, p.env, c.Where)
	if err != nil {
		return err
	}
	defer from.close()
	if err := from.checkOutside(c.Dest); err != nil {
		return err
	}
	if o.LinkTo, err = c.linkTo(from); err != nil {
		return err
	}
	bag, err := transfer.Open(p.ctx, from.bag)
	if err != nil {
		return from.failed(fmt.Errorf("%s: %w", from.name, err), nil)
	}
	if bag.Receipt.Kind() != sink.ExportBag {
		return fmt.Errorf("%w: %s is the bundle of a delete: training sets are made of exports", errUsage, from.name)
	}
	if _, err := from.checkStatements(p, keys); err != nil {
		return err
	}
	out, access, err := c.output(p)
	if err != nil {
		return err
	}
	report, err := from.convert(p, bag, out, o)
	if err != nil {
		if isUnreachable(err) {
			return access.unreachable(err)
		}
		return from.failed(fmt.Errorf("convert %s: %w", from.name, err), nil)
	}
	if c.json() {
		err = printJSON(p.stdout, report)
	} else {
		err = printConversion(p.stdout, from.name, c.Dest, report)
	}
	if err == nil && !report.Written() {
		err = fmt.Errorf("%w: there is nothing to make a training set of", errRefused)
	}
	return err
}

// options are what the flags ask for.
func (c convertCmd) options() dataset.Options {
	o := dataset.Options{Pictures: dataset.Pictures(c.Images), Split: c.Split, Seed: c.Seed, ImageURL: c.ImageURL, Iterations: c.Iterations, Untagged: c.Untagged}
	for _, f := range dataset.Formats() { // in one order, each once
		if slices.Contains(c.To, string(f)) {
			o.Formats = append(o.Formats, f)
		}
	}
	for _, f := range c.To {
		if !slices.Contains(o.Formats, dataset.Format(f)) {
			o.Formats = append(o.Formats, dataset.Format(f))
		}
	}
	return o
}

// wrongOptions is the error of options, in the words of the flags.
func wrongOptions(wrong []dataset.Problem) error {
	flags := map[string]string{"Formats": "--to", "Split": "--split", "ImageURL": "--image-url"}
	texts := make([]string, len(wrong))
	for i, one := range wrong {
		texts[i] = flags[one.Option] + ": " + one.What
	}
	return fmt.Errorf("%w: %s", errUsage, strings.Join(texts, "; "))
}

// linkTo is the folder that links lead to, where pictures are linked.
func (c convertCmd) linkTo(from bundle) (string, error) {
	if c.Images != string(dataset.PicturesLink) {
		return "", nil
	}
	info, err := os.Stat(from.name)
	_, _, stored := splitS3(c.Dest)
	if err != nil || !info.IsDir() || stored {
		return "", fmt.Errorf("%w: --images link needs a bundle in a folder, and a folder to write into: take --images copy", errUsage)
	}
	dir, err := filepath.Abs(from.name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", from.name, err)
	}
	return dir, nil
}

// output opens the place to write to.
func (c convertCmd) output(p *program) (out dataset.Output, access storeConfig, err error) {
	bucket, prefix, stored := splitS3(c.Dest)
	scheme, _, remote := strings.Cut(c.Dest, "://")
	switch {
	case stored:
		var store *sink.Store
		if store, access, err = c.S3.writer(p, c.SSE, bucket); err != nil {
			return nil, access, err
		}
		if prefix != "" && !strings.HasSuffix(prefix, "/") {
			prefix += "/"
		}
		out, err = dataset.Stored(p.ctx, store, sink.Key(prefix))
	case remote:
		return nil, access, fmt.Errorf("%w: %s: training sets are written into a folder or below s3://bucket/prefix/; %s:// is not supported", errUsage, c.Dest, scheme)
	default:
		out, err = dataset.Folder(c.Dest)
	}
	switch {
	case errors.Is(err, dataset.ErrNotEmpty):
		return nil, access, fmt.Errorf("%w: %s: %w", errUsage, c.Dest, err)
	case err != nil:
		return nil, access, access.unreachable(err)
	}
	return out, access, nil
}

// convert writes the training sets of a bundle.
func (b bundle) convert(p *program, bag *transfer.Bag, out dataset.Output, o dataset.Options) (dataset.Report, error) {
	show := newBundleProgress(p.stderr)
	update, end := show.track(b.name, items)
	o.Progress = func(done, all int) { update(int64(done), int64(all)) }
	report, err := dataset.Convert(p.ctx, b.bag, bag.Receipt, out, o)
	end()
	show.end()
	return report, err
}

// takenBy is which option takes what is left out, for people.
func takenBy(kind dataset.Kind, why string) string {
	switch {
	case why == dataset.LeftIteration:
		return " (--iterations takes them)"
	case why == dataset.LeftUntagged && kind != dataset.Multiclass:
		return " (--untagged takes them)"
	}
	return ""
}

// offeredWith is which option gives what a format lacks, for people.
func offeredWith(why string) string {
	if why == dataset.NeedsPictures {
		return " (--images copy or --images link makes them)"
	}
	return ""
}

// printConversion prints what was made, for people.
func printConversion(w io.Writer, from, dest string, r dataset.Report) error {
	t := newTable(w)
	t.line(0, from+": converted to "+dest)
	for _, project := range r.Projects {
		if name := oneLine(project.Name); name != "" {
			t.line(2, name)
		}
		t.line(2, fmt.Sprintf("%s, %s", project.ID, project.Kind))
		things := "labels"
		if project.Kind == dataset.Detection {
			things = "boxes"
		}
		for _, f := range project.Formats {
			switch {
			case f.NotOffered != "":
				t.field(string(f.Format), "nothing: "+f.NotOffered+offeredWith(f.NotOffered))
				continue
			case f.Validation.Images > 0:
				t.field(string(f.Format), fmt.Sprintf("training: images %d, %s %d; validation: images %d, %s %d", f.Train.Images, things, f.Train.Labels, f.Validation.Images, things, f.Validation.Labels))
			default:
				t.field(string(f.Format), fmt.Sprintf("images %d, %s %d", f.Train.Images, things, f.Train.Labels))
			}
			for _, why := range slices.Sorted(maps.Keys(f.LeftOut)) {
				t.field("", fmt.Sprintf("left out %d: %s", f.LeftOut[why], why))
			}
		}
		for _, why := range slices.Sorted(maps.Keys(project.LeftOut)) {
			t.field("left out", fmt.Sprintf("%d: %s%s", project.LeftOut[why], why, takenBy(project.Kind, why)))
		}
		if project.Cut+project.Dropped > 0 {
			t.field("boxes", fmt.Sprintf("%d cut to their picture, %d outside of it left out", project.Cut, project.Dropped))
		}
		if project.Rotated > 0 {
			t.field("rotated", fmt.Sprintf("%d pictures, by their EXIF data: sizes are as they are shown", project.Rotated))
		}
	}
	return t.Flush()
}
