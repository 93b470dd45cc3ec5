//go:build unix

package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// What is no regular file is a finding: it is not read, and nothing waits for the other end of a
// pipe. Links are not followed out of the folder.
func TestIrregularFiles(t *testing.T) {
	bag := load(t, "nothing-found")
	for _, name := range []string{"receipt.json", "manifest-sha256.txt", "tagmanifest-sha256.txt", "evidence/inventory.json", "data/export.json", project + "images.jsonl"} {
		for kind, make := range map[string]func(path string) error{
			"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
			"device": func(path string) error { return os.Symlink("/dev/zero", path) },
			"link":   func(path string) error { return os.Symlink(filepath.Join(bundles, "nothing-found", name), path) },
			"loop":   func(path string) error { return os.Symlink(filepath.Base(path), path) },
		} {
			f := newFolder(t, bag)
			path := filepath.Join(f.dir, name)
			must(t, os.Remove(path))
			must(t, make(path))
			if got := problems(t, f.source()); !strings.Contains(got, name+": it is not a regular file") {
				t.Errorf("%s in place of %s:\n%s", kind, name, got)
			}
		}
	}
	if _, err := verify.Bag(t.Context(), verify.Dir(filepath.Join(t.TempDir(), "nothing")), verify.Options{}); err == nil {
		t.Error("a folder that is not there")
	}
}
