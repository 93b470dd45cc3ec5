// Package workload names what a benchmark moves: how many files of which size, as one word on a
// command line.
package workload

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Case is the content of one simulated account.
type Case struct {
	Name       string // as Parse reads it
	Images     int
	ImageBytes int   // of each image
	Regions    int   // of each image; 0: a classification project
	ModelBytes int64 // of the one exported model; 0: there is none
}

var (
	ofImages = regexp.MustCompile(`^([0-9]{1,7})x([0-9]{1,4}[kmg]?)(?:x([0-9]{1,3}))?$`)
	ofModel  = regexp.MustCompile(`^model([0-9]{1,4}[kmg]?)$`)
)

// Parse reads the name of a case: "20000x4k" is 20,000 images of 4 KiB, "3000x100kx50" has 50
// regions in each image, and "model1g" is one exported model of 1 GiB.
func Parse(name string) (Case, error) {
	c := Case{Name: name}
	if found := ofModel.FindStringSubmatch(name); found != nil {
		c.ModelBytes = size(found[1])
	} else if found := ofImages.FindStringSubmatch(name); found != nil {
		c.Images, _ = strconv.Atoi(found[1])
		c.ImageBytes = int(size(found[2]))
		c.Regions, _ = strconv.Atoi(found[3])
	}
	if c.Files() == 0 || c.bytes() == 0 {
		return Case{}, fmt.Errorf("case %q: write IMAGESxSIZE, IMAGESxSIZExREGIONS or modelSIZE, as 3000x100k", name)
	}
	return c, nil
}

// ParseAll reads names separated by commas.
func ParseAll(names string) ([]Case, error) {
	var all []Case
	for name := range strings.SplitSeq(names, ",") {
		c, err := Parse(name)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// size reads a number of bytes with a unit, which the patterns above have checked.
func size(text string) int64 {
	unit := map[byte]int64{'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}[text[len(text)-1]]
	if unit == 0 {
		unit = 1
	} else {
		text = text[:len(text)-1]
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	return n * unit
}

// Files is how many files an export of the account downloads.
func (c Case) Files() int {
	if c.ModelBytes > 0 {
		return 1
	}
	return c.Images
}

func (c Case) bytes() int64 { return int64(c.Images)*int64(c.ImageBytes) + c.ModelBytes }

// Title is the case in words.
func (c Case) Title() string {
	if c.ModelBytes > 0 {
		return "one exported model of " + sizeText(c.ModelBytes)
	}
	title := message.NewPrinter(language.English).Sprintf("%d images of %s", c.Images, sizeText(int64(c.ImageBytes)))
	if c.Regions > 0 {
		title += fmt.Sprintf(", %d regions in each", c.Regions)
	}
	return title
}

// sizeText is a number of bytes in the largest unit that it has a whole number of.
func sizeText(n int64) string {
	for i, unit := range []string{"GiB", "MiB", "KiB"} {
		if bytes := int64(1) << (30 - 10*i); n%bytes == 0 {
			return fmt.Sprintf("%d %s", n/bytes, unit)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
