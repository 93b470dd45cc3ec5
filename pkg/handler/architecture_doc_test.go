package handler_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestArchitectureNamesWhatIsThere reads ARCHITECTURE.md: each test and each file that it names
// exists.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	files := []string{} // slash-separated, relative to the module's root
	for _, top := range []string{"cmd", "docs", "pkg", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") {
				return err
			}
			relative, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			files = append(files, "/"+filepath.ToSlash(relative))
			if !strings.HasSuffix(name, "_test.go") {
				return nil
			}
			source, err := os.ReadFile(name)
			for _, match := range declared.FindAllSubmatch(source, -1) {
				tests[string(match[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all := strings.Join(files, "\n") + "\n"
	for _, match := range regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)").FindAllSubmatch(text, -1) {
		if name := string(match[1]); !tests[name] {
			t.Errorf("no test is called %s", name)
		}
	}
	for _, match := range regexp.MustCompile("`([\\w/]+\\.go)`").FindAllSubmatch(text, -1) {
		if name := string(match[1]); !strings.Contains(all, "/"+name+"\n") {
			t.Errorf("there is no file %s", name)
		}
	}
}
