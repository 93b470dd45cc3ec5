package handler

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/internal/share"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/account"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/activity"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/deletion"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/export"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/known"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/turn"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/worker"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

// Queue is JetStream as a Handler sees it, part by part. All parts are needed.
type Queue struct {
	Jobs     JobStore
	Commands CommandQueue
	Units    UnitQueue
	Notices  Notices
	Ledger   LedgerQueue
	Events   Publisher
	Holds    HoldStore
	Secrets  SecretStore
}

// JobStore keeps the jobs: one entry a command, changed by compare-and-set, always read from the
// leader.
type JobStore interface {
	// Job is the entry under a key (contract.Key) and its revision; ErrNoJob when there is none.
	// With ErrNoJob, too, the Job may have a Cancel: one that came before its command.
	Job(ctx context.Context, key string) (contract.Job, uint64, error)
	// PutJob writes the entry when its revision still is rev (0: when there is none), else fails
	// with ErrConflict.
	PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error)
	// Room is an error while no new job is to be made, because those that are there need what is
	// left of the storage.
	Room(ctx context.Context) error
}

// CommandQueue has the commands that have not been settled yet.
type CommandQueue interface {
	// Prefix is the first token of every subject.
	Prefix() string
	// CommandIn is the message with this sequence in the stream with this identity, an unknown
	// stream ("") being the one that is there; ErrNoMessage when it was settled, and when another
	// stream has taken the place of that one.
	CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error)
	// CommandsBetween yields the messages with from ≤ sequence < to, in order, without the identity
	// of their stream.
	CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error]
	// RemoveCommand settles a message that another replica may hold, or that is delayed. It is for
	// a command whose terminal event is stored.
	RemoveCommand(ctx context.Context, m contract.Message) error
}

// UnitQueue carries units to workers, and word of their results back.
type UnitQueue interface {
	export.Units
	// DrainUnits waits until no unit of a command is queued or being worked on; after an ack wait
	// it removes what is left.
	DrainUnits(ctx context.Context, id string) error
}

// Notices tell replicas of what happened. A notice may get lost.
type Notices interface {
	worker.Notices
	// Over gives word of NotifyOver until stop is called.
	Over(id string) (told <-chan struct{}, stop func(), err error)
}

// Publisher publishes what happened.
type Publisher interface {
	// PublishEvent stores an event; all but progress once for ever, whichever replica publishes
	// first.
	PublishEvent(ctx context.Context, e contract.Event) error
	// Answer is the terminal event of the command with a key; ErrNoMessage when there is none.
	Answer(ctx context.Context, key string) (contract.Event, error)
	// PublishDead stores a dead letter, once.
	PublishDead(ctx context.Context, d contract.DeadLetter) error
}

// LedgerQueue keeps the ledgers of commands.
type LedgerQueue = ledger.Queue

// HoldStore keeps the legal holds.
type HoldStore = deletion.Holds

// SecretStore keeps what only the service knows.
type SecretStore = account.Secrets

// Defaults of a Config.
const (
	DefaultCommands      = 16
	DefaultUnits         = 4
	DefaultDownloads     = 32
	DefaultBuffer        = 64 << 20 // bytes
	DefaultMaxAttempts   = 10
	DefaultWindow        = 16
	DefaultThreshold     = 0.5
	DefaultOverlap       = 0.3
	DefaultVerifyTimeout = 15 * time.Minute
)

// Config is what a Handler is made of. Every field without "default" is needed.
type Config struct {
	Queue     Queue
	Resources map[string]*cv.Client // by alias
	Store     *sink.Store           // holds the bags
	Work      *sink.Store           // holds the working objects; default Store
	Prefix    string                // of every key, literal; may be empty
	Accounts  map[string]string     // names of accounts by alias; default the host, with the alias where it is shared
	SpoolDir  string                // for temporary files; default the system's

	Commands    int   // exports at once, and deletes, default DefaultCommands: as many as Command is called for
	Units       int   // at once, default DefaultUnits: as many as Unit is called for
	Downloads   int   // blobs at once, default DefaultDownloads
	Buffer      int64 // bytes of blobs in memory at once, default DefaultBuffer
	MaxAttempts int   // of a command and of a unit, default DefaultMaxAttempts
	Window      int   // units of all commands that wait in the queue for a worker, default DefaultWindow

	Threshold, Overlap float64 // of GetIterationPerformance, default DefaultThreshold and DefaultOverlap

	LockMode string // of retentions: default sink.Governance

	Trust         trust.Policy          // whose signatures commands need; default: none is looked at
	Deletes       contract.DeletePolicy // default DeletesEnabled, with approvers DeletesApproved
	VerifyTimeout time.Duration         // for a deletion to be seen in the service, default DefaultVerifyTimeout

	Pseudonym contract.Pseudonymizer
	Signing   *signature.Maker // signs receipts; nil: they are unsigned
	Version   string           // the tool's version, as receipts name it
	Health    *health.Health
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
	cfg        Config
	accounts   account.Names
	activities *activity.Activities
	order      *turn.Order
	worker     *worker.Worker
	results    known.Results                   // on their way from workers to coordinators
	slots      map[contract.Action]*share.Pool // of attempts, by resource
	listings   account.Listings                // of projects, by any command
}

// New makes a Handler. The error names the field that is missing.
func New(c Config) (*Handler, error) {
	switch {
	case !c.Queue.complete():
		return nil, errors.New("make handler: a part of Queue is missing")
	case c.Store == nil:
		return nil, errors.New("make handler: Store is missing")
	case len(c.Resources) == 0:
		return nil, errors.New("make handler: Resources are missing")
	}
	c = c.withDefaults()
	h := &Handler{
		cfg:        c,
		accounts:   account.Names{Clients: c.Resources, Names: c.Accounts},
		slots:      newSlots(c),
		activities: activity.New(c.Queue.Notices, c.Queue.Jobs, c.Queue.Commands, c.Log),
	}
	h.order = turn.New(c.Queue.Commands, c.Queue.Jobs, h.account)
	var err error
	h.worker, err = worker.New(worker.Config{
		Commands: c.Queue.Commands, Jobs: c.Queue.Jobs, Notices: c.Queue.Notices, Activities: h.activities, Results: &h.results, Health: c.Health,
		Resources: c.Resources, Store: c.Store, Work: c.Work, Prefix: c.Prefix, SpoolDir: c.SpoolDir,
		Units: c.Units, Downloads: c.Downloads, Buffer: c.Buffer, MaxAttempts: c.MaxAttempts, Threshold: c.Threshold, Overlap: c.Overlap,
		Holder: uuid.NewString(), Now: c.Now, Wait: c.Wait, Secrets: c.Queue.Secrets, Pseudonym: c.Pseudonym, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("make handler: %w", err)
	}
	return h, nil
}

// complete reports whether no part of the queue is missing.
func (q Queue) complete() bool {
	return q.Jobs != nil && q.Commands != nil && q.Units != nil && q.Notices != nil && q.Ledger != nil && q.Events != nil && q.Holds != nil && q.Secrets != nil
}

func (c Config) withDefaults() Config {
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
		c.Health = health.New(c.Now)
	}
	if c.Wait == nil {
		c.Wait = sleep
	}
	c.LockMode = orDefault(c.LockMode, sink.Governance)
	c.Deletes = c.Trust.Deletes(orDefault(c.Deletes, contract.DeletesEnabled))
	c.VerifyTimeout = orDefault(c.VerifyTimeout, DefaultVerifyTimeout)
	c.Commands = orDefault(c.Commands, DefaultCommands)
	c.Units = orDefault(c.Units, DefaultUnits)
	c.Downloads = orDefault(c.Downloads, DefaultDownloads)
	c.Buffer = orDefault(c.Buffer, DefaultBuffer)
	c.MaxAttempts = orDefault(c.MaxAttempts, DefaultMaxAttempts)
	c.Window = orDefault(c.Window, DefaultWindow)
	c.Threshold = orDefault(c.Threshold, DefaultThreshold)
	c.Overlap = orDefault(c.Overlap, DefaultOverlap)
	return c
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// sleep waits for d, or until ctx is done, and returns ctx's cause then.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// Unit does one unit of work and says what becomes of its message. A unit is acknowledged only when
// its result is stored.
func (h *Handler) Unit(ctx context.Context, d delivery.UnitDelivery) delivery.Disposition {
	return h.worker.Unit(ctx, d)
}

// prefix is the first token of every subject.
func (h *Handler) prefix() string { return h.cfg.Queue.Commands.Prefix() }

// account is the name of the account that a resource's alias means, or else the alias.
func (h *Handler) account(alias string) string {
	return strings.ToLower(cmp.Or(h.accounts.Of(alias), alias))
}

// bags are the bags of a command, as they are before it has a job.
func (h *Handler) bags(ctx context.Context, c contract.Command, log zerolog.Logger) (bag.Bags, error) {
	layout, err := sink.NewLayout(h.cfg.Prefix, c.ID)
	if err != nil {
		return bag.Bags{}, fmt.Errorf("name the bundle of %s: %w", c.ID, err)
	}
	sealer, err := account.Sealer(ctx, h.cfg.Queue.Secrets, c.ID, contract.Job{Command: contract.CommandRef{}.WithMessage(c)}.Origin())
	if err != nil {
		return bag.Bags{}, err //nolint:wrapcheck // it says what it reads
	}
	return bag.Bags{
		Store: h.cfg.Store, Work: h.cfg.Work, Layout: layout, Prefix: h.cfg.Prefix, SpoolDir: h.cfg.SpoolDir,
		Command: c, Account: h.accounts.Of(c.Data.Resource), LockMode: h.cfg.LockMode, Signing: h.cfg.Signing, Now: h.cfg.Now, Log: log,
	}.SealedBy(sealer), nil
}

// UnitKinds are the kinds of units that this build knows.
func UnitKinds() []string {
	var all []string
	for _, k := range unit.Kinds() {
		all = append(all, string(k))
	}
	return all
}

// UnitKind is the kind of the unit that a message of the work queue carries, as metrics name it:
// "other" for one that this build does not know.
func UnitKind(body []byte) string {
	var u struct {
		Kind unit.Kind `json:"kind"`
	}
	if err := json.Unmarshal(body, &u); err != nil || !u.Kind.Known() {
		return "other"
	}
	return string(u.Kind)
}
