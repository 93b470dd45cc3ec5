package natsq

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

const (
	// minRetention and minAckWait keep settings in reach of the server's clockwork.
	minRetention = time.Second
	minAckWait   = 100 * time.Millisecond
	// leastDuplicates is the least duplicate window a server allows. With the default of two
	// minutes, a delete, a conflicting command or a cancel whose Nats-Msg-Id was used before would
	// vanish with a positive acknowledgement.
	minDuplicateWindow = 100 * time.Millisecond
	// maxCommandSize fits 512 KiB of data in base64 with their envelope, and leaves room below the
	// usual 1 MiB of max_payload for the headers of a dead letter.
	maxCommandBytes = 1<<20 - 16<<10
	// maxRounds bounds how often one object is made or changed and looked at again.
	maxEnsurePasses = 8
)

// streams are the streams as they are made here.
func (q *Queue) streamConfigs() []jetstream.StreamConfig {
	// DiscardNew everywhere: a stream that an operator gave a limit refuses when it is full, and
	// what is refused is tried again; the other way old commands, ledgers and events would be
	// thrown away without a word.
	stream := func(name, description string, retention jetstream.RetentionPolicy, subjects ...string) jetstream.StreamConfig {
		return jetstream.StreamConfig{
			Name: name, Description: description, Subjects: subjects, Retention: retention,
			Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
			MaxMsgsPerSubject: -1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		}
	}
	commands := stream(q.commands, "commands to cvconsumer", jetstream.WorkQueuePolicy,
		q.commandSubject(contract.ActionExport), q.commandSubject(contract.ActionDelete), q.commandSubject(contract.ActionCancel))
	commands.Duplicates = minDuplicateWindow
	commands.MaxMsgSize = maxCommandBytes

	work := stream(q.work, "units of work, shared by all replicas", jetstream.WorkQueuePolicy, q.prefix+".work.*.*")

	events := stream(q.events, "what became of commands", jetstream.LimitsPolicy, q.prefix+".events.*.*.*")
	events.MaxMsgsPerSubject = 1
	events.MaxAge = q.o.Retention

	dead := stream(q.dead, "refused and failed commands", jetstream.LimitsPolicy, q.prefix+".dead.*.*")
	dead.MaxMsgsPerSubject = 1
	dead.MaxAge = q.o.Retention
	dead.Duplicates = minDuplicateWindow // a dead letter keeps the Nats-Msg-Id of its command

	ledgers := stream(q.ledgers, "Training API calls made for commands", jetstream.LimitsPolicy, q.prefix+".ledger.*")
	ledgers.MaxAge = q.o.Retention

	jobs := bucketStream(q.jobs, "jobs: the state of commands")
	jobs.MaxAge = q.o.Retention
	holds := bucketStream(q.holds, "legal holds on projects")

	all := []jetstream.StreamConfig{commands, work, events, dead, ledgers, jobs, holds, bucketStream(q.secrets, "what only the service knows")}
	for i := range all {
		all[i].Replicas = q.o.Replicas
	}
	return all
}

func (q *Queue) streamNames() []string {
	return []string{q.commands, q.work, q.events, q.dead, q.ledgers, q.jobs, q.holds, q.secrets}
}

// bucketStream is a bucket's stream as nats.go makes it, so that `nats kv` works on it, but for
// AllowDirect.
func bucketStream(name, description string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: []string{"$KV." + strings.TrimPrefix(name, "KV_") + ".>"},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		AllowRollup: true, DenyDelete: true,
	}
}

// consumer is the durable of a work queue as it is made here. MaxDeliver is unlimited because a
// message past it would stay in the queue without a word, and MaxAckPending because delayed
// messages count: with a limit they would block all others. An empty subject is all of the
// stream's.
func (q *Queue) consumerConfig(durable, subject string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name: durable, Durable: durable, FilterSubject: subject,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.o.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
}
