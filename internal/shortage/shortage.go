// Package shortage tells what this machine lacks (room for temporary files, open files, memory)
// from what others do wrong. Such a failure is about nothing that was being worked on: it passes
// when the operator helps, and [Check] tries whether that has happened.
package shortage

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Error is a failure for which this machine is to blame. It says what helps.
type Error struct {
	What  string // what failed: "the temporary folder /tmp"
	Cure  string // what helps
	Bytes int64  // how much room was needed at least, where room was lacking
	Err   error

	disk bool // it is about a folder or a disk
}

// Error says what failed, why, and what helps.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v: %s", e.What, e.Err, e.Cure) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Folder is the failure of the folder for temporary files, after bytes were written to one of them.
// Where files or memory are lacking, the folder is not to blame.
func Folder(dir string, bytes int64, err error) error {
	if other := Of(err); other != nil && !other.disk {
		return other
	}
	return &Error{What: "the temporary folder " + dir, Cure: "make room there, or set TMPDIR to a folder that can be written and has more room", Bytes: bytes, Err: err, disk: true}
}

// numbers are the system's errors that say that this machine lacks something, and what helps. None
// of them can be brought about by what another machine answers.
var numbers = []struct {
	number     syscall.Errno
	what, cure string
	disk       bool
}{
	{syscall.EMFILE, "open files", tooManyFiles, false},
	{syscall.ENFILE, "open files of the whole machine", "raise its limit (fs.file-max)", false},
	{syscall.ENOMEM, "memory", moreMemory, false},
	{syscall.ENOBUFS, "memory for connections", moreMemory, false},
	{syscall.ENOSPC, "disk", moreRoom, true},
	{syscall.EDQUOT, "disk quota", moreRoom, true},
	{syscall.EROFS, "disk", "set TMPDIR to a folder that can be written", true},
}

const (
	tooManyFiles = "raise the limit of open files (ulimit -n), or lower CONSUMER_DOWNLOADS"
	moreMemory   = "give this process more memory, or lower CONSUMER_BUFFER and CONSUMER_DOWNLOADS"
	moreRoom     = "make room on this machine's disk"
)

// Of is the shortage behind an error; nil where there is none.
func Of(err error) *Error {
	var known *Error
	if errors.As(err, &known) {
		return known
	}
	for _, n := range numbers {
		if errors.Is(err, n.number) {
			return &Error{What: n.what, Cure: n.cure, Err: n.number, disk: n.disk}
		}
	}
	return nil
}

const (
	// leastRoom is what every command needs of the temporary folder, in bytes.
	leastRoom = 1 << 20
	// spareFiles is how many files a process must be able to open that had too many.
	spareFiles = 64
)

// Check tries whether this machine has what it lacked when it last failed with last, nil where it
// did not. Its error is the shortage that is still there.
func Check(dir string, last error) error {
	lacked := Of(last)
	if lacked != nil && (errors.Is(lacked, syscall.EMFILE) || errors.Is(lacked, syscall.ENFILE)) {
		if err := openMany(); err != nil {
			return lacked
		}
	}
	need := int64(leastRoom)
	if lacked != nil {
		need = max(need, lacked.Bytes)
	}
	if err := writeLeast(dir); err != nil {
		return Folder(dir, need, err)
	}
	if free, known := freeBytes(dir); known && lacked != nil && free < need {
		return Folder(dir, need, fmt.Errorf("%d bytes are free, and more than %d were needed: %w", free, need, syscall.ENOSPC))
	}
	return nil
}

// openMany opens some files at once, and closes them.
func openMany() (err error) {
	for range spareFiles {
		f, opened := os.Open(os.DevNull)
		if opened != nil {
			return opened //nolint:wrapcheck // only whether it failed is looked at
		}
		defer f.Close()
	}
	return nil
}

// writeLeast writes a file of the size that every command needs, and removes it.
func writeLeast(dir string) (err error) {
	f, err := os.CreateTemp(dir, "cvconsumer-check-")
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	_, err = f.Write(make([]byte, leastRoom))
	return err //nolint:wrapcheck // it names the path
}
