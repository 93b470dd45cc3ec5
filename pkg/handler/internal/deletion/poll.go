package deletion

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// Pauses between two looks at what should be gone.
const (
	minPoll = 500 * time.Millisecond
	maxPoll = 10 * time.Second
	// resend is after how many looks what is still there is searched for and deleted again.
	resend = 6
)

// verifyDeadline says since when something is waited for, and whether that is too long. It runs
// from the first time that any attempt waited for it.
func (d *Deleter) verifyDeadline(ctx context.Context, project int, what string) (since time.Time, late bool, err error) {
	type wait struct {
		V  int       `json:"v"`
		At time.Time `json:"at"`
	}
	if err := d.markWork(ctx); err != nil {
		return time.Time{}, false, err
	}
	key := d.Bags.WorkKey(fmt.Sprintf("verify/%06d-%s.json", project, what))
	first, _, err := unit.Freeze(ctx, d.Bags.Work, key, false, func(context.Context) (wait, error) {
		return wait{contract.FormatVersion, d.Now().UTC().Round(0)}, nil
	})
	return first.At.UTC(), d.Now().After(first.At.Add(d.VerifyTimeout)), err
}

// markWork marks the working objects as this command's, where the attempt has not done so: a later
// attempt goes by the deadlines of this one.
func (d *Deleter) markWork(ctx context.Context) error {
	if d.marked || !d.Bags.Fresh {
		return nil
	}
	err := d.Bags.Mark(ctx, unit.Version)
	d.marked = err == nil
	return err //nolint:wrapcheck // it says what it stores
}

// pollUntilGone calls look, with growing pauses, until it names nothing that is left. Each thing
// has a deadline of its own: what was waited for before takes nothing of it.
func (m *removal) pollUntilGone(ctx context.Context, what string, look func(context.Context) (left string, err error)) error {
	return m.d.poll(ctx, m.n, m.step, fmt.Sprintf("%s of project %s could not be seen to be gone", what, m.plan.ID), func(ctx context.Context) (string, error) {
		left, err := look(ctx)
		if errors.Is(err, cv.ErrUnstable) && !errors.Is(err, survey.ErrEndless) { // images come and go
			return "listing", nil
		}
		return left, err
	})
}

// answers is what poll waits for when answers contradict each other.
const answers = "answers"

// poll calls look, with growing pauses, until it names nothing that is left. It looks again, too,
// when the service contradicts itself. failure is what the delete says if it fails in the end.
func (d *Deleter) poll(ctx context.Context, project int, step, failure string, look func(context.Context) (left string, err error)) error {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		left, err := look(ctx)
		message := failure
		if errors.Is(err, account.ErrContradiction) {
			d.Log.Info().Err(err).Str("step", step).Msg("the service contradicts itself, looking again")
			left, message, err = answers, err.Error(), nil
		}
		if err != nil || left == "" {
			return err
		}
		_, over, err := d.verifyDeadline(ctx, project, step+"-"+left)
		if err != nil {
			return err
		}
		if over {
			return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("%s within %s (CONSUMER_VERIFY_TIMEOUT)", message, d.VerifyTimeout)}
		}
		if err := d.Attempt.FlushCalls(ctx); err != nil {
			return err
		}
		if err := d.Attempt.Progress(ctx, d.progress(), d.startedAt()); err != nil {
			return err
		}
		if err := d.Wait(ctx, pause); err != nil {
			return err
		}
	}
}

// leftUnless names what is left, unless it is gone.
func leftUnless(gone bool, left string) string {
	if gone {
		return ""
	}
	return left
}

// training hands the command back while an iteration is in training: that cannot be stopped,
// and its copies of the images can be neither seen nor deleted.
func (d *Deleter) training(ctx context.Context, number int, project, iteration uuid.UUID) error {
	since, late, err := d.verifyDeadline(ctx, number, "training-"+iteration.String())
	if err != nil {
		return err
	}
	if late {
		return &contract.Error{Code: contract.CodeUnverified, Message: fmt.Sprintf("iteration %s of project %s is still in training, which cannot be stopped", iteration, project)}
	}
	return &action.WaitError{Waiting: contract.Waiting{For: contract.WaitTraining, Detail: fmt.Sprintf("iteration %s of project %s is in training", iteration, project), Since: since}}
}
