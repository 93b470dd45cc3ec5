package deleterecord

import (
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// Tally is what a delete came to, over all projects.
type Tally struct {
	Counts   bagfile.Counts
	Projects []bagfile.DeletionProject
	Checks   []bagfile.Check
}

// Add counts a thing of a project that was seen to be gone.
func (t *Tally) Add(project uuid.UUID, into *bagfile.Counts, l bagfile.Deleted) {
	n := into.Of(l.Category)
	if n != nil && l.How != bagfile.AlreadyGone {
		*n++
	}
	check := t.check(project, l)
	check.Items++
	if l.How == bagfile.AlreadyGone {
		check.AlreadyGone++
	}
	check.Last = l.VerifiedAbsent
}

// check is the row of the project and category of a line.
func (t *Tally) check(project uuid.UUID, l bagfile.Deleted) *bagfile.Check {
	name := project.String()
	for i := len(t.Checks) - 1; i >= 0 && t.Checks[i].Project == name; i-- {
		if t.Checks[i].Category == l.Category {
			return &t.Checks[i]
		}
	}
	t.Checks = append(t.Checks, bagfile.Check{Project: name, Category: l.Category, How: VerifiedBy(l), First: l.VerifiedAbsent})
	return &t.Checks[len(t.Checks)-1]
}

// AddProject adds a project, and its counts.
func (t *Tally) AddProject(p bagfile.DeletionProject) {
	t.Projects = append(t.Projects, p)
	t.Counts.Add(p.Counts)
}

// VerifiedBy says how the absence of a thing was seen.
func VerifiedBy(l bagfile.Deleted) string {
	switch l.Category {
	case bagfile.Projects:
		return "GetProject answers 404 and GetProjects does not list it"
	case bagfile.Iterations:
		return "GetIteration answers 404"
	case bagfile.Performance:
		return "it goes with its iteration, for which GetIteration answers 404"
	case bagfile.Predictions:
		return "QueryPredictions gives none, for the workspace and every iteration"
	}
	switch l.VerifiedBy {
	case bagfile.ByTag:
		return "GetTag answers 404 in the workspace"
	case bagfile.ByProject:
		return "they go with the project, for which GetProject answers 404"
	case bagfile.ByCounts:
		return "GetTaggedImageCount and GetUntaggedImageCount are 0 for the workspace and every iteration"
	case bagfile.ByIDs:
		return "GetImagesByIds does not give them, in the workspace and every iteration that has images"
	case bagfile.ByListings:
		return "GetImagesByIds and, after it refused many batches, listings of all images do not give them, in the workspace and every iteration that has images"
	}
	return "the record of an older version does not say by which operation" // it was made before an update
}
