package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// maxTagBytes bounds the tag manifest and the files beside the receipt, which are read into memory.
const maxTagBytes = 16 << 20

// ErrUnfinished means that a place has no receipt: it holds no finished bag.
var ErrUnfinished = errors.New("there is no receipt.json: no finished bundle is here")

// MismatchError means that a file is missing, or is not the one that the manifests or the receipt
// have the digest of.
type MismatchError struct {
	Path sink.Path
	What string
}

// Error says what is wrong with the file.
func (e *MismatchError) Error() string { return fmt.Sprintf("%s: %s", e.Path, e.What) }

// File is a file of a bag and its digest.
type File struct {
	Path   sink.Path
	SHA256 string
}

// Bag is a finished bag that is to be copied. It is safe for use by several goroutines.
type Bag struct {
	Receipt *sink.Receipt

	src  verify.Source
	tags []sink.ManifestLine  // of the tag manifest
	last map[sink.Path][]byte // what is copied after all others: the tag manifest, the signature, the receipt
}

// Open reads the receipt and the tag manifest of a bag, and compares them.
//
// Errors: ErrUnfinished, MismatchError, verify.FormatError, and those of the source.
func Open(ctx context.Context, src verify.Source) (*Bag, error) {
	b := &Bag{src: src, last: map[sink.Path][]byte{}}
	for _, path := range []sink.Path{sink.ReceiptFile, sink.SignatureFile, sink.TagManifestFile} {
		content, err := verify.ReadFile(ctx, src, path, maxTagBytes)
		switch missing := verify.IsMissing(err); {
		case missing && path == sink.ReceiptFile:
			return nil, ErrUnfinished
		case missing && path == sink.SignatureFile:
		case missing:
			return nil, &MismatchError{path, "it is missing"}
		case err != nil:
			return nil, err //nolint:wrapcheck // it names the file
		default:
			b.last[path] = content
		}
	}
	var err error
	if b.Receipt, err = sink.ParseReceipt(b.last[sink.ReceiptFile]); err != nil {
		return nil, &MismatchError{sink.ReceiptFile, err.Error()}
	}
	if got, want := sink.HexSHA256(b.last[sink.TagManifestFile]), b.digest(sink.TagManifestFile); got != want {
		return nil, &MismatchError{sink.TagManifestFile, fmt.Sprintf("its SHA-256 is %s, the receipt has %s", got, want)}
	}
	manifest := false
	for line, err := range sink.ManifestLines(bytes.NewReader(b.last[sink.TagManifestFile])) {
		if err == nil {
			err = checkPath(line.Path)
		}
		if err != nil {
			return nil, &MismatchError{sink.TagManifestFile, err.Error()}
		}
		manifest = manifest || line.Path == sink.ManifestFile && line.SHA256 == b.digest(sink.ManifestFile)
		b.tags = append(b.tags, line)
	}
	if !manifest {
		return nil, &MismatchError{sink.TagManifestFile, "it has another manifest-sha256.txt than the receipt"}
	}
	return b, nil
}

// digest is the SHA-256 that the receipt has of one of the two manifests.
func (b *Bag) digest(path sink.Path) string {
	for _, s := range b.Receipt.Subject {
		if s.Name == string(path) {
			return s.Digest["sha256"]
		}
	}
	return ""
}

// files yields all files but the tag manifest, the signature and the receipt: first the tag files,
// then the payload, in the order of the manifests. Only at its end is it known whether the manifest
// is the receipt's; if not, that is its last error.
func (b *Bag) files(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, line := range b.tags {
			if !yield(File{line.Path, line.SHA256}, nil) {
				return
			}
		}
		body, err := b.src.Open(ctx, string(sink.ManifestFile))
		if err != nil {
			yield(File{}, fmt.Errorf("open %s: %w", sink.ManifestFile, err))
			return
		}
		defer func() { _ = body.Close() }()
		hash := sha256.New()
		for line, err := range sink.ManifestLines(io.TeeReader(body, hash)) {
			var broken *sink.ReadError
			switch {
			case errors.As(err, &broken):
				err = fmt.Errorf("read %s: %w", sink.ManifestFile, err)
			case err == nil && !line.Path.IsPayload():
				err = errors.New("it lists a file outside data/")
				fallthrough
			default:
				if err == nil {
					err = checkPath(line.Path)
				}
				if err != nil {
					err = &MismatchError{sink.ManifestFile, err.Error()}
				}
			}
			if !yield(File{line.Path, line.SHA256}, err) || err != nil {
				return
			}
		}
		if got, want := hex.EncodeToString(hash.Sum(nil)), b.digest(sink.ManifestFile); got != want {
			yield(File{}, &MismatchError{sink.ManifestFile, fmt.Sprintf("its SHA-256 is %s, the receipt has %s", got, want)})
		}
	}
}

// lastFiles are the files that are copied last, in their order; the signature if the bag has one.
func (b *Bag) lastFiles() []sink.Path {
	order := []sink.Path{sink.TagManifestFile, sink.SignatureFile, sink.ReceiptFile}
	if b.last[sink.SignatureFile] == nil {
		order = []sink.Path{sink.TagManifestFile, sink.ReceiptFile}
	}
	return order
}

// checkPath returns an error for a path that no bag has.
func checkPath(path sink.Path) error {
	if err := path.Check(); err != nil {
		return fmt.Errorf("%q is no name of a file in a bag: %w", string(path), err)
	}
	return nil
}

// open opens a file of the bag. One that is missing is a MismatchError.
func (b *Bag) open(ctx context.Context, path sink.Path) (io.ReadCloser, error) {
	body, err := b.src.Open(ctx, string(path))
	switch {
	case verify.IsMissing(err):
		return nil, &MismatchError{path, "it is missing"}
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return body, nil
}
