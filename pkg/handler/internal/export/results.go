package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"strconv"
	"strings"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// results are an export's units, and what is known of them.
type results struct {
	x       *Exporter
	plan    exportPlan
	rounds  *rounds
	kept    *kept          // of results
	digests map[int]string // of results, by unit
	probe   int            // the unit that an earlier attempt waited for: it goes alone; -1 for none

	asked    string // names this attempt in what units wait for
	requeued bool   // the units that an earlier attempt queued were taken out of the queue
}

// left is what units left in storage, by the names of objects.
type left struct {
	done    numbers // results
	waits   numbers // units that met the operator's problem when this attempt asked for them
	earlier []wait  // of those that an earlier attempt asked for
}

// wait names what a unit waits for, and the attempt that asked for the unit.
type wait struct {
	n     int
	asked string
}

// maxEarlier bounds how many objects of earlier attempts are read. No more units are at work at a
// time, but a writer to the bucket can add any number of such names.
const maxEarlier = 1000

// read queues the units and collects their results, round by round.
func (r *results) read(ctx context.Context) error {
	results, stop, err := r.x.Units.Results(ctx, r.x.Command.ID)
	if err != nil {
		return fmt.Errorf("listen for results: %w", err)
	}
	defer stop()
	if err := r.x.Attempt.Update(ctx, func(j *contract.Job) { j.Phase = contract.PhaseRead }); err != nil {
		return err
	}
	var stored left // of earlier attempts
	if !r.x.Bags.Fresh {
		if stored, err = r.stored(ctx); err != nil {
			return err
		}
	}
	if r.probe, err = r.resume(ctx, stored); err != nil {
		return err
	}
	for begin := 0; ; {
		end := len(r.rounds.units)
		if err := r.round(ctx, begin, end, &stored.done, results); err != nil {
			return err
		}
		begin = end
		more, err := r.rounds.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := r.lostCalls(ctx); err != nil {
		return err
	}
	return r.x.Ledger.Flush(ctx)
}

// resume forgets what units waited for when an earlier attempt handed the command back, but for
// their calls, and chooses the unit that finds out whether the problem is gone.
func (r *results) resume(ctx context.Context, stored left) (probe int, err error) {
	probe = -1
	for _, e := range stored.earlier {
		w, err := unit.ReadWait(ctx, r.x.Bags.Work, r.x.Bags.Layout, e.n, e.asked)
		if err != nil {
			return probe, err
		}
		if w == nil {
			continue
		}
		if !stored.done.has(e.n) && (probe < 0 || e.n < probe) {
			probe = e.n
		}
		if err := r.x.Ledger.Add(ctx, w.Calls); err != nil {
			return probe, err
		}
	}
	if err := r.x.Ledger.Flush(ctx); err != nil {
		return probe, err
	}
	keys := make([]sink.Key, 0, len(stored.earlier))
	for _, e := range stored.earlier {
		keys = append(keys, r.x.Bags.WorkKey(unit.WaitName(e.n, e.asked)))
	}
	if err := r.x.Bags.Work.Remove(ctx, keys...); err != nil {
		return probe, fmt.Errorf("forget what units waited for: %w", err)
	}
	return probe, nil
}

// handBack ends the attempt when a unit met the operator's problem: a command that waits holds no
// slot. Its units leave the queue. When the command is delivered again, one of them goes first,
// alone.
func (r *results) handBack(ctx context.Context, n int) error {
	w, err := unit.ReadWait(ctx, r.x.Bags.Work, r.x.Bags.Layout, n, r.asked)
	if w == nil || err != nil {
		return err
	}
	return r.wait(ctx, contract.Waiting{For: w.For, Detail: w.Detail, Since: w.Time})
}

// wait takes the command's units out of the queue, and fails with what the command waits for.
func (r *results) wait(ctx context.Context, w contract.Waiting) error {
	if err := r.x.Units.PurgeUnits(ctx, r.x.Command.ID); err != nil {
		return fmt.Errorf("take the units of a command that waits out of the queue: %w", err)
	}
	return &action.WaitError{Waiting: w}
}

// stored lists what units left in storage.
func (r *results) stored(ctx context.Context) (left, error) {
	var l left
	for o, err := range r.x.Bags.Work.List(ctx, r.x.Bags.WorkKey("units/")) {
		if err != nil {
			return left{}, fmt.Errorf("list the results: %w", err)
		}
		number, kind, _ := strings.Cut(path.Base(string(o.Key)), ".")
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n >= maxUnits {
			continue
		}
		asked, waits := strings.CutPrefix(kind, "wait-")
		switch {
		case o.Key == r.x.Bags.WorkKey(unit.ResultName(n)):
			l.done.add(n)
		case o.Key != r.x.Bags.WorkKey(unit.WaitName(n, asked)) || !waits: // none that a unit has
		case asked == r.asked:
			l.waits.add(n)
		case len(l.earlier) < maxEarlier:
			l.earlier = append(l.earlier, wait{n, asked})
		}
	}
	return l, nil
}

func (r *results) publish(ctx context.Context, n int) error {
	u := r.rounds.units[n]
	u.Asked = r.asked
	sealed, err := unit.Seal(r.x.Bags.Work, u)
	if err != nil {
		return err //nolint:wrapcheck // it says what it encodes
	}
	b, err := contract.Marshal(sealed)
	if err != nil {
		return fmt.Errorf("encode unit %d: %w", n, err)
	}
	if err := r.x.Units.PublishUnit(ctx, r.x.Command.ID, n, b); err != nil {
		return fmt.Errorf("queue unit %d: %w", n, err)
	}
	return nil
}

// learn takes note of a result that exists.
func (r *results) learn(ctx context.Context, n int) error {
	s, digest, err := r.summary(ctx, n)
	if err != nil {
		return err
	}
	if err := r.x.Ledger.Add(ctx, s.Calls); err != nil {
		return err
	}
	if s.Error != nil {
		return s.Error
	}
	r.digests[n] = digest
	r.rounds.done(s)
	return nil
}

// summary is the first line of a unit's result, and the digest of the whole.
func (r *results) summary(ctx context.Context, n int) (unit.Summary, string, error) {
	return unit.ReadSummary(ctx, r.kept.open, r.rounds.units[n]) //nolint:wrapcheck // it says what it reads
}

// records are the lines of a unit's result after the first.
func (r *results) records(ctx context.Context, n int) iter.Seq2[unit.Record, error] {
	return unit.ReadRecords(ctx, r.kept.open, r.rounds.units[n])
}

// failed reports whether a key is that of an AttemptError of this export's units. Other objects are
// not read, however many there are.
func (r *results) failed(key sink.Key) bool {
	var n, k int
	_, err := fmt.Sscanf(path.Base(string(key)), "%d.err-%d", &n, &k)
	return err == nil && 0 <= n && n < len(r.rounds.units) && 0 < k && k <= r.x.MaxAttempts && r.x.Bags.WorkKey(unit.ErrorName(n, k)) == key
}

// lostCalls brings the calls of failed attempts of units into the ledger.
func (r *results) lostCalls(ctx context.Context) error {
	for o, err := range r.x.Bags.Work.List(ctx, r.x.Bags.WorkKey("units/")) {
		if err != nil {
			return fmt.Errorf("list the failed attempts: %w", err)
		}
		if !r.failed(o.Key) {
			continue
		}
		b, err := r.x.Bags.Work.ReadAll(ctx, o.Key, unit.MaxLine)
		if errors.Is(err, sink.ErrNotFound) { // no worker of this export stored it
			continue
		}
		if err != nil {
			return fmt.Errorf("read a failed attempt: %w", err)
		}
		var failed unit.AttemptError
		if err := json.Unmarshal(b, &failed); err != nil {
			return fmt.Errorf("read a failed attempt: %w", err)
		}
		if err := r.x.Ledger.Add(ctx, failed.Calls); err != nil {
			return err
		}
	}
	return nil
}
