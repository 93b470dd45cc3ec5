package handler

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// statusDone is the status of a model that is made.
const statusDone = "Done"

// modelID is what a model is known by in every reading of an iteration's exports: its platform and
// flavor, the path of its file, and its place among those that have all of these in common. Its
// place in the whole list says nothing: the service may list in another order the next time, or a
// newer model before it.
type modelID struct {
	platform, flavor string
	path             string // without host and query
	nth              int    // from 1; 0 is a model that has no file
}

// modelIDs identifies the models of one reading, in its order.
func modelIDs(exports []cv.Export) []modelID {
	ids := make([]modelID, len(exports))
	seen := map[modelID]int{}
	for i, e := range exports {
		if !hasFile(e) {
			continue
		}
		id := modelID{platform: e.Platform, flavor: e.Flavor, path: linkPath(e.DownloadURI)}
		seen[id]++
		id.nth = seen[id]
		ids[i] = id
	}
	return ids
}

// hasFile reports whether the service offers a model's file.
func hasFile(e cv.Export) bool { return e.Status == statusDone && e.DownloadURI != "" }

// linkPath is the path of a link, which stays the same while its query is made again with every
// reading; empty for what is no URI.
func linkPath(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// modelLink finds a model's link in a later reading; it is empty when the model is not among those
// any more.
func modelLink(id modelID, exports []cv.Export) string {
	i := slices.Index(modelIDs(exports), id)
	if i < 0 || id.nth == 0 {
		return ""
	}
	return exports[i].DownloadURI
}

// modelFlavors are the flavors that the files of a reading's models are named by. The service lists
// one model a platform and flavor; if it ever lists two, the second one is numbered, and none is
// lost.
func modelFlavors(exports []cv.Export) []string {
	type name struct{ platform, flavor string }
	var (
		flavors = make([]string, len(exports))
		taken   = map[name]bool{}
		again   []int
	)
	for i, e := range exports {
		if e.Status != statusDone {
			continue
		}
		if flavors[i] = e.Flavor; taken[name{e.Platform, e.Flavor}] {
			again = append(again, i)
		}
		taken[name{e.Platform, e.Flavor}] = true
	}
	for _, i := range again {
		e := exports[i]
		for n := 2; taken[name{e.Platform, flavors[i]}]; n++ {
			flavors[i] = fmt.Sprintf("%s%d", e.Flavor, n)
		}
		taken[name{e.Platform, flavors[i]}] = true
	}
	return flavors
}

// modelName names a model for people, as its file is named.
func modelName(e cv.Export) string {
	if e.Flavor == "" {
		return e.Platform
	}
	return e.Platform + "-" + e.Flavor
}
