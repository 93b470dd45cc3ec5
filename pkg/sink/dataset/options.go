package dataset

import (
	"fmt"
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

// Problem is what is wrong with one of the options.
type Problem struct {
	Option string // name of the field of Options
	What   string
}

// Check gives what is wrong with the options.
func (o Options) Check() []Problem {
	var problems []Problem
	add := func(option, format string, args ...any) {
		problems = append(problems, Problem{option, fmt.Sprintf(format, args...)})
	}
	const formats = "the formats are coco, azureml and yolo"
	if len(o.Formats) == 0 {
		add("Formats", "none is named: "+formats)
	}
	for _, f := range o.Formats {
		if !slices.Contains(Formats(), f) {
			add("Formats", "%q is none: %s", f, formats)
		}
	}
	if !(o.Split >= 0 && o.Split < 1) { // a NaN is neither
		add("Split", "%v is not the share of images for training, which is between 0 and 1", o.Split)
	}
	if slices.Contains(o.Formats, AzureML) {
		const example = "such as azureml://subscriptions/…/datastores/NAME/paths/FOLDER/"
		u, err := url.Parse(o.ImageURL)
		switch {
		case o.ImageURL == "":
			add("ImageURL", "azureml needs it: where you will upload what is written, %s", example)
		case err != nil || u.Scheme == "" || !strings.HasSuffix(o.ImageURL, "/") || u.RawQuery != "" || u.Fragment != "":
			add("ImageURL", "%q is not an absolute URL that ends in a slash and has no query, %s", o.ImageURL, example)
		}
	}
	return problems
}
