package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
)

// run is one attempt at one command, by its coordinator.
type run struct {
	h       *Handler
	command contract.Command
	message contract.Message
	lease   delivery.Lease
	client  *cv.Client
	bags    bag.Bags
	job     contract.Job
	rev     uint64
	nonce   contract.Text  // names this taking of the job
	heir    bool           // another attempt took it before
	ledger  *ledger.Ledger // nil before an action needs it
	calls   *ledger.Recorder
	control *account.Control
	log     zerolog.Logger

	waited    *contract.Waiting // what the attempt before waited for
	left      string            // what could not be removed of what the command stored
	published time.Time         // when progress was last published
	events    uint64            // progress events of this attempt
}

// settlement is what becomes of a command's message, and what led to it, for the log.
type settlement struct {
	delivery.Disposition
	cause error // nil when nothing went wrong
}

// handBack settles a message that is to come again.
func handBack(delay time.Duration, reason string) *settlement {
	return &settlement{Disposition: delivery.Disposition{Verb: delivery.Nak, Delay: delay, Reason: reason}}
}

// acknowledge settles a message of which nothing is left to do.
func acknowledge(reason string) *settlement {
	return &settlement{Disposition: delivery.Disposition{Verb: delivery.Ack, Reason: reason}}
}

// abandon leaves a message to another holder.
func abandon(reason string) *settlement {
	return &settlement{Disposition: delivery.Disposition{Verb: delivery.Abandon, Reason: reason}}
}

// Command carries a command out, as its coordinator, and says what becomes of its message. The
// message is acknowledged only when the command's terminal event is stored.
func (h *Handler) Command(ctx context.Context, d delivery.Delivery) delivery.Disposition {
	log := h.cfg.Log.With().Uint64("command_seq", d.Seq).Logger()
	command, err := contract.DecodeCommand(h.prefix(), d.Message)
	var (
		refusal *contract.Refusal
		settled *settlement
	)
	switch {
	case errors.As(err, &refusal):
		log = log.With().Str("command_id", refusal.ID).Logger()
		settled, err = h.refuseMessage(ctx, d.Message, refusal)
	case err != nil:
		err = fmt.Errorf("decode the command: %w", err)
	default:
		log = log.With().Str("command_id", command.ID).Str("action", string(command.Action)).Logger()
		settled, err = h.carry(ctx, d, command, log)
	}
	return h.settle(ctx, log, settled, err)
}

// settle settles the message, and writes the one line that says so. An error is about what happened
// before or after an attempt, where nothing may end a command.
func (h *Handler) settle(ctx context.Context, log zerolog.Logger, s *settlement, err error) delivery.Disposition {
	if err == nil {
		level := zerolog.InfoLevel
		if s.cause != nil {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(s.cause).Stringer("settle", s.Verb).Dur("delay", s.Delay).Str("reason", s.Reason).Msg("command settled")
		return s.Disposition
	}
	class := delivery.Classify(ctx, err)
	if class == delivery.Misconfigured && h.cfg.Health.Fail(delivery.DependencyOf(err, contract.DefaultResource), err) {
		log.Error().Err(err).Msg("dependency misconfigured; pausing until it recovers")
	}
	d := delivery.HandBack(class, 1, delivery.RetryAfter(err))
	log.Warn().Err(err).Stringer("settle", d.Verb).Dur("delay", d.Delay).Msg("command not settled")
	return d
}

// newRun makes what an attempt at a command needs, but for the job.
func (h *Handler) newRun(c contract.Command, m contract.Message, log zerolog.Logger) (*run, error) {
	b, err := h.bags(c, log)
	if err != nil {
		return nil, err
	}
	control := account.NewControl()
	return &run{
		h: h, command: c, message: m, bags: b, nonce: contract.Text(uuid.NewString()),
		calls: ledger.NewRecorder(control.Note), control: control, client: h.cfg.Resources[c.Data.Resource], log: log,
	}, nil
}

// carry takes a decoded command as far as it goes now.
func (h *Handler) carry(ctx context.Context, d delivery.Delivery, c contract.Command, log zerolog.Logger) (*settlement, error) {
	r, err := h.newRun(c, d.Message, log)
	if err != nil {
		return nil, err
	}
	r.lease = d.Lease
	settled, err := r.proceed(ctx)
	for ctx.Err() == nil {
		switch {
		case errors.Is(err, activity.ErrCancelled): // a second time when the attempt was told before it met the cancel in the job
			settled, err = r.cancelled(ctx)
		case errors.Is(err, errDecided):
			settled, err = r.publishTerminal(ctx)
		default:
			return settled, err
		}
	}
	return settled, err
}

// proceed takes a command from its job to an attempt, unless one of the steps between settles its
// message.
func (r *run) proceed(ctx context.Context) (*settlement, error) {
	if settled, err := r.admit(ctx); settled != nil || err != nil {
		return settled, err
	}
	if r.command.Action == contract.ActionCancel {
		return r.cancelOther(ctx)
	}
	if r.job.Cancel != nil {
		return r.cancelled(ctx)
	}
	for _, step := range []func(context.Context) (*settlement, error){r.validate, r.accept, r.turn, r.alone, r.take} {
		if settled, err := step(ctx); settled != nil || err != nil {
			return settled, err
		}
	}
	return r.attempt(ctx)
}

// turn waits for the commands before this one that must not overlap with it. A command that waits
// holds nothing: its message goes back, and the job says what it waits for.
func (r *run) turn(ctx context.Context) (*settlement, error) {
	ahead, err := r.h.pending.Conflicts(ctx, r.command)
	if ahead.ID == "" || err != nil {
		return nil, err
	}
	detail := "waits for " + ahead.ID + ", which was published before and concerns a common project"
	waiting := &contract.Waiting{For: contract.WaitCommand, Detail: detail, Since: r.h.cfg.Now().UTC()}
	if err := r.wait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.TurnDelay(ahead.Count), "waits for "+waiting.For), nil
}

// validate refuses what must not be begun. Once an attempt was made nothing is judged here any
// more.
func (r *run) validate(ctx context.Context) (*settlement, error) {
	known := r.client != nil
	unknown := handBack(delivery.MaxDelay, "this replica does not know the resource")
	if r.job.Begun {
		if !known {
			return unknown, nil
		}
		return nil, nil
	}
	refusal := r.h.cfg.Features.Unsupported(r.command)
	now := r.h.cfg.Now()
	if r.message.Time.After(now) {
		now = r.message.Time
	}
	switch limit := r.command.Data.NotAfter; {
	case refusal != nil:
	case limit != nil && now.After(*limit):
		refusal = r.command.Refuse(contract.CodeExpired, "not_after", fmt.Sprintf("work would have begun at %s; publish again with a later time", now.UTC().Format(time.RFC3339)))
	case !known:
		refusal = r.command.Refuse(contract.CodeUnknownResource, "resource", "no such alias is configured; name one of the service's CONSUMER_RESOURCES")
	default:
		refusal = cmp.Or(contract.NotDeletable(r.command), r.h.cfg.Deletes.Refuse(r.command))
	}
	if refusal == nil {
		return nil, nil
	}
	// What was carried out before its traces were forgotten stands, though it would be refused today.
	end, err := r.earlierEnd(ctx)
	if err != nil {
		return nil, err
	}
	if end != nil {
		return r.concludeEarlier(ctx, *end)
	}
	begun, err := r.calledBefore(ctx) // by an attempt whose job was removed
	switch {
	case err != nil:
		return nil, err
	case begun && !known:
		return unknown, nil
	case begun:
		return nil, nil
	}
	return r.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()})
}

// calledBefore reports whether the command's ledger tells of destructive calls.
func (r *run) calledBefore(ctx context.Context) (bool, error) {
	if r.command.Action != contract.ActionDelete || r.command.Data.DryRun {
		return false, nil
	}
	return ledger.CalledBefore(ctx, r.h.cfg.Queue.Ledger, r.h.prefix(), r.command.ID)
}

// accept says that the command will be carried out.
func (r *run) accept(ctx context.Context) (*settlement, error) {
	if r.job.Begun || r.job.Waiting != nil {
		return nil, nil // it was said before
	}
	data := r.eventData()
	data.Status = contract.StatusAccepted
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewEvent(data, r.job.Created, r.command.Traceparent)); err != nil {
		return nil, fmt.Errorf("publish the accepted event: %w", err)
	}
	return nil, nil
}

// alone leaves the delivery to the attempt that this process makes already for the same message.
func (r *run) alone(context.Context) (*settlement, error) {
	switch same, other := r.h.activities.Coordinates(r.command); {
	case same:
		// The server took this process for dead, as after a restart of its own. What is at work
		// goes on, and its heartbeats are good for this delivery, too.
		return abandon("this process is at it already"), nil
	case other:
		return handBack(delivery.MinDelay, "this process is told to stop what it does for an earlier message"), nil
	}
	return nil, nil
}

// take makes this run the command's only holder, and counts the attempt: a crash from here on is an
// attempt made.
func (r *run) take(ctx context.Context) (*settlement, error) {
	settled, err := r.tryTake(ctx)
	if err != nil {
		return nil, r.takeBack(ctx, err) // it may be stored that it was taken: the answer may be lost
	}
	return settled, nil
}

func (r *run) tryTake(ctx context.Context) (*settlement, error) {
	if r.job.Phase == contract.PhaseEnding && r.job.Error != nil {
		return r.abort(ctx, r.job.Error)
	}
	if r.job.Attempt >= r.h.cfg.MaxAttempts && r.job.Holder != "" {
		// How the last attempt ended was not said: its holder may be alive, and have only lost
		// NATS. It is told to stop, and has time to take back the count.
		if err := r.Update(ctx, func(j *contract.Job) { j.Holder = "" }); err != nil {
			return nil, err
		}
		r.tellPreviousHolder(ctx)
		return handBack(delivery.HolderGrace, "attempts are used up, if the last one counts"), nil
	}
	if r.job.Attempt >= r.h.cfg.MaxAttempts {
		e := r.job.Error
		if e == nil {
			e = &contract.Error{Message: "every attempt was cut short by a crash or a lost connection"}
		}
		r.log.Warn().Int("attempt", r.job.Attempt).Msg("attempts are used up")
		return r.abort(ctx, &contract.Error{Code: contract.CodeExhausted, Message: fmt.Sprintf("%d attempts were made; the last: %s", r.job.Attempt, e.Message), RequestID: e.RequestID})
	}
	heir := r.job.Begun
	r.waited = r.job.Waiting
	err := r.Update(ctx, func(j *contract.Job) {
		j.State, j.Phase, j.Waiting, j.Begun = contract.StateRunning, contract.PhasePlan, nil, true
		j.CountAttempt(r.nonce)
	})
	r.log = r.log.With().Int("attempt", r.job.Attempt).Logger()
	if err != nil {
		return nil, err
	}
	if r.heir = heir; heir {
		r.tellPreviousHolder(ctx)
	}
	return nil, nil
}

// tellPreviousHolder has the previous holder, should it be alive, look at the job and stop.
func (r *run) tellPreviousHolder(ctx context.Context) {
	if err := r.h.cfg.Queue.Notices.NotifyOver(ctx, r.command.ID); err != nil {
		r.log.Debug().Err(err).Msg("tell the previous holder")
	}
}

// attempt carries the command out and settles how that went.
func (r *run) attempt(ctx context.Context) (*settlement, error) {
	r.log.Info().Uint64("delivered_seq", r.command.Seq).Msg("attempt begins")
	attempting, stop := r.h.activities.StartAttempt(ctx, r.command, r.nonce, r.rev)
	defer stop()
	var settled *settlement
	came, err := r.act(r.calls.Attach(attempting))
	ended := err == nil && came.End != nil
	switch {
	case ended:
		settled, err = r.end(ctx, *came.End)
	case err == nil:
		settled, err = r.pause(attempting, came.Wait)
	}
	switch {
	case err == nil, errors.Is(err, errDecided), errors.Is(err, activity.ErrCancelled):
		return settled, err
	case !ended && errors.Is(context.Cause(attempting), activity.ErrCancelled):
		return nil, errors.Join(activity.ErrCancelled, err)
	}
	class := delivery.Classify(attempting, err)
	switch {
	case class == delivery.Fenced:
		return r.fenced(ctx, err), nil
	case ended: // the next holder finds all done, but for saying so
		return nil, r.refundAttempt(ctx, class, err)
	}
	return r.settleFailure(ctx, class, err)
}

// settleFailure settles an attempt that failed with err: the command comes again, or it fails.
func (r *run) settleFailure(ctx context.Context, class delivery.Class, err error) (*settlement, error) {
	counts := r.lease.Counts(class)
	late, cancel := delivery.Grace(ctx)
	defer cancel()
	attempts := r.attempts(late)
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, r.h.cfg.MaxAttempts, delivery.RetryAfter(err))
	if final {
		e := delivery.Verdict(ctx, err)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = contract.CodeExhausted, fmt.Sprintf("%d attempts were made; the last: %s", attempts, e.Message)
		}
		r.log.Warn().Err(err).Stringer("class", class).Msg("command fails")
		return r.abort(late, e)
	}
	if class == delivery.Misconfigured && r.h.cfg.Health.Fail(delivery.DependencyOf(err, r.command.Data.Resource), err) {
		r.log.Error().Err(err).Msg("dependency misconfigured; pausing until it recovers")
	}
	saved := r.Update(late, func(j *contract.Job) { r.noteFailure(j, class, counts, err) })
	switch {
	case errors.Is(saved, delivery.ErrFenced): // another replica took over meanwhile
		return r.fenced(ctx, saved), nil
	case saved != nil:
		return nil, saved
	}
	return &settlement{d, err}, nil
}

// noteFailure notes in the job how an attempt that was not the last one ended.
func (r *run) noteFailure(j *contract.Job, class delivery.Class, counts bool, err error) {
	if !counts {
		j.RefundAttempt(r.nonce)
	} else {
		j.Error = delivery.Verdict(context.Background(), err)
		j.Error.Retryable = true
	}
	j.Waiting = nil
	waitFor := map[delivery.Class]string{delivery.Throttled: contract.WaitRate, delivery.Misconfigured: contract.WaitStorage}[class]
	if class == delivery.Misconfigured && errors.Is(err, cv.ErrMisconfigured) {
		waitFor = contract.WaitCredential
	}
	if waitFor != "" {
		j.Waiting = &contract.Waiting{For: waitFor, Detail: err.Error(), Since: r.h.cfg.Now().UTC()}
	}
}

// fenced ends an attempt after another replica became the command's holder.
func (r *run) fenced(ctx context.Context, err error) *settlement {
	return &settlement{delivery.HandBack(delivery.Fenced, 0, 0), r.refundAttempt(ctx, delivery.Fenced, err)}
}

// refundAttempt takes back this attempt, unless it counts when it ended so. It returns err.
func (r *run) refundAttempt(ctx context.Context, class delivery.Class, err error) error {
	if r.lease.Counts(class) {
		return err
	}
	return r.takeBack(ctx, err)
}

// wait says in the job and in a progress event what the command waits for, unless they say so
// already. An attempt that was begun does not count.
func (r *run) wait(ctx context.Context, waiting *contract.Waiting) error {
	w := r.job.Waiting
	if w != nil && w.For == waiting.For {
		waiting.Since = w.Since
		if w.Detail == waiting.Detail {
			return nil
		}
	}
	if err := r.Update(ctx, func(j *contract.Job) {
		j.Waiting = waiting
		j.RefundAttempt(r.nonce)
	}); err != nil {
		return err
	}
	data := r.eventData()
	data.Waiting, data.Progress = waiting, &r.job.Progress
	if err := r.h.cfg.Queue.Events.PublishEvent(ctx, contract.NewProgressEvent(data, r.rev, r.h.cfg.Now().UTC(), r.command.Traceparent)); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// pause hands the command back in the middle of an attempt, which then was none, to wait for
// something. The pause grows with the wait.
func (r *run) pause(ctx context.Context, waiting *contract.Waiting) (*settlement, error) {
	if err := r.FlushCalls(ctx); err != nil {
		return nil, err
	}
	if r.waited != nil && r.waited.For == waiting.For && r.waited.Since.Before(waiting.Since) {
		waiting.Since = r.waited.Since
	}
	if err := r.wait(ctx, waiting); err != nil {
		return nil, err
	}
	return handBack(delivery.WaitDelay(waiting.Since, r.h.cfg.Now()), "waits for "+waiting.For), nil
}
