package deleteplan

import (
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Exceeds is what a planned project has that a delete does not name; empty when it has no such
// thing. Which images carry a tag or match metadata cannot be told from the plan.
func Exceeds(d contract.Data, p bagfile.PlanProject) string {
	n := d.Narrowing()
	whole := n == contract.NarrowNone && d.Has(contract.CategoryProjects)
	takes := func(c contract.Category) bool { return whole || d.Has(c) }
	switch {
	case !d.AllProjects && !slices.Contains(d.ProjectIDs, p.ID):
		return "the project " + p.ID.String()
	case p.Project && !whole:
		return "the project " + p.ID.String() + " itself"
	case !takes(contract.CategoryImages) && len(p.Images) > 0, n == contract.NarrowImages && !within(p.Images, d.ImageIDs):
		return "images of project " + p.ID.String()
	case !takes(contract.CategoryIterations) && len(p.Iterations) > 0, n == contract.NarrowIterations && !within(p.Iterations, d.IterationIDs):
		return "iterations of project " + p.ID.String()
	case !takes(contract.CategoryTags) && len(p.Tags) > 0, n == contract.NarrowTags && !within(p.Tags, d.TagIDs):
		return "tags of project " + p.ID.String()
	}
	return ""
}

// within reports whether all ids are among those of the command, which are in byte order.
func within(ids, named []uuid.UUID) bool {
	return !slices.ContainsFunc(ids, func(id uuid.UUID) bool {
		_, found := slices.BinarySearchFunc(named, id, contract.CompareIDs)
		return !found
	})
}
