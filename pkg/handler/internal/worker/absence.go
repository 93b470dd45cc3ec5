package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
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
	if u.Kind == unit.KindProject && len(u.Known) == 0 {
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

// errVanished says that something in the project, which the command does not name or which need not
// be there, was deleted while the export was reading: it holds nothing now.
var errVanished = fmt.Errorf("%w: it was deleted while it was read", cv.ErrUnavailable)

// absent says what a 404 about something in a scope of the project means. An iteration is gone when
// the project, asked a while later, does not list it: that answer is from the planned account, as
// the project is in it. Then it is errVanished or, where the command names the iteration, not
// found. Everything else contradicts what was listed: that is asked again and, in the last attempt,
// refused (delivery.ErrRefused). Every other error, as one about the project itself, is returned as
// it is.
func (a *attempt) absent(ctx context.Context, err error, scope uuid.UUID) error {
	if !errors.Is(err, cv.ErrGone) || survey.ProjectGone(err) {
		return err
	}
	missing := cv.Missing(err)
	if scope != uuid.Nil && (missing == cv.ThingIteration || missing == "") {
		if err := a.lookAgain(ctx, nil); err != nil {
			return err
		}
		iterations, other := a.client.GetIterations(ctx, a.unit.Project)
		if other != nil {
			return fmt.Errorf("look for iteration %s: %w", scope, other)
		}
		if !slices.ContainsFunc(iterations, func(it cv.Iteration) bool { return it.ID == scope }) {
			if a.command.Data.Narrowing() == contract.NarrowIterations && !a.tolerant() {
				return &contract.Error{Code: contract.CodeNotFound, Message: fmt.Sprintf("iteration_ids: project %s has no iteration %s", a.unit.Project, scope)}
			}
			return fmt.Errorf("%w: iteration %s", errVanished, scope)
		}
	}
	if a.number >= a.w.MaxAttempts {
		return fmt.Errorf("%w: %w", delivery.ErrRefused, err)
	}
	return fmt.Errorf("%w: %s", account.ErrContradiction, err.Error()) // not wrapped: it must not pass for absence
}

// lookAgain waits until something that was said not to be there may be asked for again: one replica
// of the service that lags behind is no proof. It returns err.
func (a *attempt) lookAgain(ctx context.Context, err error) error {
	if err := a.w.Wait(ctx, account.Recheck); err != nil {
		return fmt.Errorf("wait to look again: %w", err)
	}
	return err
}
