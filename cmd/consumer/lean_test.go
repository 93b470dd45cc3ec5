package main

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// maxLeanBytes is how large the program for production may be, for linux/amd64. What makes it
// larger by megabytes at once is mostly a call of reflect's Method or MethodByName, as in
// text/template: the linker keeps every exported method then. docs/performance.md says how to find
// it.
const maxLeanBytes = 25_000_000

// TestLean builds the program for production, and holds its size to a limit and its modules to a
// list. A scanner counts each of them against us: one that is new has to be worth it. Modules of
// test servers never are.
func TestLean(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "consumer")
	build := exec.Command("go", "build", "-tags", "lean", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	stat, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Size() > maxLeanBytes {
		t.Errorf("the program for production has %d bytes, more than %d", stat.Size(), maxLeanBytes)
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, m := range info.Deps {
		modules = append(modules, m.Path)
		for _, server := range []string{"nats-server", "versitygw", "fiber", "fasthttp", "go-autorest"} {
			if strings.Contains(m.Path, server) {
				t.Errorf("%s is in the program for production", m.Path)
			}
		}
	}
	want := slices.Collect(strings.FieldsSeq(readText(t, "testdata/lean-modules.txt")))
	for _, m := range modules {
		if !slices.Contains(want, m) {
			t.Errorf("%s is new in the program for production: is it needed there? Then add it to testdata/lean-modules.txt", m)
		}
	}
	for _, m := range want {
		if !slices.Contains(modules, m) {
			t.Errorf("%s is not in the program for production any more: remove it from testdata/lean-modules.txt", m)
		}
	}
}
