// Package verifytest has bags for tests of what reads them.
package verifytest

import (
	"context"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// Memory is a bag held in memory: what its files hold, by name.
type Memory map[string]string

// Load reads a bag in a folder into memory.
func Load(t testing.TB, dir string) Memory {
	t.Helper()
	m := Memory{}
	for file, err := range verify.Dir(dir).List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file.Name)))
		if err != nil {
			t.Fatal(err)
		}
		m[file.Name] = string(content)
	}
	return m
}

// List implements verify.Source, in lexical order.
func (m Memory) List(context.Context) iter.Seq2[verify.File, error] {
	return func(yield func(verify.File, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			if !yield(verify.File{Name: name, Bytes: int64(len(m[name]))}, nil) {
				return
			}
		}
	}
}

// Open implements verify.Source.
func (m Memory) Open(_ context.Context, name string) (io.ReadCloser, error) {
	content, ok := m[name]
	if !ok {
		return nil, sink.ErrNotFound
	}
	return io.NopCloser(strings.NewReader(content)), nil
}
