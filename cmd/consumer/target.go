package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// newFile is a file that is being written, on disk or in a store. Nothing is at its place before it
// is committed, and nothing that was there is overwritten.
type newFile interface {
	io.Writer
	Commit() error
	Abort()
}

// zipName checks the destination of an archive. Where it is a folder or a prefix, name is added.
func zipName(dest, name string) (string, error) {
	if scheme, _, ok := strings.Cut(dest, "://"); ok && scheme != "s3" {
		return "", fmt.Errorf("%w: %s: an archive is a .zip file or at s3://bucket/key.zip; %s:// is not supported", errUsage, dest, scheme)
	}
	bucket, key, stored := splitS3(dest)
	info, err := os.Stat(dest)
	switch {
	case stored && bucket == "":
		return "", fmt.Errorf("%w: %s names no bucket: an archive is at s3://bucket/key.zip", errUsage, dest)
	case stored && key == "":
		return strings.TrimSuffix(dest, "/") + "/" + name, nil
	case strings.HasSuffix(dest, "/"):
		return dest + name, nil
	case !stored && err == nil && info.IsDir():
		return filepath.Join(dest, name), nil
	case !strings.HasSuffix(strings.ToLower(dest), ".zip"):
		return "", fmt.Errorf("%w: %s does not end in .zip: name a .zip file, or a folder (with a slash at its end where it is s3://)", errUsage, dest)
	}
	return dest, nil
}

// create begins a file at a path or in a bucket. about is its expected size in bytes.
func (s storeAccess) create(p *program, sse encryptionSettings, dest, contentType string, about int64) (newFile, error) {
	bucket, key, ok := splitS3(dest)
	if !ok {
		return createLocal(dest)
	}
	store, access, err := s.writer(p, sse, bucket)
	if err != nil {
		return nil, err
	}
	stream, err := store.Create(p.ctx, sink.Key(key), sink.StreamOptions{ContentType: contentType, Size: about})
	if err != nil {
		return nil, writeError(dest, access, err)
	}
	return storedFile{stream, dest, access}, nil
}

// writer gives a bucket to write to.
func (s storeAccess) writer(p *program, sse encryptionSettings, bucket string) (*sink.Store, storeConfig, error) {
	bad := p.env.unknown()
	kind := sse.check(&bad)
	api, access, err := s.client(p.ctx, bad)
	if err != nil {
		return nil, access, err
	}
	return sink.NewStore(api, sink.StoreOptions{Bucket: bucket, SSE: kind, SSEKMSKeyID: sse.KMSKeyID, Log: zerolog.Nop()}), access, nil
}

// writeError is the error of writing to a place.
func writeError(dest string, access storeConfig, err error) error {
	if errors.Is(err, sink.ErrConflict) || errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%w: there is something at %s already, and it is not overwritten: choose another name", errUsage, dest)
	}
	return fmt.Errorf("write %s: %w", dest, access.unreachable(err))
}

// storedFile is an object that is being written.
type storedFile struct {
	*sink.Stream
	dest   string
	access storeConfig
}

func (f storedFile) Write(p []byte) (int, error) {
	n, err := f.Stream.Write(p)
	if err != nil {
		err = writeError(f.dest, f.access, err)
	}
	return n, err
}

// Commit implements newFile.
func (f storedFile) Commit() error {
	if _, err := f.Stream.Commit(); err != nil {
		return writeError(f.dest, f.access, err)
	}
	return nil
}

// localFile is written under a temporary name, and renamed once it is whole.
type localFile struct {
	*os.File
	dest string
}

func createLocal(dest string) (newFile, error) {
	if _, err := os.Lstat(dest); err == nil {
		return nil, writeError(dest, storeConfig{}, os.ErrExist)
	}
	f, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".*.partial")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	return localFile{f, dest}, nil
}

// Commit implements newFile. A hard link never overwrites; where the file system has none, Commit
// looks first and renames.
func (f localFile) Commit() error {
	defer f.Abort()
	err := f.Chmod(0o644)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.dest, err)
	}
	err = os.Link(f.Name(), f.dest)
	if err != nil && !errors.Is(err, os.ErrExist) {
		if _, err = os.Lstat(f.dest); err == nil {
			err = os.ErrExist
		} else {
			err = os.Rename(f.Name(), f.dest)
		}
	}
	if err != nil {
		return writeError(f.dest, storeConfig{}, err)
	}
	return nil
}

// Abort implements newFile.
func (f localFile) Abort() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}
