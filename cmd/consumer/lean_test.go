package main

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLeanModules holds the modules of the program for production to a list. A scanner counts each
// of them against us: one that is new has to be worth it. Modules of test servers never are.
func TestLeanModules(t *testing.T) {
	// -export compiles it, so that what the tag leaves out stays in order.
	list := exec.Command("go", "list", "-tags", "lean", "-export", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")
	list.Env, list.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	modules := slices.Compact(slices.Sorted(strings.FieldsSeq(string(out))))
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
	for _, server := range []string{"nats-server", "versitygw", "fiber", "fasthttp", "go-autorest"} {
		if bytes.Contains(out, []byte(server)) {
			t.Errorf("%s is in the program for production", server)
		}
	}
}
