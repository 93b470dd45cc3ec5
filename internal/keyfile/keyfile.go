// Package keyfile reads the small files that settings name: keys, passwords, lists of resources.
// What is no file is refused: a pipe would be waited for, and a device read without end.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
)

// MaxBytes is the longest file that is read: far more than any key has.
const MaxBytes = 1 << 20

// Open opens a regular file, or what a link to one leads to, for reading. It never waits for the
// other end of a pipe.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the path
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// OpenToAll reports whether the mode of a file, or of the one that a link leads to, lets every user
// of this machine read it. It is false for a file that cannot be looked at, and where files have no
// such modes.
func OpenToAll(path string) bool {
	const others = 0o004
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&others != 0
}

// Read is the content of a regular file of at most MaxBytes.
func Read(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(b) > MaxBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, MaxBytes)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the path
	}
	return b, nil
}
