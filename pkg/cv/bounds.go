package cv

import (
	"errors"
	"fmt"
	"io"
)

// MaxCount is the largest count that is believed: the service has no project with as many images.
const MaxCount = 10_000_000

const (
	kib = 1 << 10
	mib = 1 << 20

	// askedBytes and askedValues are room for an element of a page, on average: an image with 300
	// regions and 100 tags has 120 KB as the service indents it, and 6,300 values.
	askedBytes  = 160 * kib
	askedValues = 8192
	// leastAsked is for how many elements a page has room at least: one may be large.
	leastAsked = 16
	// maxElement bounds an element of a page.
	maxElement = 4 * mib
	// maxToken bounds the token of a query, which is sent back, and kept in units of work.
	maxToken = 64 * kib

	objectValues = 8 // what a small object takes in memory, counted in values

	maxDepth   = 32  // of values in values
	maxMembers = 256 // of one object
)

// bounds is how large an answer may be. What exceeds them is no answer (ErrUnavailable and
// ErrTooLarge): the call is retried.
type bounds struct {
	elements int // of the list; 0 where the answer is no list
	each     int // bytes of an element, or of the one value, decoded
	whole    int // bytes, decoded
	values   int // JSON values in all, an object counting as objectValues: a small text can be many
}

// one bounds an answer of one value.
func one(size int) bounds { return bounds{each: size, whole: size, values: size / 8} }

// some bounds a list that comes whole.
func some(elements, each, whole int) bounds {
	return bounds{elements: elements, each: each, whole: whole, values: whole / 8}
}

// page bounds a list of which a number of elements was asked for.
func page(asked int) bounds {
	room := max(asked, leastAsked)
	return bounds{elements: asked, each: min(maxElement, room*askedBytes), whole: room * askedBytes, values: room * askedValues}
}

// answerBounds is the bounds of each operation whose answer is read. Of pages that is the largest
// one: a page has at most as many elements as were asked for, and the room for these.
var answerBounds = map[string]bounds{
	"GetDomain":                one(16 * kib),
	"GetDomains":               some(1000, 16*kib, 256*kib),
	"GetProject":               one(64 * kib),
	"GetProjects":              some(10_000, 64*kib, 16*mib), // the service has 100
	"GetIteration":             one(64 * kib),
	"GetIterations":            some(1000, 64*kib, 4*mib), // the service has 20
	"GetIterationPerformance":  one(4 * mib),
	"GetTag":                   one(64 * kib),
	"GetTags":                  some(10_000, 64*kib, 16*mib), // the service has 500
	"GetExports":               some(1000, 64*kib, mib),
	"GetImageCount":            one(kib),
	"GetTaggedImageCount":      one(kib),
	"GetUntaggedImageCount":    one(kib),
	"GetImagePerformanceCount": one(kib),
	"GetImages":                page(MaxPage),
	"GetTaggedImages":          page(MaxPage),
	"GetUntaggedImages":        page(MaxPage),
	"GetImagesByIds":           page(MaxPage),
	"GetImagePerformances":     page(MaxPage),
	"QueryPredictions":         page(MaxPage),
}

// bounds is how large the call's answer may be.
func (k call) bounds() bounds {
	if k.asked > 0 {
		return page(k.asked)
	}
	return answerBounds[k.op]
}

// tooLarge is the error of an answer that exceeds its bounds.
func tooLarge(format string, args ...any) error {
	return &kinded{errors.Join(ErrUnavailable, ErrTooLarge), fmt.Errorf(format, args...)}
}

// readAhead is how much of an answer may be read beyond the element that is wanted.
const readAhead = 8 * kib

// boundedBody is an answer's body that fails where the answer, or its next element, is too large.
type boundedBody struct {
	body   io.Reader
	bounds bounds
	read   int
	stop   int // how far may be read
}

// allow lets an element be read that begins here.
func (b *boundedBody) allow(from int64) {
	b.stop = min(b.bounds.whole+1, int(from)+b.bounds.each+readAhead)
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.read >= b.stop {
		if b.read > b.bounds.whole {
			return 0, tooLarge("an answer of more than %d bytes decoded", b.bounds.whole)
		}
		return 0, b.elementTooLarge()
	}
	n, err := b.body.Read(p[:min(len(p), b.stop-b.read)])
	b.read += n
	return n, err //nolint:wrapcheck // it is the body's own
}

func (b *boundedBody) elementTooLarge() error {
	return tooLarge("an answer with an element of more than %d bytes", b.bounds.each)
}
