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
)

// Spool is a temporary file with a running SHA-256: content of any size is collected in it, and
// then stored. It is used by one goroutine at a time.
type Spool struct {
	file *os.File
	buf  *bufio.Writer
	hash hash.Hash
	size int64
	err  error // the first failed write
}

// NewSpool makes an empty spool in the folder dir (empty: the system's folder for temporary files).
func NewSpool(dir string) (*Spool, error) {
	f, err := os.CreateTemp(dir, "cvconsumer-spool-")
	if err != nil {
		return nil, fmt.Errorf("make spool: %w", err)
	}
	return &Spool{file: f, buf: bufio.NewWriterSize(f, 64<<10), hash: sha256.New()}, nil
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
		s.err = fmt.Errorf("write spool: %w", err)
	}
	return n, s.err
}

// Reset empties the spool, so that a download can be repeated. Readers made before must not be used
// any more.
func (s *Spool) Reset() error {
	s.buf.Reset(s.file)
	s.hash.Reset()
	s.size, s.err = 0, nil
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		s.err = err
	} else if err := s.file.Truncate(0); err != nil {
		s.err = err
	}
	if s.err != nil {
		s.err = fmt.Errorf("empty spool: %w", s.err)
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
			s.err = fmt.Errorf("write spool: %w", err)
		}
	}
	if s.err != nil {
		return failedReader{s.err}
	}
	return io.NewSectionReader(s.file, 0, s.size)
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
	err := errors.Join(s.file.Close(), os.Remove(s.file.Name()))
	s.file = nil
	s.err = fmt.Errorf("use spool: %w", os.ErrClosed)
	if err != nil {
		return fmt.Errorf("remove spool: %w", err)
	}
	return nil
}

// failedReader gives an error that happened while its content was written.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error)       { return 0, r.err }
func (r failedReader) Seek(int64, int) (int64, error) { return 0, r.err }
