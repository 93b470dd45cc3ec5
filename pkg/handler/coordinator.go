package handler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// settleTimeout bounds what is still written after an attempt has ended.
const settleTimeout = 20 * time.Second

// CommandQueue has the commands that have not been settled yet.
type CommandQueue interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandIn is the message with this sequence in the stream with this identity, an unknown
	// stream ("") being the one that is there; ErrNoMessage when it was settled, and when another
	// stream has taken the place of that one.
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
	// CommandsBetween yields the messages with from ≤ sequence < to, in order, without the identity
	// of their stream.
	CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error]
	// RemoveCommand settles a message that somebody else may hold, or that is delayed. It is for a
	// command whose terminal event is stored.
	RemoveCommand(ctx context.Context, m contract.Message) error
}

func (h *Handler) prefix() string { return h.Queue.Prefix() }

// run is one attempt at one command, by its coordinator.
type run struct {
	*Handler
	command contract.Command
	message contract.Message
	lease   delivery.Lease
	client  *cv.Client
	layout  sink.Layout
	job     contract.Job
	rev     uint64
	nonce   contract.Text // names this taking of the job
	heir    bool          // somebody had taken it before
	ledger  *ledger
	calls   *recorder
	account *accountControl
	log     zerolog.Logger

	waited    *contract.Waiting // what the attempt before waited for
	left      string            // what discard could not remove
	published time.Time         // when progress was last published
	events    uint64            // progress events of this attempt
}

// Command carries a command out, as its coordinator, and says what becomes of its message. The
// message is acknowledged only when the command's terminal event is stored.
func (h *Handler) Command(ctx context.Context, d delivery.Delivery) delivery.Disposition {
	log := h.Log.With().Uint64("command_seq", d.Seq).Logger()
	command, err := contract.DecodeCommand(h.prefix(), d.Message)
	var refusal *contract.Refusal
	switch {
	case errors.As(err, &refusal):
		log = log.With().Str("command_id", refusal.ID).Logger()
		return h.settleCommand(ctx, log, h.undecoded(ctx, d.Message, refusal))
	case err != nil:
		return h.settleCommand(ctx, log, fmt.Errorf("decode the command: %w", err))
	}
	log = log.With().Str("command_id", command.ID).Str("action", string(command.Action)).Logger()
	return h.settleCommand(ctx, log, h.carry(ctx, d, command, log))
}

// settleCommand settles what did not end in a disposition of its own: what happened before or after
// an attempt.
func (h *Handler) settleCommand(ctx context.Context, log zerolog.Logger, err error) delivery.Disposition {
	var decided *decision
	if errors.As(err, &decided) {
		level := zerolog.InfoLevel
		if decided.err != nil {
			level = zerolog.WarnLevel
		}
		log.WithLevel(level).Err(decided.err).Stringer("settle", decided.Verb).Dur("delay", decided.Delay).Str("reason", decided.Reason).Msg("command settled")
		return decided.Disposition
	}
	class := delivery.Classify(ctx, err)
	if class == delivery.Misconfigured && h.Health.Fail(delivery.DependencyOf(err, contract.DefaultResource), err) {
		log.Error().Err(err).Msg("a dependency refuses us; commands wait until it does not")
	}
	d := delivery.HandBack(class, 1, delivery.RetryAfter(err))
	log.Warn().Err(err).Stringer("settle", d.Verb).Dur("delay", d.Delay).Msg("command not settled")
	return d
}

// decision is a disposition on its way up.
type decision struct {
	delivery.Disposition
	err error // why, for the log
}

// Error makes a decision an error, so that it ends whatever led to it.
func (d *decision) Error() string { return "settle the command: " + d.Verb.String() + " " + d.Reason }

func acknowledge(reason string) error {
	return &decision{Disposition: delivery.Disposition{Verb: delivery.Ack, Reason: reason}}
}

func handBack(delay time.Duration, reason string) error {
	return &decision{Disposition: delivery.Disposition{Verb: delivery.Nak, Delay: delay, Reason: reason}}
}

// carry takes a decoded command as far as it goes now.
func (h *Handler) carry(ctx context.Context, d delivery.Delivery, c contract.Command, log zerolog.Logger) error {
	layout, err := h.layout(c.ID)
	if err != nil {
		return err
	}
	account := newAccountControl()
	r := &run{
		Handler: h, command: c, message: d.Message, lease: d.Lease, layout: layout, nonce: contract.Text(uuid.NewString()),
		calls: &recorder{account: account}, account: account, client: h.Resources[c.Data.Resource], log: log,
	}
	err = r.admit(ctx)
	switch {
	case err != nil:
	case c.Action == contract.ActionCancel:
		return r.cancelOther(ctx)
	case r.job.Cancel != nil:
		err = errCancelled
	default:
		err = r.proceed(ctx)
	}
	for errors.Is(err, errCancelled) && ctx.Err() == nil { // a second time when the attempt was told before it met the cancel in the job
		err = r.cancelled(ctx)
	}
	return err
}

// proceed takes a command that was admitted as far as it goes now.
func (r *run) proceed(ctx context.Context) error {
	if err := r.validate(ctx); err != nil {
		return err
	}
	if err := r.accept(ctx); err != nil {
		return err
	}
	if err := r.turn(ctx); err != nil {
		return err
	}
	switch same, other := r.running.coordinates(r.command); {
	case same:
		// The server took this process for dead, as after a restart of its own. What is at work
		// goes on, and its heartbeats are good for this delivery, too.
		return &decision{Disposition: delivery.Disposition{Verb: delivery.Abandon, Reason: "this process is at it already"}}
	case other:
		return handBack(delivery.MinDelay, "this process is told to stop what it does for an earlier message")
	}
	if err := r.take(ctx); err != nil {
		return r.takeBack(ctx, err) // it may be stored that it was taken: the answer may be lost
	}
	return r.attempt(ctx)
}

// admit finds or makes the command's job. It ends the matter when somebody else's word already
// stands.
func (r *run) admit(ctx context.Context) error {
	var err error
	r.job, r.rev, err = r.Queue.Job(ctx, r.command.ID)
	switch {
	case errors.Is(err, contract.ErrNewer):
		r.Health.Fail("version", err)
		return handBack(delivery.MaxDelay, "newer version")
	case errors.Is(err, contract.ErrNoJob):
		return r.create(ctx)
	case err != nil:
		return fmt.Errorf("read the job: %w", err)
	}
	if !r.command.SameAs(r.job) || !r.job.Command.SameMessage(r.command) && !r.sameAccount(r.job.Command) {
		return r.conflict(ctx)
	}
	if r.job.State.Terminal() {
		return r.publishTerminal(ctx)
	}
	if r.job.Command.SameMessage(r.command) {
		return nil
	}
	// The same command again. Where the first is still under way, its end is this one's, too.
	first, err := r.messageOf(ctx, r.job)
	switch {
	case err == nil && (first.Seq != r.command.Seq || first.Stream != r.command.Stream):
		return acknowledge("a duplicate of a command under way")
	case err != nil && !errors.Is(err, contract.ErrNoMessage):
		return fmt.Errorf("look for the first command: %w", err)
	}
	// Somebody removed the first message by hand, or its stream was made again; or it is this one,
	// and an older version did not say of which stream.
	return r.save(ctx, func(j *contract.Job) { j.Command = j.Command.WithMessage(r.command) })
}

// messageOf reads the message that a job remembers as its command's. It fails with ErrNoMessage
// when that is not in the queue any more, whatever has its sequence now: id, action and data have
// to be the job's.
func (h *Handler) messageOf(ctx context.Context, j contract.Job) (contract.Message, error) {
	m, err := h.Queue.CommandIn(ctx, string(j.Command.Stream), j.Command.Seq)
	if err != nil {
		return contract.Message{}, err //nolint:wrapcheck // callers say what they look for
	}
	stored := j.Command.Published // an older version did not say when
	if c, err := contract.DecodeCommand(h.prefix(), m); err != nil || !c.SameAs(j) || !stored.IsZero() && !stored.Equal(c.Published) {
		return contract.Message{}, fmt.Errorf("command %d is another one than %s: %w", m.Seq, j.ID, contract.ErrNoMessage)
	}
	return m, nil
}

// errGone says that the message of the command at hand is not in its stream any more: settled by
// somebody else, or lost with the stream. Later commands do not wait for this one then, and nothing
// that is said to its delivery is heard.
var errGone = fmt.Errorf("the command's message is not in its stream any more: %w", delivery.ErrFenced)

// queued fails with errGone when the command's message is not in the queue. Where it is, it was
// there all the time, so every later command waited its turn.
func (r *run) queued(ctx context.Context) error {
	_, err := r.Queue.CommandIn(ctx, r.command.Stream, r.command.Seq)
	if errors.Is(err, contract.ErrNoMessage) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	if err != nil {
		return fmt.Errorf("look for the command's message: %w", err)
	}
	return nil
}

// conflict refuses the command under an id of its own: its id names another one, which stays as it
// is.
func (r *run) conflict(ctx context.Context) error {
	return r.refuseBySeq(ctx, contract.Text(r.command.ID), contract.Text(r.command.ID), &contract.Refusal{Action: r.command.Action, Code: contract.CodeIDConflict,
		Message: fmt.Sprintf("id: %s was used for another command; publish under an id of its own", r.command.ID)})
}

// create makes the job of a command that has none, unless its bundle tells that it was carried out
// before traces were forgotten.
func (r *run) create(ctx context.Context) error {
	if err := r.first(ctx); err != nil {
		return err
	}
	cancel := cancelFor(r.command, r.job.Cancel)
	if r.command.Action != contract.ActionCancel { // a cancel has no bundle, and needs no storage
		if exists, same, err := r.sameRequest(ctx); err != nil {
			return err
		} else if exists && !same {
			return r.conflict(ctx)
		} else if exists {
			cancel = nil // what was carried out before its cancel stands
		}
	}
	now := r.Now().UTC()
	r.job = contract.Job{
		V: contract.FormatVersion, ID: r.command.ID, Action: r.command.Action, State: contract.StateAccepted, Created: now, Updated: now,
		ReplayOf: contract.Text(r.command.ReplayOf), Command: r.command.Ref(r.Salt()), Cancel: cancel,
	}
	r.job.Command.Account = r.accountOf(r.command.Data.Resource)
	rev, err := r.Queue.PutJob(ctx, r.job, r.rev)
	if errors.Is(err, contract.ErrConflict) {
		return r.admit(ctx) // another delivery was quicker; the job is there now
	}
	if err != nil {
		return fmt.Errorf("create the job: %w", err)
	}
	r.rev = rev
	return nil
}

// first makes sure that no earlier message of the queue has the same id: the first published is the
// one that counts.
func (r *run) first(ctx context.Context) error {
	l, err := r.pending.blocker(ctx, r.Handler, r.command, claim.sameID)
	if err != nil {
		return err
	}
	if l.blocker != nil {
		return handBack(delivery.MinDelay, "an earlier message has the same id")
	}
	return nil
}

// turn waits for the commands before this one that must not overlap with it. Who waits holds
// nothing: the message goes back, and the job says what it waits for.
func (r *run) turn(ctx context.Context) error {
	l, err := r.pending.blocker(ctx, r.Handler, r.command, claim.conflicts)
	if l.blocker == nil || err != nil {
		return err
	}
	detail := "waits for " + l.blocker.id + ", which was published before and concerns a common project"
	waiting := &contract.Waiting{For: contract.WaitCommand, Detail: detail, Since: r.Now().UTC()}
	if err := r.wait(ctx, waiting); err != nil {
		return err
	}
	return handBack(delivery.TurnDelay(l.ahead), "waits for "+waiting.For)
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
	if err := r.save(ctx, func(j *contract.Job) {
		j.Waiting = waiting
		j.RefundAttempt(r.nonce)
	}); err != nil {
		return err
	}
	data := r.eventData()
	data.Waiting, data.Progress = waiting, &r.job.Progress
	if err := r.Queue.PublishEvent(ctx, contract.NewProgressEvent(data, r.rev, r.Now().UTC(), r.command.Traceparent)); err != nil {
		r.log.Warn().Err(err).Msg("publish progress")
	}
	return nil
}

// pause hands the command back in the middle of an attempt, which then was none, to wait for
// something. The pause grows with the wait.
func (r *run) pause(ctx context.Context, waiting *contract.Waiting) error {
	if err := r.keepCalls(ctx); err != nil {
		return err
	}
	if r.waited != nil && r.waited.For == waiting.For && r.waited.Since.Before(waiting.Since) {
		waiting.Since = r.waited.Since
	}
	if err := r.wait(ctx, waiting); err != nil {
		return err
	}
	return handBack(delivery.WaitDelay(waiting.Since, r.Now()), "waits for "+waiting.For)
}

// validate refuses what must not be begun. Once an attempt was made nothing is judged here any
// more.
func (r *run) validate(ctx context.Context) error {
	client, known := r.Resources[r.command.Data.Resource]
	r.client = client
	if r.job.Begun {
		if !known {
			return handBack(delivery.MaxDelay, "this replica does not know the resource")
		}
		return nil
	}
	refusal := r.Features.Unsupported(r.command)
	now := r.Now()
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
		refusal = cmp.Or(contract.NotDeletable(r.command), r.Deletes.refuse(r.command))
	}
	if refusal != nil {
		if err := r.earlierResult(ctx); err != nil {
			return err
		}
		begun, err := r.calledBefore(ctx) // by an attempt whose job was removed
		switch {
		case err != nil:
			return err
		case begun && !known:
			return handBack(delivery.MaxDelay, "this replica does not know the resource")
		case begun:
			return nil
		}
		return r.end(ctx, contract.EventData{Status: contract.StatusRefused, Error: refusal.Reason()})
	}
	return nil
}

// calledBefore reports whether the command's ledger tells of destructive calls.
func (r *run) calledBefore(ctx context.Context) (bool, error) {
	if r.command.Action != contract.ActionDelete || r.command.Data.DryRun {
		return false, nil
	}
	tail, seq, err := r.Queue.LedgerTail(ctx, r.command.ID)
	if err != nil || tail == nil {
		return false, err //nolint:wrapcheck // it says that it reads the ledger
	}
	l := newLedger(r.Queue, r.command.ID)
	err = l.read(ctx, seq)
	return len(l.fates.calls) > 0, err
}

// earlierResult ends a command that was carried out before its traces were forgotten: what came of
// it earlierResult, though it would be refused today.
func (r *run) earlierResult(ctx context.Context) error {
	data, err := r.committed(ctx, bagOf(r.command.Action))
	if err != nil {
		return err
	}
	if data != nil {
		return r.end(ctx, *data)
	}
	if r.command.Action == contract.ActionDelete {
		return r.failedBefore(ctx)
	}
	return nil
}

// accept says that the command will be carried out.
func (r *run) accept(ctx context.Context) error {
	if r.job.Begun || r.job.Waiting != nil {
		return nil // it was said before
	}
	data := r.eventData()
	data.Status = contract.StatusAccepted
	if err := r.Queue.PublishEvent(ctx, contract.NewEvent(data, r.job.Created, r.command.Traceparent)); err != nil {
		return fmt.Errorf("publish the accepted event: %w", err)
	}
	return nil
}

// take makes this run the command's only holder, and counts the attempt: a crash from here on is an
// attempt made.
func (r *run) take(ctx context.Context) error {
	if r.job.Phase == contract.PhaseEnding && r.job.Error != nil {
		return r.abort(ctx, r.job.Error)
	}
	if r.job.Attempt >= r.MaxAttempts && r.job.Holder != "" {
		// How the last attempt ended was not said: its holder may be alive, and have only lost
		// NATS. It is told to stop, and has time to take back the count.
		if err := r.save(ctx, func(j *contract.Job) { j.Holder = "" }); err != nil {
			return err
		}
		r.tellFormer(ctx)
		return handBack(formerHolderGrace, "attempts are used up, if the last one counts")
	}
	if r.job.Attempt >= r.MaxAttempts {
		e := r.job.Error
		if e == nil {
			e = &contract.Error{Message: "every attempt was cut short by a crash or a lost connection"}
		}
		r.log.Warn().Int("attempt", r.job.Attempt).Msg("attempts are used up")
		return r.abort(ctx, &contract.Error{Code: contract.CodeExhausted, Message: fmt.Sprintf("%d attempts were made; the last: %s", r.job.Attempt, e.Message), RequestID: e.RequestID})
	}
	heir := r.job.Begun
	r.waited = r.job.Waiting
	err := r.save(ctx, func(j *contract.Job) {
		j.State, j.Phase, j.Waiting, j.Begun = contract.StateRunning, contract.PhasePlan, nil, true
		j.CountAttempt(r.nonce)
	})
	r.log = r.log.With().Int("attempt", r.job.Attempt).Logger()
	if err != nil {
		return err
	}
	if r.heir = heir; heir {
		r.tellFormer(ctx)
	}
	return nil
}

// formerHolderGrace is how long the holder of a command's last attempt has to say that the attempt
// does not count: time to look at the job twice.
const formerHolderGrace = 2 * watchJobEvery

// tellFormer has the former holder, should it be alive, look at the job and stop.
func (r *run) tellFormer(ctx context.Context) {
	if err := r.Queue.NotifyOver(ctx, r.command.ID); err != nil {
		r.log.Debug().Err(err).Msg("tell the former holder")
	}
}

// attempt carries the command out and settles how that went.
func (r *run) attempt(ctx context.Context) error {
	r.log.Info().Uint64("delivered_seq", r.command.Seq).Msg("attempt begins")
	attempting, stop := r.startAttempt(ctx, r.command, r.nonce, r.rev)
	defer stop()
	done, err := r.do(r.calls.attach(attempting))
	ended := err == nil
	if ended {
		err = r.end(ctx, *done)
	}
	var decided *decision
	if errors.As(err, &decided) || errors.Is(err, errCancelled) {
		return err
	}
	if !ended && errors.Is(context.Cause(attempting), errCancelled) {
		return errors.Join(errCancelled, err)
	}
	class := delivery.Classify(attempting, err)
	switch {
	case class == delivery.Fenced:
		return r.fenced(ctx, err)
	case ended: // whoever is next finds all done, but for saying so
		return r.refundAttempt(ctx, class, err)
	}
	counts := r.lease.Counts(class)
	late, cancel := ending(ctx)
	defer cancel()
	attempts := r.attempts(late)
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, r.MaxAttempts, delivery.RetryAfter(err))
	if final {
		e := delivery.Verdict(ctx, err)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = contract.CodeExhausted, fmt.Sprintf("%d attempts were made; the last: %s", attempts, e.Message)
		}
		r.log.Warn().Err(err).Stringer("class", class).Msg("command fails")
		return r.abort(late, e)
	}
	if class == delivery.Misconfigured && r.Health.Fail(delivery.DependencyOf(err, r.command.Data.Resource), err) {
		r.log.Error().Err(err).Msg("a dependency refuses us; commands wait until it does not")
	}
	saved := r.save(late, func(j *contract.Job) { r.settleJob(j, class, counts, err) })
	switch {
	case errors.Is(saved, delivery.ErrFenced): // somebody took over meanwhile
		return r.fenced(ctx, saved)
	case saved != nil:
		return saved
	}
	return &decision{d, err}
}

// fenced ends an attempt after somebody else became the command's holder.
func (r *run) fenced(ctx context.Context, err error) error {
	d := delivery.HandBack(delivery.Fenced, 0, 0)
	return &decision{d, r.refundAttempt(ctx, delivery.Fenced, err)}
}

// refundAttempt takes back this attempt, unless it counts when it ended so. It returns err.
func (r *run) refundAttempt(ctx context.Context, class delivery.Class, err error) error {
	if r.lease.Counts(class) {
		return err
	}
	return r.takeBack(ctx, err)
}

// takeBack takes back the count of this attempt, which ended with err or was not begun for it: by
// compare-and-set, in the job, which somebody else may hold by now. Each holder takes back its own
// attempt; one that crashed or stood still cannot, or does not. It returns err.
func (r *run) takeBack(ctx context.Context, err error) error {
	r.lease.LostConnection() // returns when there is a connection, or when there will be none
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	for {
		j, rev, failed := r.Queue.Job(late, r.command.ID)
		if failed == nil {
			if j.State.Terminal() || !j.RefundAttempt(r.nonce) {
				return err
			}
			_, failed = r.Queue.PutJob(late, j, rev)
		}
		switch {
		case errors.Is(failed, contract.ErrConflict):
			continue
		case failed != nil:
			r.log.Warn().Err(failed).Msg("an attempt counts though nobody is to blame")
		default:
			r.log.Info().Err(err).Msg("the attempt does not count")
		}
		return err
	}
}

// attempts is how many attempts the job counts now: a former holder may have taken back its own.
func (r *run) attempts(ctx context.Context) int {
	if j, _, err := r.Queue.Job(ctx, r.command.ID); err == nil && j.Holder == r.job.Holder {
		return j.Attempt
	}
	return r.job.Attempt
}

// settleJob notes in the job how an attempt that was not the last one ended.
func (r *run) settleJob(j *contract.Job, class delivery.Class, counts bool, err error) {
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
		j.Waiting = &contract.Waiting{For: waitFor, Detail: err.Error(), Since: r.Now().UTC()}
	}
}

// do is the action itself. Its result is the terminal event's data.
func (r *run) do(ctx context.Context) (*contract.EventData, error) {
	switch r.command.Action {
	case contract.ActionExport:
		return r.export(ctx)
	case contract.ActionDelete:
		return r.delete(ctx)
	default:
		return nil, &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("action %q has no implementation", r.command.Action)}
	}
}

// save changes the job by compare-and-set. It fails with ErrFenced when somebody else holds the job
// now, with errCancelled when it was cancelled meanwhile, and ends the matter when somebody decided
// its end.
func (r *run) save(ctx context.Context, change func(*contract.Job)) error {
	for {
		j := r.job
		change(&j)
		j.Irrevocable = j.Irrevocable || j.Irreversible()
		j.Updated = r.Now().UTC()
		rev, err := r.Queue.PutJob(ctx, j, r.rev)
		if err == nil {
			r.job, r.rev = j, rev
			return nil
		}
		if !errors.Is(err, contract.ErrConflict) {
			return fmt.Errorf("write the job: %w", err)
		}
		now, rev, err := r.Queue.Job(ctx, r.command.ID)
		switch {
		case err != nil:
			return fmt.Errorf("read the job again: %w", err)
		case now.Holder != r.job.Holder:
			return fmt.Errorf("write the job: %w", delivery.ErrFenced)
		}
		cancelled := r.job.Cancel != nil
		r.job, r.rev = now, rev // only now: the attempt's end is written into the job that it knows
		switch {
		case r.job.State.Terminal():
			return r.publishTerminal(ctx)
		case r.job.Cancel != nil && !cancelled:
			return fmt.Errorf("write the job: %w", errCancelled)
		}
	}
}

// eventData is what every event of the command says.
func (r *run) eventData() contract.EventData {
	return contract.EventData{
		V: contract.FormatVersion, CommandID: r.command.ID, Seq: r.command.Seq, Stream: contract.Text(r.command.Stream), GivenID: r.job.GivenID, Action: r.command.Action,
		Reference: contract.Text(r.command.Data.Reference), Attempt: r.job.Attempt, ReplayOf: contract.Text(r.command.ReplayOf),
	}
}

// end decides how the command ended. The job's compare-and-set decides it: whoever wins, everybody
// tells the winner's end.
func (r *run) end(ctx context.Context, data contract.EventData) error {
	if err := r.save(ctx, r.ended(ctx, data)); err != nil {
		return err
	}
	return r.publishTerminal(ctx)
}

// ended is what makes a job one that has ended so, with the event that tells of it.
func (r *run) ended(ctx context.Context, data contract.EventData) func(*contract.Job) {
	base := r.eventData()
	base.Status, base.Outcome, base.Counts, base.Bundle, base.Exceptions = data.Status, data.Outcome, data.Counts, data.Bundle, data.Exceptions
	base.ExportBundle, base.Plan, base.Residuals, base.Error, base.ConflictsWith = data.ExportBundle, data.Plan, data.Residuals, data.Error, data.ConflictsWith
	base.StartedAt, base.FinishedAt = data.StartedAt, data.FinishedAt
	switch {
	case data.Attempt > 0:
		base.Attempt = data.Attempt
	case r.heir:
		base.Attempt = r.attempts(ctx)
	}
	now := r.Now().UTC().Truncate(time.Millisecond)
	if base.FinishedAt == nil {
		base.FinishedAt = &now
	}
	event := contract.NewEvent(base, *base.FinishedAt, r.command.Traceparent)
	return func(j *contract.Job) {
		j.State, j.Outcome, j.Error, j.Waiting, j.Phase, j.Event = contract.State(base.Status), base.Outcome, base.Error, nil, "", &event
		j.LeftBehind = contract.Text(r.left)
		if base.Bundle != nil {
			j.Bundle = contract.Text(base.Bundle.URI)
		}
	}
}

// publishTerminal makes known what the job says about its end: the dead letter of a refused or
// failed command, then the event. Then, and only then, the message may go. Any replica that meets a
// terminal job does it.
func (r *run) publishTerminal(ctx context.Context) error {
	event := r.job.Event
	if event == nil {
		return &contract.Error{Code: contract.CodeInternal, Message: "the job is terminal but has no event"}
	}
	if s := r.job.State; s == contract.StateFailed || s == contract.StateRefused {
		err := r.Queue.PublishDead(ctx, contract.DeadLetter{
			ID: r.job.ID, GivenID: string(r.job.GivenID), Action: r.job.Action, Message: r.message, Error: *r.job.Error, Attempts: r.job.Attempt, Time: event.Time,
		})
		if err != nil {
			return fmt.Errorf("publish the dead letter: %w", err)
		}
	}
	if err := r.Queue.PublishEvent(ctx, *event); err != nil {
		return fmt.Errorf("publish the terminal event: %w", err)
	}
	return acknowledge(string(r.job.State))
}
