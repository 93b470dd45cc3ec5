package bag

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// maxNamed is how many ids a sentence lists. Those of the selection are all in request.json.
const maxNamed = 20

// Named is ids in words: all of them, or the first and how many more there are.
func Named(ids []uuid.UUID) string {
	names := make([]string, 0, maxNamed)
	for _, id := range contract.SortedIDs(ids)[:min(len(ids), maxNamed)] {
		names = append(names, id.String())
	}
	text := strings.Join(names, ", ")
	if n := len(ids) - maxNamed; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// Selection is what a command asked for, in words for the pages of its bag: first the projects,
// then what of them.
func Selection(s contract.Scope) []string {
	var out []string
	ids := func(what string, ids []uuid.UUID) {
		if len(ids) > 0 {
			out = append(out, what+" "+Named(ids))
		}
	}
	if s.AllProjects {
		out = append(out, "all projects of the account")
	}
	ids("projects", s.ProjectIDs)
	ids("iterations", s.IterationIDs)
	ids("tags", s.TagIDs)
	ids("images", s.ImageIDs)
	for _, want := range s.ImageMetadata {
		pairs := make([]string, 0, len(want))
		for _, name := range slices.Sorted(maps.Keys(want)) {
			pairs = append(pairs, fmt.Sprintf("%q = %s", name, want[name]))
		}
		out = append(out, "images whose metadata has "+strings.Join(pairs, " and "))
	}
	return out
}
