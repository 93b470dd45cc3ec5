package sink

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
)

// Spool is a temporary file with a running SHA-256: content of any size is collected in it, and
// then stored. It is used by one goroutine at a time.
type Spool struct {
	file  *os.File
	named bool // the system does not remove the file while it is open: Close does
	buf   *bufio.Writer
	hash  hash.Hash
	size  int64
	err   error // the first failure
	dir   string
}

// NewSpool makes an empty spool in the folder dir (empty: the system's folder for temporary files).
// Whatever goes wrong with a spool is this machine's shortage ([shortage.Of]).
func NewSpool(dir string) (*Spool, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := os.CreateTemp(dir, "cvconsumer-spool-")
	if err != nil {
		return nil, fmt.Errorf("make spool: %w", shortage.Folder(dir, 0, err))
	}
	// Without a name nothing of it is left when the process is killed.
	named := os.Remove(f.Name()) != nil
	return &Spool{dir: dir, file: f, named: named, buf: bufio.NewWriterSize(f, 64<<10), hash: sha256.New()}, nil
}

// Write appends p. After a failed write all that follow fail with the same error.
func (s *Spool) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.buf.Write(p)
	s.hash.Write(p[:n])
	s.size += int64(n)
	if err != nil {
		s.fail("write", s.size+int64(len(p)-n), err)
	}
	return n, s.err
}

// fail records the first failure, and how many bytes there should have been room for.
func (s *Spool) fail(verb string, bytes int64, err error) {
	s.err = fmt.Errorf("%s spool: %w", verb, shortage.Folder(s.dir, bytes, err))
}

// Reset empties the spool, so that a download can be repeated. Readers made before must not be used
// any more.
func (s *Spool) Reset() error {
	s.buf.Reset(s.file)
	s.hash.Reset()
	s.size, s.err = 0, nil
	_, err := s.file.Seek(0, io.SeekStart)
	if err == nil {
		err = s.file.Truncate(0)
	}
	if err != nil {
		s.fail("empty", 0, err)
	}
	return s.err
}

// Size is the number of bytes written.
func (s *Spool) Size() int64 { return s.size }

// SHA256 is the hex digest of what was written.
func (s *Spool) SHA256() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// ReadSeeker reads what was written so far, from its start, independently of later writes. If a
// write failed, so does reading.
func (s *Spool) ReadSeeker() io.ReadSeeker {
	if s.err == nil {
		if err := s.buf.Flush(); err != nil {
			s.fail("write", s.size, err)
		}
	}
	if s.err != nil {
		return failedReader{s.err}
	}
	return io.NewSectionReader(spoolFile{s.file, s.dir}, 0, s.size)
}

// Body is what was written so far, to be stored.
func (s *Spool) Body(contentType string) Body {
	return Body{R: s.ReadSeeker(), Size: s.size, SHA256: s.SHA256(), ContentType: contentType}
}

// Close removes the file. It may be called more than once.
func (s *Spool) Close() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	s.file = nil
	s.err = fmt.Errorf("use spool: %w", os.ErrClosed)
	if err != nil {
		return fmt.Errorf("remove spool: %w", err)
	}
	return nil
}

// spoolFile is a spool's file, whose failures say whose they are.
type spoolFile struct {
	file *os.File
	dir  string
}

func (f spoolFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("read spool: %w", shortage.Folder(f.dir, 0, err))
	}
	return n, err
}

// failedReader gives an error that happened while its content was written.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error)       { return 0, r.err }
func (r failedReader) Seek(int64, int) (int64, error) { return 0, r.err }
