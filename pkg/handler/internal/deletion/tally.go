package deletion

import (
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// tally is what a delete came to, over all projects.
type tally struct {
	counts   bagfile.Counts
	projects []bagfile.DeletionProject
	checks   []bagfile.Check
}

// add counts a thing of a project that was seen to be gone.
func (t *tally) add(project uuid.UUID, into *bagfile.Counts, l bagfile.Deleted) {
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
func (t *tally) check(project uuid.UUID, l bagfile.Deleted) *bagfile.Check {
	name := project.String()
	for i := len(t.checks) - 1; i >= 0 && t.checks[i].Project == name; i-- {
		if t.checks[i].Category == l.Category {
			return &t.checks[i]
		}
	}
	t.checks = append(t.checks, bagfile.Check{Project: name, Category: l.Category, How: verifiedBy(l), First: l.VerifiedAbsent})
	return &t.checks[len(t.checks)-1]
}

func (t *tally) addProject(p bagfile.DeletionProject) {
	t.projects = append(t.projects, p)
	t.counts.Add(p.Counts)
}
