package worker

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
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/survey"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// attempt is one attempt of one unit.
type attempt struct {
	w       *Worker
	unit    unit.Unit
	command contract.Command
	origin  contract.Origin // what the command's objects are sealed for
	client  *cv.Client
	layout  sink.Layout
	store   *sink.Store // holds the bag, sealed
	work    *sink.Store // holds the working objects, sealed
	own     *sink.Store // as work, and bound to the unit: for its result, reading and marks
	number  int         // 1 at first
	again   bool        // a tag that the command names was not there, and is looked for again
	stored  bool        // the result
	left    []sink.Key  // other working objects that it stored, or may have
	lease   delivery.Lease
	control *account.Control
	calls   *ledger.Recorder
	log     zerolog.Logger
}

// unmark takes back the mark of this attempt.
func (a *attempt) unmark(ctx context.Context) error {
	ctx, cancel := delivery.DetachedIfDone(ctx)
	defer cancel()
	a.w.tries.Add(a.unit, -1)
	if err := a.own.Remove(ctx, a.key(unit.TryName(a.unit.N, a.number))); err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

// unmarkLost takes back a mark that may be stored although storing it failed: the attempt does not
// begin.
func (a *attempt) unmarkLost(ctx context.Context, k int, mark []byte) error {
	ctx, cancel := delivery.DetachedIfDone(ctx)
	defer cancel()
	key := a.key(unit.TryName(a.unit.N, k))
	b, err := a.own.ReadAll(ctx, key, unit.MaxObject)
	if errors.Is(err, sink.ErrNotFound) || err == nil && !bytes.Equal(b, mark) {
		return nil
	}
	if err == nil {
		err = a.own.Remove(ctx, key)
	}
	if err != nil {
		return fmt.Errorf("take back the mark of an attempt: %w", err)
	}
	return nil
}

// seal has the attempt's objects sealed for the message that the unit's command came with first.
func (a *attempt) seal(ctx context.Context, origin contract.Origin) error {
	sealer, err := account.Sealer(ctx, a.w.Secrets, a.unit.Command, origin)
	if err != nil {
		return err //nolint:wrapcheck // it says what it reads
	}
	a.store, a.work = a.w.Store.Sealed(sealer), a.w.Work.Sealed(sealer)
	a.own, err = unit.Bound(a.work, a.unit)
	return err //nolint:wrapcheck // it says what it encodes
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
	for k := a.w.tries.Of(a.unit) + 1; ; k++ {
		o, err := a.own.Put(ctx, a.key(unit.TryName(a.unit.N, k)), sink.Bytes(mark, "application/json"))
		if err != nil {
			return 0, errors.Join(fmt.Errorf("mark the attempt: %w", err), a.unmarkLost(ctx, k, mark))
		}
		if !o.Adopted || o.SHA256 == hex.EncodeToString(digest[:]) { // the second: stored by a request whose answer was lost
			a.w.tries.Add(a.unit, 1)
			return k, nil
		}
	}
}

// usedUp settles a delivery that has no attempt left. How the last attempt ended is not known: it
// may have crashed, may still run, or may be about to be refunded. So the message is handed back
// once.
func (a *attempt) usedUp(ctx context.Context) delivery.Disposition {
	if a.number == a.w.MaxAttempts+1 {
		return delivery.Disposition{Verb: delivery.Nak, Delay: delivery.HolderGrace, Reason: "attempts are used up, if all of them count"}
	}
	a.number = a.w.MaxAttempts
	return a.finish(ctx, fmt.Errorf("every attempt was cut short by a crash or a lost connection: %w", errCutShort))
}

// errCutShort says that attempts ended without saying how.
var errCutShort = errors.New("it is not known how the last one ended")

// finish settles an attempt that ended with err, nil when its result is stored.
func (a *attempt) finish(ctx context.Context, err error) delivery.Disposition {
	class := delivery.Classify(ctx, err)
	cause := err
	if errors.Is(err, errWhole) && class != delivery.Stopping && class != delivery.Fenced && class != delivery.Ended {
		return a.wait(ctx, contract.WaitRate, err)
	}
	counts := class != delivery.Done && a.lease.Counts(class) && !errors.Is(err, contract.ErrNewer) // that is a newer replica's to do
	attempts := a.number
	if !counts {
		attempts--
	}
	d, final := delivery.Settle(class, attempts, a.w.MaxAttempts, delivery.RetryAfter(err))
	// What must still be written is written even when this process is on its way out. That is safe:
	// a result is stored once, by the first writer, and a mark or an error belongs to this attempt.
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	switch {
	case class == delivery.Misconfigured:
		if a.w.Health.Fail(delivery.ProblemOf(err, a.command.Data.Resource)) {
			a.log.Error().Err(err).Msg("dependency misconfigured; pausing until it recovers")
		}
		return a.wait(ctx, delivery.WaitFor(err), a.w.Health.Explain(delivery.ProblemOf(err, a.command.Data.Resource)))
	case class == delivery.Retryable || class == delivery.Throttled:
		a.log.Warn().Err(err).Int("attempt", a.number).Bool("final", final).Msg("unit failed")
	}
	if final {
		e := delivery.Verdict(ctx, cause)
		if class == delivery.Retryable || class == delivery.Throttled {
			e.Code, e.Message = account.CodeOf(cause), fmt.Sprintf("unit %d (%s) failed %d times, at last: %s", a.unit.N, a.unit.Kind, a.number, e.Message)
		}
		if err = a.storeResult(ctx, unit.Summary{Error: e}, nil); err != nil {
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
			a.log.Warn().Err(err).Msg("refund failed: attempt counts")
		}
	} else if class == delivery.Fenced {
		a.log.Warn().Err(err).Msg("unit given up")
	} else if b, err := json.Marshal(unit.AttemptError{V: a.unit.V, N: a.unit.N, Error: cause.Error(), Calls: a.calls.Take()}); err == nil {
		key := a.key(unit.ErrorName(a.unit.N, a.number))
		a.left = append(a.left, key)
		if _, err := a.work.Put(ctx, key, sink.Bytes(b, "application/json")); err != nil {
			a.log.Warn().Err(err).Msg("store the calls of a failed attempt")
		}
	}
	return d
}

// wait tells the coordinator that the unit met a problem which is not the unit's, so that the
// command does not hold a slot meanwhile. The attempt does not count. The unit comes again
// where no coordinator hears of it.
func (a *attempt) wait(ctx context.Context, waitFor string, cause error) delivery.Disposition {
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	if err := a.unmark(ctx); err != nil {
		a.log.Warn().Err(err).Msg("refund failed: attempt counts")
	}
	err := a.tellWait(ctx, unit.Wait{V: a.unit.V, N: a.unit.N, For: waitFor, Detail: cause.Error(), Time: a.w.Now().UTC(), Calls: a.calls.Take()})
	a.log.Warn().Err(errors.Join(cause, err)).Str("for", waitFor).Msg("unit waits")
	return delivery.HandBack(delivery.Misconfigured, a.number, delivery.RetryAfter(cause))
}

func (a *attempt) tellWait(ctx context.Context, w unit.Wait) error {
	b, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("encode what the unit waits for: %w", err)
	}
	key := a.key(unit.WaitName(w.N, a.unit.Asked))
	a.left = append(a.left, key)
	if _, err := a.work.Put(ctx, key, sink.Bytes(b, "application/json")); err != nil {
		return fmt.Errorf("store what the unit waits for: %w", err)
	}
	if err := a.w.Notices.NotifyResult(ctx, a.unit.Command, w.N); err != nil {
		return fmt.Errorf("tell the coordinator: %w", err)
	}
	return nil
}

// do does the unit: read, freeze what was read, act on what is frozen, store the result.
func (a *attempt) do(ctx context.Context) error {
	var (
		s       unit.Summary
		records []unit.Record
		err     error
	)
	switch kind := a.unit.Kind; {
	case kind == unit.KindProject:
		s, records, err = a.doProject(ctx)
	case a.unit.Witness():
		s, records, err = a.doWitness(ctx)
	case kind == unit.KindPage, kind == unit.KindBatch:
		s, records, err = a.doImages(ctx)
	case kind == unit.KindPerformances:
		s, records, err = a.doPerformances(ctx)
	case kind == unit.KindExports:
		s, records, err = a.doExports(ctx)
	case kind == unit.KindPredictions:
		s, records, err = a.doPredictions(ctx)
	case kind == unit.KindCounts:
		s, records, err = a.doCounts(ctx)
	default:
		err = fmt.Errorf("do unit: kind %q is not known to this version: %w", a.unit.Kind, contract.ErrNewer)
	}
	if survey.ProjectGone(err) {
		if err = a.projectGone(ctx, err); err == nil {
			s, records = unit.Summary{Gone: true}, nil
		}
	}
	if err != nil {
		return err
	}
	return a.storeResult(ctx, s, records)
}

// storeResult writes the unit's result, once. The first writer wins.
func (a *attempt) storeResult(ctx context.Context, s unit.Summary, records []unit.Record) error {
	s.V, s.N, s.Kind, s.Calls = a.unit.V, a.unit.N, a.unit.Kind, a.calls.Take()
	b, err := unit.EncodeResult(s, records)
	if err != nil {
		return err
	}
	o, err := a.own.Put(ctx, a.key(unit.ResultName(a.unit.N)), sink.Bytes(b, "application/jsonl"))
	if err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	if !o.Adopted && a.w.Activities.Coordinating(a.unit.Command) {
		a.w.Results.Put(a.unit, known.Result{Content: b, SHA256: o.SHA256})
	}
	a.w.tries.Forget(a.unit)
	a.stored = true
	return nil
}

// done reports whether the unit's result is there, and has the coordinator know.
func (a *attempt) done(ctx context.Context) (bool, error) {
	_, err := a.own.Head(ctx, a.key(unit.ResultName(a.unit.N)))
	switch {
	case errors.Is(err, sink.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for the unit's result: %w", err)
	}
	_ = a.w.Notices.NotifyResult(ctx, a.unit.Command, a.unit.N) // the coordinator lists, too
	return true, nil
}

// leave ends an attempt. What it stored is removed if the command has ended meanwhile: that may
// have been with another attempt's result, and the working objects may have been removed before
// this attempt's were stored.
func (a *attempt) leave(ctx context.Context) {
	var tidy func(context.Context)
	if a.stored || len(a.left) > 0 {
		tidy = a.tidy
	}
	ctx, cancel := delivery.Detached(ctx)
	defer cancel()
	if err := a.w.looks.Leave(ctx, a.unit.Command, tidy); err != nil {
		a.log.Warn().Err(err).Msg("working objects of a command may be left behind, should it have ended")
	}
}

// tidy removes what this attempt may have stored for a command that had ended by then.
func (a *attempt) tidy(ctx context.Context) {
	n := a.unit.N
	keys := append([]sink.Key{a.key(unit.ResultName(n)), a.key(unit.ReadingName(n)), a.key(unit.TryName(n, a.number))}, a.left...)
	if err := a.own.Remove(ctx, keys...); err != nil {
		a.log.Warn().Err(err).Msg("working objects of an ended command may be left behind")
	}
}

// frozen is the reading that all attempts of this unit work on: the stored one, else the one that
// read makes now. mine reports that it was made now, so that links read with it are fresh. Of a
// unit that stores nothing but its result nothing is frozen before that.
func (a *attempt) frozen(ctx context.Context, read func(context.Context) (reading, error)) (r reading, mine bool, err error) {
	of := func(ctx context.Context) (reading, error) {
		r, err := read(ctx)
		// The coordinator, and other workers, may be of the unit's version.
		r.V = a.unit.V
		return r, err
	}
	if !a.unit.Freezes() {
		r, err := of(ctx)
		return r, true, err
	}
	return unit.Freeze(ctx, a.own, a.key(unit.ReadingName(a.unit.N)), a.number == 1, of)
}
