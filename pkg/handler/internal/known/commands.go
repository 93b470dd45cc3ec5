package known

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// Queue has the commands that units are of.
type Queue interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandIn is the message with this sequence in the stream with this identity; ErrNoMessage
	// when it is not there any more.
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
}

// Jobs has the jobs that units are of.
type Jobs interface {
	Job(ctx context.Context, id string) (contract.Job, uint64, error)
}

// Settings are what Commands are made of. Every field is needed.
type Settings struct {
	Queue     Queue
	Jobs      Jobs
	Secrets   account.Secrets // has the keys of digests
	Pseudonym contract.Pseudonymizer
	Now       func() time.Time
}

// Command is a unit's command.
type Command struct {
	Command contract.Command
	Origin  contract.Origin // what the objects of the command are sealed for
}

// Commands reads the commands of units. It may be used by several goroutines.
type Commands struct {
	Settings

	mu   sync.Mutex
	read map[message]reading
}

// NewCommands makes Commands that know none yet.
func NewCommands(s Settings) *Commands {
	return &Commands{Settings: s, read: map[message]reading{}}
}

// message is all that a unit knows its command by.
type message struct {
	id     string
	action contract.Action
	stream string
	seq    uint64
	digest string
}

// reading is a command and when it was read.
type reading struct {
	command Command
	at      time.Time
}

// GoodFor is how long a command counts that was read: as long as it takes a coordinator to see that
// its message is gone. That a command still wants its unit is asked for each time (Wanted).
const GoodFor = delivery.WatchEvery

// maxKnown bounds the commands that are remembered.
const maxKnown = 64

// Of is the command of a unit, which has to be the one that the unit was cut for, and has use for
// it. It fails with ErrNoMessage when that is not in the queue any more, and with ErrEnded when it
// is over. fresh asks for a reading that was not made before; isFresh says that it is one.
func (c *Commands) Of(ctx context.Context, u unit.Unit, fresh bool) (command Command, isFresh bool, err error) {
	m := message{id: u.Command, action: u.Action, stream: string(u.Stream), seq: u.Seq, digest: u.Digest}
	if !fresh {
		if command, ok := c.recall(m); ok {
			return command, false, nil
		}
	}
	begun := c.Now()
	if command.Command, err = c.ask(ctx, u); err != nil {
		return Command{}, true, fmt.Errorf("read the unit's command: %w", err)
	}
	job, err := c.Wanted(ctx, u.Command)
	if err != nil {
		return Command{}, true, err
	}
	command.Origin = job.Origin()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.read) >= maxKnown {
		clear(c.read)
	}
	c.read[m] = reading{command, begun}
	return command, true, nil
}

// recall is the command if it was read not long ago. A clock that went back makes it unknown.
func (c *Commands) recall(m message) (Command, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.read[m]
	if age := c.Now().Sub(r.at); ok && (age < 0 || age >= GoodFor) {
		delete(c.read, m)
		return Command{}, false
	}
	return r.command, ok
}

// ask reads the command of a unit from the queue.
func (c *Commands) ask(ctx context.Context, u unit.Unit) (contract.Command, error) {
	m, err := c.Queue.CommandIn(ctx, string(u.Stream), u.Seq)
	if err != nil {
		return contract.Command{}, err //nolint:wrapcheck // the caller says what it looks for
	}
	command, err := contract.DecodeCommand(c.Queue.Prefix(), m)
	if err != nil || command.ID != u.Command {
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	keys, err := account.DigestKeys(ctx, c.Secrets, &c.Pseudonym, command)
	if err != nil {
		return contract.Command{}, err //nolint:wrapcheck // it says what it reads
	}
	// A unit that an older version cut has no digest. Where the key of a digest was replaced since
	// the command began, stream and sequence have to do.
	if u.Digest != "" && command.Differs(u.Job(), keys) {
		return contract.Command{}, fmt.Errorf("command %d is another one than %s: %w", u.Seq, u.Command, contract.ErrNoMessage)
	}
	return command, nil
}

// Wanted is the job of a command, as it is now. It fails with ErrEnded when that has no use for its
// units any more.
func (c *Commands) Wanted(ctx context.Context, id string) (contract.Job, error) {
	job, _, err := c.Jobs.Job(ctx, id)
	switch {
	case errors.Is(err, contract.ErrNoJob), err == nil && job.Over():
		return job, delivery.ErrEnded
	case err != nil:
		return job, fmt.Errorf("read the unit's job: %w", err)
	}
	return job, nil
}
