package verify_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of docs/auditors.md work as they are in a POSIX shell, and find what they should.
func TestAuditorsCommands(t *testing.T) {
	guide, err := os.ReadFile(filepath.Join(bundles, "..", "..", "docs", "auditors.md"))
	must(t, err)
	_, steps, _ := strings.Cut(string(guide), "## 1. Is every file unchanged?")
	sh := func(dir, command string) string {
		temp := t.TempDir()
		c := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(command, "/tmp/", temp+"/"))
		c.Dir = dir
		out, _ := c.CombinedOutput() // what fails shows in what it prints
		return string(out)
	}
	block := func(from string) string {
		_, rest, _ := strings.Cut(steps, from)
		_, rest, ok := strings.Cut(rest, "```sh\n")
		command, _, _ := strings.Cut(rest, "```\n")
		if !ok {
			t.Fatalf("no commands after %q", from)
		}
		return command
	}
	export, deleted := newFolder(t, load(t, "two-tags")), newFolder(t, deletion(t, false))
	heads := func(out string) bool {
		a, b, ok := strings.Cut(strings.TrimSpace(out), "\n")
		return ok && a == b
	}
	good := func(word string) func(string) bool {
		return func(out string) bool { return strings.HasSuffix(out, word+"\n") }
	}
	for _, c := range []struct {
		f         *folder
		from      string
		good      func(out string) bool
		tampering tampering
	}{
		{export, "", good("ok"), tampering{change: func(e *editor) { e.put(picture, e.m[picture]+"x") }}},
		{export, "## 2.", good("exact"), tampering{change: func(e *editor) { e.put("data/x", "x") }}},
		{export, "## 3.", good("tagmanifest-sha256.txt: OK"), tampering{change: func(e *editor) { e.put("tagmanifest-sha256.txt", "x\n") }}},
		{deleted, "This checks the chain:", heads, tampering{change: say(ledger, `"seq":3,`, `"seq":4,`)}},
		{deleted, "Everything planned is in", good("all"), tampering{change: func(e *editor) { e.lines(deletedLines, img2.String(), away) }}},
	} {
		command, held := block(c.from), c.f.held
		if out := sh(c.f.dir, command); !c.good(out) {
			t.Errorf("%s\nprints\n%s", command, out)
		}
		c.tampering.raw = true
		c.f.hold(t, tampered(t, held, c.tampering))
		if out := sh(c.f.dir, command); c.good(out) {
			t.Errorf("after tampering\n%s\nprints\n%s", command, out)
		}
		c.f.hold(t, held)
	}
}
