package natsq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/drift"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/listeners"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/overview"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/rejects"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/room"
)

// Defaults of Options.
const (
	DefaultRetention = 720 * time.Hour
	DefaultAckWait   = 30 * time.Second
)

// Options configures a Queue.
type Options struct {
	Prefix     string        // first token of all subjects, default DefaultPrefix; streams and buckets have it in upper case
	Replicas   int           // of the streams and buckets: 1 (default), 3 or 5
	Provision  bool          // create what is missing and raise what is too low; false only compares
	Retention  time.Duration // how long events, dead letters, ledgers and jobs are kept, default DefaultRetention
	AckWait    time.Duration // how long a delivery is held without a heartbeat, default DefaultAckWait
	Domain     string        // of JetStream, where it is not that of the server
	MaxBytes   int64         // of each stream and bucket that is created, for accounts that demand it; default: only the queue of commands is limited
	FailDenied bool          // what the server denies, or does not take because it is too large, fails at once instead of being tried again
	Log        zerolog.Logger
	Now        func() time.Time // default time.Now
}

// DriftError means that JetStream objects differ from what is required, and that this process may
// not or cannot change them.
type DriftError = drift.Error

// Difference is one way in which a JetStream object differs from what is required.
type Difference = drift.Difference

// Queue is JetStream as this product uses it. It implements every part of handler.Queue and is safe
// for concurrent use.
type Queue struct {
	names   names.Names
	options Options
	nc      *nats.Conn
	api     *jsapi.Client
	log     zerolog.Logger
	now     func() time.Time

	rejects           *rejects.Trimmer       // of what was never carried out
	room              *room.Room             // for new commands
	queueShare        atomic.Int64           // how much of the account's storage the queue of commands may take; 0: not known
	recreating        sync.Mutex             // held while one operation recreates what is missing
	lastCommandStream atomic.Pointer[string] // the identity of the command stream, as last read
	secretCache       sync.Map               // secrets by name, each read once
	listeners         listeners.Listeners    // for results of units
}

// ErrDenied means that the server does not permit this user to publish on a subject, or to
// subscribe to it. The error names both.
var ErrDenied = jsapi.ErrDenied

// ErrTooLarge means that a message is larger than the connected server takes. The error names the
// server's setting.
var ErrTooLarge = jsapi.ErrTooLarge

// ErrReplicas means that the servers cannot keep as many replicas as Options.Replicas asks for.
var ErrReplicas = jsapi.ErrReplicas

// ErrTooMany means that the account has as many streams, or consumers, as it may have.
var ErrTooMany = jsapi.ErrTooMany

// ErrNoJetStream means that the server has no JetStream, at all or for this user's account.
var ErrNoJetStream = jsapi.ErrNoJetStream

// Open is New and Provision.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Queue, error) {
	q, err := New(nc, o)
	if err != nil {
		return nil, err
	}
	if err := q.Provision(ctx); err != nil {
		return nil, err
	}
	return q, nil
}

// Waiting is why operations wait for JetStream now; nil when they do not.
func (q *Queue) Waiting() error { return q.api.FirstProblem() }

// OpenRequester opens the queue for one who publishes commands, reads what became of them, or keeps
// house: it creates and changes no stream or bucket, serves nothing, listens on no subject but the
// connection's inbox, and fails at once when the server denies something. It only makes sure that
// the stream of events is there, which every such user may ask about. Only Prefix, Domain, Log and
// Now of the options count.
func OpenRequester(ctx context.Context, nc *nats.Conn, o Options) (*Queue, error) {
	q, err := New(nc, Options{Prefix: o.Prefix, Domain: o.Domain, FailDenied: true, Log: o.Log, Now: o.Now})
	if err != nil {
		return nil, err
	}
	err = q.api.RetryUntilDone(ctx, q.names.Events, func(try int) error {
		_, err := q.api.StreamInfoOnce(ctx, try, q.names.Events)
		if jsapi.HasCode(err, jsapi.CodeStreamNotFound) {
			return &DriftError{Differences: []Difference{{Object: q.names.Events, Is: "missing", Wants: "to exist"}}}
		}
		return jsapi.TransientUnlessPermanent(err)
	})
	if err != nil {
		return nil, fmt.Errorf("look for the stream %s: %w", q.names.Events, err)
	}
	return q, nil
}

// New makes a queue, which asks NATS for nothing yet: before it serves, Provision has to succeed.
// The caller keeps the connection and closes it.
func New(nc *nats.Conn, o Options) (*Queue, error) {
	n, err := names.New(cmp.Or(o.Prefix, DefaultPrefix))
	if err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	q := &Queue{names: n, options: o, nc: nc, log: o.Log, now: o.Now}
	q.api = jsapi.New(nc, jsapi.Options{Domain: o.Domain, FailDenied: o.FailDenied, Recreate: q.recreateMissing, Log: o.Log})
	q.rejects = rejects.New(q.api, rejects.Places{
		Dead: q.names.Dead, Events: q.names.Events, Jobs: q.names.Jobs, DeadPrefix: q.names.Prefix + ".dead.", Event: q.names.EventSubject, Job: q.names.JobSubject,
	})
	q.room = &room.Room{API: q.api, Replicas: o.Replicas, Streams: []string{q.names.Ledgers, q.names.Jobs, q.names.Events}, Now: o.Now}
	return q, nil
}

// Room implements handler.JobStore: it is an error that says why while new commands have to wait,
// because what is under way needs what is left of NATS' storage.
func (q *Queue) Room(ctx context.Context) error {
	return q.room.Short(ctx) //nolint:wrapcheck // it says what is short
}

// withDefaults sets the defaults and checks what was set.
func (o Options) withDefaults() (Options, error) {
	o.Prefix = cmp.Or(o.Prefix, DefaultPrefix)
	switch o.Replicas {
	case 0:
		o.Replicas = 1
	case 1, 3, 5:
	default:
		return o, fmt.Errorf("replicas is %d: it must be 1, 3 or 5", o.Replicas)
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Retention < minRetention {
		return o, fmt.Errorf("retention is %s: it must be at least %s", o.Retention, minRetention)
	}
	if o.AckWait == 0 {
		o.AckWait = DefaultAckWait
	}
	if o.AckWait < minAckWait {
		return o, fmt.Errorf("ack wait is %s: it must be at least %s", o.AckWait, minAckWait)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	return o, nil
}

// Backlog is what the queues hold; see Queue.Backlog.
type Backlog = overview.Backlog

// Backlog asks the leaders what the queues hold, once.
func (q *Queue) Backlog(ctx context.Context) (Backlog, error) {
	return overview.ReadBacklog(ctx, q.api, q.names) //nolint:wrapcheck // it says what it reads
}

// JobCursor is how far ChangedJobs has read.
type JobCursor = overview.JobCursor

// ChangedJobs is overview.ReadJobs: the jobs that changed since an earlier reading.
func (q *Queue) ChangedJobs(ctx context.Context, c JobCursor) ([]overview.Job, JobCursor, bool, error) {
	return overview.ReadJobs(ctx, q.api, q.names, c)
}

// Prefix implements handler.CommandQueue.
func (q *Queue) Prefix() string { return q.names.Prefix }

// Ping checks that NATS is connected, that every stream's leader answers, that the server denies no
// notices, that no operation waits for JetStream, and that there is room for new commands. The
// error names the stream, consumer or subject, and the reason.
func (q *Queue) Ping(ctx context.Context) error {
	if s := q.nc.Status(); s != nats.CONNECTED {
		return fmt.Errorf("NATS is not connected (%s): %w", s, errors.Join(q.nc.LastError(), nats.ErrDisconnected))
	}
	for _, stream := range q.streamNames() {
		if err := q.api.CheckLeader(ctx, stream); err != nil {
			return err
		}
	}
	for _, subject := range []string{q.names.OverSubject("*"), q.names.ResultSubject("*")} {
		if err := q.api.CheckNotices(ctx, subject); err != nil {
			return err
		}
	}
	if err := q.api.FirstProblem(); err != nil {
		return err
	}
	return q.Room(ctx)
}
