package transfer

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// partial is the folder, within that of the copy, that has files until they are checked.
const partial = ".partial"

// ErrOther means that a folder has the finished bag of another command.
var ErrOther = errors.New("the finished bundle of another command is there: choose another folder")

// FetchOptions are the settings of Fetch.
type FetchOptions struct {
	Files    int // copied at once, 0: 16
	Progress Progress
}

// Fetched counts what a copy has.
type Fetched struct {
	Files int   `json:"files"`
	Kept  int   `json:"kept"` // of these, files that were there already, with the right content
	Bytes int64 `json:"bytes"`
}

// Fetch copies the bag into a folder. A file gets its name only once its digest is checked, and the
// receipt is the last file. Files that are there already are kept if their digest is right, and
// replaced otherwise: a copy that was interrupted is resumed file by file.
//
// Memory: a small buffer for each of the files that are copied at once.
//
// Errors: ErrOther, MismatchError, and those of the source and of the folder.
func (b *Bag) Fetch(ctx context.Context, dir string, o FetchOptions) (Fetched, error) {
	if o.Files <= 0 {
		o.Files = 16
	}
	root, err := makeFolder(dir)
	if err != nil {
		return Fetched{}, err
	}
	defer root.Close() //nolint:errcheck // of a folder
	if err := b.checkSame(root); err != nil {
		return Fetched{}, err
	}
	if err := root.MkdirAll(partial, 0o700); err != nil {
		return Fetched{}, fmt.Errorf("make the folder: %w", err)
	}
	f := &fetcher{b: b, dir: dir, root: root, o: o}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(o.Files)
	for file, err := range b.files(groupCtx) {
		if err != nil {
			return f.done, cmp.Or(group.Wait(), err) // a file's failure ends the list, too
		}
		if groupCtx.Err() != nil {
			break
		}
		group.Go(func() error { return f.fetch(groupCtx, file) })
	}
	if err := group.Wait(); err != nil {
		return f.done, err
	}
	if ctx.Err() != nil {
		return f.done, context.Cause(ctx)
	}
	for _, name := range b.lastFiles() {
		content := b.last[name]
		if err := f.store(File{name, sink.HexSHA256(content)}, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }); err != nil {
			return f.done, err
		}
	}
	if err := root.RemoveAll(partial); err != nil {
		return f.done, fmt.Errorf("remove %s: %w", filepath.Join(dir, partial), err)
	}
	return f.done, nil
}

// makeFolder makes the folder of a copy, and opens it.
func makeFolder(dir string) (*os.Root, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	return root, nil
}

// checkSame refuses a folder that has the finished bag of another command: its files would be
// replaced by those of this one.
func (b *Bag) checkSame(root *os.Root) error {
	there, err := root.Open(string(sink.ReceiptFile))
	if err != nil {
		return nil //nolint:nilerr // no finished bag is there; what is wrong with the folder is found when it is written to
	}
	defer func() { _ = there.Close() }()
	content, err := io.ReadAll(io.LimitReader(there, maxTagBytes))
	if err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	receipt, err := sink.ParseReceipt(content)
	if err == nil && receipt.Predicate.Command.ID != b.Receipt.Predicate.Command.ID {
		return ErrOther
	}
	return nil // what is damaged is replaced
}

// fetcher is one copy.
type fetcher struct {
	b    *Bag
	dir  string
	root *os.Root
	o    FetchOptions

	mu   sync.Mutex
	done Fetched
}

// fetch copies a file unless the folder has it.
func (f *fetcher) fetch(ctx context.Context, file File) error {
	size, err := f.existing(ctx, file)
	switch {
	case err != nil:
		return err
	case size >= 0:
		f.count(size, true)
		return nil
	}
	return f.store(file, func() (io.ReadCloser, error) { return f.b.open(ctx, file.Path) })
}

// existing is the size of a file that the folder has already with the right content; -1: it has
// not.
func (f *fetcher) existing(ctx context.Context, file File) (int64, error) {
	info, err := f.root.Lstat(filepath.FromSlash(string(file.Path)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return -1, nil
	case err != nil:
		return -1, fmt.Errorf("look for the copy: %w", err)
	case !info.Mode().IsRegular():
		return -1, fmt.Errorf("%s is no regular file: remove it, or choose another folder", filepath.Join(f.dir, filepath.FromSlash(string(file.Path))))
	}
	existing, err := f.root.Open(filepath.FromSlash(string(file.Path)))
	if err != nil {
		return -1, fmt.Errorf("read the copy: %w", err)
	}
	defer func() { _ = existing.Close() }()
	hash := sha256.New()
	n, err := io.Copy(hash, &interruptible{ctx, existing})
	if err != nil {
		return -1, fmt.Errorf("read the copy: %w", err)
	}
	if hex.EncodeToString(hash.Sum(nil)) != file.SHA256 {
		return -1, nil
	}
	return n, nil
}

// store writes a file, checks it, and gives it its name.
func (f *fetcher) store(file File, open func() (io.ReadCloser, error)) error {
	body, err := open()
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := f.root.MkdirAll(path.Dir(string(file.Path)), 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", file.Path, err)
	}
	temporary := partial + "/" + sink.HexSHA256([]byte(file.Path))
	got, n, err := f.write(temporary, &namedReader{body, file.Path})
	if err == nil && got != file.SHA256 {
		err = mismatch(file, got)
	}
	if err == nil {
		if err = f.root.Rename(temporary, string(file.Path)); err != nil {
			err = fmt.Errorf("store %s: %w", file.Path, err)
		}
	}
	if err != nil {
		_ = f.root.Remove(temporary)
		return err
	}
	f.count(n, false)
	return nil
}

// write writes a file and gives its digest and size.
func (f *fetcher) write(name string, from io.Reader) (digest string, n int64, err error) {
	to, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", 0, fmt.Errorf("write into the folder: %w", err)
	}
	hash := sha256.New()
	n, err = io.Copy(io.MultiWriter(to, hash), from)
	if err = errors.Join(err, to.Close()); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(hash.Sum(nil)), n, nil
}

// count counts a file.
func (f *fetcher) count(n int64, kept bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done.Files++
	f.done.Bytes += n
	if kept {
		f.done.Kept++
	}
	if f.o.Progress != nil {
		f.o.Progress(f.done.Files, f.done.Bytes)
	}
}

// interruptible reads until a context ends.
type interruptible struct {
	ctx context.Context //nolint:containedctx // a reader lives as long as the call whose context it was made with
	r   io.Reader
}

func (i *interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p) //nolint:wrapcheck // the caller names the file
}
