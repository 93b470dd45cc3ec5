package handler

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// maxResult bounds one unit's frozen reading or result, in bytes.
const maxResult = 256 << 20

// UnitQueue carries units and the word that one is done.
type UnitQueue interface {
	// PublishUnit queues a unit; one that is queued already is left as it is.
	PublishUnit(ctx context.Context, id string, n int, body []byte) error
	// WaitingUnits is how many units, of all commands, nobody works on yet.
	WaitingUnits(ctx context.Context) (int, error)
	// PurgeUnits removes a command's queued units.
	PurgeUnits(ctx context.Context, id string) error
	// DrainUnits waits until no unit of a command is queued or being worked on; after an ack wait
	// it removes what is left.
	DrainUnits(ctx context.Context, id string) error
	// NotifyOver tells everybody who works for a command that it ends. It may get lost.
	NotifyOver(ctx context.Context, id string) error
	// Over gives word of NotifyOver until stop is called.
	Over(id string) (told <-chan struct{}, stop func(), err error)
	// NotifyResult tells the command's coordinator that a unit's result exists. It may get lost.
	NotifyResult(ctx context.Context, id string, n int) error
	// Results yields the numbers so told until stop is called.
	Results(ctx context.Context, id string) (numbers <-chan int, stop func(), err error)
}

// Names of working objects.
func resultName(n int) string   { return fmt.Sprintf("units/%06d.jsonl", n) }
func readingName(n int) string  { return fmt.Sprintf("units/%06d.list", n) }
func tryName(n, k int) string   { return fmt.Sprintf("units/%06d.try-%d", n, k) }
func errorName(n, k int) string { return fmt.Sprintf("units/%06d.err-%d", n, k) }

// attemptError is what a failed attempt of a unit leaves behind: its calls go into the ledger all
// the same.
type attemptError struct {
	V     int          `json:"v"`
	N     int          `json:"n"`
	Error string       `json:"error"`
	Calls []callRecord `json:"calls"`
}

// work is one attempt of one unit.
type work struct {
	*Handler
	unit    Unit
	command contract.Command
	client  *cv.Client
	layout  sink.Layout
	attempt int
	lease   delivery.Lease
	calls   *recorder
	log     zerolog.Logger
}

// Unit does one unit of work and says what becomes of its message. A unit is acknowledged only when
// its result is stored.
func (h *Handler) Unit(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
	u, err := decodeUnit(d.Body)
	log := h.Log.With().Str("command_id", d.Command).Int("unit", d.N).Logger()
	if errors.Is(err, contract.ErrNewer) {
		h.Health.Fail("version", fmt.Errorf("unit %d of %s was written by a newer version: upgrade this replica", d.N, d.Command))
		return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.MaxDelay, Reason: "newer version"}
	}
	if err != nil {
		// Nobody but a coordinator publishes units: what cannot be read is published again by the
		// one that waits for it.
		log.Error().Err(err).Msg("unit is not readable")
		return delivery.Disposition{Verb: delivery.Term, Reason: "not readable"}
	}
	log = log.With().Stringer("project_id", u.Project).Str("kind", string(u.Kind)).Logger()
	if h.running.does(u.Command, u.N) {
		return delivery.Disposition{Verb: delivery.Abandon, Reason: "this process is at it already"} // its heartbeats are good for this delivery, too
	}
	w, err := h.begin(ctx, u, log)
	if w == nil {
		d := delivery.HandBack(delivery.Classify(ctx, err), int(d.Delivered), delivery.RetryAfter(err)) //nolint:gosec // a count of deliveries
		if d.Verb == delivery.Nak {
			log.Warn().Err(err).Dur("delay", d.Delay).Msg("unit not begun")
		}
		return d
	}
	w.lease = d.Lease
	if w.attempt > h.MaxAttempts {
		return w.usedUp(ctx)
	}
	ctx, done := h.startUnit(ctx, u.Command, u.N)
	defer done()
	err = w.do(w.calls.attach(ctx))
	return w.finish(ctx, err)
}

// begin counts an attempt and prepares it. A nil work with a nil error says that there is nothing
// to do.
func (h *Handler) begin(ctx context.Context, u Unit, log zerolog.Logger) (*work, error) {
	command, err := h.commandOf(ctx, u)
	if errors.Is(err, contract.ErrNoMessage) {
		_ = h.Queue.NotifyOver(ctx, u.Command) // a coordinator that waits for the unit looks for its message, too, sooner or later
		return nil, delivery.ErrEnded
	}
	if err != nil {
		return nil, fmt.Errorf("read the unit's command: %w", err)
	}
	if err := h.wanted(ctx, u); err != nil {
		return nil, err
	}
	client, ok := h.Resources[command.Data.Resource]
	if !ok {
		return nil, fmt.Errorf("read resource %q: this replica does not know it: %w", command.Data.Resource, cv.ErrMisconfigured)
	}
	layout, err := h.layout(u.Command)
	if err != nil {
		return nil, err
	}
	w := &work{Handler: h, unit: u, command: command.AsExport(), client: client, layout: layout, calls: &recorder{}, log: log}
	switch _, err := h.Work.Head(ctx, w.key(resultName(u.N))); {
	case err == nil:
		_ = h.Queue.NotifyResult(ctx, u.Command, u.N) // the coordinator lists, too
		return nil, nil
	case !errors.Is(err, sink.ErrNotFound):
		return nil, fmt.Errorf("look for the unit's result: %w", err)
	}
	if w.attempt, err = w.count(ctx); err != nil {
		return nil, err
	}
	// The result may be missing because the command was finished just now and its working objects
	// removed. Whoever removes them says so in the job first: so either the mark was there to be
	// removed, or this sees why it has to go.
	if err := h.wanted(ctx, u); err != nil {
		if unmarked := w.unmark(ctx); unmarked != nil {
			return nil, unmarked
		}
		return nil, err
	}
	return w, nil
}

// commandOf reads the command of a unit, which has to be the one that the unit was cut for. It
// fails with ErrNoMessage when that is not in the queue any more.
func (h *Handler) commandOf(ctx context.Context, u Unit) (contract.Command, error) {
	m, err := h.Queue.CommandIn(ctx, string(u.Stream), u.Seq)
	if err != nil {
		return contract.Command{}, err //nolint:wrapcheck // the caller says what it looks for
	}
	c, err := contract.DecodeCommand(h.prefix(), m)
	if err != nil || c.ID != u.Command || u.Digest != "" && !c.SameAs(u.job()) { // a unit that an older version cut has no digest
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	return c, nil
}

// wanted fails with ErrEnded when the unit's command has no use for it any more.
func (h *Handler) wanted(ctx context.Context, u Unit) error {
	job, _, err := h.Queue.Job(ctx, u.Command)
	switch {
	case errors.Is(err, contract.ErrNoJob), err == nil && job.Over():
		return delivery.ErrEnded
	case err != nil:
		return fmt.Errorf("read the unit's job: %w", err)
	}
	return nil
}

// unmark takes back the mark of this attempt.
func (w *work) unmark(ctx context.Context) error {
	ctx, cancel := ending(ctx)
	defer cancel()
	if err := w.Work.Remove(ctx, w.key(tryName(w.unit.N, w.attempt))); err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

// unmarkLost takes back a mark that may be stored although storing it failed: the attempt does not
// begin.
func (w *work) unmarkLost(ctx context.Context, k int, mark []byte) error {
	ctx, cancel := ending(ctx)
	defer cancel()
	key := w.key(tryName(w.unit.N, k))
	b, err := w.Work.ReadAll(ctx, key, maxResult)
	if errors.Is(err, sink.ErrNotFound) || err == nil && !bytes.Equal(b, mark) {
		return nil
	}
	if err == nil {
		err = w.Work.Remove(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

func (w *work) key(name string) sink.Key { return w.layout.Work(name) }

// count makes this attempt durable and says which it is, 1 at first. A crash leaves the mark
// behind, so it counts; a blameless end takes it away.
func (w *work) count(ctx context.Context) (int, error) {
	mark, err := json.Marshal(struct {
		ID     string `json:"id"` // tells the mark from every other one
		Holder string `json:"holder"`
		Time   string `json:"time"`
	}{uuid.NewString(), w.holder, w.Now().UTC().Format("2006-01-02T15:04:05.000000000Z")})
	if err != nil {
		return 0, fmt.Errorf("mark the attempt: %w", err)
	}
	digest := sha256.Sum256(mark)
	for k := 1; ; k++ {
		o, err := w.Work.Put(ctx, w.key(tryName(w.unit.N, k)), sink.Bytes(mark, "application/json"))
		if err != nil {
			return 0, errors.Join(fmt.Errorf("mark the attempt: %w", err), w.unmarkLost(ctx, k, mark))
		}
		if !o.Adopted || o.SHA256 == hex.EncodeToString(digest[:]) { // the second: stored by a request whose answer was lost
			return k, nil
		}
	}
}

// usedUp settles a delivery for which no attempt is left, when nobody said how the last one ended:
// it was cut short by a crash, or it is still being made, or did not count and is about to be taken
// back. There is time for that once.
func (w *work) usedUp(ctx context.Context) delivery.Disposition {
	if w.attempt == w.MaxAttempts+1 {
		return delivery.Disposition{Verb: delivery.Nak, Delay: formerHolderGrace, Reason: "attempts are used up, if all of them count"}
	}
	w.attempt = w.MaxAttempts
	return w.finish(ctx, fmt.Errorf("every attempt was cut short by a crash or a lost connection: %w", errCutShort))
}

// errCutShort says that attempts ended without a word.
var errCutShort = errors.New("nobody said how it ended")

// finish settles an attempt that ended with err, nil when its result is stored.
func (w *work) finish(ctx context.Context, err error) delivery.Disposition {
	class := delivery.Classify(ctx, err)
	cause := err
	counts := class != delivery.Done && w.lease.Counts(class)
	attempts := w.attempt
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, w.MaxAttempts, delivery.RetryAfter(err))
	// What must still be written is written even when this process is on its way out.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	switch {
	case class == delivery.Misconfigured:
		if w.Health.Fail(delivery.DependencyOf(err, w.command.Data.Resource), err) {
			w.log.Error().Err(err).Msg("a dependency refuses us; work waits until it does not")
		}
	case class == delivery.Retryable || class == delivery.Throttled:
		w.log.Warn().Err(err).Int("attempt", w.attempt).Bool("final", final).Msg("unit failed")
	}
	if final {
		e := delivery.Verdict(ctx, cause)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = contract.CodeExhausted, fmt.Sprintf("unit %d (%s) failed %d times, at last: %s", w.unit.N, w.unit.Kind, w.attempt, e.Message)
		}
		err = w.store(ctx, Summary{Error: e}, nil)
		if errors.Is(err, delivery.ErrEnded) {
			return w.finish(ctx, err)
		}
		if err != nil {
			w.log.Error().Err(err).Msg("store the unit's failure")
			return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.Backoff(w.attempt, 0)}
		}
	}
	if class == delivery.Ended {
		w.tidy(ctx)
	}
	if d.Verb == delivery.Ack {
		if err := w.Queue.NotifyResult(ctx, w.unit.Command, w.unit.N); err != nil {
			w.log.Debug().Err(err).Msg("tell the coordinator")
		}
		return d
	}
	if !counts {
		if err := w.unmark(ctx); err != nil {
			w.log.Warn().Err(err).Msg("a blameless attempt counts")
		}
	} else if class == delivery.Fenced {
		w.log.Warn().Err(err).Msg("unit given up")
	} else if b, err := json.Marshal(attemptError{V: unitVersion, N: w.unit.N, Error: cause.Error(), Calls: w.calls.take()}); err == nil {
		if _, err := w.Work.Put(ctx, w.key(errorName(w.unit.N, w.attempt)), sink.Bytes(b, "application/json")); err != nil {
			w.log.Warn().Err(err).Msg("store the calls of a failed attempt")
		}
	}
	return d
}

// do does the unit: read, freeze what was read, act on what is frozen, store the result.
func (w *work) do(ctx context.Context) error {
	var (
		s       Summary
		records []Record
		err     error
	)
	switch w.unit.Kind {
	case KindProject:
		s, records, err = w.project(ctx)
	case KindPage, KindBatch:
		s, records, err = w.images(ctx)
	case KindPerformances:
		s, records, err = w.performances(ctx)
	case KindExports:
		s, records, err = w.exports(ctx)
	case KindPredictions:
		s, records, err = w.predictions(ctx)
	case KindCounts:
		s, err = w.counts(ctx)
	default:
		err = fmt.Errorf("do unit: kind %q is not known to this version: %w", w.unit.Kind, contract.ErrNewer)
	}
	if projectGone(err) && !w.unit.Named {
		s, records, err = Summary{Gone: true}, nil, nil
	}
	if err != nil {
		return err
	}
	return w.store(ctx, s, records)
}

// store writes the unit's result, once. Whoever wrote it first wins.
func (w *work) store(ctx context.Context, s Summary, records []Record) error {
	s.V, s.N, s.Kind, s.Calls = unitVersion, w.unit.N, w.unit.Kind, w.calls.take()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	for _, r := range records {
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("encode the result: %w", err)
		}
	}
	if _, err := w.Work.Put(ctx, w.key(resultName(w.unit.N)), sink.Bytes(buf.Bytes(), "application/jsonl")); err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	// As with the mark: the command may have ended with another attempt's result, and its working
	// objects be removed before this one was stored.
	return w.wanted(ctx, w.unit)
}

// tidy removes what this attempt may have stored for a command that had ended by then.
func (w *work) tidy(ctx context.Context) {
	n := w.unit.N
	if err := w.Work.Remove(ctx, w.key(resultName(n)), w.key(readingName(n)), w.key(tryName(n, w.attempt))); err != nil {
		w.log.Warn().Err(err).Msg("working objects of an ended command may be left behind")
	}
}

// frozen returns the reading that all attempts of this unit work on: the stored one, else the one
// that read makes now. mine says that it was made now, so that links read with it are fresh.
func (w *work) frozen(ctx context.Context, read func(context.Context) (reading, error)) (r reading, mine bool, err error) {
	key := w.key(readingName(w.unit.N))
	var b []byte
	if w.attempt > 1 {
		b, err = w.Work.ReadAll(ctx, key, maxResult)
		if err != nil && !errors.Is(err, sink.ErrNotFound) {
			return reading{}, false, fmt.Errorf("look for an earlier reading: %w", err)
		}
	}
	if b == nil {
		if r, err = read(ctx); err != nil {
			return reading{}, false, err
		}
		if b, err = contract.Marshal(r); err != nil {
			return reading{}, false, fmt.Errorf("freeze the reading: %w", err)
		}
		o, err := w.Work.Put(ctx, key, sink.Bytes(b, "application/json"))
		if err != nil {
			return reading{}, false, fmt.Errorf("freeze the reading: %w", err)
		}
		if !o.Adopted {
			return r, true, nil
		}
		if b, err = w.Work.ReadAll(ctx, key, maxResult); err != nil {
			return reading{}, false, fmt.Errorf("read the frozen reading: %w", err)
		}
	}
	r = reading{}
	if err := json.Unmarshal(b, &r); err != nil {
		return reading{}, false, fmt.Errorf("read the frozen reading: %w", err)
	}
	return r, false, nil
}
