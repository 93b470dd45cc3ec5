package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/internal/links"
)

// payloadFile is what is known of one file below data/.
type payloadFile struct {
	path   [16]byte // hash of the path
	digest [16]byte // first half of the digest in the manifest
	size   int64    // -1: the source does not say
	listed bool     // by the manifest
}

// list notes every file.
func (v *verifier) list(ctx context.Context) error {
	tagFiles := 0
	for file, err := range v.src.List(ctx) {
		if err != nil {
			return err
		}
		name := Path(file.Name)
		v.report.Files++
		v.report.Bytes += max(file.Bytes, 0)
		if file.Irregular {
			v.problem(name, "it is not a regular file")
		}
		if err := name.check(); err != nil {
			v.problem(name, "the name is not well-formed: %v", err)
		}
		if !name.payload() {
			if tagFiles++; tagFiles <= maxTagFiles {
				v.tagFiles[name] = file.Bytes
			}
			continue
		}
		v.payload = append(v.payload, payloadFile{path: pathHash(name), size: file.Bytes})
		v.payloadBytes += max(file.Bytes, 0)
		if file.Bytes < 0 {
			v.unknown++
		}
		if rest, ok := strings.CutPrefix(file.Name, "data/projects/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			v.projects[id] = true
		}
	}
	if tagFiles > maxTagFiles {
		v.problem("", "there are %d files outside data/, at most %d are expected", tagFiles, maxTagFiles)
	}
	slices.SortFunc(v.payload, func(a, b payloadFile) int { return bytes.Compare(a.path[:], b.path[:]) })
	if v.unknown > 0 {
		v.counted = slices.Repeat([]int64{-1}, len(v.payload))
	}
	_, v.report.Signed = v.tagFiles[SignatureFile]
	return nil
}

// find is the payload file at a path, nil when it is not there.
func (v *verifier) find(path Path) *payloadFile {
	i := v.locate(path)
	if i < 0 {
		return nil
	}
	return &v.payload[i]
}

// locate is the index of the payload file at a path, -1 when it is not there.
func (v *verifier) locate(path Path) int {
	i, ok := slices.BinarySearchFunc(v.payload, pathHash(path), func(f payloadFile, h [16]byte) int { return bytes.Compare(f.path[:], h[:]) })
	if !ok {
		return -1
	}
	return i
}

// recordSize notes the size of a file that was read whole, where the source did not say it.
func (v *verifier) recordSize(name Path, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !name.payload() {
		if size, ok := v.tagFiles[name]; ok && size < 0 {
			v.report.Bytes += n // each of them is read once
		}
		return
	}
	if i := v.locate(name); i >= 0 && v.payload[i].size < 0 && v.counted[i] < 0 {
		v.counted[i] = n
		v.unknown--
		v.payloadBytes += n
		v.report.Bytes += n
	}
}

// sizeOf is the size of the payload file at an index, -1 when it is not known.
func (v *verifier) sizeOf(i int) int64 {
	if size := v.payload[i].size; size >= 0 {
		return size
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counted[i]
}

// missing reports whether an error of Open means that the file is not there, which is a problem,
// not a failed read.
func missing(err error) bool { return errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrNotExist) }

// readSmall reads a file of at most maxSmallBytes. It notes a problem and gives nil when the file
// is missing or too large.
func (v *verifier) readSmall(ctx context.Context, name Path) ([]byte, error) {
	body, err := v.src.Open(ctx, string(name))
	if missing(err) {
		v.problem(name, "it is missing")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, maxSmallBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(b) > maxSmallBytes {
		v.problem(name, "it is larger than %d bytes", maxSmallBytes)
		return nil, nil
	}
	v.recordSize(name, int64(len(b)))
	v.scanText(name, b)
	return b, nil
}

// readFiles reads every file that a manifest lists and compares its digest. The files of records
// come last: they are checked against the sizes of all others, which are known by then.
func (v *verifier) readFiles(ctx context.Context, tags map[Path]string, manifestDigest string) error {
	var records []ManifestLine
	err := v.readConcurrently(ctx, func(ctx context.Context, read func(Path, string)) (err error) {
		for name, digest := range tags {
			if _, ok := v.tagFiles[name]; ok && name != ManifestFile {
				read(name, digest)
			}
		}
		records, err = v.readPayload(ctx, read, manifestDigest)
		return err
	})
	if err != nil {
		return err
	}
	return v.readConcurrently(ctx, func(_ context.Context, read func(Path, string)) error {
		for _, l := range records {
			read(l.Path, l.SHA256)
		}
		return nil
	})
}

// readConcurrently reads the files that list passes to read, o.Readers of them at once.
func (v *verifier) readConcurrently(ctx context.Context, list func(ctx context.Context, read func(name Path, digest string)) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.o.Readers)
	err := list(ctx, func(name Path, digest string) { group.Go(func() error { return v.readFile(ctx, name, digest) }) })
	return errors.Join(group.Wait(), err)
}

// readFile reads a file whole, compares its digest (unless want is empty), and looks into it where
// its name shows what it holds.
func (v *verifier) readFile(ctx context.Context, name Path, want string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	body, err := v.src.Open(ctx, string(name))
	if missing(err) {
		v.problem(name, "it is missing")
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()

	h := sha256.New()
	sum := &sumReader{r: body, h: h}
	var r io.Reader = sum
	var scan *links.Scanner
	if isText(name) {
		scan = &links.Scanner{}
		r = io.TeeReader(r, scan)
	}
	err = v.checkContent(name, r)
	if err == nil {
		_, err = io.Copy(io.Discard, r) // what the look left
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	v.recordSize(name, sum.n)
	if scan != nil {
		v.noteLeak(name, scan)
	}
	if got := hex.EncodeToString(h.Sum(nil)); want != "" && got != want {
		v.problem(name, "its SHA-256 is %s, the manifest has %s", got, want)
	}
	return nil
}
