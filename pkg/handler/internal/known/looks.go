package known

import (
	"context"
	"errors"
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// Looks has a process look at the job of a command after it stored the results of units: the
// command may have ended meanwhile with those of another replica, and its working objects may have
// been removed before these were stored. Of the units that this process does side by side one looks
// for all: the last one, or one that begins.
type Looks struct {
	// Wanted is the job of a command, as it is now; ErrEnded when that is over.
	Wanted func(ctx context.Context, id string) (contract.Job, error)

	mu       sync.Mutex
	commands map[string]*stored
}

// stored is what the units of a command left that no look came after.
type stored struct {
	atWork int
	remove []func(context.Context)
}

// Begin looks at the job of a command, one of whose units is about to begin. Without an error that
// unit counts as one that is at work, until Leave.
func (l *Looks) Begin(ctx context.Context, id string) (contract.Job, error) {
	l.mu.Lock()
	c := l.commands[id]
	if c == nil {
		c = &stored{}
		if l.commands == nil {
			l.commands = map[string]*stored{}
		}
		l.commands[id] = c
	}
	c.atWork++
	earlier := c.remove
	c.remove = nil
	l.mu.Unlock()
	job, err := l.look(ctx, id, earlier)
	switch {
	case errors.Is(err, delivery.ErrEnded):
		for _, remove := range l.leave(id, nil) { // of units that were left during the look
			remove(ctx)
		}
	case err != nil:
		l.keep(id, earlier)
		l.keep(id, l.leave(id, nil))
	}
	return job, err
}

// keep has the next look of a command, by a unit that begins or is left, be for what other units
// left: a look failed that should have been for them.
func (l *Looks) keep(id string, remove []func(context.Context)) {
	if len(remove) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.commands[id]
	if c == nil {
		if len(l.commands) >= maxKnown { // no unit of some of them may ever come again
			return
		}
		c = &stored{}
		l.commands[id] = c
	}
	c.remove = append(remove, c.remove...)
}

// Leave ends what Begin began. remove removes what the unit stored, should the command be over; nil
// when it stored nothing. When no other unit of the command is at work here Leave looks at the job,
// for all that were. Where that fails the next unit that begins here has the look made.
func (l *Looks) Leave(ctx context.Context, id string, remove func(context.Context)) error {
	left := l.leave(id, remove)
	if len(left) == 0 {
		return nil
	}
	if _, err := l.look(ctx, id, left); err != nil && !errors.Is(err, delivery.ErrEnded) {
		l.keep(id, left)
		return err
	}
	return nil
}

// leave notes what a unit stored and that it is not at work any more. It returns what the last one
// has to look for.
func (l *Looks) leave(id string, remove func(context.Context)) []func(context.Context) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.commands[id]
	if remove != nil {
		c.remove = append(c.remove, remove)
	}
	if c.atWork--; c.atWork > 0 {
		return nil
	}
	delete(l.commands, id)
	return c.remove
}

// look looks at the job of a command. If that is over it removes what was stored before.
func (l *Looks) look(ctx context.Context, id string, before []func(context.Context)) (contract.Job, error) {
	job, err := l.Wanted(ctx, id)
	if errors.Is(err, delivery.ErrEnded) {
		for _, remove := range before {
			remove(ctx)
		}
	}
	return job, err
}
