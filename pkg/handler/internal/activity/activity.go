package activity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// ErrCancelled says that the job of the command at hand has a cancel now.
var ErrCancelled = errors.New("the command was cancelled")

// ErrMessageGone says that the message of the command at hand is not in its stream any more: it was
// settled by another replica, or lost with the stream. Later commands do not wait for this one any
// more, and the server ignores answers to its delivery.
var ErrMessageGone = fmt.Errorf("the command's message is not in its stream any more: %w", delivery.ErrFenced)

// Notices gives word that a command is over.
type Notices interface {
	// Over gives word of NotifyOver until stop is called.
	Over(id string) (told <-chan struct{}, stop func(), err error)
}

// Jobs has the jobs of the commands under way.
type Jobs interface {
	Job(ctx context.Context, id string) (contract.Job, uint64, error)
}

// Commands has their messages.
type Commands interface {
	// CommandIn is the message with this sequence in the stream with this identity; ErrNoMessage
	// when it is not there any more.
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
}

// Activities tracks what this process does for each command, and stops it when the command ends.
type Activities struct {
	notices  Notices
	jobs     Jobs
	messages Commands
	log      zerolog.Logger

	mu       sync.Mutex
	commands map[string]*commandRun
}

// New makes the activities of a process that does nothing yet.
func New(n Notices, jobs Jobs, messages Commands, log zerolog.Logger) *Activities {
	return &Activities{notices: n, jobs: jobs, messages: messages, log: log, commands: map[string]*commandRun{}}
}

// commandRun is all that this process does for one command.
type commandRun struct {
	activities map[*activity]struct{}
	stop       context.CancelFunc // ends watching its job
}

// activity is an attempt at a command or at one of its units.
type activity struct {
	cancel context.CancelCauseFunc
	ended  func() error
	unit   int // -1 of the coordinator
	// Of the coordinator:
	command contract.Command // that it carries out, as it came
	holder  contract.Text    // its name in the job,
	rev     uint64           // since this revision
}

func (t *activity) coordinates() bool { return t.unit < 0 }

// StartUnit begins a unit of a command. The context ends with ErrEnded when the command is over;
// done is to be called when the unit has stopped.
func (s *Activities) StartUnit(ctx context.Context, id string, n int) (_ context.Context, done func()) {
	return s.start(ctx, id, &activity{unit: n})
}

// StartAttempt begins an attempt at a command by the holder that its job names since revision rev.
// The context ends with ErrCancelled when the command is cancelled, with ErrFenced when another
// replica is its holder, and with ErrGone, which is an ErrFenced, when the command's message is not
// in the queue any more.
func (s *Activities) StartAttempt(ctx context.Context, c contract.Command, holder contract.Text, rev uint64) (_ context.Context, done func()) {
	return s.start(ctx, c.ID, &activity{unit: -1, command: c, holder: holder, rev: rev})
}

func (s *Activities) start(ctx context.Context, id string, t *activity) (context.Context, func()) {
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.ended = ctx.Err
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.commands[id]
	if e == nil {
		e = &commandRun{activities: map[*activity]struct{}{}}
		s.commands[id] = e
		// WithoutCancel is safe here: watching only reads, and ends with the last activity.
		watching, stop := context.WithCancel(context.WithoutCancel(ctx))
		e.stop = stop
		go s.watchJob(watching, id)
	}
	e.activities[t] = struct{}{}
	return ctx, func() {
		t.cancel(nil)
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(e.activities, t)
		if len(e.activities) == 0 {
			e.stop()
			delete(s.commands, id)
		}
	}
}

// betweenLooks is how long a look at a job is good for at least. A notice is only a reason to look,
// and any client may send it: many of them cause one look.
const betweenLooks = 200 * time.Millisecond

// watchJob ends what this process does for a command once its job says so. It looks when it is told
// to, by any replica, and now and then.
func (s *Activities) watchJob(ctx context.Context, id string) {
	told, stop, err := s.notices.Over(id)
	if err != nil {
		s.log.Warn().Err(err).Str("command_id", id).Msg("cannot listen for notices, polling the job")
	} else {
		defer stop()
	}
	ticker := time.NewTicker(delivery.WatchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-told:
		case <-ticker.C:
		}
		job, rev, err := s.jobs.Job(ctx, id)
		switch {
		case errors.Is(err, contract.ErrNoJob): // forgotten
			s.StopUnits(id)
		case err != nil:
		case job.Over():
			s.StopUnits(id)
			switch {
			case job.Cancel != nil:
				s.stop(id, ErrCancelled, (*activity).coordinates)
			case job.State.Terminal(): // by another replica, or by this attempt itself, which is done then
				s.stop(id, delivery.ErrFenced, func(t *activity) bool { return t.coordinates() && t.rev < rev })
			}
		default: // an older job would be a reading from a leader that lags
			s.stop(id, delivery.ErrFenced, func(t *activity) bool { return t.coordinates() && t.holder != job.Holder && t.rev < rev })
			s.stopLost(ctx, id)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(betweenLooks):
		}
	}
}

// stopLost stops the coordinators of a command whose message is not in the queue any more.
func (s *Activities) stopLost(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(ctx, delivery.WatchEvery) // an end has to be heard while the stream is away
	defer cancel()
	for _, t := range s.coordinators(id) {
		if _, err := s.messages.CommandIn(ctx, t.command.Stream, t.command.Seq); errors.Is(err, contract.ErrNoMessage) {
			s.log.Warn().Err(err).Str("command_id", id).Msg("command message gone, stopping the attempt; publish the command again to continue it")
			t.cancel(ErrMessageGone)
		}
	}
}

// StopUnits ends the units of a command that run in this process.
func (s *Activities) StopUnits(id string) {
	s.stop(id, delivery.ErrEnded, func(t *activity) bool { return t.unit >= 0 })
}

// stop ends some of what this process does for a command.
func (s *Activities) stop(id string, cause error, which func(*activity) bool) {
	s.each(id, func(t *activity) {
		if which(t) {
			t.cancel(cause)
		}
	})
}

// Coordinates reports whether this process makes an attempt, which was not called off, at the
// command that came with this very message. An attempt for another message of the command is called
// off, as that message is gone; other says that there is one.
func (s *Activities) Coordinates(c contract.Command) (same, other bool) {
	for _, t := range s.coordinators(c.ID) {
		if t.command.Seq == c.Seq && t.command.Stream == c.Stream {
			same = true
			continue
		}
		other = true
		t.cancel(ErrMessageGone)
	}
	return same, other
}

// Coordinating reports whether this process makes an attempt at a command, which was not called
// off.
func (s *Activities) Coordinating(id string) bool { return len(s.coordinators(id)) > 0 }

// coordinators are the attempts at a command that this process makes and that were not called off.
func (s *Activities) coordinators(id string) (all []*activity) {
	s.each(id, func(t *activity) {
		if t.coordinates() && t.ended() == nil {
			all = append(all, t)
		}
	})
	return all
}

// Working reports whether this process works on a unit, which was not called off.
func (s *Activities) Working(id string, unit int) (yes bool) {
	s.each(id, func(t *activity) { yes = yes || t.unit == unit && t.ended() == nil })
	return yes
}

func (s *Activities) each(id string, f func(*activity)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.commands[id]; e != nil {
		for t := range e.activities {
			f(t)
		}
	}
}
