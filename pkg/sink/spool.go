package sink

import "io"

// Spool is a temporary file with a running SHA-256.
type Spool struct{}

// NewSpool makes an empty spool in dir (empty: the system's).
func NewSpool(dir string) (*Spool, error) { return nil, errSkeleton }

// Write appends.
func (s *Spool) Write(p []byte) (int, error) { return 0, errSkeleton }

// Reset empties the spool.
func (s *Spool) Reset() error { return errSkeleton }

// Size is the number of bytes written.
func (s *Spool) Size() int64 { return 0 }

// SHA256 is the hex digest of what was written.
func (s *Spool) SHA256() string { return "" }

// ReadSeeker reads what was written so far, from the start.
func (s *Spool) ReadSeeker() io.ReadSeeker { return nil }

// Body is what was written so far, to be stored.
func (s *Spool) Body(contentType string) Body { return Body{} }

// Close removes the file.
func (s *Spool) Close() error { return nil }
