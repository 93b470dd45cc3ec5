package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// What a bag keeps in memory of the files that it writes, so that they can be read again without a
// request.
const (
	maxKeptFile = 256 << 10 // bytes of one of them
	maxKept     = 4 << 20   // bytes of all of them
)

// BagFile is a file of a bag.
type BagFile struct {
	Path  Path
	Bytes int64
}

// keep notes a file that was stored, and its content where it is small.
func (b *Bag) keep(path Path, body Body) error {
	file := written{size: body.Size}
	if path != ManifestFile && !path.IsPage() && b.reserve(body.Size) {
		content := make([]byte, body.Size)
		if _, err := body.R.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("read %s again: %w", path, err)
		}
		if _, err := io.ReadFull(body.R, content); err != nil {
			return fmt.Errorf("read %s again: %w", path, err)
		}
		file.content = content
	}
	b.note(path, file)
	return nil
}

// Keep has the bag hold the content of a stored file, which the caller has read and compared with
// its digest, while there is room: Open makes no request for it then.
func (b *Bag) Keep(path Path, content []byte) {
	if size := int64(len(content)); b.reserve(size) {
		b.note(path, written{size: size, content: content})
	}
}

// reserve makes room for a file's content, and reports whether there is any.
func (b *Bag) reserve(size int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if size > maxKeptFile || b.kept+size > maxKept {
		return false
	}
	b.kept += size
	return true
}

// note notes a file that is stored.
func (b *Bag) note(path Path, file written) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written == nil {
		b.written = map[Path]written{}
	}
	b.written[path] = file
}

// written is a file that a bag wrote itself.
type written struct {
	size    int64
	content []byte // nil: it is read from the store
}

// PayloadObjects is how many objects there are below data/.
func (b *Bag) PayloadObjects() int { return b.objects }

// Files yields every file of a sealed bag but its receipt. None is asked for: Seal compared them
// with the store.
func (b *Bag) Files() iter.Seq2[BagFile, error] {
	return func(yield func(BagFile, error) bool) {
		if b.sealed == nil {
			yield(BagFile{}, errors.New("list bag: it is not sealed"))
			return
		}
		for l, err := range b.sizedLines() {
			if err != nil {
				yield(BagFile{}, fmt.Errorf("list bag: %w", err))
				return
			}
			if !yield(BagFile{Path: l.Path, Bytes: l.size}, nil) {
				return
			}
		}
		for _, l := range b.tags {
			if !yield(BagFile{Path: l.Path, Bytes: b.written[l.Path].size}, nil) {
				return
			}
		}
		yield(BagFile{Path: TagManifestFile, Bytes: b.written[TagManifestFile].size}, nil)
	}
}

// lines yields the lines of both manifests of a sealed bag.
func (b *Bag) lines() iter.Seq2[ManifestLine, error] {
	return func(yield func(ManifestLine, error) bool) {
		for l, err := range ManifestLines(b.manifest.ReadSeeker()) {
			if !yield(l, err) || err != nil {
				return
			}
		}
		for _, l := range b.tags {
			if !yield(l, nil) {
				return
			}
		}
	}
}

// Open reads a file of a sealed bag: the manifest and small files that this Bag wrote without a
// request, others from the store. It may be called by several goroutines at once. Errors: those of
// Store.Open.
func (b *Bag) Open(ctx context.Context, path Path) (io.ReadCloser, error) {
	if b.sealed == nil {
		return nil, fmt.Errorf("open %s: the bag is not sealed", path)
	}
	if path == ManifestFile {
		return io.NopCloser(b.manifest.ReadSeeker()), nil
	}
	if file := b.written[path]; file.content != nil {
		return io.NopCloser(bytes.NewReader(file.content)), nil
	}
	body, _, err := b.store.Open(ctx, b.root+Key(path))
	if err != nil {
		return nil, err // not the nil *reader within an interface
	}
	return body, nil
}
