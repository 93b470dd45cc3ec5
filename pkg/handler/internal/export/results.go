package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// silence is how long a coordinator waits for word of a unit before it looks for itself.
const silence = 5 * time.Second

// looksOnHints is how many looks that find nothing word of results may cause before the coordinator
// waits until it looks for itself: any client may have sent that word.
const looksOnHints = 16

// results are an export's units, and what is known of them.
type results struct {
	x       *Exporter
	plan    exportPlan
	rounds  *rounds
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
	stored, err := r.stored(ctx)
	if err != nil {
		return err
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

// leastQueued is how many of its units a command may have in the queue, or at work, however many of
// others wait there.
const leastQueued = 2

// round has the units begin…end-1 done, and learns of their results. It queues no more than keep
// the workers of all replicas busy, so that another command's need not wait for all of them.
func (r *results) round(ctx context.Context, begin, end int, stored *numbers, results <-chan int) error {
	o := openUnits{r: r, begin: begin, end: end, next: begin, todo: map[int]bool{}}
	if err := o.begun(ctx, stored); err != nil {
		return err
	}
	timer := time.NewTimer(silence)
	defer timer.Stop()
	looks := 0 // on word of results, that found nothing, since the last result
	for len(o.todo) > 0 {
		if err := o.fill(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx) //nolint:wrapcheck // a cause is matched, not read
		case n := <-results:
			if !o.todo[n] || looks >= looksOnHints {
				continue
			}
			found, err := o.take(ctx, n)
			if err != nil {
				return err
			}
			if !found {
				looks++
				continue
			}
		case <-timer.C:
			if err := o.lookAgain(ctx); err != nil {
				return err
			}
		}
		looks = 0
		timer.Reset(silence)
		if err := r.x.Attempt.Progress(ctx, r.rounds.progress(), r.plan.StartedAt); err != nil {
			return err
		}
	}
	return nil
}

// openUnits are the units of a round that have no result yet.
type openUnits struct {
	r          *results
	begin, end int
	next       int // the next one to queue
	queued     int
	todo       map[int]bool
}

// begun learns of the results that are stored before the round begins.
func (o *openUnits) begun(ctx context.Context, stored *numbers) error {
	for n := o.begin; n < o.end; n++ {
		if stored.has(n) {
			err := o.r.learn(ctx, n)
			if err == nil {
				continue
			}
			if !errors.Is(err, sink.ErrNotFound) {
				return err
			}
		}
		o.todo[n] = true // what is stored under the name of its result, if anything, is none
	}
	return nil
}

// fill queues as many units as the command may have in the queue now; of a command that waits for
// the operator, one alone.
func (o *openUnits) fill(ctx context.Context) error {
	if o.todo[o.r.probe] {
		if o.queued > 0 {
			return nil
		}
		o.queued++
		return o.r.publish(ctx, o.r.probe)
	}
	if o.next == o.end {
		return nil
	}
	waiting, err := o.r.x.Units.WaitingUnits(ctx)
	if err != nil {
		return fmt.Errorf("look how many units wait: %w", err)
	}
	for ; o.next < o.end && (o.queued < leastQueued || waiting < o.r.x.Window); o.next++ {
		if !o.todo[o.next] {
			continue
		}
		if err := o.r.publish(ctx, o.next); err != nil {
			return err
		}
		o.queued++
		waiting++
	}
	return nil
}

// take learns of the result of unit n, and reports whether it is there.
func (o *openUnits) take(ctx context.Context, n int) (found bool, err error) {
	if !o.todo[n] {
		return false, nil
	}
	if err := o.r.learn(ctx, n); err != nil {
		if errors.Is(err, sink.ErrNotFound) { // the unit waits, or the word of its result is wrong
			return false, o.r.handBack(ctx, n)
		}
		return false, err
	}
	delete(o.todo, n)
	if n < o.next || n == o.r.probe {
		o.queued--
	}
	return true, nil
}

// lookAgain looks for results, and queues again the units that have none: word of a result may be
// lost, and so may a queued unit. One that is still queued is left alone.
func (o *openUnits) lookAgain(ctx context.Context) error {
	there, err := o.r.stored(ctx)
	if err != nil {
		return err
	}
	for n := range there.done.all() {
		if _, err := o.take(ctx, n); err != nil {
			return err
		}
	}
	for n := range there.waits.all() {
		if !o.todo[n] {
			continue
		}
		if err := o.r.handBack(ctx, n); err != nil {
			return err
		}
	}
	if err := o.requeue(ctx, there.earlier); err != nil {
		return err
	}
	if w := o.r.x.Paused(); w != nil && len(o.todo) > 0 { // workers take no unit that could tell
		return o.r.wait(ctx, *w)
	}
	if o.todo[o.r.probe] {
		if err := o.r.publish(ctx, o.r.probe); err != nil {
			return err
		}
	}
	for n := o.begin; n < o.next; n++ {
		if o.todo[n] {
			if err := o.r.publish(ctx, n); err != nil {
				return err
			}
		}
	}
	return o.r.x.Ledger.Flush(ctx)
}

// requeue takes the units that an earlier attempt queued out of the queue, if one of them waits for
// the operator: a unit tells only the attempt that queued it. This attempt queues them again.
// requeue does so once.
func (o *openUnits) requeue(ctx context.Context, earlier []wait) error {
	if o.r.requeued || !slices.ContainsFunc(earlier, func(w wait) bool { return o.todo[w.n] }) {
		return nil
	}
	o.r.requeued = true
	if err := o.r.x.Units.PurgeUnits(ctx, o.r.x.Command.ID); err != nil {
		return fmt.Errorf("take the units of an earlier attempt out of the queue: %w", err)
	}
	return nil
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
	return unit.ReadSummary(ctx, r.x.Bags.Work, r.x.Bags.Layout, r.rounds.units[n]) //nolint:wrapcheck // it says what it reads
}

// records are the lines of a unit's result after the first.
func (r *results) records(ctx context.Context, n int) iter.Seq2[unit.Record, error] {
	return unit.ReadRecords(ctx, r.x.Bags.Work, r.x.Bags.Layout, r.rounds.units[n])
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
