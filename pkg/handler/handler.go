package handler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Queue is all a Handler needs of JetStream.
type Queue interface {
	JobStore
	LedgerQueue
	CommandQueue
	UnitQueue
	Publisher
	HoldStore
	SecretStore
}

// JobStore keeps the jobs: one entry a command, changed by compare-and-set, always read from the
// leader.
type JobStore interface {
	// Job is the entry and its revision; ErrNoJob when there is none. With ErrNoJob, too, the Job
	// may have a Cancel: one that came before its command.
	Job(ctx context.Context, id string) (contract.Job, uint64, error)
	// PutJob writes the entry when its revision still is rev (0: when there is none), else fails
	// with ErrConflict.
	PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error)
}

// Publisher publishes what happened.
type Publisher interface {
	// PublishEvent stores an event; terminal events and "accepted" once for ever, whoever else
	// tries.
	PublishEvent(ctx context.Context, e contract.Event) error
	// PublishDead stores a dead letter, once.
	PublishDead(ctx context.Context, d contract.DeadLetter) error
}

// Config is what a Handler is made of. Every field without "default" is needed.
type Config struct {
	Queue     Queue
	Resources map[string]*cv.Client // by alias
	Store     *sink.Store           // holds the bags
	Work      *sink.Store           // holds the working objects; default Store
	Prefix    string                // of every key, literal; may be empty
	Accounts  map[string]string     // names of accounts by alias; default the host, with the alias where it is shared
	SpoolDir  string                // for temporary files; default the system's

	Downloads   int   // blobs at once, default 32
	Buffer      int64 // bytes of blobs in memory at once, default 64 MiB
	MaxAttempts int   // of a command and of a unit, default 10
	Window      int   // units of all commands that wait in the queue for a worker, default 16

	Threshold, Overlap float64 // of GetIterationPerformance, default 0.5 and 0.3

	Deletes       DeletePolicy  // default DeletesEnabled
	VerifyTimeout time.Duration // for a deletion to be seen in the service, default 15 minutes

	Pseudonym contract.Pseudonymizer
	Features  contract.Features
	Version   string // the tool's version, as receipts name it
	Health    *Health
	Now       func() time.Time // default time.Now
	// Wait waits between two looks at what was deleted, until d has passed or ctx is done; default
	// a timer.
	Wait func(ctx context.Context, d time.Duration) error
	Salt func() string // of the digests that jobs and bags keep of commands, default NewSalt
	Log  zerolog.Logger
}

// Handler carries commands out: Command as their coordinator, Unit as a worker. Any number of
// processes may run one.
type Handler struct {
	Config
	downloads *semaphore.Weighted
	memory    *semaphore.Weighted
	holder    string // this process, in jobs it holds
	running   running
	pending   pending
}

// New makes a Handler. The error names the field that is missing.
func New(c Config) (*Handler, error) {
	switch {
	case c.Queue == nil:
		return nil, errors.New("make handler: Queue is missing")
	case c.Store == nil:
		return nil, errors.New("make handler: Store is missing")
	case len(c.Resources) == 0:
		return nil, errors.New("make handler: Resources are missing")
	}
	if c.Work == nil {
		c.Work = c.Store
	}
	if c.SpoolDir == "" {
		c.SpoolDir = os.TempDir()
	}
	if c.Now == nil {
		c.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	if c.Salt == nil {
		c.Salt = contract.NewSalt
	}
	if c.Health == nil {
		c.Health = NewHealth(c.Now)
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	c.Deletes = orDefault(c.Deletes, DeletesEnabled)
	c.VerifyTimeout = orDefault(c.VerifyTimeout, 15*time.Minute)
	c.Downloads = orDefault(c.Downloads, 32)
	c.Buffer = orDefault(c.Buffer, 64<<20)
	c.MaxAttempts = orDefault(c.MaxAttempts, 10)
	c.Window = orDefault(c.Window, 16)
	c.Threshold = orDefault(c.Threshold, 0.5)
	c.Overlap = orDefault(c.Overlap, 0.3)
	if c.Buffer < maxInMemory {
		return nil, fmt.Errorf("make handler: Buffer is %d bytes; at least %d are needed for one blob", c.Buffer, maxInMemory)
	}
	return &Handler{
		Config:    c,
		downloads: semaphore.NewWeighted(int64(c.Downloads)),
		memory:    semaphore.NewWeighted(c.Buffer),
		holder:    uuid.NewString(),
		running:   running{commands: map[string]*commandRun{}},
	}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// wait waits for d, or until ctx is done, and returns ctx's cause then.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// layout is where a command's objects are.
func (h *Handler) layout(id string) (sink.Layout, error) {
	l, err := sink.NewLayout(h.Prefix, id)
	if err != nil {
		return sink.Layout{}, fmt.Errorf("name the bundle of %s: %w", id, err)
	}
	return l, nil
}
