package worker

import (
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
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/buffer"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

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
	// Coordinating reports whether this process makes an attempt at a command.
	Coordinating(id string) bool
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
	Commands   known.Queue
	Jobs       known.Jobs
	Notices    Notices
	Activities Activities
	Results    *known.Results // on their way to coordinators in this process
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
	known                    *known.Commands
	looks                    known.Looks
	units, downloads, memory *share.Pool // by alias of the resource
	uploads                  *share.Pool // what models that are streamed may take of memory
	tries                    known.Tries
	buffers                  buffer.Pool // of downloads
}

// errShare says that the units of a resource have all the slots that they may have.
var errShare = errors.New("the units of its resource have their share of the workers")

// New makes a worker. Its error says what is wrong with the configuration.
func New(c Config) (*Worker, error) {
	if c.Buffer < maxInMemory {
		return nil, fmt.Errorf("Buffer is %d bytes; at least %d are needed for one blob", c.Buffer, maxInMemory) //nolint:staticcheck // a field's name
	}
	pool := func(size int64) *share.Pool { return share.NewPool(size, len(c.Resources)) }
	of := known.NewCommands(known.Settings{Queue: c.Commands, Jobs: c.Jobs, Secrets: c.Secrets, Pseudonym: c.Pseudonym, Now: c.Now})
	return &Worker{
		Config: c, known: of, looks: known.Looks{Wanted: of.Wanted},
		units: pool(int64(c.Units)), downloads: pool(int64(c.Downloads)), memory: pool(c.Buffer), uploads: pool(c.Buffer / 4 * 3),
	}, nil
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
	a, err := w.begin(ctx, u, d.Delivered, log)
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
	defer a.leave(ctx)
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
	job, err := w.known.Wanted(ctx, u.Command)
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
func (w *Worker) begin(ctx context.Context, u unit.Unit, delivered uint64, log zerolog.Logger) (begun *attempt, err error) {
	a, err := w.prepare(ctx, u, log)
	if errors.Is(err, contract.ErrNoMessage) {
		_ = w.Notices.NotifyOver(ctx, u.Command) // a coordinator that waits for the unit looks for its message, too, sooner or later
		return nil, delivery.ErrEnded
	}
	if err != nil {
		return nil, err
	}
	if !w.units.TryAcquire(a.command.Data.Resource, 1) {
		return nil, errShare
	}
	defer func() {
		if begun == nil {
			w.units.Release(a.command.Data.Resource, 1)
		}
	}()
	// An attempt leaves its mark before it leaves a result. So there is none where the message
	// comes for the first time and no mark is there.
	if delivered > 1 || w.tries.Of(u) > 0 {
		if done, err := a.done(ctx); done || err != nil {
			return nil, err
		}
	}
	if a.number, err = a.count(ctx); err != nil {
		return nil, err
	}
	if a.number > 1 && delivered == 1 {
		if done, err := a.done(ctx); done || err != nil {
			return nil, errors.Join(err, a.unmark(ctx))
		}
	}
	// The result may be missing because the command was finished just now and its working objects
	// removed. The coordinator says so in the job before it removes them: so either it removed the
	// mark too, or this look at the job shows that the mark has to go.
	job, err := w.looks.Begin(ctx, u.Command)
	if err == nil && job.Origin() != a.origin { // the job was lost meanwhile, and made again for another message
		err = errors.Join(errUnsealed, w.looks.Leave(ctx, u.Command, nil))
	}
	if err != nil {
		if unmarked := a.unmark(ctx); unmarked != nil {
			return nil, unmarked
		}
		return nil, err
	}
	return a, nil
}

// prepare makes an attempt that has done nothing yet. It fails with errUnsealed unless the
// coordinator of the unit's command queued it.
func (w *Worker) prepare(ctx context.Context, u unit.Unit, log zerolog.Logger) (*attempt, error) {
	for again := false; ; again = true {
		command, isFresh, err := w.known.Of(ctx, u, again)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what it reads
		}
		client, ok := w.Resources[command.Command.Data.Resource]
		if !ok {
			return nil, fmt.Errorf("read resource %q: this replica does not know it: %w", command.Command.Data.Resource, cv.ErrMisconfigured)
		}
		layout, err := sink.NewLayout(w.Prefix, u.Command)
		if err != nil {
			return nil, fmt.Errorf("name the bundle of %s: %w", u.Command, err)
		}
		control := account.NewControl(account.Settings{Service: client, Secrets: w.Secrets, Now: w.Now, Wait: w.Wait})
		a := &attempt{
			w: w, unit: u, command: command.Command.AsExport(), origin: command.Origin, client: client, layout: layout, control: control,
			calls: ledger.NewRecorder(control.Note), log: log,
		}
		if err := a.seal(ctx, command.Origin); err != nil {
			return nil, err
		}
		switch sealed, err := unit.Sealed(a.work, u); {
		case err != nil:
			return nil, err //nolint:wrapcheck // it says what it encodes
		case sealed:
			a.expect()
			return a, nil
		case isFresh:
			return nil, errUnsealed
		}
		// What is known of the command may be of an earlier life of its id.
	}
}
