package action

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Result is what came of an action: an end of its command, or what it waits for. Exactly one of
// the two is set.
type Result struct {
	End  *contract.EventData // with a terminal status, and all that only the action knows
	Wait *contract.Waiting
}

// WaitError says that an action cannot go on before something outside it has changed: another
// command is at work on a project, an iteration is in training, or a unit met the operator's
// problem. It matches cv.ErrMisconfigured: it costs no attempt.
type WaitError struct{ Waiting contract.Waiting }

// Error says what is waited for.
func (e *WaitError) Error() string { return "wait for " + e.Waiting.For + ": " + e.Waiting.Detail }

// Is matches cv.ErrMisconfigured.
func (e *WaitError) Is(target error) bool { return target == cv.ErrMisconfigured }

// Attempt is what an action may do to the command that it carries out.
type Attempt interface {
	// Update changes the job by compare-and-set. It fails when the command was cancelled or taken
	// over meanwhile, and when its end was decided.
	Update(ctx context.Context, change func(*contract.Job)) error
	// Progress says how far the command is, in its job and in an event; not more often than every
	// two seconds.
	Progress(ctx context.Context, p contract.Progress, started time.Time) error
	// FlushCalls makes the calls made so far durable in the ledger, also when ctx was cancelled.
	FlushCalls(ctx context.Context) error
	// Claim says that the command is about to work on these projects. It fails when the command's
	// message is not in its stream any more, and while another command is at work on one of them.
	Claim(ctx context.Context, projects []uuid.UUID) error
}
