package verify

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
)

// maxDirectory bounds the directory of a zip archive, in bytes: that of two million files of usual
// names. In memory it takes several times as much.
const maxDirectory = 256 << 20

// DamagedError means that an archive, or a file in it, is damaged and cannot be unpacked whole. It
// is a finding about the bag.
type DamagedError struct{ Err error }

// Error says what the archive's reader found.
func (e *DamagedError) Error() string { return "the archive is damaged: " + e.Err.Error() }

// Unwrap gives what the archive's reader found.
func (e *DamagedError) Unwrap() error { return e.Err }

// Zip is a zip archive on disk, as a Source. Each file is read from there as a stream.
type Zip struct {
	file   *os.File
	files  []*zip.File          // in the archive's order, without folders
	byName map[string]*zip.File // the first of each name

	sort   sync.Once
	sorted []*zip.File // the same by name, once a part of the archive was asked for
}

// OpenZip opens an archive. It gives a DamagedError for a file that is no archive, is cut short,
// has a directory of more than 256 MiB, or holds files that overlap, as those of zip bombs do. So
// the unpacked files are at most about a thousand times as long as the archive.
func OpenZip(path string) (*Zip, error) { return openZip(path, maxDirectory) }

func openZip(path string, directory int64) (*Zip, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the path
	}
	z := &Zip{file: f, byName: map[string]*zip.File{}}
	if err := z.read(directory); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return z, nil
}

// Close closes the archive.
func (z *Zip) Close() error { return z.file.Close() }

// read reads the archive's directory, which may have at most so many bytes.
func (z *Zip) read(most int64) error {
	info, err := z.file.Stat()
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	budget := &budgeted{r: z.file, left: most}
	r, err := zip.NewReader(budget, info.Size())
	switch {
	case budget.left < 0:
		return &DamagedError{fmt.Errorf("its directory has more than %d bytes", most)}
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // names are judged as those of every bag
		return unpackError(err)
	}
	budget.unbounded = true // from now on files are read, which are bounded each
	packed := uint64(0)
	for _, entry := range r.File {
		const header = 30 // of each file, at least
		packed += entry.CompressedSize64 + header + uint64(len(entry.Name))
		if packed > uint64(info.Size()) || entry.CompressedSize64 > uint64(info.Size()) {
			return &DamagedError{errors.New("its files overlap, or it is not whole")}
		}
		if strings.HasSuffix(entry.Name, "/") && entry.UncompressedSize64 == 0 {
			continue
		}
		z.files = append(z.files, entry)
		if _, twice := z.byName[entry.Name]; !twice {
			z.byName[entry.Name] = entry
		}
	}
	return nil
}

// budgeted reads from an archive: at most left bytes, or any number once unbounded is set.
type budgeted struct {
	r         io.ReaderAt
	left      int64
	unbounded bool
}

func (b *budgeted) ReadAt(p []byte, off int64) (int, error) {
	if !b.unbounded {
		if b.left -= int64(len(p)); b.left < 0 {
			return 0, errors.New("too much")
		}
	}
	return b.r.ReadAt(p, off)
}

// List implements Source, in the archive's order.
func (z *Zip) List(ctx context.Context) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for _, entry := range z.files {
			if ctx.Err() != nil {
				yield(File{}, context.Cause(ctx))
				return
			}
			file := File{Name: entry.Name, Bytes: int64(min(entry.UncompressedSize64, 1<<62)), Twice: z.byName[entry.Name] != entry}
			file.Irregular = !entry.Mode().IsRegular()
			if !yield(file, nil) {
				return
			}
		}
	}
}

// below is the part of the archive below a root that ends in a slash, which it lists without a look
// at the rest. The part need not be closed.
func (z *Zip) below(root string) Source {
	z.sort.Do(func() {
		z.sorted = slices.Clone(z.files)
		slices.SortStableFunc(z.sorted, func(a, b *zip.File) int { return strings.Compare(a.Name, b.Name) })
	})
	from, _ := slices.BinarySearchFunc(z.sorted, root, func(entry *zip.File, root string) int { return strings.Compare(entry.Name, root) })
	rest := z.sorted[from:]
	n := sort.Search(len(rest), func(i int) bool { return !strings.HasPrefix(rest[i].Name, root) })
	return part{&Zip{files: rest[:n], byName: z.byName}, root}
}

// encrypted is the flag of a file that needs a password.
const encrypted = 1

// Open implements Source.
func (z *Zip) Open(_ context.Context, name string) (io.ReadCloser, error) {
	entry := z.byName[name]
	switch {
	case entry == nil:
		return nil, fmt.Errorf("open file of bag: %w", fs.ErrNotExist)
	case !entry.Mode().IsRegular():
		return nil, errIrregular
	case entry.Flags&encrypted != 0:
		return nil, fmt.Errorf("%s is encrypted: unpack the archive, and verify the folder", name)
	}
	body, err := entry.Open()
	var damaged *DamagedError
	switch err = unpackError(err); {
	case errors.As(err, &damaged):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("unpack %s: %w", name, err)
	}
	return unpacking{body}, nil
}

// unpacking tells errors of the archive from those of the disk.
type unpacking struct{ io.ReadCloser }

func (u unpacking) Read(p []byte) (int, error) {
	n, err := u.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unpackError(err)
	}
	return n, err //nolint:wrapcheck // the caller names the file
}

// unpackError makes a DamagedError of an error, unless the disk failed, or the file is compressed
// in a way that this program does not know.
func unpackError(err error) error {
	var disk *fs.PathError
	if err == nil || errors.As(err, &disk) || errors.Is(err, zip.ErrAlgorithm) {
		return err
	}
	return &DamagedError{err}
}
