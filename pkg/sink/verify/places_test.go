package verify_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// TestLook finds the bags of a place, whatever it is: one, a command's, or many commands'.
func TestLook(t *testing.T) {
	bag := load(t, "nothing-found")
	below := func(folders ...string) memory {
		m := memory{}
		for _, folder := range folders {
			for name, content := range bag {
				m[folder+name] = content
			}
		}
		return m
	}
	with := func(m memory, names ...string) memory {
		m = maps.Clone(m)
		for _, name := range names {
			m[name] = "x"
		}
		return m
	}
	for _, c := range []struct {
		name  string
		place memory
		roots []string
		loose int
	}{
		{"a bag", bag, []string{""}, 0},
		{"a bag and what does not belong to it", with(bag, "x", "y/bagit.txt"), []string{""}, 0},
		{"a command", below("export/", "delete/"), []string{"delete/", "export/"}, 0},
		{"commands, and working objects", with(below("req-1/export/", "req-2/delete/"), "req-3/.work/plan.json", ".deployment"), []string{"req-1/export/", "req-2/delete/"}, 0},
		{"an export under way", with(below("req-1/export/"), "req-2/export/data/projects/x/images/1.jpg", "notes"), []string{"req-1/export/"}, 2},
		{"a failed delete", with(below("a/"), "b/delete/evidence/failure.json", "b/delete/evidence/ledger.jsonl"), []string{"a/", "b/delete/"}, 0},
		{"a bag without its beginning", memory{"a/manifest-sha256.txt": "", "a/data/bag/bagit.txt": ""}, []string{"a/"}, 0},
		{"bags within bags are payload", with(below("a/"), "a/data/x/bagit.txt", "a/data/y/receipt.json"), []string{"a/"}, 0},
		{"nothing", memory{}, []string{""}, 0},
		{"no bag", memory{"a/x": ""}, []string{""}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.place {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
				must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
			}
			for kind, src := range map[string]verify.Source{"memory": c.place, "folder": verify.Dir(dir)} {
				place, err := verify.Look(t.Context(), src)
				must(t, err)
				var roots []string
				for _, b := range place.Bags {
					roots = append(roots, b.Root)
					if b.Root == "" || c.name == "a failed delete" || c.name == "a bag without its beginning" || c.name == "bags within bags are payload" {
						continue
					}
					if r, err := verify.Bag(t.Context(), b.Source, verify.Options{}); err != nil || r.Result != verify.OK {
						t.Errorf("%s: %s: %s, %v", kind, b.Root, r.Result, r.Problems)
					}
				}
				if !slices.Equal(roots, c.roots) || place.Loose != c.loose || (place.Sample != "") != (c.loose > 0) {
					t.Errorf("%s: %q, and %d files such as %q", kind, roots, place.Loose, place.Sample)
				}
			}
		})
	}
}

// TestForeign tells bags of other tools from this program's own that lost something.
func TestForeign(t *testing.T) {
	bag := load(t, "nothing-found")
	plain := memory{}
	for name, content := range bag {
		if name != "receipt.json" && name != "data/export.json" && filepath.Dir(name) != "evidence" {
			plain[name] = content
		}
	}
	for _, c := range []struct {
		name    string
		bag     memory
		foreign bool
	}{
		{"ours", bag, false},
		{"of another tool", plain, true},
		{"nothing", memory{}, false},
		{"no bag", memory{"x": ""}, false},
		{"the receipt alone", memory{"receipt.json": ""}, false},
	} {
		if got := verify.Foreign(t.Context(), c.bag); got != c.foreign {
			t.Errorf("%s: foreign %t", c.name, got)
		}
	}
	for _, name := range []string{"receipt.json", "data/export.json", "evidence/request.json"} {
		without := maps.Clone(plain)
		without[name] = bag[name]
		if verify.Foreign(t.Context(), without) {
			t.Errorf("a bag with %s counts as another tool's", name)
		}
	}
}
