package sink

import (
	"bufio"
	"os"
)

// SetFile makes a spool write to another file. Such a spool must not be closed: that removes the
// file.
func (s *Spool) SetFile(f *os.File) {
	s.file, s.buf = f, bufio.NewWriterSize(f, spoolInMemory)
}

// SealOf makes the seal of an object each time that it is called.
func SealOf(by *Sealer, key Key, of Body) func() string {
	return func() string { return by.seal(by.message, key, of.Size, of.SHA256) }
}
