package natsq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// Defaults of Options.
const (
	DefaultRetention = 720 * time.Hour
	DefaultAckWait   = 30 * time.Second
)

// Options says which JetStream objects are used, and how.
type Options struct {
	Prefix    string        // first token of all subjects, default "cv"; streams and buckets are its upper case
	Replicas  int           // of streams and buckets that are made here: 1 (default), 3 or 5
	Provision bool          // make what is missing and raise what is too low; false only compares
	Retention time.Duration // how long events, dead letters, ledgers and jobs are kept, default 720h
	AckWait   time.Duration // how long a delivery is held without a heartbeat, default 30s
	Log       zerolog.Logger
	Now       func() time.Time // default time.Now
}

// Queue is all of JetStream as this product uses it. It is safe for concurrent use.
type Queue struct {
	names
	o    Options
	nc   *nats.Conn
	js   jetstream.JetStream
	log  zerolog.Logger
	now  func() time.Time
	send func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) // one request and its answer; tests lose either

	health            health
	recreating        sync.Mutex             // one repair at a time
	lastCommandStream atomic.Pointer[string] // the stream of commands that was there at the last look: its identity
	secretCache       sync.Map               // secrets by name
}

// Open finds or makes the streams, buckets and consumers. It waits for servers that are away and
// clusters without a leader until ctx ends, but fails at once with a *DriftError when something
// that exists is not as it must be and may not be changed: because Provision is false, or because
// JetStream cannot change it. The connection stays the caller's.
func Open(ctx context.Context, nc *nats.Conn, o Options) (*Queue, error) {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	n, err := newNames(o.Prefix)
	if err != nil {
		return nil, err
	}
	switch o.Replicas {
	case 0:
		o.Replicas = 1
	case 1, 3, 5:
	default:
		return nil, fmt.Errorf("replicas is %d: 1, 3 or 5 are possible", o.Replicas)
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	if o.Retention < minRetention {
		return nil, fmt.Errorf("retention is %s: at least %s are needed", o.Retention, minRetention)
	}
	if o.AckWait == 0 {
		o.AckWait = DefaultAckWait
	}
	if o.AckWait < minAckWait {
		return nil, fmt.Errorf("ack wait is %s: at least %s are needed", o.AckWait, minAckWait)
	}
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the default of an injected clock
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("make a JetStream context: %w", err)
	}
	q := &Queue{names: n, o: o, nc: nc, js: js, log: o.Log, now: o.Now, send: nc.RequestMsgWithContext}
	q.health = health{log: o.Log, problems: map[string]*problem{}}
	if err := q.provision(ctx); err != nil {
		return nil, err
	}
	return q, nil
}

// Prefix is the first token of every subject.
func (q *Queue) Prefix() string { return q.prefix }

// Ping asks whether the connection and every stream's leader answer, and whether a write or a pull
// is being waited for. The error names the stream and the reason.
func (q *Queue) Ping(ctx context.Context) error {
	if s := q.nc.Status(); s != nats.CONNECTED {
		return fmt.Errorf("NATS is not connected (%s): %w", s, errors.Join(q.nc.LastError(), nats.ErrDisconnected))
	}
	for _, stream := range q.streamNames() {
		var answer struct {
			Cluster *struct {
				Leader string `json:"leader"`
			} `json:"cluster"`
		}
		if err := q.apiRequestOnce(ctx, 0, "STREAM.INFO."+stream, nil, &answer); err != nil {
			return fmt.Errorf("ask for stream %s: %w", stream, err)
		}
		if answer.Cluster != nil && answer.Cluster.Leader == "" {
			return fmt.Errorf("stream %s has no leader", stream)
		}
	}
	return q.health.firstProblem()
}
