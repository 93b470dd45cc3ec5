package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
	"syscall"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// File is one file of a source.
type File struct {
	Name      string // relative to the bag's root, with slashes
	Bytes     int64  // -1: the source does not say
	Irregular bool   // neither a regular file nor an object: it is not opened
	Twice     bool   // an archive has another file of this name before it, which is the one that is opened
}

// Source is a stored bag to be read. Open gives an error that matches [sink.ErrNotFound] (or
// [fs.ErrNotExist]) for a file that is not there; any other error means that nothing can be said of
// the file. It may be called by several goroutines at once.
type Source interface {
	List(ctx context.Context) iter.Seq2[File, error]
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// IsMissing reports whether an error of opening a file says that it is not there.
func IsMissing(err error) bool {
	return errors.Is(err, sink.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// FormatError means that a file is not of the form that it has in a bag. It is a finding about the
// bag.
type FormatError struct {
	Path sink.Path
	Err  error
}

// Error names the file.
func (e *FormatError) Error() string { return string(e.Path) + ": " + e.Err.Error() }

// Unwrap gives what is wrong with it.
func (e *FormatError) Unwrap() error { return e.Err }

// ReadFile reads a file of a source whole. One of more than most bytes is a FormatError; see
// IsMissing for one that is not there.
func ReadFile(ctx context.Context, src Source, path sink.Path, most int64) ([]byte, error) {
	body, err := src.Open(ctx, string(path))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = body.Close() }()
	content, err := io.ReadAll(io.LimitReader(body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case int64(len(content)) > most:
		return nil, &FormatError{path, fmt.Errorf("it has more than %d bytes", most)}
	}
	return content, nil
}

// ReadJSON decodes a JSON file of a source, of which at most so many bytes are read. there reports
// whether the file is there; one that cannot be decoded is a FormatError.
func ReadJSON(ctx context.Context, src Source, path sink.Path, most int64, into any) (there bool, err error) {
	content, err := ReadFile(ctx, src, path, most)
	switch {
	case IsMissing(err):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := json.Unmarshal(content, into); err != nil {
		return true, &FormatError{path, err}
	}
	return true, nil
}

// errIrregular says that a name is that of a pipe, a device or another thing that is no file.
var errIrregular = errors.New("it is not a regular file")

// Dir reads a bag from a folder. Links are not followed out of it, and nothing but regular files is
// read.
func Dir(dir string) Source { return dirSource(dir) }

type dirSource string

// List implements Source, in lexical order.
func (d dirSource) List(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		errStop := errors.New("stop")
		err := fs.WalkDir(os.DirFS(string(d)), ".", func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case entry.IsDir():
				return nil
			}
			file := File{Name: name, Bytes: -1, Irregular: !entry.Type().IsRegular()}
			if !file.Irregular {
				info, err := entry.Info()
				if err != nil {
					return err
				}
				file.Bytes = info.Size()
			}
			if !yield(file, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(File{}, fmt.Errorf("list folder %s: %w", string(d), err))
		}
	}
}

// Open implements Source. It does not wait for the other end of a pipe.
func (d dirSource) Open(_ context.Context, name string) (io.ReadCloser, error) {
	root, err := os.OpenRoot(string(d))
	if err != nil {
		return nil, fmt.Errorf("open folder: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing was written
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open file of bag: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errIrregular
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Stored reads a bag from S3, below a root that ends in a slash.
func Stored(store *sink.Store, root sink.Key) Source { return storeSource{store, root} }

type storeSource struct {
	store *sink.Store
	root  sink.Key
}

// List implements Source, in key order. It leaves out the empty objects that consoles make to show
// a folder, whose keys end in a slash: they hold nothing, and no tool makes a file of them.
func (s storeSource) List(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for object, err := range s.store.List(ctx, s.root) {
			if err == nil && strings.HasSuffix(string(object.Key), "/") {
				var empty bool
				if empty, err = s.empty(ctx, object); empty {
					continue
				}
			}
			if !yield(File{Name: strings.TrimPrefix(string(object.Key), string(s.root)), Bytes: object.Bytes}, err) || err != nil {
				return
			}
		}
	}
}

// empty reports whether an object holds nothing. It is read where the listing does not say how long
// it is.
func (s storeSource) empty(ctx context.Context, object sink.Object) (bool, error) {
	if object.Bytes >= 0 {
		return object.Bytes == 0, nil
	}
	body, _, err := s.store.Open(ctx, object.Key)
	if err != nil {
		return errors.Is(err, sink.ErrNotFound), fmt.Errorf("look whether a folder's object is empty: %w", err)
	}
	defer body.Close()
	_, err = io.ReadFull(body, make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// Open implements Source.
func (s storeSource) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := s.store.Open(ctx, s.root+sink.Key(name))
	if err != nil {
		return nil, err // not the nil *reader within an interface
	}
	return body, nil
}

// Sealed reads a bag that was just sealed, and the receipt that is about to be stored with it. It
// lists the signature, too, that a signed one is about to get. What the bag still has is not read
// from the store again.
func Sealed(bag *sink.Bag, receipt []byte, signed bool) Source {
	return sealedSource{bag, receipt, signed}
}

type sealedSource struct {
	bag     *sink.Bag
	receipt []byte
	signed  bool
}

// List implements Source: first the payload, in the order in which it was added.
func (s sealedSource) List(context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for file, err := range s.bag.Files() {
			if !yield(File{Name: string(file.Path), Bytes: file.Bytes}, err) || err != nil {
				return
			}
		}
		if s.signed && !yield(File{Name: string(sink.SignatureFile), Bytes: -1}, nil) {
			return
		}
		yield(File{Name: string(sink.ReceiptFile), Bytes: int64(len(s.receipt))}, nil)
	}
}

// Open implements Source.
func (s sealedSource) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if sink.Path(name) == sink.ReceiptFile {
		return io.NopCloser(bytes.NewReader(s.receipt)), nil
	}
	return s.bag.Open(ctx, sink.Path(name)) //nolint:wrapcheck // the caller names the file
}
