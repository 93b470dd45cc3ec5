package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"strings"
)

// File is one file of a source.
type File struct {
	Name      string // relative to the bag's root, with slashes
	Bytes     int64  // -1: the source does not say
	Irregular bool   // not a regular file, nor an object
}

// Source is a stored bag to be read. Open gives an error that matches ErrNotFound (or
// fs.ErrNotExist) for a file that is not there; any other error means that nothing can be said of
// the file. It may be called by several goroutines at once.
type Source interface {
	List(ctx context.Context) iter.Seq2[File, error]
	Open(ctx context.Context, name string) (io.ReadCloser, error)
}

// DirSource reads a bag from a folder. Links are not followed out of it.
func DirSource(dir string) Source { return dirSource(dir) }

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

// Open implements Source.
func (d dirSource) Open(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.OpenInRoot(string(d), name)
	if err != nil {
		return nil, fmt.Errorf("open file of bag: %w", err)
	}
	return f, nil
}

// StoreSource reads a bag from S3, below a root that ends in a slash.
func StoreSource(store *Store, root Key) Source { return storeSource{store, root} }

type storeSource struct {
	store *Store
	root  Key
}

// List implements Source, in key order.
func (s storeSource) List(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for object, err := range s.store.List(ctx, s.root) {
			if !yield(File{Name: strings.TrimPrefix(string(object.Key), string(s.root)), Bytes: object.Bytes}, err) || err != nil {
				return
			}
		}
	}
}

// Open implements Source.
func (s storeSource) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := s.store.Open(ctx, s.root+Key(name))
	if err != nil {
		return nil, err // not the nil *reader within an interface
	}
	return body, nil
}
