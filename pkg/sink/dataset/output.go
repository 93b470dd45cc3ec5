package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// ErrNotEmpty says that there is something at the place to write to.
var ErrNotEmpty = errors.New("there is something already: name a folder, or a prefix, that is new or empty")

// Output is where training sets are written. Names have slashes, and none is written twice. Several
// goroutines use it at once, each file one of them.
type Output interface {
	Put(ctx context.Context, name string, content []byte) error
	Create(ctx context.Context, name string) (File, error)
	// Link makes a symbolic link to a file.
	Link(name, target string) error
	// Mkdir makes a folder; a store, which has none, does nothing.
	Mkdir(name string) error
}

// File is a file that is being written.
type File interface {
	io.Writer
	Commit() error
	Abort()
}

// Folder makes a folder and writes into it, never outside of it. Errors: ErrNotEmpty.
func Folder(dir string) (Output, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look into the folder: %w", err)
	}
	if len(there) > 0 {
		return nil, ErrNotEmpty
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	return folder{root}, nil
}

type folder struct{ root *os.Root }

// Put implements Output.
func (f folder) Put(ctx context.Context, name string, content []byte) error {
	file, err := f.Create(ctx, name)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Commit())
}

// Create implements Output.
func (f folder) Create(_ context.Context, name string) (File, error) {
	if err := f.Mkdir(path.Dir(name)); err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, fmt.Errorf("write into the folder: %w", err)
	}
	return localFile{file}, nil
}

// Link implements Output.
func (f folder) Link(name, target string) error {
	if err := f.Mkdir(path.Dir(name)); err != nil {
		return err
	}
	if err := f.root.Symlink(target, name); err != nil {
		return fmt.Errorf("link a picture: %w", err)
	}
	return nil
}

// Mkdir implements Output.
func (f folder) Mkdir(name string) error {
	if err := f.root.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	return nil
}

type localFile struct{ *os.File }

// Commit implements File.
func (f localFile) Commit() error {
	if err := f.Close(); err != nil {
		return fmt.Errorf("write into the folder: %w", err)
	}
	return nil
}

// Abort implements File.
func (f localFile) Abort() { _ = f.Close() }

// Stored writes into a store, below a prefix that ends in a slash. Errors: ErrNotEmpty, and those
// of the store.
func Stored(ctx context.Context, store *sink.Store, prefix sink.Key) (Output, error) {
	for _, err := range store.List(ctx, prefix) {
		if err == nil {
			err = ErrNotEmpty
		}
		return nil, err
	}
	return stored{store, prefix}, nil
}

type stored struct {
	store  *sink.Store
	prefix sink.Key
}

// Put implements Output.
func (s stored) Put(ctx context.Context, name string, content []byte) error {
	_, err := s.store.Put(ctx, s.prefix+sink.Key(name), sink.Bytes(content, mediaType(name)))
	return err //nolint:wrapcheck // it names the key
}

// Create implements Output.
func (s stored) Create(ctx context.Context, name string) (File, error) {
	stream, err := s.store.Create(ctx, s.prefix+sink.Key(name), sink.StreamOptions{ContentType: mediaType(name)})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the key
	}
	return storedFile{stream}, nil
}

// Link implements Output.
func (stored) Link(string, string) error { return errors.New("a store has no links") }

// Mkdir implements Output.
func (stored) Mkdir(string) error { return nil }

type storedFile struct{ *sink.Stream }

// Commit implements File.
func (f storedFile) Commit() error {
	_, err := f.Stream.Commit()
	return err //nolint:wrapcheck // it names the key
}

// mediaType is the media type of what is written.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".jsonl", ".txt", ".yaml":
		return "text/plain; charset=utf-8"
	case ".jpg":
		return "image/jpeg"
	case ".png", ".gif", ".bmp", ".webp", ".tiff":
		return "image/" + path.Ext(name)[1:]
	}
	return "application/octet-stream"
}
