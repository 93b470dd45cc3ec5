package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/share"
	"github.com/cvconsumer/cvconsumer/internal/tracing"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Commands has the commands that units are of.
type Commands interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandIn is the message with this sequence in the stream with this identity; ErrNoMessage
	// when it is not there any more.
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
}

// Jobs has the jobs that units are of.
type Jobs interface {
	Job(ctx context.Context, id string) (contract.Job, uint64, error)
}

// Notices tells coordinators of what happened. A notice may get lost.
type Notices interface {
	// NotifyResult says that a unit's result exists.
	NotifyResult(ctx context.Context, id string, n int) error
	// NotifyOver has the coordinator look whether its command is over.
	NotifyOver(ctx context.Context, id string) error
}

// Activities knows what this process works on.
type Activities interface {
	// StartUnit begins a unit. The context ends when the unit's command is over; done is to be
	// called when the unit has stopped.
	StartUnit(ctx context.Context, id string, n int) (_ context.Context, done func())
	// Working reports whether this process works on a unit already.
	Working(id string, n int) bool
}

// Health hears of dependencies that are misconfigured.
type Health interface {
	// Fail records why a dependency fails. It reports whether that is news.
	Fail(dependency string, err error) bool
	// Explain adds to the problem of a dependency what the operator can do about it.
	Explain(dependency string, err error) error
}

// Config is what a worker is made of. Every field is needed.
type Config struct {
	Commands   Commands
	Jobs       Jobs
	Notices    Notices
	Activities Activities
	Health     Health
	Resources  map[string]*cv.Client // by alias
	Store      *sink.Store           // holds the bags
	Work       *sink.Store           // holds the working objects
	Prefix     string                // of every key
	SpoolDir   string                // for temporary files

	Units       int   // at once
	Downloads   int   // blobs at once, of all units
	Buffer      int64 // bytes of blobs in memory at once, of all units
	MaxAttempts int   // of a unit

	Threshold, Overlap float64 // of GetIterationPerformance

	Secrets   account.Secrets // has the key of fingerprints and digests
	Pseudonym contract.Pseudonymizer
	// Wait waits between two questions, until d has passed or ctx is done.
	Wait func(ctx context.Context, d time.Duration) error

	Holder string // names this process in the marks of its attempts
	Now    func() time.Time
	Log    zerolog.Logger
}

// Worker does units of work, any number at a time. Of units, downloads and memory no resource takes
// all while another one is configured: its service may be as slow as it likes.
type Worker struct {
	Config
	units, downloads, memory *share.Pool // by alias of the resource
	tries                    tries
	buffers                  buffers // of downloads
}

// errShare says that the units of a resource have all the slots that they may have.
var errShare = errors.New("the units of its resource have their share of the workers")

// New makes a worker. Its error says what is wrong with the configuration.
func New(c Config) (*Worker, error) {
	if c.Buffer < maxInMemory {
		return nil, fmt.Errorf("Buffer is %d bytes; at least %d are needed for one blob", c.Buffer, maxInMemory) //nolint:staticcheck // a field's name
	}
	pool := func(size int64) *share.Pool { return share.NewPool(size, len(c.Resources)) }
	return &Worker{Config: c, units: pool(int64(c.Units)), downloads: pool(int64(c.Downloads)), memory: pool(c.Buffer)}, nil
}

// Unit does one unit of work and says what becomes of its message. A unit is acknowledged only when
// its result is stored.
func (w *Worker) Unit(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
	u, err := unit.Decode(d.Body)
	log := tracing.Fields(ctx, w.Log.With().Str("command_id", d.Command).Int("unit", d.N)).Logger()
	if errors.Is(err, contract.ErrNewer) {
		return w.newer(ctx, d, u, log)
	}
	if err != nil {
		// Only coordinators publish units: what cannot be read is published again by the one that
		// waits for it.
		log.Error().Err(err).Msg("cannot decode unit")
		return delivery.Disposition{Verb: delivery.Term, Reason: "not readable"}
	}
	log = log.With().Stringer("project_id", u.Project).Str("kind", string(u.Kind)).Logger()
	if w.Activities.Working(u.Command, u.N) {
		return delivery.Disposition{Verb: delivery.Abandon, Reason: "this process already works on it"} // its heartbeats are good for this delivery, too
	}
	a, err := w.begin(ctx, u, log)
	if errors.Is(err, errUnsealed) {
		return unsealed(log)
	}
	if errors.Is(err, errShare) {
		return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.ShareDelay(d.Delivered), Reason: err.Error()}
	}
	if a == nil {
		if delivery.IsShortage(err) {
			w.Health.Fail(delivery.ProblemOf(err, ""))
		}
		return notBegun(ctx, d, err, log)
	}
	defer w.units.Release(a.command.Data.Resource, 1)
	a.lease = d.Lease
	if a.number > w.MaxAttempts {
		return a.usedUp(ctx)
	}
	ctx, done := w.Activities.StartUnit(ctx, u.Command, u.N)
	defer done()
	err = a.do(a.calls.Attach(ctx))
	return a.finish(ctx, err)
}

// newer hands back a unit that a newer version queued, for a replica of that version. A forged
// unit may claim a newer version: so the seal of its command's coordinator is checked, too.
func (w *Worker) newer(ctx context.Context, d delivery.UnitDelivery, u unit.Unit, log zerolog.Logger) delivery.Disposition {
	job, err := w.wanted(ctx, u)
	if err == nil {
		a := &attempt{w: w, unit: u}
		if err = a.seal(ctx, job.Origin()); err == nil {
			var sealed bool
			if sealed, err = unit.SealedBody(a.work, d.Body, u.Seal); err == nil && !sealed {
				return unsealed(log)
			}
		}
	}
	if err != nil && !errors.Is(err, contract.ErrNewer) { // else its job was written by a newer version, too
		return notBegun(ctx, d, err, log)
	}
	w.Health.Fail("version", fmt.Errorf("unit %d of %s was written by a newer version: upgrade this replica", d.N, d.Command))
	return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.MaxDelay, Reason: "newer version"}
}

// unsealed settles a unit that no coordinator queued. The one of its command queues its own again.
func unsealed(log zerolog.Logger) delivery.Disposition {
	log.Error().Err(errUnsealed).Msg("not a unit of its command")
	return delivery.Disposition{Verb: delivery.Term, Reason: "not of its command"}
}

// notBegun settles a unit that err kept from being begun.
func notBegun(ctx context.Context, d delivery.UnitDelivery, err error, log zerolog.Logger) delivery.Disposition {
	to := delivery.HandBack(delivery.Classify(ctx, err), int(d.Delivered), delivery.RetryAfter(err)) //nolint:gosec // a count of deliveries
	if to.Verb == delivery.Nak {
		log.Warn().Err(err).Dur("delay_ms", to.Delay).Msg("unit not begun")
	}
	return to
}

// errUnsealed says that no coordinator queued the unit: it decides nothing about what is read.
var errUnsealed = errors.New("it has no right seal of its command's coordinator")

// begin counts an attempt and prepares it, in a slot of its resource. A nil attempt with a nil
// error says that there is nothing to do.
func (w *Worker) begin(ctx context.Context, u unit.Unit, log zerolog.Logger) (begun *attempt, err error) {
	command, err := w.commandOf(ctx, u)
	if errors.Is(err, contract.ErrNoMessage) {
		_ = w.Notices.NotifyOver(ctx, u.Command) // a coordinator that waits for the unit looks for its message, too, sooner or later
		return nil, delivery.ErrEnded
	}
	if err != nil {
		return nil, fmt.Errorf("read the unit's command: %w", err)
	}
	job, err := w.wanted(ctx, u)
	if err != nil {
		return nil, err
	}
	client, ok := w.Resources[command.Data.Resource]
	if !ok {
		return nil, fmt.Errorf("read resource %q: this replica does not know it: %w", command.Data.Resource, cv.ErrMisconfigured)
	}
	if !w.units.TryAcquire(command.Data.Resource, 1) {
		return nil, errShare
	}
	defer func() {
		if begun == nil {
			w.units.Release(command.Data.Resource, 1)
		}
	}()
	layout, err := sink.NewLayout(w.Prefix, u.Command)
	if err != nil {
		return nil, fmt.Errorf("name the bundle of %s: %w", u.Command, err)
	}
	control := account.NewControl(account.Settings{Service: client, Secrets: w.Secrets, Now: w.Now, Wait: w.Wait})
	a := &attempt{w: w, unit: u, command: command.AsExport(), client: client, layout: layout, control: control, calls: ledger.NewRecorder(control.Note), log: log}
	a.expect()
	if err := a.seal(ctx, job.Origin()); err != nil {
		return nil, err
	}
	if sealed, err := unit.Sealed(a.work, u); err != nil || !sealed {
		return nil, cmp.Or(err, errUnsealed)
	}
	switch _, err := a.own.Head(ctx, a.key(unit.ResultName(u.N))); {
	case err == nil:
		_ = w.Notices.NotifyResult(ctx, u.Command, u.N) // the coordinator lists, too
		return nil, nil
	case !errors.Is(err, sink.ErrNotFound):
		return nil, fmt.Errorf("look for the unit's result: %w", err)
	}
	if a.number, err = a.count(ctx); err != nil {
		return nil, err
	}
	// The result may be missing because the command was finished just now and its working objects
	// removed. The coordinator says so in the job before it removes them: so either it removed the
	// mark too, or this look at the job shows that the mark has to go.
	if _, err := w.wanted(ctx, u); err != nil {
		if unmarked := a.unmark(ctx); unmarked != nil {
			return nil, unmarked
		}
		return nil, err
	}
	return a, nil
}

// commandOf reads the command of a unit, which has to be the one that the unit was cut for. It
// fails with ErrNoMessage when that is not in the queue any more.
func (w *Worker) commandOf(ctx context.Context, u unit.Unit) (contract.Command, error) {
	m, err := w.Commands.CommandIn(ctx, string(u.Stream), u.Seq)
	if err != nil {
		return contract.Command{}, err //nolint:wrapcheck // the caller says what it looks for
	}
	c, err := contract.DecodeCommand(w.Commands.Prefix(), m)
	if err != nil || c.ID != u.Command {
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	keys, err := account.DigestKeys(ctx, w.Secrets, &w.Pseudonym, c)
	if err != nil {
		return contract.Command{}, err //nolint:wrapcheck // it says what it reads
	}
	// A unit that an older version cut has no digest. Where the key of a digest was replaced since
	// the command began, stream and sequence have to do.
	if u.Digest != "" && c.Differs(u.Job(), keys) {
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	return c, nil
}

// wanted is the job of the unit's command. It fails with ErrEnded when that has no use for the unit
// any more.
func (w *Worker) wanted(ctx context.Context, u unit.Unit) (contract.Job, error) {
	job, _, err := w.Jobs.Job(ctx, u.Command)
	switch {
	case errors.Is(err, contract.ErrNoJob), err == nil && job.Over():
		return job, delivery.ErrEnded
	case err != nil:
		return job, fmt.Errorf("read the unit's job: %w", err)
	}
	return job, nil
}
