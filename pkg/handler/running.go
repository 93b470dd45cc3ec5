package handler

import (
	"context"
	"errors"
	"sync"
	"time"
)

// heedEvery is how often whoever works for a command looks whether it is to end, should word of that be lost.
const heedEvery = 5 * time.Second

// running knows who works for which command in this process, so that a command that ends can stop them, and nobody begins what is being done.
type running struct {
	mu       sync.Mutex
	commands map[string]*effort
}

// effort is all that this process does for one command.
type effort struct {
	tasks map[*task]struct{}
	stop  context.CancelFunc // ends heeding
}

// task is an attempt at a command or at one of its units.
type task struct {
	cancel context.CancelCauseFunc
	ended  func() error
	unit   int    // -1 of the coordinator
	holder Text   // of the coordinator: who it is in the job,
	rev    uint64 // since this revision
}

// startUnit begins a unit of a command. The context ends with errEnded when the command is over; done is to be called when the unit has stopped.
func (h *Handler) startUnit(ctx context.Context, id string, n int) (_ context.Context, done func()) {
	return h.start(ctx, id, &task{unit: n})
}

// startAttempt begins an attempt at a command by the holder that its job names since revision rev. The context ends with errCancelled when the command is cancelled, and with
// ErrFenced when somebody else is its holder.
func (h *Handler) startAttempt(ctx context.Context, id string, holder Text, rev uint64) (_ context.Context, done func()) {
	return h.start(ctx, id, &task{unit: -1, holder: holder, rev: rev})
}

func (h *Handler) start(ctx context.Context, id string, t *task) (context.Context, func()) {
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.ended = ctx.Err
	r := &h.running
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.commands[id]
	if e == nil {
		e = &effort{tasks: map[*task]struct{}{}}
		r.commands[id] = e
		heeding, stop := context.WithCancel(context.WithoutCancel(ctx))
		e.stop = stop
		go h.heed(heeding, id)
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

// heed ends what this process does for a command once its job says so. It looks when it is told to, by any replica, and now and then.
func (h *Handler) heed(ctx context.Context, id string) {
	told, stop, err := h.Queue.Over(id)
	if err != nil {
		h.Log.Warn().Err(err).Str("command_id", id).Msg("the end of this command will be noticed late")
	} else {
		defer stop()
	}
	ticker := time.NewTicker(heedEvery)
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
		case errors.Is(err, ErrNoJob): // forgotten
			h.running.stopUnits(id)
		case err != nil:
		case job.over():
			h.running.stopUnits(id)
			if job.Cancel != nil {
				h.running.end(id, errCancelled, func(t *task) bool { return t.unit < 0 })
			}
		default: // an older job would be a reading from a leader that lags
			h.running.end(id, ErrFenced, func(t *task) bool { return t.unit < 0 && t.holder != job.Holder && t.rev < rev })
		}
	}
}

// stopUnits ends the units of a command that run in this process.
func (r *running) stopUnits(id string) {
	r.end(id, errEnded, func(t *task) bool { return t.unit >= 0 })
}

// end ends some of what this process does for a command.
func (r *running) end(id string, cause error, which func(*task) bool) {
	r.each(id, func(t *task) {
		if which(t) {
			t.cancel(cause)
		}
	})
}

// coordinates tells whether this process makes an attempt at a command, which was not called off.
func (r *running) coordinates(id string) bool { return r.does(id, -1) }

// does is coordinates for a unit.
func (r *running) does(id string, unit int) (yes bool) {
	r.each(id, func(t *task) { yes = yes || t.unit == unit && t.ended() == nil })
	return yes
}

func (r *running) each(id string, f func(*task)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.commands[id]; e != nil {
		for t := range e.tasks {
			f(t)
		}
	}
}
