package dataset

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
)

// Format is one of the formats that training sets are written in.
type Format string

// Formats of training sets.
const (
	COCO    Format = "coco"
	AzureML Format = "azureml"
	YOLO    Format = "yolo"
)

// Formats is all formats.
func Formats() []Format { return []Format{COCO, AzureML, YOLO} }

// Pictures says what becomes of the picture files.
type Pictures string

// What becomes of the picture files.
const (
	PicturesNone Pictures = "none" // they stay in the bag
	PicturesLink Pictures = "link" // symbolic links to those of the bag
	PicturesCopy Pictures = "copy"
)

// Options say what Convert makes.
type Options struct {
	Formats    []Format
	Pictures   Pictures
	LinkTo     string  // with PicturesLink: absolute path of the bag's folder
	Split      float64 // share of the images for training, the rest is for validation; 0: all
	Seed       uint64  // of the split
	ImageURL   string  // with AzureML: what the URL of a picture begins with
	Iterations bool    // take the images, too, that only iterations have
	Untagged   bool    // take images without tags, as background

	SpoolDir string              // for temporary files; empty: the system's
	Progress func(done, all int) // if set, is told of the images of one project
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	var problems []error
	if len(o.Formats) == 0 {
		problems = append(problems, errors.New("--to names no format: coco, azureml, yolo"))
	}
	for _, f := range o.Formats {
		if !slices.Contains(Formats(), f) {
			problems = append(problems, fmt.Errorf("--to %s: the formats are coco, azureml and yolo", f))
		}
	}
	if o.Split != 0 && !(o.Split > 0 && o.Split < 1) || math.IsNaN(o.Split) { // a NaN is neither
		problems = append(problems, fmt.Errorf("--split %v: it is the share of images for training, between 0 and 1", o.Split))
	}
	if slices.Contains(o.Formats, AzureML) {
		problems = append(problems, checkImageURL(o.ImageURL))
	}
	return errors.Join(problems...)
}

// checkImageURL says what is wrong with the beginning of the pictures' URLs.
func checkImageURL(text string) error {
	const example = "such as azureml://subscriptions/…/datastores/NAME/paths/FOLDER/"
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("--to azureml needs --image-url: where you will upload what is written, " + example)
	case err != nil || u.Scheme == "" || !strings.HasSuffix(text, "/") || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("--image-url %q: it is an absolute URL that ends in a slash and has no query, %s", text, example)
	}
	return nil
}
