package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
)

// run is one attempt at one command, by its coordinator.
type run struct {
	h           *Handler
	command     contract.Command
	message     contract.Message
	revoked     *contract.Refusal // of a command that was accepted: why it would not be any more; nil
	lease       delivery.Lease
	delivered   uint64 // how often the message was, by now
	releaseSlot func() // gives back the slot of the attempt
	client      *cv.Client
	bags        bag.Bags
	job         contract.Job
	rev         uint64
	nonce       contract.Text  // names this taking of the job
	takenBefore bool           // an earlier attempt took the job
	nothing     bool           // was stored under the id when this run made the job: no request, and nothing was listed
	ledger      *ledger.Ledger // nil before an action needs it
	calls       *ledger.Recorder
	control     *account.Control
	log         zerolog.Logger

	previousWait *contract.Waiting // what the attempt before waited for
	leftBehind   string            // what could not be removed of what the command stored
	published    time.Time         // when progress was last published; at first, when the run began
	events       uint64            // progress events of this attempt
}

// settlement is the disposition of a command's message, and the error behind it, for the log.
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
	judged, settled, err := h.judge(ctx, d.Message)
	if settled != nil || err != nil {
		return h.settle(ctx, log, settled, err)
	}
	command, err := contract.DecodeCommand(h.prefix(), d.Message)
	var refusal *contract.Refusal
	switch {
	case errors.As(err, &refusal):
		log = log.With().Str("command_id", refusal.ID).Logger()
		settled, err = h.refuseMessage(ctx, d.Message, refusal, judged)
	case err != nil:
		err = fmt.Errorf("decode the command: %w", err)
	default:
		ctx = tracing.Continue(ctx, command.Traceparent, d.Header)
		log = tracing.Fields(ctx, log.With().Str("command_id", command.ID).Str("action", string(command.Action))).Logger()
		command.Signer, command.Approver = judged.Signer, judged.Approver
		settled, err = h.carryOut(ctx, d, command, judged.Refusal, log)
	}
	return h.settle(ctx, log, settled, err)
}

// settle logs the disposition in one line. An error that did not come from an attempt hands the
// message back; it never ends the command.
func (h *Handler) settle(ctx context.Context, log zerolog.Logger, s *settlement, err error) delivery.Disposition {
	if err == nil {
		level := zerolog.InfoLevel
		if s.cause != nil {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(s.cause).Stringer("settle", s.Verb).Dur("delay_ms", s.Delay).Str("reason", s.Reason).Msg("command settled")
		return s.Disposition
	}
	class := delivery.Classify(ctx, err)
	h.report(class, err, contract.DefaultResource, log)
	d := delivery.HandBack(class, 1, delivery.RetryAfter(err))
	log.Warn().Err(err).Stringer("settle", d.Verb).Dur("delay_ms", d.Delay).Msg("command not settled")
	return d
}

// report says in /readyz which dependency is misconfigured, the Training API being that of a
// resource's alias, and logs what is new.
func (h *Handler) report(class delivery.Class, err error, alias string, log zerolog.Logger) {
	if class == delivery.Misconfigured && h.cfg.Health.Fail(delivery.ProblemOf(err, alias)) {
		log.Error().Err(err).Msg("dependency misconfigured; pausing until it recovers")
	}
}

// newRun makes a run whose job is not loaded yet.
func (h *Handler) newRun(ctx context.Context, c contract.Command, m contract.Message, log zerolog.Logger) (*run, error) {
	b, err := h.bags(ctx, c, log)
	if err != nil {
		return nil, err
	}
	if b.Keys, err = account.DigestKeys(ctx, h.cfg.Queue.Secrets, &h.cfg.Pseudonym, c); err != nil {
		return nil, err //nolint:wrapcheck // it says what it reads
	}
	client := h.cfg.Resources[c.Data.Resource]
	control := account.NewControl(account.Settings{
		Service: client, Secrets: h.cfg.Queue.Secrets, Now: h.cfg.Now, Wait: h.cfg.Wait, Listings: &h.listings,
	})
	return &run{
		h: h, command: c, message: m, bags: b, nonce: contract.Text(uuid.NewString()), releaseSlot: func() {}, published: h.cfg.Now(),
		calls: ledger.NewRecorder(control.Note), control: control, client: client, log: log,
	}, nil
}

// knowJob has the run know by whom the command was signed when it was accepted, and the bags know
// the job: its digest, and the message that their objects are sealed for.
func (r *run) knowJob(ctx context.Context) error {
	sealer, err := account.Sealer(ctx, r.h.cfg.Queue.Secrets, r.command.ID, r.job.Origin())
	if err != nil {
		return err //nolint:wrapcheck // it says what it reads
	}
	r.command.Signer = cmp.Or(r.command.Signer, string(r.job.Command.Signer))
	r.command.Approver = cmp.Or(r.command.Approver, string(r.job.Command.Approver))
	r.bags = r.bags.SealedBy(sealer)
	r.bags.Command, r.bags.Digest = r.command, r.job.Command.Digest
	return nil
}

// carryOut takes a decoded command as far as it goes now; revoked is why it would not be accepted
// any more.
func (h *Handler) carryOut(ctx context.Context, d delivery.Delivery, c contract.Command, revoked *contract.Refusal, log zerolog.Logger) (*settlement, error) {
	r, err := h.newRun(ctx, c, d.Message, log)
	if err != nil {
		return nil, err
	}
	r.lease, r.delivered, r.revoked = d.Lease, d.Delivered, revoked
	defer func() { r.releaseSlot() }()
	settled, err := r.proceed(ctx)
	for errors.Is(err, activity.ErrCancelled) && ctx.Err() == nil { // twice, when the notice of a cancel came before the attempt read the cancel in its job
		settled, err = r.cancelled(ctx)
	}
	if errors.Is(err, errDecided) {
		// DetachedIfDone is safe here: the job is terminal, and its event is stored once.
		late, cancel := delivery.DetachedIfDone(ctx)
		defer cancel()
		return r.publishTerminal(late)
	}
	return settled, err
}

// proceed takes a command from its job to an attempt, unless one of the steps between settles its
// message.
func (r *run) proceed(ctx context.Context) (*settlement, error) {
	if settled, err := r.admit(ctx); settled != nil || err != nil {
		return settled, err
	}
	if err := r.knowJob(ctx); err != nil {
		return nil, err
	}
	if r.command.Action == contract.ActionCancel {
		return r.cancelOther(ctx)
	}
	if r.job.Cancel != nil {
		return r.cancelled(ctx)
	}
	for _, step := range []func(context.Context) (*settlement, error){r.validate, r.publishAccepted, r.checkObjectLock, r.waitForTurn, r.waitForPlans, r.yieldToOwnAttempt, r.takeSlot, r.take} {
		if settled, err := step(ctx); settled != nil || err != nil {
			return settled, err
		}
	}
	return r.tracedAttempt(ctx)
}

// tracedAttempt is attempt in a span of its own.
func (r *run) tracedAttempt(ctx context.Context) (*settlement, error) {
	traced, span := tracing.Attempt(ctx, string(r.command.Action), r.command.ID, r.job.Attempt)
	if r.command.Traceparent == "" {
		r.log = tracing.Fields(traced, r.log.With()).Logger()
		r.bags.Log = r.log
	}
	settled, err := r.attempt(traced)
	failed := err
	if settled != nil {
		failed = settled.cause
	}
	switch {
	case failed != nil:
		span.End(string(r.job.State), delivery.Classify(traced, failed).String())
	case r.job.Error != nil && r.job.State.Terminal():
		span.End(string(r.job.State), r.job.Error.Code)
	default:
		span.End(string(r.job.State), "")
	}
	return settled, err
}

// attempt carries the command out and settles how that went.
func (r *run) attempt(ctx context.Context) (*settlement, error) {
	r.log.Info().Uint64("delivered_seq", r.command.Seq).Msg("attempt begins")
	attempting, stop := r.h.activities.StartAttempt(ctx, r.command, r.nonce, r.rev)
	defer stop()
	var settled *settlement
	came, err := r.performAndCleanUp(r.calls.Attach(attempting))
	var waits *action.WaitError
	if errors.As(err, &waits) && context.Cause(attempting) == nil {
		came, err = action.Result{Wait: &waits.Waiting}, nil
	}
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
	failedUnder := attempting
	if ended { // the attempt's own context ends with the job
		failedUnder = ctx
	}
	class := delivery.Classify(failedUnder, err)
	switch {
	case class == delivery.Fenced:
		return r.fenced(ctx, err), nil
	case ended: // the work is done; the next holder only writes the end
		return nil, r.refundAttempt(ctx, class, err)
	}
	return r.settleFailure(ctx, class, err)
}

// settleFailure settles an attempt that failed with err: the command comes again, or it fails.
func (r *run) settleFailure(ctx context.Context, class delivery.Class, err error) (*settlement, error) {
	newer := errors.Is(err, contract.ErrNewer) // a replica of that version has stored something: it carries on
	counts := r.lease.Counts(class) && !newer
	// DetachedIfDone is safe here: what follows is compare-and-sets on the job, which fail when
	// another replica holds the command, and objects of a command whose job says that it ends.
	late, cancel := delivery.DetachedIfDone(ctx)
	defer cancel()
	attempts := r.attempts(late)
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, r.h.cfg.MaxAttempts, delivery.RetryAfter(err))
	if final {
		e := delivery.Verdict(ctx, err)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = account.CodeOf(err), fmt.Sprintf("%d attempts were made; the last: %s", attempts, e.Message)
		}
		r.log.Warn().Err(err).Stringer("class", class).Msg("command fails")
		return r.abort(late, e)
	}
	r.h.report(class, err, r.command.Data.Resource, r.log)
	settled := &settlement{d, err}
	if newer {
		settled = r.h.newerVersion(err)
	}
	var saved error
	if class == delivery.Misconfigured {
		settled, saved = r.handBackWaiting(late, r.waitForOperator(err), err)
	} else {
		saved = r.Update(late, func(j *contract.Job) { r.noteFailure(j, class, counts, err) })
	}
	switch {
	case errors.Is(saved, delivery.ErrFenced): // another replica took over meanwhile
		return r.fenced(ctx, saved), nil
	case saved != nil:
		return nil, saved
	}
	return settled, nil
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
	if class == delivery.Throttled {
		j.Waiting = &contract.Waiting{For: contract.WaitRate, Detail: err.Error(), Since: r.h.cfg.Now().UTC()}
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
	return r.refund(ctx, err)
}
