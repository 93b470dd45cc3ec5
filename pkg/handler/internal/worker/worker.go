package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
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

	Downloads   int   // blobs at once, of all units
	Buffer      int64 // bytes of blobs in memory at once, of all units
	MaxAttempts int   // of a unit

	Threshold, Overlap float64 // of GetIterationPerformance

	Holder string // names this process in the marks of its attempts
	Now    func() time.Time
	Log    zerolog.Logger
}

// Worker does units of work, any number at a time.
type Worker struct {
	Config
	downloads *semaphore.Weighted
	memory    *semaphore.Weighted
}

// New makes a worker. Its error says what is wrong with the configuration.
func New(c Config) (*Worker, error) {
	if c.Buffer < maxInMemory {
		return nil, fmt.Errorf("Buffer is %d bytes; at least %d are needed for one blob", c.Buffer, maxInMemory) //nolint:staticcheck // a field's name
	}
	return &Worker{Config: c, downloads: semaphore.NewWeighted(int64(c.Downloads)), memory: semaphore.NewWeighted(c.Buffer)}, nil
}

// attempt is one attempt of one unit.
type attempt struct {
	w       *Worker
	unit    unit.Unit
	command contract.Command
	client  *cv.Client
	layout  sink.Layout
	number  int // 1 at first
	lease   delivery.Lease
	calls   *ledger.Recorder
	log     zerolog.Logger
}

// Unit does one unit of work and says what becomes of its message. A unit is acknowledged only when
// its result is stored.
func (w *Worker) Unit(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
	u, err := unit.Decode(d.Body)
	log := w.Log.With().Str("command_id", d.Command).Int("unit", d.N).Logger()
	if errors.Is(err, contract.ErrNewer) {
		w.Health.Fail("version", fmt.Errorf("unit %d of %s was written by a newer version: upgrade this replica", d.N, d.Command))
		return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.MaxDelay, Reason: "newer version"}
	}
	if err != nil {
		// Only coordinators publish units: what cannot be read is published again by the one that
		// waits for it.
		log.Error().Err(err).Msg("unit is not readable")
		return delivery.Disposition{Verb: delivery.Term, Reason: "not readable"}
	}
	log = log.With().Stringer("project_id", u.Project).Str("kind", string(u.Kind)).Logger()
	if w.Activities.Working(u.Command, u.N) {
		return delivery.Disposition{Verb: delivery.Abandon, Reason: "this process is at it already"} // its heartbeats are good for this delivery, too
	}
	a, err := w.begin(ctx, u, log)
	if a == nil {
		to := delivery.HandBack(delivery.Classify(ctx, err), int(d.Delivered), delivery.RetryAfter(err)) //nolint:gosec // a count of deliveries
		if to.Verb == delivery.Nak {
			log.Warn().Err(err).Dur("delay", to.Delay).Msg("unit not begun")
		}
		return to
	}
	a.lease = d.Lease
	if a.number > w.MaxAttempts {
		return a.usedUp(ctx)
	}
	ctx, done := w.Activities.StartUnit(ctx, u.Command, u.N)
	defer done()
	err = a.do(a.calls.Attach(ctx))
	return a.finish(ctx, err)
}

// begin counts an attempt and prepares it. A nil attempt with a nil error says that there is nothing
// to do.
func (w *Worker) begin(ctx context.Context, u unit.Unit, log zerolog.Logger) (*attempt, error) {
	command, err := w.commandOf(ctx, u)
	if errors.Is(err, contract.ErrNoMessage) {
		_ = w.Notices.NotifyOver(ctx, u.Command) // a coordinator that waits for the unit looks for its message, too, sooner or later
		return nil, delivery.ErrEnded
	}
	if err != nil {
		return nil, fmt.Errorf("read the unit's command: %w", err)
	}
	if err := w.wanted(ctx, u); err != nil {
		return nil, err
	}
	client, ok := w.Resources[command.Data.Resource]
	if !ok {
		return nil, fmt.Errorf("read resource %q: this replica does not know it: %w", command.Data.Resource, cv.ErrMisconfigured)
	}
	layout, err := sink.NewLayout(w.Prefix, u.Command)
	if err != nil {
		return nil, fmt.Errorf("name the bundle of %s: %w", u.Command, err)
	}
	a := &attempt{w: w, unit: u, command: command.AsExport(), client: client, layout: layout, calls: ledger.NewRecorder(nil), log: log}
	switch _, err := w.Work.Head(ctx, a.key(unit.ResultName(u.N))); {
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
	// removed. Whoever removes them says so in the job first: so either the mark was there to be
	// removed, or this sees why it has to go.
	if err := w.wanted(ctx, u); err != nil {
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
	if err != nil || c.ID != u.Command || u.Digest != "" && !c.SameAs(u.Job()) { // a unit that an older version cut has no digest
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	return c, nil
}

// wanted fails with ErrEnded when the unit's command has no use for it any more.
func (w *Worker) wanted(ctx context.Context, u unit.Unit) error {
	job, _, err := w.Jobs.Job(ctx, u.Command)
	switch {
	case errors.Is(err, contract.ErrNoJob), err == nil && job.Over():
		return delivery.ErrEnded
	case err != nil:
		return fmt.Errorf("read the unit's job: %w", err)
	}
	return nil
}

// unmark takes back the mark of this attempt.
func (a *attempt) unmark(ctx context.Context) error {
	ctx, cancel := delivery.Grace(ctx)
	defer cancel()
	if err := a.w.Work.Remove(ctx, a.key(unit.TryName(a.unit.N, a.number))); err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

// unmarkLost takes back a mark that may be stored although storing it failed: the attempt does not
// begin.
func (a *attempt) unmarkLost(ctx context.Context, k int, mark []byte) error {
	ctx, cancel := delivery.Grace(ctx)
	defer cancel()
	key := a.key(unit.TryName(a.unit.N, k))
	b, err := a.w.Work.ReadAll(ctx, key, unit.MaxObject)
	if errors.Is(err, sink.ErrNotFound) || err == nil && !bytes.Equal(b, mark) {
		return nil
	}
	if err == nil {
		err = a.w.Work.Remove(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

func (a *attempt) key(name string) sink.Key { return a.layout.Work(name) }

// count makes this attempt durable and says which it is, 1 at first. A crash leaves the mark
// behind, so it counts; a blameless end takes it away.
func (a *attempt) count(ctx context.Context) (int, error) {
	mark, err := json.Marshal(struct {
		ID     string `json:"id"` // tells the mark from every other one
		Holder string `json:"holder"`
		Time   string `json:"time"`
	}{uuid.NewString(), a.w.Holder, a.w.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")})
	if err != nil {
		return 0, fmt.Errorf("mark the attempt: %w", err)
	}
	digest := sha256.Sum256(mark)
	for k := 1; ; k++ {
		o, err := a.w.Work.Put(ctx, a.key(unit.TryName(a.unit.N, k)), sink.Bytes(mark, "application/json"))
		if err != nil {
			return 0, errors.Join(fmt.Errorf("mark the attempt: %w", err), a.unmarkLost(ctx, k, mark))
		}
		if !o.Adopted || o.SHA256 == hex.EncodeToString(digest[:]) { // the second: stored by a request whose answer was lost
			return k, nil
		}
	}
}

// usedUp settles a delivery for which no attempt is left, when nobody said how the last one ended:
// it was cut short by a crash, or it is still being made, or did not count and is about to be taken
// back. There is time for that once.
func (a *attempt) usedUp(ctx context.Context) delivery.Disposition {
	if a.number == a.w.MaxAttempts+1 {
		return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.HolderGrace, Reason: "attempts are used up, if all of them count"}
	}
	a.number = a.w.MaxAttempts
	return a.finish(ctx, fmt.Errorf("every attempt was cut short by a crash or a lost connection: %w", errCutShort))
}

// errCutShort says that attempts ended without a word.
var errCutShort = errors.New("nobody said how it ended")

// finish settles an attempt that ended with err, nil when its result is stored.
func (a *attempt) finish(ctx context.Context, err error) delivery.Disposition {
	class := delivery.Classify(ctx, err)
	cause := err
	counts := class != delivery.Done && a.lease.Counts(class)
	attempts := a.number
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, a.w.MaxAttempts, delivery.RetryAfter(err))
	// What must still be written is written even when this process is on its way out.
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	switch {
	case class == delivery.Misconfigured:
		if a.w.Health.Fail(delivery.DependencyOf(err, a.command.Data.Resource), err) {
			a.log.Error().Err(err).Msg("dependency misconfigured; pausing until it recovers")
		}
	case class == delivery.Retryable || class == delivery.Throttled:
		a.log.Warn().Err(err).Int("attempt", a.number).Bool("final", final).Msg("unit failed")
	}
	if final {
		e := delivery.Verdict(ctx, cause)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = contract.CodeExhausted, fmt.Sprintf("unit %d (%s) failed %d times, at last: %s", a.unit.N, a.unit.Kind, a.number, e.Message)
		}
		err = a.store(ctx, unit.Summary{Error: e}, nil)
		if errors.Is(err, delivery.ErrEnded) {
			return a.finish(ctx, err)
		}
		if err != nil {
			a.log.Error().Err(err).Msg("store the unit's failure")
			return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.Backoff(a.number, 0)}
		}
	}
	if class == delivery.Ended {
		a.tidy(ctx)
	}
	if d.Verb == delivery.Ack {
		if err := a.w.Notices.NotifyResult(ctx, a.unit.Command, a.unit.N); err != nil {
			a.log.Debug().Err(err).Msg("tell the coordinator")
		}
		return d
	}
	if !counts {
		if err := a.unmark(ctx); err != nil {
			a.log.Warn().Err(err).Msg("a blameless attempt counts")
		}
	} else if class == delivery.Fenced {
		a.log.Warn().Err(err).Msg("unit given up")
	} else if b, err := json.Marshal(unit.AttemptError{V: unit.Version, N: a.unit.N, Error: cause.Error(), Calls: a.calls.Take()}); err == nil {
		if _, err := a.w.Work.Put(ctx, a.key(unit.ErrorName(a.unit.N, a.number)), sink.Bytes(b, "application/json")); err != nil {
			a.log.Warn().Err(err).Msg("store the calls of a failed attempt")
		}
	}
	return d
}

// do does the unit: read, freeze what was read, act on what is frozen, store the result.
func (a *attempt) do(ctx context.Context) error {
	var (
		s       unit.Summary
		records []unit.Record
		err     error
	)
	switch a.unit.Kind {
	case unit.KindProject:
		s, records, err = a.project(ctx)
	case unit.KindPage, unit.KindBatch:
		s, records, err = a.images(ctx)
	case unit.KindPerformances:
		s, records, err = a.performances(ctx)
	case unit.KindExports:
		s, records, err = a.exports(ctx)
	case unit.KindPredictions:
		s, records, err = a.predictions(ctx)
	case unit.KindCounts:
		s, err = a.counts(ctx)
	default:
		err = fmt.Errorf("do unit: kind %q is not known to this version: %w", a.unit.Kind, contract.ErrNewer)
	}
	if survey.ProjectGone(err) && !a.unit.Named {
		s, records, err = unit.Summary{Gone: true}, nil, nil
	}
	if err != nil {
		return err
	}
	return a.store(ctx, s, records)
}

// store writes the unit's result, once. Whoever wrote it first wins.
func (a *attempt) store(ctx context.Context, s unit.Summary, records []unit.Record) error {
	s.V, s.N, s.Kind, s.Calls = unit.Version, a.unit.N, a.unit.Kind, a.calls.Take()
	b, err := unit.EncodeResult(s, records)
	if err != nil {
		return err
	}
	if _, err := a.w.Work.Put(ctx, a.key(unit.ResultName(a.unit.N)), sink.Bytes(b, "application/jsonl")); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	// As with the mark: the command may have ended with another attempt's result, and its working
	// objects be removed before this one was stored.
	return a.w.wanted(ctx, a.unit)
}

// tidy removes what this attempt may have stored for a command that had ended by then.
func (a *attempt) tidy(ctx context.Context) {
	n := a.unit.N
	if err := a.w.Work.Remove(ctx, a.key(unit.ResultName(n)), a.key(unit.ReadingName(n)), a.key(unit.TryName(n, a.number))); err != nil {
		a.log.Warn().Err(err).Msg("working objects of an ended command may be left behind")
	}
}

// frozen is the reading that all attempts of this unit work on: the stored one, else the one that
// read makes now. mine reports that it was made now, so that links read with it are fresh.
func (a *attempt) frozen(ctx context.Context, read func(context.Context) (reading, error)) (r reading, mine bool, err error) {
	return unit.Freeze(ctx, a.w.Work, a.key(unit.ReadingName(a.unit.N)), a.number == 1, read)
}
