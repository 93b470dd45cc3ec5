package handler

import (
	"context"
	"errors"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"sync"
	"time"
)

// watchJobEvery is how often whoever works for a command looks whether it is to end, should word of
// that be lost.
const watchJobEvery = 5 * time.Second

// running knows who works for which command in this process, so that a command that ends can stop
// them, and nobody begins what is being done.
type running struct {
	mu       sync.Mutex
	commands map[string]*commandRun
}

// commandRun is all that this process does for one command.
type commandRun struct {
	tasks map[*activity]struct{}
	stop  context.CancelFunc // ends heeding
}

// activity is an attempt at a command or at one of its units.
type activity struct {
	cancel context.CancelCauseFunc
	ended  func() error
	unit   int // -1 of the coordinator
	// Of the coordinator:
	command contract.Command // that it carries out, as it came
	holder  contract.Text    // who it is in the job,
	rev     uint64           // since this revision
}

func (t *activity) coordinates() bool { return t.unit < 0 }

// startUnit begins a unit of a command. The context ends with ErrEnded when the command is over;
// done is to be called when the unit has stopped.
func (h *Handler) startUnit(ctx context.Context, id string, n int) (_ context.Context, done func()) {
	return h.start(ctx, id, &activity{unit: n})
}

// startAttempt begins an attempt at a command by the holder that its job names since revision rev.
// The context ends with errCancelled when the command is cancelled, with ErrFenced when somebody
// else is its holder, and with errGone, which is an ErrFenced, when the command's message is not in
// the queue any more.
func (h *Handler) startAttempt(ctx context.Context, c contract.Command, holder contract.Text, rev uint64) (_ context.Context, done func()) {
	return h.start(ctx, c.ID, &activity{unit: -1, command: c, holder: holder, rev: rev})
}

func (h *Handler) start(ctx context.Context, id string, t *activity) (context.Context, func()) {
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.ended = ctx.Err
	r := &h.running
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.commands[id]
	if e == nil {
		e = &commandRun{tasks: map[*activity]struct{}{}}
		r.commands[id] = e
		heeding, stop := context.WithCancel(context.WithoutCancel(ctx))
		e.stop = stop
		go h.watchJob(heeding, id)
	}
	e.tasks[t] = struct{}{}
	return ctx, func() {
		t.cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(e.tasks, t)
		if len(e.tasks) == 0 {
			e.stop()
			delete(r.commands, id)
		}
	}
}

// watchJob ends what this process does for a command once its job says so. It looks when it is told
// to, by any replica, and now and then.
func (h *Handler) watchJob(ctx context.Context, id string) {
	told, stop, err := h.Queue.Over(id)
	if err != nil {
		h.Log.Warn().Err(err).Str("command_id", id).Msg("the end of this command will be noticed late")
	} else {
		defer stop()
	}
	ticker := time.NewTicker(watchJobEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
		case <-ticker.C:
		}
		job, rev, err := h.Queue.Job(ctx, id)
		switch {
		case errors.Is(err, contract.ErrNoJob): // forgotten
			h.running.stopUnits(id)
		case err != nil:
		case job.Over():
			h.running.stopUnits(id)
			if job.Cancel != nil {
				h.running.end(id, errCancelled, (*activity).coordinates)
			}
		default: // an older job would be a reading from a leader that lags
			h.running.end(id, delivery.ErrFenced, func(t *activity) bool { return t.coordinates() && t.holder != job.Holder && t.rev < rev })
			h.stopLost(ctx, id)
		}
	}
}

// stopLost stops the coordinators of a command whose message is not in the queue any more.
func (h *Handler) stopLost(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, watchJobEvery) // an end has to be heard while the stream is away
	defer cancel()
	for _, t := range h.running.coordinators(id) {
		if _, err := h.Queue.CommandIn(ctx, t.command.Stream, t.command.Seq); errors.Is(err, contract.ErrNoMessage) {
			h.Log.Warn().Err(err).Str("command_id", id).Msg("the message of a command at work is gone: its coordinator stops, and the command goes on when it is published again")
			t.cancel(errGone)
		}
	}
}

// stopUnits ends the units of a command that run in this process.
func (r *running) stopUnits(id string) {
	r.end(id, delivery.ErrEnded, func(t *activity) bool { return t.unit >= 0 })
}

// end ends some of what this process does for a command.
func (r *running) end(id string, cause error, which func(*activity) bool) {
	r.each(id, func(t *activity) {
		if which(t) {
			t.cancel(cause)
		}
	})
}

// coordinates reports whether this process makes an attempt, which was not called off, at the
// command that came with this very message. An attempt for another message of the command is called
// off, as that message is gone; other says that there is one.
func (r *running) coordinates(c contract.Command) (same, other bool) {
	for _, t := range r.coordinators(c.ID) {
		if t.command.Seq == c.Seq && t.command.Stream == c.Stream {
			same = true
			continue
		}
		other = true
		t.cancel(errGone)
	}
	return same, other
}

// coordinators are the attempts at a command that this process makes and that were not called off.
func (r *running) coordinators(id string) (all []*activity) {
	r.each(id, func(t *activity) {
		if t.coordinates() && t.ended() == nil {
			all = append(all, t)
		}
	})
	return all
}

// does reports whether this process works on a unit, which was not called off.
func (r *running) does(id string, unit int) (yes bool) {
	r.each(id, func(t *activity) { yes = yes || t.unit == unit && t.ended() == nil })
	return yes
}

func (r *running) each(id string, f func(*activity)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.commands[id]; e != nil {
		for t := range e.tasks {
			f(t)
		}
	}
}
