package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// silence is how long a coordinator waits for word of a unit before it looks for itself.
const silence = 5 * time.Second

// looksOnHints is how many looks that find nothing word of results may cause before the coordinator
// waits until it looks for itself: any client may have sent that word.
const looksOnHints = 16

// leastQueued is how many of its units a command may have in the queue, or at work, however many of
// others wait there.
const leastQueued = 2

// askEvery is after how many results a command that has room in the queue asks again how many units
// wait there: others may have come.
const askEvery = 8

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
	room       int // for further units in the queue
	known      int // for how many more results room is known
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
	for ; o.next < o.end; o.next++ {
		if !o.todo[o.next] {
			continue
		}
		if o.queued >= leastQueued {
			if err := o.ask(ctx); err != nil {
				return err
			}
			if o.room <= 0 {
				return nil
			}
		}
		if err := o.r.publish(ctx, o.next); err != nil {
			return err
		}
		o.queued++
		o.room--
	}
	return nil
}

// ask asks how many units wait in the queue, unless that is known: each of the command's own that
// is done leaves room for one more.
func (o *openUnits) ask(ctx context.Context) error {
	if o.known > 0 {
		return nil
	}
	waiting, err := o.r.x.Units.WaitingUnits(ctx)
	if err != nil {
		return fmt.Errorf("look how many units wait: %w", err)
	}
	if o.room = o.r.x.Window - waiting; o.room > 0 {
		o.known = askEvery
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
		o.room++
		o.known--
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
