package export

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestKept reads results twice: from the store once, while there is room in a temporary folder.
func TestKept(t *testing.T) {
	content := func(n int) []byte { return bytes.Repeat([]byte{byte(n)}, 100<<10*(n+1)) }
	for name, c := range map[string]struct {
		dir   string
		reads int
	}{
		"room":    {t.TempDir(), 3},
		"no room": {filepath.Join(t.TempDir(), "none"), 7}, // the first one is read again at once
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			k := &kept{spool: sink.NewSpool(c.dir), of: map[int]keptResult{}, stored: func(_ context.Context, u unit.Unit) (io.ReadCloser, sink.Object, error) {
				reads++
				b := content(u.N)
				return io.NopCloser(bytes.NewReader(b)), sink.Object{Bytes: int64(len(b)), SHA256: sink.HexSHA256(b)}, nil
			}}
			for _, n := range []int{0, 1, 2, 1, 0, 2} {
				body, o, err := k.open(t.Context(), unit.Unit{N: n})
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, content(n)) || o.SHA256 != sink.HexSHA256(got) {
					t.Errorf("result %d has %d bytes: %v", n, len(got), err)
				}
			}
			if reads != c.reads {
				t.Errorf("%d readings of the store", reads)
			}
			if err := k.close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestKeptWithoutRoom keeps a result, and then finds that the folder has no room for it: what a
// temporary file holds back is written when it is read.
func TestKeptWithoutRoom(t *testing.T) {
	reads := 0
	k := &kept{spool: sink.NewSpool(t.TempDir()), of: map[int]keptResult{}, stored: func(context.Context, unit.Unit) (io.ReadCloser, sink.Object, error) {
		reads++
		return io.NopCloser(bytes.NewReader([]byte("result"))), sink.Object{Bytes: 6}, nil
	}}
	for step := range 3 {
		body, _, err := k.open(t.Context(), unit.Unit{N: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || string(got) != "result" {
			t.Errorf("%q: %v", got, err)
		}
		if step == 0 { // reading it fails from now on, as it does once something could not be written
			if err := k.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if reads != 3 {
		t.Errorf("%d readings of the store", reads)
	}
}

// TestKeptIsBounded does not keep what would make the temporary file larger than it may be.
func TestKeptIsBounded(t *testing.T) {
	reads := 0
	k := &kept{spool: sink.NewSpool(t.TempDir()), of: map[int]keptResult{}, stored: func(context.Context, unit.Unit) (io.ReadCloser, sink.Object, error) {
		reads++
		return io.NopCloser(io.LimitReader(zeros{}, maxKept-1)), sink.Object{Bytes: maxKept - 1}, nil
	}}
	defer k.close()
	for range 2 {
		for n := range 2 {
			body, _, err := k.open(t.Context(), unit.Unit{N: n})
			if err != nil {
				t.Fatal(err)
			}
			if size, err := io.Copy(io.Discard, body); err != nil || size != maxKept-1 {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	if reads != 3 {
		t.Errorf("%d readings of the store", reads)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
