package blob

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// ModelDone is the status of a model that is made.
const ModelDone = "Done"

// ModelID is what a model is known by in every reading of an iteration's exports: its platform and
// flavor, the path of its file, and its place among those that have all of these in common. Its
// place in the whole list says nothing: the service may list in another order the next time, or a
// newer model before it.
type ModelID struct {
	platform, flavor string
	path             string // without host and query
	nth              int    // from 1; 0 is a model that has no file
}

// ModelIDs identifies the models of one reading, in its order.
func ModelIDs(exports []cv.Export) []ModelID {
	ids := make([]ModelID, len(exports))
	seen := map[ModelID]int{}
	for i, e := range exports {
		if !hasFile(e) {
			continue
		}
		id := ModelID{platform: e.Platform, flavor: e.Flavor, path: linkPath(e.DownloadURI)}
		seen[id]++
		id.nth = seen[id]
		ids[i] = id
	}
	return ids
}

// hasFile reports whether the service offers a model's file.
func hasFile(e cv.Export) bool { return e.Status == ModelDone && e.DownloadURI != "" }

// linkPath is the path of a link, which stays the same while its query is made again with every
// reading; empty for what is no URI.
func linkPath(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// ModelLink finds a model's link in a later reading; it is empty when the model is not among those
// any more.
func ModelLink(id ModelID, exports []cv.Export) string {
	i := slices.Index(ModelIDs(exports), id)
	if i < 0 || id.nth == 0 {
		return ""
	}
	return exports[i].DownloadURI
}

// ModelFlavors are the flavors that the files of a reading's models are named by. The service lists
// one model a platform and flavor; if it ever lists two, the second one is numbered, and none is
// lost.
func ModelFlavors(exports []cv.Export) []string {
	type name struct{ platform, flavor string }
	var (
		flavors = make([]string, len(exports))
		taken   = map[name]bool{}
		again   []int
	)
	for i, e := range exports {
		if e.Status != ModelDone {
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

// ModelName names a model for people, as its file is named.
func ModelName(e cv.Export) string {
	if e.Flavor == "" {
		return e.Platform
	}
	return e.Platform + "-" + e.Flavor
}
