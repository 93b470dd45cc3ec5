package verify

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestZipDirectoryIsBounded has an archive whose directory takes more memory than one may be
// refused.
func TestZipDirectoryIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "many.zip")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for i := range 2000 {
		if _, err := w.Create(fmt.Sprintf("data/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if _, err := openZip(path, 64<<10); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "more than 65536 bytes") {
		t.Error(err)
	}
	z, err := openZip(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil || len(z.files) != 2000 {
		t.Error(err, len(z.files))
	}
}
