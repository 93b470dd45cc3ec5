package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestImageIsMadeOfPinnedImages: a tag may mean another image tomorrow.
func TestImageIsMadeOfPinnedImages(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	args := map[string]string{}
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:[a-z0-9.-]+@sha256:[0-9a-f]{64}$`)
	stages := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "ARG" {
			name, value, _ := strings.Cut(words[1], "=")
			args["${"+name+"}"] = value
		}
		if len(words) < 2 || words[0] != "FROM" {
			continue
		}
		stages++
		image := words[1]
		if value, ok := args[image]; ok {
			image = value
		}
		if image != "scratch" && !pinned.MatchString(image) {
			t.Errorf("the image is made of %s", image)
		}
	}
	if stages != 2 {
		t.Errorf("%d stages were looked at", stages)
	}
}

// TestImageHasItsSources: the folders that the program is made of are not left out of what Docker
// sends to the build.
func TestImageHasItsSources(t *testing.T) {
	sent := strings.Fields(readText(t, "../../.dockerignore"))
	ours := regexp.MustCompile(`"github\.com/cvconsumer/cvconsumer/(\w+)/`)
	seen := map[string]bool{}
	for _, root := range []string{"../../cmd", "../../internal", "../../pkg"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			for _, m := range ours.FindAllStringSubmatch(readText(t, path), -1) {
				seen[m[1]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for folder := range seen {
		if !slices.Contains(sent, "!"+folder) {
			t.Errorf(".dockerignore leaves %s out", folder)
		}
	}
	if len(seen) < 2 {
		t.Errorf("only %v was seen", seen)
	}
}
