package handler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// admit finds or makes the command's job. It settles the message of a command that another one
// decides: one that has ended, a duplicate, an id that is taken.
func (r *run) admit(ctx context.Context) (*settlement, error) {
	var err error
	r.job, r.rev, err = r.h.cfg.Queue.Jobs.Job(ctx, r.command.Key())
	switch {
	case errors.Is(err, contract.ErrNewer):
		return r.h.newerVersion(err), nil
	case errors.Is(err, contract.ErrNoJob):
		return r.create(ctx)
	case err != nil:
		return nil, fmt.Errorf("read the job: %w", err)
	}
	if !r.command.CameWith(r.job) && !(r.command.SameAs(r.job, r.bags.Keys) && r.bags.SameAccount(r.job.Command)) {
		return r.conflict(ctx)
	}
	if r.job.State.Terminal() {
		return r.publishTerminal(ctx)
	}
	if r.job.Command.SameMessage(r.command) {
		return nil, nil
	}
	// The same command again. Where the first is still under way, its end is this one's, too.
	first, err := r.h.messageOf(ctx, r.job)
	switch {
	case err == nil && (first.Seq != r.command.Seq || first.Stream != r.command.Stream):
		return r.publishDuplicate(ctx, r.job.State, r.job.Command.Seq, r.job.Command.Stream)
	case err != nil && !errors.Is(err, contract.ErrNoMessage):
		return nil, fmt.Errorf("look for the first command: %w", err)
	}
	// The first message was removed by hand, or its stream was made again; or it is this one, and
	// an older version did not say of which stream.
	return nil, r.Update(ctx, func(j *contract.Job) { j.PublishedAgain(r.command) })
}

// waitForRoom hands back a message that would get a job while NATS is short of storage: commands
// under way need the rest to end.
func (h *Handler) waitForRoom(ctx context.Context) *settlement {
	if err := h.cfg.Queue.Jobs.Room(ctx); err != nil {
		return handBack(roomDelay, err.Error())
	}
	return nil
}

// roomDelay is after how long a message comes again that waits for room.
const roomDelay = 5 * time.Second

// newerVersion hands back what only a newer version can read.
func (h *Handler) newerVersion(err error) *settlement {
	h.cfg.Health.Fail("version", err)
	return handBack(delivery.MaxDelay, "newer version")
}

// messageOf reads the message that a job remembers as its command's. It fails with ErrNoMessage
// when that is not in the queue any more, whatever has its sequence now.
func (h *Handler) messageOf(ctx context.Context, j contract.Job) (contract.Message, error) {
	m, err := h.cfg.Queue.Commands.CommandIn(ctx, string(j.Command.Stream), j.Command.Seq)
	if err != nil {
		return contract.Message{}, err //nolint:wrapcheck // callers say what they look for
	}
	c, err := contract.DecodeCommand(h.prefix(), m)
	if err != nil || !c.CameWith(j) && !olderMessage(c, j) {
		return contract.Message{}, fmt.Errorf("command %d is another one than %s: %w", m.Seq, j.ID, contract.ErrNoMessage)
	}
	return m, nil
}

// olderMessage reports whether c came with the message of a job by a version that did not say of
// which stream it is, or when that stored it.
func olderMessage(c contract.Command, j contract.Job) bool {
	stored := j.Command.Published
	return (j.Command.Stream == "" || stored.IsZero()) && (stored.IsZero() || stored.Equal(c.Published)) && c.SameAs(j, nil)
}

// conflict refuses the command under an id of its own: its id names another one, which stays as it
// is.
func (r *run) conflict(ctx context.Context) (*settlement, error) {
	if settled := r.h.waitForRoom(ctx); settled != nil {
		return settled, nil
	}
	id := contract.Text(r.command.ID)
	how := "was used for another command"
	if len(r.command.Data.ImageMetadata) > 0 {
		how += ", or for one that cannot be told from it because the key of its digest was replaced"
	}
	return r.refuseBySeq(ctx, id, id, &contract.Refusal{Action: r.command.Action, Code: contract.CodeIDConflict,
		Message: fmt.Sprintf("id: %s %s; publish under an id of its own", id, how)})
}

// create makes the job of a command that has none, unless its bundle tells that it was carried out
// before traces were forgotten.
func (r *run) create(ctx context.Context) (*settlement, error) {
	if settled := r.h.waitForRoom(ctx); settled != nil {
		return settled, nil
	}
	if settled, err := r.waitForSameID(ctx); settled != nil || err != nil {
		return settled, err
	}
	if settled, err := r.refusedBefore(ctx); settled != nil || err != nil {
		return settled, err
	}
	cancel := cancelFor(r.command, r.job.Cancel)
	stored, exists, same := false, false, false
	if r.command.Action != contract.ActionCancel { // a cancel has no bundle, and needs no storage
		var err error
		if exists, same, err = r.bags.EarlierRequest(ctx); !exists && err == nil {
			stored, err = r.bags.Stored(ctx) // beside: a listing alone may lag behind
		}
		if err != nil {
			return nil, err
		}
	}
	if settled, err := r.answeredBefore(ctx, same); settled != nil || err != nil {
		return settled, err
	}
	if exists && !same {
		return r.idTaken(ctx)
	}
	if exists {
		cancel = nil // what was carried out before its cancel stands
	}
	now := r.h.cfg.Now().UTC()
	r.job = contract.Job{
		V: contract.FormatVersion, ID: r.command.ID, Action: r.command.Action, State: contract.StateAccepted, Created: now, Updated: now,
		ReplayOf: contract.Text(r.command.ReplayOf), Command: r.command.Ref(r.h.cfg.Salt(), r.bags.Keys), Cancel: cancel,
	}
	r.job.Command.Account = r.bags.Account
	rev, err := r.h.cfg.Queue.Jobs.PutJob(ctx, r.job, r.rev)
	if errors.Is(err, contract.ErrConflict) {
		return r.admit(ctx) // another delivery was quicker; the job is there now
	}
	if err != nil {
		return nil, fmt.Errorf("create the job: %w", err)
	}
	r.rev, r.nothing = rev, !exists && !stored
	return nil, nil
}

// answeredBefore settles the message of a command that has its terminal event already, but whose
// job was lost: a command ends once. same says that a bundle proves that it is the same command;
// without one nothing does, and the id is taken.
func (r *run) answeredBefore(ctx context.Context, same bool) (*settlement, error) {
	event, err := r.h.cfg.Queue.Events.Answer(ctx, r.command.Key())
	switch {
	case errors.Is(err, contract.ErrNoMessage):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for an earlier end: %w", err)
	case r.isAbout(event.Data):
		return acknowledge("its end was published"), nil
	case same:
		return r.publishDuplicate(ctx, contract.State(event.Data.Status), event.Data.Seq, event.Data.Stream)
	}
	return r.idTaken(ctx)
}

// idTaken settles the message of a command that has no job, but whose id has a bundle or an end
// which do not prove that they are its own. A job may have been made and have ended since it was
// looked for: of the same command, when that was published again after its stream was made again.
func (r *run) idTaken(ctx context.Context) (*settlement, error) {
	if _, _, err := r.h.cfg.Queue.Jobs.Job(ctx, r.command.Key()); !errors.Is(err, contract.ErrNoJob) {
		return r.admit(ctx) // which says what is wrong, should the job not be readable
	}
	return r.conflict(ctx)
}

// waitForSameID makes sure that no earlier message of the queue has the same id: the first
// published is the one that counts.
func (r *run) waitForSameID(ctx context.Context) (*settlement, error) {
	ahead, err := r.h.order.SameID(ctx, r.command)
	if err != nil {
		return nil, err
	}
	if ahead.ID != "" {
		return handBack(delivery.MinDelay, "an earlier message has the same id"), nil
	}
	return nil, nil
}

// cancelFor is the cancel that came before a command, nil when there is none that counts.
func cancelFor(c contract.Command, before *contract.Cancel) *contract.Cancel {
	if before == nil || c.Action == contract.ActionCancel || c.Published.Sub(before.Time) > contract.CancelKept {
		return nil
	}
	return before
}
