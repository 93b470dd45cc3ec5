package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Recheck is how long after a project was first said not to be there it is asked for again: one
// replica of the service that lags behind is no proof.
const Recheck = 10 * time.Second

// ErrContradiction says that the account is the planned one and that its answers contradict each
// other. It matches cv.ErrUnavailable: it is worth asking again.
var ErrContradiction = fmt.Errorf("%w: the answers about what is there contradict each other", cv.ErrUnavailable)

// CodeOf is the code of a command that ends as err came in every attempt: answers that contradict
// each other verify nothing.
func CodeOf(err error) string {
	if errors.Is(err, ErrContradiction) {
		return contract.CodeUnverified
	}
	return contract.CodeExhausted
}

// absence is what is known of a project that is said not to be there.
type absence struct {
	since   time.Time // of the first such answer; no other answer about it came since
	deleted bool      // the service said in this attempt that it deletes the project
	proven  bool      // the account was under control
}

// absence is what is known of a project's absence. The caller holds the lock.
func (a *Control) absence(project uuid.UUID) *absence {
	s := a.absences[project]
	if s == nil {
		s = &absence{}
		a.absences[project] = s
	}
	return s
}

// Gone reports whether err, of a call about a project, proves that what was asked for is gone. A
// 404 counts where it names the project, or one of the things that the call was about; a project
// is asked for again. Every other error is returned. The error is an UncontrolledError when the
// account is not known to be the planned one, and ErrContradiction when it is, and its answers do
// not agree.
func (a *Control) Gone(ctx context.Context, project uuid.UUID, err error, about ...cv.Thing) (bool, error) {
	if !errors.Is(err, cv.ErrGone) {
		return false, err
	}
	switch thing := cv.Missing(err); {
	case thing == cv.ThingProject, thing == "":
		return a.projectGone(ctx, project)
	case slices.Contains(about, thing):
		err := a.Check(ctx)
		return err == nil, err
	default: // not wrapped: it must not pass for an answer about what was asked for
		return false, fmt.Errorf("%w: %s", ErrContradiction, err.Error())
	}
}

// projectGone reports whether a project that a 404 names is gone.
func (a *Control) projectGone(ctx context.Context, project uuid.UUID) (bool, error) {
	a.mu.Lock()
	proven := a.absence(project).proven
	a.mu.Unlock()
	if proven {
		return true, nil
	}
	if _, err := a.lookAgain(ctx, true, project); err != nil {
		return false, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.absence(project).proven = true
	return true, nil
}

// NotListed asks again for projects that were not found, and says how many others the account lists
// instead. Where nothing is known to be of the account, this is no proof that anything was ever
// there; else the account must be under control.
func (a *Control) NotListed(ctx context.Context, projects []uuid.UUID) (listed int, err error) {
	a.mu.Lock()
	control := len(a.mine) > 0
	a.mu.Unlock()
	return a.lookAgain(ctx, control, projects...)
}

// lookAgain asks for projects directly and in the list, once Recheck has passed since they were
// first said not to be there. It fails with ErrContradiction if any of them is there.
func (a *Control) lookAgain(ctx context.Context, control bool, projects ...uuid.UUID) (listed int, err error) {
	if left := a.untilRecheck(projects); left > 0 {
		if err := a.Wait(ctx, left); err != nil {
			return 0, err
		}
	}
	there := func(p uuid.UUID, where string) error {
		return fmt.Errorf("%w: project %s was said not to be there, and %s", ErrContradiction, p, where)
	}
	for _, p := range projects {
		if a.deletedHere(p) {
			continue
		}
		_, err := a.Service.GetProject(ctx, p)
		switch {
		case err == nil:
			return 0, there(p, "can be read")
		case !errors.Is(err, cv.ErrGone):
			return 0, fmt.Errorf("look for project %s again: %w", p, err)
		case cv.Missing(err) != cv.ThingProject:
			return 0, there(p, err.Error())
		}
	}
	asked, _ := a.credential()
	all, err := a.Service.GetProjects(ctx)
	if err != nil {
		return 0, fmt.Errorf("list the projects: %w", err)
	}
	for _, p := range all {
		if slices.Contains(projects, p.ID) {
			return 0, there(p.ID, "is listed")
		}
	}
	if !control {
		return len(all), nil
	}
	if known, err := a.known(ctx); known || err != nil {
		return len(all), err
	}
	return len(all), a.checkListed(asked, all)
}

// deletedHere reports whether the service said in this attempt that it deletes a project. Then
// another direct read would say nothing new.
func (a *Control) deletedHere(project uuid.UUID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.absence(project).deleted
}

// untilRecheck is how long it is until all of these projects may be asked for again.
func (a *Control) untilRecheck(projects []uuid.UUID) (left time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.Now()
	for _, p := range projects {
		s := a.absence(p)
		if s.since.IsZero() {
			s.since = now
		}
		if !s.deleted {
			left = max(left, min(s.since.Add(Recheck).Sub(now), Recheck))
		}
	}
	return left
}
