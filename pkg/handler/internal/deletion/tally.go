package deletion

import (
	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
)

// tally is what a delete came to, over all projects.
type tally struct {
	counts   contract.Counts
	projects []deletionProject
	checks   []report.Verification
}

// add counts a thing of a project that was seen to be gone.
func (t *tally) add(project uuid.UUID, into *contract.Counts, l deletedLine) {
	n := into.Of(l.Category)
	if n != nil && l.How != alreadyGone {
		*n++
	}
	check := t.check(project, l)
	check.Items++
	if l.How == alreadyGone {
		check.AlreadyGone++
	}
	check.Last = l.VerifiedAbsent
}

// check is the row of the project and category of a line.
func (t *tally) check(project uuid.UUID, l deletedLine) *report.Verification {
	name := project.String()
	for i := len(t.checks) - 1; i >= 0 && t.checks[i].Project == name; i-- {
		if t.checks[i].Category == string(l.Category) {
			return &t.checks[i]
		}
	}
	t.checks = append(t.checks, report.Verification{Project: name, Category: string(l.Category), How: verifiedBy(l.Category), First: l.VerifiedAbsent})
	return &t.checks[len(t.checks)-1]
}

func (t *tally) addProject(p deletionProject) {
	t.projects = append(t.projects, p)
	t.counts.Add(p.Counts)
}
