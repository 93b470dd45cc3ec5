package natsq

import (
	"cmp"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// DefaultPrefix is the first token of all subjects unless a setting says otherwise.
const DefaultPrefix = "cv"

// Names of the durable consumers. Each action has its own consumer and its own slots: a delete does
// not wait for exports, nor a cancel for either.
const (
	exportsDurable = "exports"
	deletesDurable = "deletes"
	cancelsDurable = "cancels"
	workDurable    = "workers"
)

// Limits of what is created.
const (
	// Below minRetention and minAckWait the server's own timers are too coarse.
	minRetention = time.Second
	minAckWait   = 100 * time.Millisecond
	// minDuplicateWindow is the shortest duplicate window a server allows. With the default of two
	// minutes, a delete, a conflicting command or a cancel whose Nats-Msg-Id was used before would
	// vanish with a positive acknowledgement.
	minDuplicateWindow = 100 * time.Millisecond
	// maxCommandBytes fits 512 KiB of data in base64 with their envelope, and leaves room below the
	// usual 1 MiB of max_payload for the headers of a dead letter.
	maxCommandBytes = 1<<20 - 16<<10
	// maxQueueBytes is how much the queue of commands holds: what publishers send faster than it is
	// worked on must not fill the account. One who publishes more is told that the stream is full.
	maxQueueBytes = 256 << 20
	// leastQueueBytes is how much it holds at least, where the server has no room for more.
	leastQueueBytes = 8 << 20
	// maxSmallBytes is more than holds and secrets ever take.
	maxSmallBytes = 16 << 20
)

// limitBytes sets max_bytes of streams that are created: what an operator asks for, and of the
// queue of commands always. Where streams are only checked, any limit is right.
func (q *Queue) limitBytes(streams []jetstream.StreamConfig) {
	asked := q.options.MaxBytes
	if !q.options.Provision {
		return
	}
	for i := range streams {
		limit := asked
		switch name := streams[i].Name; {
		case name == q.names.Commands:
			limit = min(maxQueueBytes, cmp.Or(asked, q.queueShare.Load(), maxQueueBytes))
		case name == q.names.Holds || name == q.names.Secrets:
			limit = min(maxSmallBytes, asked)
		}
		if limit > 0 {
			streams[i].MaxBytes = limit
		}
	}
}

// streamConfigs are the streams as this package creates them.
func (q *Queue) streamConfigs() []jetstream.StreamConfig {
	// DiscardNew everywhere: a stream with an operator's limit then refuses messages when it is
	// full, and the publisher tries again. DiscardOld would silently drop old commands, ledgers and
	// events.
	stream := func(name, description string, retention jetstream.RetentionPolicy, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: description, Subjects: subjects, Retention: retention,
			Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
			MaxMsgsPerSubject: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		}
	}
	commands := stream(q.names.Commands, "commands to cvconsumer", jetstream.WorkQueuePolicy,
		q.names.CommandSubject(contract.ActionExport), q.names.CommandSubject(contract.ActionDelete), q.names.CommandSubject(contract.ActionCancel))
	commands.Duplicates = minDuplicateWindow
	commands.MaxMsgSize = maxCommandBytes

	work := stream(q.names.Work, "units of work, shared by all replicas", jetstream.WorkQueuePolicy, q.names.Prefix+".work.*.*")

	// Events and dead letters are published when a command ends, and expire. Jobs and ledgers have
	// no age: they must outlive their command, however long that takes. ExpireTraces removes them.
	events := stream(q.names.Events, "what became of commands", jetstream.LimitsPolicy, q.names.Prefix+".events.*.*.*")
	events.MaxMsgsPerSubject = 1
	events.MaxAge = q.options.Retention

	dead := stream(q.names.Dead, "refused and failed commands", jetstream.LimitsPolicy, q.names.Prefix+".dead.*.*")
	dead.MaxMsgsPerSubject = 1
	dead.MaxAge = q.options.Retention
	dead.Duplicates = minDuplicateWindow // a dead letter has the Nats-Msg-Id of its command

	ledgers := stream(q.names.Ledgers, "Training API calls made for commands", jetstream.LimitsPolicy, q.names.Prefix+".ledger.*")
	jobs := bucketStream(q.names.Jobs, "jobs: the state of commands")
	holds := bucketStream(q.names.Holds, "legal holds on projects")

	all := []jetstream.StreamConfig{commands, work, events, dead, ledgers, jobs, holds, bucketStream(q.names.Secrets, "what only the service knows")}
	for i := range all {
		all[i].Replicas = q.options.Replicas
	}
	q.limitBytes(all)
	return all
}

// streamNames are the names of all streams, in the order of streamConfigs.
func (q *Queue) streamNames() []string {
	return []string{q.names.Commands, q.names.Work, q.names.Events, q.names.Dead, q.names.Ledgers, q.names.Jobs, q.names.Holds, q.names.Secrets}
}

// bucketStream is a bucket's stream as nats.go creates it, so that `nats kv` works on it, except
// that AllowDirect is off.
func bucketStream(name, description string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: []string{"$KV." + strings.TrimPrefix(name, "KV_") + ".>"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowRollup: true, DenyDelete: true,
	}
}

// consumerConfig is the durable consumer of a work queue as this package creates it. MaxDeliver is
// unlimited because a message past it would silently stay in the queue, and MaxAckPending because
// delayed messages count: with a limit they would block all others. An empty subject means all of
// the stream's.
func (q *Queue) consumerConfig(durable, subject string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name: durable, Durable: durable, FilterSubject: subject,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.options.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
}
