package bagit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// Limits of what is kept in memory, beside the files of the payload.
const (
	maxSmall    = 16 << 20 // bytes of bagit.txt, bag-info.txt
	maxLine     = 64 << 10 // bytes of a line of a tag file
	maxTagFiles = 100_000  // files outside data/
	maxOfKind   = 10       // manifests of the payload, and tag manifests; of each, some bytes for each file are kept
	maxMissing  = 100_000  // paths that a manifest lists and that are not there
	maxNotes    = 100
	maxShown    = 400 // bytes of the bag's text in a problem
)

// Check reads a bag whole and checks it by the rules of BagIt. Its report has Plain set. The error
// is not nil exactly when the result is Inconclusive: a file could not be read, has yet to be
// fetched, or is under an encoding or an algorithm that this program does not know.
func Check(ctx context.Context, src verify.Source, o verify.Options) (verify.Report, error) {
	if o.MaxProblems <= 0 {
		o.MaxProblems = 100
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	c := &checker{src: src, o: o, tags: map[string]int64{}, fetched: map[string]struct{}{}}
	c.report.Signature = verify.Unsigned
	c.report.Plain = &verify.Plain{}
	err := c.run(ctx)
	if err == nil {
		err = errors.Join(c.unknown...)
	}
	r := &c.report
	slices.SortFunc(r.Problems, func(a, b verify.Problem) int {
		return strings.Compare(a.Path+"\n"+a.What, b.Path+"\n"+b.What)
	})
	switch {
	case len(r.Problems) > 0:
		r.Result, err = verify.Failed, nil
	case err != nil:
		r.Result, err = verify.Inconclusive, fmt.Errorf("verify bag: %w", err)
	default:
		r.Result = verify.OK
	}
	return *r, err
}

// hash stands for a path.
type hash [16]byte

func hashOf(path string) hash {
	sum := sha256.Sum256([]byte(path))
	return hash(sum[:16])
}

// payloadFile is a file below data/.
type payloadFile struct {
	path hash
	size int64 // -1: the source does not say
}

// checker is one check.
type checker struct {
	src verify.Source
	o   verify.Options

	payload   []payloadFile    // sorted by path hash
	tags      map[string]int64 // other files and their sizes
	version   version
	decode    decoder
	manifests []*manifest         // of the payload
	missing   []missing           // what they list and what was not found at once
	fetched   map[string]struct{} // what fetch.txt lists
	tagSums   map[string][]tagSum // of tag files, by their paths
	unknown   []error             // why this cannot be judged
	mu        sync.Mutex          // guards what follows
	read      int64               // bytes of payload files whose size the source does not say
	progress  verify.Progress
	report    verify.Report
}

// problem notes what is wrong. Text of the bag must come quoted.
func (c *checker) problem(path, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.report.Problems) >= c.o.MaxProblems {
		c.report.Omitted++
		return
	}
	c.report.Problems = append(c.report.Problems, finding(path, format, args...))
}

// note notes what is unusual.
func (c *checker) note(path, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.report.Plain; len(p.Notes) < maxNotes {
		p.Notes = append(p.Notes, finding(path, format, args...))
	}
}

func finding(path, format string, args ...any) verify.Problem {
	return verify.Problem{Path: bagfile.Printable(cut(path)), What: bagfile.Printable(fmt.Sprintf(format, args...))}
}

// quote is text of the bag as it may be shown.
func quote(text string) string { return strconv.Quote(cut(text)) }

func cut(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

// run does the steps in turn. An error means that something could not be read.
func (c *checker) run(ctx context.Context) error {
	if err := c.list(ctx); err != nil {
		return err
	}
	if err := c.readDeclaration(ctx); err != nil {
		return err
	}
	if c.decode == nil { // nothing else can be read
		return nil
	}
	for _, step := range []func(context.Context) error{
		c.readFetch, c.readManifests, c.findMissing, c.nameUnlisted, c.readTagManifests, c.readPayload, c.readTags, c.readInfo,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// list notes every file.
func (c *checker) list(ctx context.Context) error {
	for file, err := range c.src.List(ctx) {
		if err != nil {
			return err //nolint:wrapcheck // the source names itself
		}
		c.report.Files++
		c.report.Bytes += max(file.Bytes, 0)
		switch {
		case file.Twice:
			c.problem(file.Name, "the archive has more than one file of this name")
		case file.Irregular:
			c.problem(file.Name, "it is not a regular file")
		case isPayload(file.Name):
			c.payload = append(c.payload, payloadFile{hashOf(file.Name), file.Bytes})
		case len(c.tags) >= maxTagFiles:
			return fmt.Errorf("there are more than %d files outside data/", maxTagFiles)
		default:
			c.tags[file.Name] = file.Bytes
		}
	}
	slices.SortFunc(c.payload, func(a, b payloadFile) int { return bytes.Compare(a.path[:], b.path[:]) })
	c.progress.AllFiles, c.progress.AllBytes = c.report.Files, c.report.Bytes
	return nil
}

func isPayload(name string) bool { return strings.HasPrefix(name, "data/") }

// locate is the index of a payload file, -1 when it is not there.
func (c *checker) locate(path string) int {
	i, ok := slices.BinarySearchFunc(c.payload, hashOf(path), func(f payloadFile, h hash) int { return bytes.Compare(f.path[:], h[:]) })
	if !ok {
		return -1
	}
	return i
}
