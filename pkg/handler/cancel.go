package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// cancelKept is how long a cancel waits for its command: by the times at which the two were
// published.
const cancelKept = 24 * time.Hour

// errCancelled says that the job of the command at hand has a cancel now.
var errCancelled = errors.New("the command was cancelled")

// cancelOther carries a cancel out. The job of the command that it names decides, by
// compare-and-set: either it gets the cancel while it can still end cancelled, and whoever carries
// it out obeys, or it is too late. A command that has no job yet finds the cancel in the job's
// place.
func (r *run) cancelOther(ctx context.Context) error {
	if refusal := r.Features.Unsupported(r.command); refusal != nil {
		return r.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()})
	}
	target := r.command.Data.CancelID
	refusal, err := r.mark(ctx, target)
	if err != nil {
		return err
	}
	if refusal != nil {
		return r.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()})
	}
	if err := r.Queue.NotifyOver(ctx, target); err != nil {
		r.log.Debug().Err(err).Msg("tell of a cancel")
	}
	answered := r.end(ctx, contract.EventData{Status: contract.StatusCompleted})
	r.cancelWaiting(ctx, target)
	return answered
}

// mark puts this cancel into the target's job. A refusal says why that is not possible; a job that
// has a cancel is well as it is.
func (r *run) mark(ctx context.Context, target string) (*contract.Refusal, error) {
	mark := &contract.Cancel{ID: r.command.ID, Time: r.command.Published}
	for {
		j, rev, err := r.Queue.Job(ctx, target)
		switch {
		case errors.Is(err, contract.ErrNewer):
			r.Health.Fail("version", err)
			return nil, handBack(delivery.MaxDelay, "newer version")
		case errors.Is(err, contract.ErrNoJob):
			if j.Cancel != nil && !mark.Time.After(j.Cancel.Time) {
				return nil, nil
			}
			j = contract.Job{V: contract.FormatVersion, ID: target, Cancel: mark}
		case err != nil:
			return nil, fmt.Errorf("read the job to cancel: %w", err)
		case j.Action == contract.ActionCancel:
			return r.command.Refuse(contract.CodeInvalidCommand, "id", target+" is a cancel: a cancel cannot be cancelled"), nil
		case j.Cancel != nil:
			return nil, nil
		case j.State.Terminal():
			return r.command.Refuse(contract.CodeTooLate, "id", fmt.Sprintf("%s has ended: %s", target, j.State)), nil
		case j.Irrevocable:
			return r.command.Refuse(contract.CodeTooLate, "id", fmt.Sprintf("%s has begun what cannot be taken back (%s), and finishes", target, j.Phase)), nil
		case j.Phase == contract.PhaseEnding:
			return r.command.Refuse(contract.CodeTooLate, "id", target+" is ending already"), nil
		default:
			j.Cancel, j.Updated = mark, r.Now().UTC()
		}
		if _, err = r.Queue.PutJob(ctx, j, rev); err == nil {
			return nil, nil
		}
		if !errors.Is(err, contract.ErrConflict) {
			return nil, fmt.Errorf("write the job to cancel: %w", err)
		}
	}
}

// cancelWaiting ends a cancelled command that waits, here and now, and takes it out of the queue:
// its message may be delivered again only in a while, and others would wait for it. What fails is
// left to that delivery.
func (r *run) cancelWaiting(ctx context.Context, target string) {
	err := func() error {
		job, rev, err := r.Queue.Job(ctx, target)
		if err != nil || job.State.Terminal() || job.State != contract.StateAccepted && job.Waiting == nil {
			return err
		}
		message, err := r.messageOf(ctx, job)
		if err != nil {
			return err
		}
		command, err := contract.DecodeCommand(r.prefix(), message)
		if err != nil {
			return err
		}
		layout, err := r.Handler.layout(target)
		if err != nil {
			return err
		}
		t := &run{Handler: r.Handler, command: command, message: message, layout: layout, job: job, rev: rev, nonce: contract.Text(uuid.NewString()), calls: &recorder{}, log: r.log}
		t.log = r.log.With().Str("target", target).Logger()
		var decided *decision
		if err := t.cancelled(ctx); !errors.As(err, &decided) || decided.Verb != delivery.Ack { // else its event is stored
			return err
		}
		return r.Queue.RemoveCommand(ctx, message)
	}()
	if err != nil && !errors.Is(err, contract.ErrNoJob) && !errors.Is(err, contract.ErrNoMessage) {
		r.log.Warn().Err(err).Str("target", target).Msg("a cancelled command ends at its next delivery")
	}
}

// cancelFor is the cancel that came before a command, nil when there is none that counts.
func cancelFor(c contract.Command, before *contract.Cancel) *contract.Cancel {
	if before == nil || c.Action == contract.ActionCancel || c.Published.Sub(before.Time) > cancelKept {
		return nil
	}
	return before
}

// cancelled ends a command as cancelled.
func (r *run) cancelled(ctx context.Context) error {
	return r.finish(ctx, contract.StatusCancelled, nil)
}

// abort ends a command that fails for good.
func (r *run) abort(ctx context.Context, e *contract.Error) error {
	return r.finish(ctx, contract.StatusFailed, e)
}

// finish ends a command that fails or is cancelled: what it stored is removed before anybody hears
// of the end. A bag that has its receipt is never taken away: then the end is what the receipt
// says.
func (r *run) finish(ctx context.Context, status contract.Status, e *contract.Error) error {
	begun := r.job.State != contract.StateAccepted // else nothing was stored
	if !begun {
		var err error
		if begun, err = r.calledBefore(ctx); err != nil { // by an attempt whose job was removed
			return err
		}
	}
	if begun {
		if data, err := r.committed(ctx, bagOf(r.command.Action)); err != nil {
			return err
		} else if data != nil {
			return r.end(ctx, *data)
		}
	}
	if err := r.save(ctx, func(j *contract.Job) { j.Phase, j.Error = contract.PhaseEnding, e }); err != nil {
		return err
	}
	if begun && r.command.Action == contract.ActionDelete {
		return r.finishDelete(ctx, status, e)
	}
	if begun {
		if err := r.discard(ctx, sink.ExportBag); err != nil {
			return err
		}
	}
	return r.end(ctx, contract.EventData{Status: status, Error: e})
}

// bagOf is the bag that an action ends with.
func bagOf(a contract.Action) sink.BagKind {
	if a == contract.ActionDelete {
		return sink.DeleteBag
	}
	return sink.ExportBag
}

// discardPasses bounds how often what an ended command stored is removed. The last pass finds
// nothing; one more than two is for a write that was on its way.
const discardPasses = 4

// discard removes bags that a command began to store, and its working objects. The job says already
// that it ends, so nobody begins anything for it. Who is at a unit on any replica is told to stop,
// and settles it only when he has stopped writing; so the units are waited for first. What cannot
// be removed is said in the job and left to gc: it must not keep the command from ending. It fails
// when ctx ends meanwhile: the next delivery goes on.
func (r *run) discard(ctx context.Context, bags ...sink.BagKind) error {
	if err := r.Queue.NotifyOver(ctx, r.command.ID); err != nil {
		r.log.Debug().Err(err).Msg("tell of the end")
	}
	r.running.stopUnits(r.command.ID)
	if err := r.Queue.DrainUnits(ctx, r.command.ID); err != nil {
		return fmt.Errorf("wait for the units of an ended command: %w", err)
	}
	var left []string
	for range discardPasses {
		removed := 0
		left = nil
		remove := func(store *sink.Store, below sink.Key) {
			n, err := store.RemoveAll(ctx, below)
			removed += n
			if err != nil && ctx.Err() == nil {
				r.log.Error().Err(err).Str("below", string(below)).Msg("objects of an ended command are left behind")
				left = append(left, store.URI(below)+": "+err.Error())
			}
		}
		for _, kind := range bags {
			remove(r.Store, r.layout.Bag(kind))
		}
		remove(r.Work, r.layout.Work(""))
		if ctx.Err() != nil {
			return fmt.Errorf("remove the objects of an ended command: %w", context.Cause(ctx))
		}
		if removed == 0 {
			break
		}
	}
	r.left = strings.Join(left, "; ")
	return nil
}

// ending is a context for what must still be done when ctx has ended.
func ending(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}
