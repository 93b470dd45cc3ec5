package main

import (
	"os"
	"regexp"
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
