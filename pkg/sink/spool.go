package sink

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/cvconsumer/cvconsumer/internal/shortage"
)

// spoolInMemory is how many bytes a spool keeps in memory: most of what is spooled is smaller, and
// takes no file.
const spoolInMemory = 64 << 10

// Spool collects content of any size with a running SHA-256, to be stored: what is small in memory,
// what is larger in a temporary file. It is used by one goroutine at a time.
type Spool struct {
	small  []byte   // the content, as long as there is no file
	file   *os.File // nil: small has the content
	named  bool     // the system does not remove the file while it is open: Close does
	closed bool
	buf    *bufio.Writer // of the file
	hash   hash.Hash
	size   int64
	err    error // the first failure
	dir    string
}

// NewSpool makes an empty spool, whose file will be in the folder dir (empty: the system's folder
// for temporary files). Whatever goes wrong with a spool is this machine's shortage
// ([shortage.Of]).
func NewSpool(dir string) *Spool {
	if dir == "" {
		dir = os.TempDir()
	}
	return &Spool{dir: dir, hash: sha256.New()}
}

// toFile moves the content into a temporary file.
func (s *Spool) toFile() error {
	f, err := os.CreateTemp(s.dir, "cvconsumer-spool-")
	if err != nil {
		return fmt.Errorf("make spool: %w", shortage.Folder(s.dir, 0, err))
	}
	// Without a name nothing of it is left when the process is killed.
	s.named = os.Remove(f.Name()) != nil
	s.file, s.buf = f, bufio.NewWriterSize(f, spoolInMemory)
	_, err = s.buf.Write(s.small) // fits into the buffer
	s.small = nil
	return err //nolint:wrapcheck // does not happen
}

// Write appends p. After a failed write all that follow fail with the same error.
func (s *Spool) Write(p []byte) (int, error) {
	if s.err == nil && s.file == nil && len(s.small)+len(p) > spoolInMemory {
		s.err = s.toFile()
	}
	if s.err != nil {
		return 0, s.err
	}
	if s.file == nil {
		s.small = append(s.small, p...)
		s.hash.Write(p)
		s.size += int64(len(p))
		return len(p), nil
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
	s.hash.Reset()
	s.size, s.err, s.small = 0, nil, s.small[:0]
	if s.file == nil {
		return nil
	}
	s.buf.Reset(s.file)
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
	if s.err == nil && s.file != nil {
		if err := s.buf.Flush(); err != nil {
			s.fail("write", s.size, err)
		}
	}
	if s.err != nil {
		return failedReader{s.err}
	}
	if s.file == nil {
		return bytes.NewReader(s.small)
	}
	return io.NewSectionReader(spoolFile{s.file, s.dir}, 0, s.size)
}

// Body is what was written so far, to be stored.
func (s *Spool) Body(contentType string) Body {
	return Body{R: s.ReadSeeker(), Size: s.size, SHA256: s.SHA256(), ContentType: contentType}
}

// Close gives up the content. It may be called more than once.
func (s *Spool) Close() error {
	if s.closed {
		return nil
	}
	s.closed, s.small, s.err = true, nil, fmt.Errorf("use spool: %w", os.ErrClosed)
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
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
