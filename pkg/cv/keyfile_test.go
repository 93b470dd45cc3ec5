//go:build unix

package cv

import (
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestTrainingKeyFileIsAFile(t *testing.T) {
	dir := t.TempDir()
	pipe, huge := filepath.Join(dir, "pipe"), filepath.Join(dir, "huge")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero", dir, huge} {
		if err := TrainingKeyFile(path).Apply(t.Context(), &http.Request{Header: http.Header{}}); err == nil {
			t.Errorf("%s is read as a key", path)
		}
	}
}
