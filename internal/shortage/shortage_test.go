//go:build unix

package shortage

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestOf(t *testing.T) {
	dial := func(number syscall.Errno) error {
		return fmt.Errorf("get it: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", number)})
	}
	_, noFolder := os.CreateTemp(filepath.Join(t.TempDir(), "none"), "x")
	for name, c := range map[string]struct {
		err  error
		says string // empty: no shortage
	}{
		"nothing":                     {},
		"too many files":              {dial(syscall.EMFILE), "ulimit -n"},
		"too many files of all":       {dial(syscall.ENFILE), "fs.file-max"},
		"no memory":                   {dial(syscall.ENOMEM), "CONSUMER_BUFFER"},
		"no memory for sockets":       {dial(syscall.ENOBUFS), "CONSUMER_BUFFER"},
		"a full disk":                 {fmt.Errorf("write: %w", syscall.ENOSPC), "make room"},
		"a used-up quota":             {errors.Join(errors.New("x"), syscall.EDQUOT), "make room"},
		"a read-only disk":            {&os.PathError{Op: "open", Path: "/x", Err: syscall.EROFS}, "TMPDIR"},
		"no folder":                   {Folder("/nowhere", 0, noFolder), "TMPDIR"},
		"a name for a file":           {noFolder, ""},
		"a refused connection":        {dial(syscall.ECONNREFUSED), ""},
		"a reset":                     {dial(syscall.ECONNRESET), ""},
		"an address of a service":     {dial(syscall.EADDRNOTAVAIL), ""},
		"a network without a way":     {dial(syscall.ENETUNREACH), ""},
		"another machine's full disk": {errors.New("507: no space left on device"), ""},
	} {
		got := Of(c.err)
		if (got == nil) != (c.says == "") || got != nil && (!strings.Contains(got.Error(), c.says) || got.Err == nil) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestCheck: a machine is well again when it has what was lacking, not when it has something.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		dir  string
		last error
		well bool
	}{
		"never failed":        {dir, nil, true},
		"failed otherwise":    {dir, errors.New("not checked yet"), true},
		"no folder":           {filepath.Join(dir, "none"), nil, false},
		"room for little":     {dir, Folder(dir, 4<<10, syscall.ENOSPC), true},
		"no room for so much": {dir, Folder(dir, 1<<60, syscall.ENOSPC), false},
		"files again":         {dir, syscall.EMFILE, true},
	} {
		err := Check(c.dir, c.last)
		if (err == nil) != c.well {
			t.Errorf("%s: %v", name, err)
		}
		if !c.well {
			if again := Check(c.dir, err); again == nil { // its own error keeps what was lacking
				t.Errorf("%s: well at the second look", name)
			}
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = spareFiles / 2
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	err := Check(dir, fmt.Errorf("dial: %w", syscall.EMFILE))
	if again := Check(dir, err); !errors.Is(err, syscall.EMFILE) || again == nil {
		t.Errorf("with few files: %v, then %v", err, again)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
