package worker

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// expect tells the attempt's control what is known of the account: the projects that it listed when
// the export was planned, and the credential that read the unit's project.
func (a *attempt) expect() {
	u := a.unit
	a.control.Expect(u.Known...)
	if u.Proven != "" {
		a.control.Resume(u.Host, []string{u.Proven})
	}
	if u.Kind != unit.KindProject { // its project was read before
		a.control.Expect(u.Project)
	}
}

// projectGone looks once more for a project that is said not to be there. It returns nil when the
// project was deleted meanwhile and the command does not name it; a named one is not found. A
// project that was seen before is gone only under control of the account; of one that never was,
// only what the account lists instead can be said.
func (a *attempt) projectGone(ctx context.Context, err error) error {
	u := a.unit
	if u.Kind == unit.KindProject && len(u.Known) < 2 {
		listed, err := a.control.NotListed(ctx, []uuid.UUID{u.Project})
		if err != nil || !u.Named {
			return err //nolint:wrapcheck // it says what contradicts what
		}
		return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("project %s is not found at host %s, which lists %d projects", u.Project, a.client.Host(), listed)}
	}
	gone, err := a.control.Gone(ctx, u.Project, err)
	if err != nil || !gone {
		return err //nolint:wrapcheck // it says what contradicts what
	}
	if u.Named {
		return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("project %s was deleted while it was exported", u.Project)}
	}
	return nil
}
