package handler

import (
	"context"
	"errors"
	"sync"
	"time"
)

// heedEvery is how often whoever works for a command looks whether it is to end, should word of that be lost.
const heedEvery = 5 * time.Second

// running knows who works for which command in this process, so that a command that ends can stop them.
type running struct {
	mu       sync.Mutex
	commands map[string]*effort
}

// effort is all that this process does for one command.
type effort struct {
	units, coordinators map[*context.CancelCauseFunc]struct{}
	stop                context.CancelFunc // ends heeding
}

// startUnit begins a unit of a command. The context ends with errEnded when the command is over; done is to be called when the unit has stopped.
func (h *Handler) startUnit(ctx context.Context, id string) (_ context.Context, done func()) {
	return h.start(ctx, id, func(e *effort) map[*context.CancelCauseFunc]struct{} { return e.units })
}

// startAttempt begins an attempt at a command. The context ends with errCancelled when the command is cancelled.
func (h *Handler) startAttempt(ctx context.Context, id string) (_ context.Context, done func()) {
	return h.start(ctx, id, func(e *effort) map[*context.CancelCauseFunc]struct{} { return e.coordinators })
}

func (h *Handler) start(ctx context.Context, id string, kind func(*effort) map[*context.CancelCauseFunc]struct{}) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	r := &h.running
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.commands[id]
	if e == nil {
		e = &effort{units: map[*context.CancelCauseFunc]struct{}{}, coordinators: map[*context.CancelCauseFunc]struct{}{}}
		r.commands[id] = e
		heeding, stop := context.WithCancel(context.WithoutCancel(ctx))
		e.stop = stop
		go h.heed(heeding, id)
	}
	kind(e)[&cancel] = struct{}{}
	return ctx, func() {
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(kind(e), &cancel)
		if len(e.units)+len(e.coordinators) == 0 {
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
		job, _, err := h.Queue.Job(ctx, id)
		switch {
		case errors.Is(err, ErrNoJob): // forgotten
			h.running.stopUnits(id)
		case err == nil && job.over():
			h.running.stopUnits(id)
			if job.Cancel != nil {
				h.running.cancelAttempts(id)
			}
		}
	}
}

// stopUnits ends the units of a command that run in this process.
func (r *running) stopUnits(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.commands[id]; e != nil {
		for cancel := range e.units {
			(*cancel)(errEnded)
		}
	}
}

// cancelAttempts ends the attempts at a command that this process makes.
func (r *running) cancelAttempts(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.commands[id]; e != nil {
		for cancel := range e.coordinators {
			(*cancel)(errCancelled)
		}
	}
}
