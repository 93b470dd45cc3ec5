package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// statusForbidden is the status of an answer that is about the credential or its role.
const statusForbidden = 403

// errWhole says that the service fails as a whole, so that nothing can be said of one thing.
var errWhole = errors.New("the service fails as a whole")

// judge says what an error of a call about one thing means. A 4xx means at once, and a 5xx or a
// time-out in the last attempt, that the service refuses this very thing (delivery.ErrRefused): it
// becomes an exception. That is so only while GetProjects and another call about the project answer
// with this credential; of a 403 moreover only unless the same call about another thing, alike, is
// refused too, as where a role is missing. Every other error is returned as it is: it is the
// operator's problem, or may pass.
func (a *attempt) judge(ctx context.Context, err error, alike func(context.Context) error) error {
	var api *cv.Error
	if !errors.As(err, &api) || ctx.Err() != nil || errors.Is(err, delivery.ErrRefused) || delivery.IsShortage(err) {
		return err
	}
	passing := errors.Is(err, cv.ErrUnavailable) || errors.Is(err, cv.ErrThrottled)
	switch {
	case errors.Is(err, cv.ErrGone):
		return err // see absent
	case forbidden(err):
	case errors.Is(err, cv.ErrMisconfigured):
		return err
	case passing:
		if a.number < a.w.MaxAttempts {
			return err
		}
	case errors.Is(err, cv.ErrTooLarge), api.Status >= 400 && api.Status < 500:
	default:
		return err
	}
	if other := a.answers(ctx, api.Op); other != nil {
		switch {
		case errors.Is(other, cv.ErrGone), errors.Is(other, cv.ErrMisconfigured), !passing && !forbidden(err):
			return other
		case passing:
			return fmt.Errorf("%w: %w", errWhole, err)
		}
		return err
	}
	if forbidden(err) && alike != nil && forbidden(alike(ctx)) {
		return err
	}
	return fmt.Errorf("%w: %w", delivery.ErrRefused, err)
}

// forbidden reports whether err is a 403 about the credential or its role.
func forbidden(err error) bool {
	var api *cv.Error
	return errors.As(err, &api) && api.Status == statusForbidden && errors.Is(err, cv.ErrMisconfigured)
}

// answers makes the calls that show whether the service answers about all else than what op asked.
func (a *attempt) answers(ctx context.Context, op string) error {
	if _, err := a.client.GetProjects(ctx); err != nil {
		return fmt.Errorf("list the projects, to know what is refused: %w", err)
	}
	var err error
	if op == "GetProject" {
		_, err = a.client.GetIterations(ctx, a.unit.Project)
	} else {
		_, err = a.client.GetProject(ctx, a.unit.Project)
	}
	if err != nil {
		return fmt.Errorf("read the project, to know what is refused: %w", err)
	}
	return nil
}

// inScope makes a call about a scope of the unit's project, and says what its error means: see
// absent and judge, which make the same call elsewhere. workspace says that it can be about the
// workspace.
func inScope[T any](ctx context.Context, a *attempt, scope uuid.UUID, workspace bool, call func(ctx context.Context, scope uuid.UUID) (T, error)) (T, error) {
	v, err := call(ctx, scope)
	return v, a.judge(ctx, a.absent(ctx, err, scope), a.elsewhere(scope, workspace, onlyError(call)))
}

// inProject is inScope for a call about the unit's project itself.
func inProject[T any](ctx context.Context, a *attempt, call func(ctx context.Context, project uuid.UUID) (T, error)) (T, error) {
	v, err := call(ctx, a.unit.Project)
	return v, a.judge(ctx, a.absent(ctx, err, uuid.Nil), a.otherProject(onlyError(call)))
}

// onlyError is a call of whose answer only the error is looked at.
func onlyError[T any](call func(context.Context, uuid.UUID) (T, error)) func(context.Context, uuid.UUID) error {
	return func(ctx context.Context, id uuid.UUID) error {
		_, err := call(ctx, id)
		return err
	}
}

// elsewhere makes a call about another scope of the project than the one that was refused: the
// workspace, where it can be about that, else another trained iteration. It makes none where there
// is no other.
func (a *attempt) elsewhere(scope uuid.UUID, workspace bool, call func(ctx context.Context, scope uuid.UUID) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if workspace && scope != uuid.Nil {
			return call(ctx, uuid.Nil)
		}
		iterations, err := a.client.GetIterations(ctx, a.unit.Project)
		if err != nil {
			return err //nolint:wrapcheck // only its kind is looked at
		}
		for _, it := range iterations {
			if it.ID != scope && !it.TrainedAt.IsZero() {
				return call(ctx, it.ID)
			}
		}
		return nil
	}
}

// otherProject makes a call about another project than the one that was refused, if there is one.
func (a *attempt) otherProject(call func(ctx context.Context, project uuid.UUID) error) func(context.Context) error {
	return func(ctx context.Context) error {
		projects, err := a.client.GetProjects(ctx)
		if err != nil {
			return err //nolint:wrapcheck // only its kind is looked at
		}
		for _, p := range projects {
			if p.ID != a.unit.Project {
				return call(ctx, p.ID)
			}
		}
		return nil
	}
}
