package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// inspects runs consumer inspect on a terminal of 60 columns, which must exit with a code, and
// gives what it prints.
func inspects(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, errs := &fakeTerminal{width: 60}, &bytes.Buffer{}
	if got := run(t.Context(), append([]string{"inspect"}, args...), nil, strings.NewReader(""), out, errs); got != code {
		t.Fatalf("inspect %q: exit %d\n%s%s", args, got, out.String(), errs.String())
	}
	return out.String()
}

// narrow demands that a text is printable, and no line of several words wider than 60 columns.
func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.ContainsFunc(line, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }) {
			t.Errorf("%q is not printable", line)
		}
		if n := columns(line); n > 60 && strings.Contains(strings.TrimSpace(line), " ") {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestInspect(t *testing.T) {
	dir := folder(t, map[string]string{"a/export": "two-tags", "b/export": "nothing-found", "c/export": "detection"})
	overwrite(t, filepath.Join(dir, "d", "bagit.txt"), "x")
	text := inspects(t, exitDone, dir)
	narrow(t, text)
	for _, says := range []string{
		"  command    two-tags, export\n", "  outcome    complete\n", "  reference  \"case 2026-17\"\n", "  signature  none: the receipt is unsigned\n",
		"  exported   projects 1, iterations 2, performances 2, tags\n             2, images 4, ", "  Two tags\n  a2e7570a-5d0e-4e96-ba6d-125f56a98544\n    one tag an image; ",
		"  outcome    nothing found\n", "    boxes; ", "a BagIt bag that cvconsumer did not make",
	} {
		if !strings.Contains(text, says) {
			t.Errorf("it does not say %q:\n%s", says, text)
		}
	}
	var a inspected
	if err := json.Unmarshal([]byte(inspects(t, exitDone, "-o", "json", filepath.Join(dir, "a"))), &a); err != nil {
		t.Fatal(err)
	}
	if a.State != "finished" || a.Outcome != "complete" || a.Files != filesIn(t, filepath.Join(dir, "a")) || len(a.Projects) != 1 || a.Projects[0].Name != "Two tags" || a.Projects[0].Counts.Images != 4 || a.Counts.Predictions != 2 {
		t.Errorf("%+v", a)
	}
}

// TestInspectHostile prints what bundles say inertly, however long or misleading it is.
func TestInspectHostile(t *testing.T) {
	const id = "a2e7570a-5d0e-4e96-ba6d-125f56a98544"
	name := "\x1b]0;x\a\u202e" + strings.Repeat("名", 10_000) + "\nProjects"
	dir := folder(t, map[string]string{"": "two-tags"})
	overwrite(t, filepath.Join(dir, "data", "projects", id, "project.json"), asJSONText(t, map[string]any{"name": name}))
	overwrite(t, filepath.Join(dir, "evidence", "inventory.json"), asJSONText(t, bagfile.Inventory{V: 1, Projects: []bagfile.InventoryProject{{
		ID: id, Unstable: []string{"workspace"},
		Categories: map[string]*bagfile.InventoryCategory{bagfile.Images: {Exported: 3, Failed: []bagfile.Failure{{ID: name, Code: "x", Message: name}}}},
	}, {ID: "\x1b[2J"}}}))
	text := inspects(t, exitDone, dir)
	narrow(t, text)
	if !strings.Contains(text, "Exceptions: 2\n") || !strings.Contains(text, "名\n  Projects\n  "+id) || !strings.Contains(text, `\x1b[2J`) {
		t.Errorf("%s", text[:2000])
	}
	var a inspected
	if err := json.Unmarshal([]byte(inspects(t, exitDone, "-o", "json", dir)), &a); err != nil || a.Projects[0].Name != name || len(a.Listed) != 2 {
		t.Errorf("%v: %d exceptions", err, len(a.Listed))
	}
	overwrite(t, filepath.Join(dir, "evidence", "inventory.json"), "[1]")
	inspects(t, exitVerify, dir)
	inspects(t, exitCommand, t.TempDir())
}

// TestInspectDelete tells of a delete, and of one that failed.
func TestInspectDelete(t *testing.T) {
	dir := t.TempDir()
	const id = "a2e7570a-5d0e-4e96-ba6d-125f56a98544"
	overwrite(t, filepath.Join(dir, "good", "receipt.json"), `{"predicateType": "https://cvconsumer.dev/delete/v1", "predicate": {"command": {"id": "del", "action": "delete"}, "outcome": "complete", "counts": {"images": 7},
		"residuals": [{"category": "exports", "reason": "the service offers no deletion of exported models; they go with the account"}]}}`)
	overwrite(t, filepath.Join(dir, "good", "data", "deletion.json"), `{"projects": [{"id": "`+id+`", "name": "Harbor", "project": true, "counts": {"images": 7}}]}`)
	overwrite(t, filepath.Join(dir, "bad", "evidence", "failure.json"), `{"v": 1, "id": "del-2", "error": {"code": "unverified", "message": "3 images are still there"}, "counts": {"images": 4}}`)
	text := inspects(t, exitDone, dir)
	narrow(t, text)
	for _, says := range []string{"deleted    images 7\n", "  Harbor\n  " + id + "\n    the project itself, and images 7\n", "Remains\n  exports: the service", "outcome  failed\n", "unverified: \"3 images are still", "deleted  images 4\n"} {
		if !strings.Contains(text, says) {
			t.Errorf("it does not say %q:\n%s", says, text)
		}
	}
}

func asJSONText(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
