package bagit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"  // the choice of the bag
	"crypto/sha1" // the choice of the bag
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	stdhash "hash"
	"io"
	"io/fs"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// algorithms are those that are known, by their names in manifests' names.
var algorithms = map[string]func() stdhash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// tagSum is the digest of a tag file.
type tagSum struct {
	algorithm string
	sum       digest
}

// open opens a file that was listed. It notes a problem and gives nil when the file is missing, or
// is damaged.
func (c *checker) open(ctx context.Context, name string) (io.ReadCloser, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	body, err := c.src.Open(ctx, name)
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, sink.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		c.problem(name, "it is missing")
		return nil, nil
	case c.damage(name, err):
		return nil, nil
	}
	return nil, fmt.Errorf("open %s: %w", name, err)
}

// damage notes that a file is damaged, if that is what an error says.
func (c *checker) damage(name string, err error) bool {
	var damaged *verify.DamagedError
	if errors.As(err, &damaged) {
		c.problem(name, "%v", damaged)
		return true
	}
	return false
}

// lines calls do for each line of a tag file, which ends in LF, CR or both.
func (c *checker) lines(ctx context.Context, name string, do func(n int, line string)) error {
	body, err := c.open(ctx, name)
	if body == nil || err != nil {
		return err
	}
	defer body.Close()
	scan := bufio.NewScanner(c.decode(body))
	scan.Buffer(make([]byte, 0, 4096), maxLine)
	scan.Split(splitLines)
	n := 0
	for scan.Scan() {
		n++
		line := scan.Bytes()
		if n == 1 && bytes.HasPrefix(line, []byte("\ufeff")) {
			c.note(name, "it begins with a byte-order mark")
			line = line[len("\ufeff"):]
		}
		if !utf8.Valid(line) {
			c.problem(name, "line %d is not in the encoding of tag files, %s", n, c.report.Plain.Encoding)
			continue
		}
		do(n, string(line))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	switch err := scan.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		c.problem(name, "line %d has more than %d bytes", n+1, maxLine)
	case c.damage(name, err):
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// splitLines is a bufio.SplitFunc of lines that end in LF, CR or both.
func splitLines(data []byte, atEOF bool) (advance int, token []byte, err error) {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0 && atEOF && len(data) > 0:
		return len(data), data, nil
	case i < 0:
		return 0, nil, nil
	case data[i] == '\n':
		return i + 1, data[:i], nil
	case i+1 < len(data) && data[i+1] == '\n':
		return i + 2, data[:i], nil
	case i+1 < len(data) || atEOF:
		return i + 1, data[:i], nil
	}
	return 0, nil, nil // whether LF follows is not known yet
}

// readPayload reads each file that a manifest lists and compares its digests.
func (c *checker) readPayload(ctx context.Context) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(c.o.Readers)
	unjudged := 0
	err := c.each(within, func(name string, at int) {
		if !c.listed(at) {
			return
		}
		var sums []tagSum
		for _, m := range c.manifests {
			if algorithms[m.algorithm] != nil && m.listed[at] {
				sums = append(sums, tagSum{m.algorithm, m.sums[at]})
			}
		}
		if len(sums) == 0 {
			unjudged++
			return
		}
		group.Go(func() error { return c.readFile(within, name, c.payload[at].size, sums) })
	})
	if err := errors.Join(group.Wait(), err); err != nil {
		return err
	}
	if unjudged > 0 {
		c.unknown = append(c.unknown, fmt.Errorf("%d files have digests of algorithms alone that this program does not know", unjudged))
	}
	return nil
}

// readTags reads each file that a tag manifest lists and compares its digests.
func (c *checker) readTags(ctx context.Context) error {
	for name, sums := range c.tagSums {
		known := sums[:0]
		for _, s := range sums {
			if algorithms[s.algorithm] != nil {
				known = append(known, s)
			}
		}
		if len(known) == 0 {
			continue
		}
		if err := c.readFile(ctx, name, c.tags[name], known); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a file of a size (-1: unknown), no further than that, and compares its digests.
func (c *checker) readFile(ctx context.Context, name string, size int64, want []tagSum) error {
	body, err := c.open(ctx, name)
	if body == nil || err != nil {
		return err
	}
	defer body.Close()
	hashes, to := make([]stdhash.Hash, len(want)), make([]io.Writer, len(want))
	for i, w := range want {
		hashes[i] = algorithms[w.algorithm]()
		to[i] = hashes[i]
	}
	var from io.Reader = body
	if size >= 0 {
		from = io.LimitReader(body, size+1)
	}
	n, err := io.Copy(io.MultiWriter(to...), from)
	switch {
	case c.damage(name, err):
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	case size >= 0 && n != size:
		c.problem(name, "it has not the %d bytes that were listed: it changed while it was read, or the archive is damaged", size)
		return nil
	}
	for i, h := range hashes {
		if sum := h.Sum(nil); !bytes.Equal(sum[:len(digest{})], want[i].sum[:]) {
			c.problem(name, "its %s digest is %x, and not the one in the manifest", want[i].algorithm, sum)
		}
	}
	c.count(name, size, n)
	return nil
}

// count reports progress.
func (c *checker) count(name string, size, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if size < 0 {
		c.report.Bytes += n
		if isPayload(name) {
			c.read += n
		}
	}
	c.progress.Files++
	c.progress.Bytes += n
	if c.o.Progress != nil {
		c.o.Progress(c.progress)
	}
}
