package natsq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
	leastDuplicates = 100 * time.Millisecond
	// maxCommandSize fits 512 KiB of data in base64 with their envelope, and leaves room below the
	// usual 1 MiB of max_payload for the headers of a dead letter.
	maxCommandSize = 1<<20 - 16<<10
	// maxRounds bounds how often one object is made or changed and looked at again.
	maxRounds = 8
)

// Difference is one way in which a JetStream object is not as it must be.
type Difference struct {
	Object string // the stream, or "<stream> > <consumer>"
	Field  string // as JetStream names it; empty when the object is missing
	Is     string
	Wants  string
	fixed  bool // cannot be changed by an update
}

// String is the difference in one line.
func (d Difference) String() string {
	if d.Field == "" {
		return fmt.Sprintf("%s is %s, wants %s", d.Object, d.Is, d.Wants)
	}
	s := fmt.Sprintf("%s: %s is %s, wants %s", d.Object, d.Field, d.Is, d.Wants)
	if d.fixed {
		s += " (cannot be changed: make it anew)"
	}
	return s
}

// DriftError says that JetStream objects are not as they must be and may not or cannot be changed
// by this process.
type DriftError struct {
	Differences []Difference
}

// Error lists every difference.
func (e *DriftError) Error() string {
	lines := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		lines[i] = d.String()
	}
	return "JetStream is not as it must be: " + strings.Join(lines, "; ")
}

// streams are the streams as they are made here.
func (q *Queue) streams() []jetstream.StreamConfig {
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
		q.command(contract.ActionExport), q.command(contract.ActionDelete), q.command(contract.ActionCancel))
	commands.Duplicates = leastDuplicates
	commands.MaxMsgSize = maxCommandSize

	work := stream(q.work, "units of work, shared by all replicas", jetstream.WorkQueuePolicy, q.prefix+".work.*.*")

	events := stream(q.events, "what became of commands", jetstream.LimitsPolicy, q.prefix+".events.*.*.*")
	events.MaxMsgsPerSubject = 1
	events.MaxAge = q.o.Retention

	dead := stream(q.dead, "refused and failed commands", jetstream.LimitsPolicy, q.prefix+".dead.*.*")
	dead.MaxMsgsPerSubject = 1
	dead.MaxAge = q.o.Retention
	dead.Duplicates = leastDuplicates // a dead letter keeps the Nats-Msg-Id of its command

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

// consumer is the durable of a work queue as it is made here. MaxDeliver is unlimited because a
// message past it would stay in the queue without a word, and MaxAckPending because delayed
// messages count: with a limit they would block all others. An empty subject is all of the
// stream's.
func (q *Queue) consumer(durable, subject string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Name: durable, Durable: durable, FilterSubject: subject,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.o.AckWait,
		MaxDeliver: -1, MaxAckPending: -1, ReplayPolicy: jetstream.ReplayInstantPolicy,
	}
}

// change is a difference, and the value of the field that would mend it.
type change struct {
	Difference
	set any
}

// comparison collects the changes one object needs.
type comparison struct {
	object  string
	changes []change
}

// want demands that a field that an update can change is as it must be.
func want[T any](c *comparison, ok bool, field string, is, wants T) {
	if !ok {
		c.changes = append(c.changes, change{Difference{Object: c.object, Field: field, Is: show(is), Wants: show(wants)}, wants})
	}
}

// insist is want for a field that no update can change.
func insist[T any](c *comparison, ok bool, field string, is, wants T) {
	if !ok {
		c.changes = append(c.changes, change{Difference{Object: c.object, Field: field, Is: show(is), Wants: show(wants), fixed: true}, nil})
	}
}

// show is a value as a difference names it.
func show(v any) string {
	switch v := v.(type) {
	case fmt.Stringer:
		return v.String()
	case string:
		if v == "" {
			return `""`
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// atLeast tells whether a limit is no lower than another; zero and less is no limit.
func atLeast[T int32 | int64 | time.Duration](is, wants T) bool {
	return is <= 0 || wants > 0 && is >= wants
}

// compareStream tells what must change in a stream. What an operator set beyond our needs is left
// alone: more replicas, longer retention, more history, limits of the whole stream, placement,
// compression, sources, further subjects.
func compareStream(is, wants jetstream.StreamConfig) []change {
	c := &comparison{object: wants.Name}
	var missing []string
	for _, s := range wants.Subjects {
		if !slices.ContainsFunc(is.Subjects, func(have string) bool { return covers(have, s) }) {
			missing = append(missing, s)
		}
	}
	switch {
	case len(missing) == len(wants.Subjects): // somebody else's stream of the same name
		insist(c, false, "subjects", is.Subjects, wants.Subjects)
	case len(missing) > 0:
		want(c, false, "subjects", is.Subjects, append(slices.Clone(is.Subjects), missing...))
	}
	insist(c, is.Retention == wants.Retention, "retention", is.Retention, wants.Retention)
	insist(c, is.Storage == wants.Storage, "storage", is.Storage, wants.Storage)
	insist(c, is.Mirror == nil, "mirror", is.Mirror != nil, false)
	insist(c, !is.Sealed, "sealed", is.Sealed, false)
	insist(c, !is.DenyPurge, "deny_purge", is.DenyPurge, false)
	insist(c, is.PersistMode == wants.PersistMode, "persist_mode", is.PersistMode, wants.PersistMode) // async acknowledges what a crash may lose
	insist(c, !is.AllowMsgCounter, "allow_msg_counter", is.AllowMsgCounter, false)
	// A publisher's Nats-TTL would take a command away before it has an end.
	insist(c, !is.AllowMsgTTL || wants.Retention != jetstream.WorkQueuePolicy, "allow_msg_ttl", is.AllowMsgTTL, false)
	want(c, is.SubjectTransform == nil, "subject_transform", is.SubjectTransform, nil)
	want(c, is.Replicas >= wants.Replicas, "num_replicas", is.Replicas, wants.Replicas)
	want(c, atLeast(is.MaxAge, wants.MaxAge), "max_age", is.MaxAge, wants.MaxAge)
	switch {
	case wants.MaxMsgsPerSubject < 0:
		want(c, is.MaxMsgsPerSubject <= 0, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	case wants.AllowRollup: // a bucket, whose history may be longer
		want(c, is.MaxMsgsPerSubject >= wants.MaxMsgsPerSubject, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	default:
		want(c, is.MaxMsgsPerSubject == wants.MaxMsgsPerSubject, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	}
	want(c, is.Discard == wants.Discard, "discard", is.Discard, wants.Discard)
	want(c, !is.DiscardNewPerSubject, "discard_new_per_subject", is.DiscardNewPerSubject, false)
	want(c, wants.Duplicates == 0 || is.Duplicates <= wants.Duplicates, "duplicate_window", is.Duplicates, wants.Duplicates)
	want(c, atLeast(is.MaxMsgSize, wants.MaxMsgSize), "max_msg_size", is.MaxMsgSize, wants.MaxMsgSize)
	want(c, !is.NoAck, "no_ack", is.NoAck, false)
	// A publisher's Nats-Rollup would remove everybody's commands.
	want(c, is.AllowRollup == wants.AllowRollup, "allow_rollup_hdrs", is.AllowRollup, wants.AllowRollup)
	// We ask the leader anyhow; this is for whoever reads with stock tools.
	want(c, is.AllowDirect == wants.AllowDirect, "allow_direct", is.AllowDirect, wants.AllowDirect)
	return c.changes
}

// covers tells whether subject pattern have takes in all of the pattern sub.
func covers(have, sub string) bool {
	h, s := strings.Split(have, "."), strings.Split(sub, ".")
	for i, token := range h {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || s[i] == ">":
			return false
		case token != "*" && token != s[i]:
			return false
		}
	}
	return len(h) == len(s)
}

// compareConsumer tells what must change in a consumer.
func compareConsumer(stream string, is, wants jetstream.ConsumerConfig) []change {
	c := &comparison{object: stream + " > " + wants.Durable}
	insist(c, is.AckPolicy == wants.AckPolicy, "ack_policy", is.AckPolicy, wants.AckPolicy)
	insist(c, is.DeliverPolicy == wants.DeliverPolicy, "deliver_policy", is.DeliverPolicy, wants.DeliverPolicy)
	insist(c, is.DeliverSubject == "", "deliver_subject", is.DeliverSubject, "")
	insist(c, is.PriorityPolicy == wants.PriorityPolicy, "priority_policy", is.PriorityPolicy, wants.PriorityPolicy)
	want(c, is.AckWait >= wants.AckWait, "ack_wait", is.AckWait, wants.AckWait)
	want(c, is.MaxDeliver <= 0, "max_deliver", is.MaxDeliver, wants.MaxDeliver)
	want(c, is.MaxAckPending <= 0, "max_ack_pending", is.MaxAckPending, wants.MaxAckPending)
	want(c, len(is.BackOff) == 0, "backoff", is.BackOff, nil)
	want(c, is.FilterSubject == wants.FilterSubject, "filter_subject", is.FilterSubject, wants.FilterSubject)
	want(c, len(is.FilterSubjects) == 0, "filter_subjects", is.FilterSubjects, nil)
	want(c, !is.HeadersOnly, "headers_only", is.HeadersOnly, false)
	want(c, is.MaxRequestBatch <= 0, "max_batch", is.MaxRequestBatch, 0)
	want(c, is.MaxRequestExpires <= 0, "max_expires", is.MaxRequestExpires, 0)
	want(c, is.MaxRequestMaxBytes <= 0, "max_bytes", is.MaxRequestMaxBytes, 0)
	want(c, is.InactiveThreshold <= 0, "inactive_threshold", is.InactiveThreshold, 0)
	return c.changes
}

// object is a JetStream object that is looked at, made and changed the same way, whatever it is.
type object struct {
	name                 string // as differences name it
	stream               string
	info, create, update string // API subjects
	missing              int    // the code that says it is not there
	config               any    // as it is made
	envelope             func(config any, action string) any
	compare              func(config []byte) ([]change, error)
}

func (q *Queue) objects() []object {
	var all []object
	for _, wants := range q.streams() {
		all = append(all, object{
			name: wants.Name, stream: wants.Name, config: wants, missing: codeStreamNotFound,
			info: "STREAM.INFO." + wants.Name, create: "STREAM.CREATE." + wants.Name, update: "STREAM.UPDATE." + wants.Name,
			envelope: func(config any, _ string) any { return config },
			compare: func(config []byte) ([]change, error) {
				var is jetstream.StreamConfig
				err := json.Unmarshal(config, &is)
				return compareStream(is, wants), err
			},
		})
	}
	for _, c := range []struct {
		stream, durable, subject string
	}{
		{q.commands, exportsDurable, q.command(contract.ActionExport)},
		{q.commands, deletesDurable, q.command(contract.ActionDelete)},
		{q.commands, cancelsDurable, q.command(contract.ActionCancel)},
		{q.work, workDurable, ""},
	} {
		wants := q.consumer(c.durable, c.subject)
		create := "CONSUMER.CREATE." + c.stream + "." + c.durable
		all = append(all, object{
			name: c.stream + " > " + c.durable, stream: c.stream, config: wants, missing: codeConsumerNotFound,
			info: "CONSUMER.INFO." + c.stream + "." + c.durable, create: create, update: create,
			envelope: func(config any, action string) any {
				return map[string]any{"stream_name": c.stream, "config": config, "action": action}
			},
			compare: func(config []byte) ([]change, error) {
				var is jetstream.ConsumerConfig
				err := json.Unmarshal(config, &is)
				return compareConsumer(c.stream, is, wants), err
			},
		})
	}
	return all
}

// provision finds or makes everything, and lists what differs from what it must be and cannot or
// may not be changed.
func (q *Queue) provision(ctx context.Context) error {
	drift := &DriftError{}
	lost := map[string]bool{} // streams that are missing: their consumers go without saying
	for _, o := range q.objects() {
		if lost[o.stream] {
			continue
		}
		var differences []Difference
		err := q.retryUntilDone(ctx, o.name, func(try int) error {
			var err error
			differences, err = q.ensure(ctx, try, o)
			if err == nil || finalHere(err) {
				return err
			}
			return errRetry{err}
		})
		if err != nil {
			return fmt.Errorf("provision %s: %w", o.name, err)
		}
		drift.Differences = append(drift.Differences, differences...)
		lost[o.stream] = len(differences) == 1 && differences[0].Field == ""
	}
	if len(drift.Differences) > 0 {
		return drift
	}
	return nil
}

// finalHere is final for making and changing objects, where most refusals are about the
// configuration, whatever their code.
func finalHere(err error) bool {
	var api *apiError
	if !errors.As(err, &api) {
		return isPermanent(err)
	}
	const noPeers = 10005 // servers that have not found each other yet
	return api.Code != 503 && !hasCode(err, codeNotLeader, codeStreamNotFound, codeConsumerNotFound, noPeers)
}

// ensure looks at an object once and makes or mends it, if that is allowed; then it looks again. On
// a cluster two replicas that make the same stream at once can leave each other without an answer,
// which the short deadline of a try, and the next try, cure.
func (q *Queue) ensure(ctx context.Context, try int, o object) ([]Difference, error) {
	for range maxRounds {
		var info struct {
			Config json.RawMessage `json:"config"`
		}
		err := q.apiOnce(ctx, try, o.info, nil, &info)
		var done json.RawMessage
		switch {
		case hasCode(err, o.missing) && !q.o.Provision:
			return []Difference{{Object: o.name, Is: "missing", Wants: "to exist"}}, nil
		case hasCode(err, o.missing):
			err = q.apiOnce(ctx, try, o.create, o.envelope(o.config, "create"), &done)
			if hasCode(err, codeStreamNameInUse, codeConsumerExists) {
				continue // somebody was faster
			}
			if err != nil {
				return nil, err
			}
			q.log.Info().Str("object", o.name).Msg("made in JetStream")
			continue
		case err != nil:
			return nil, err
		}
		changes, err := o.compare(info.Config)
		if err != nil {
			return nil, fmt.Errorf("decode the configuration: %w", err)
		}
		if len(changes) == 0 {
			return nil, nil
		}
		var differences []Difference
		mendable := q.o.Provision
		for _, c := range changes {
			differences = append(differences, c.Difference)
			mendable = mendable && !c.fixed
		}
		if !mendable {
			return differences, nil
		}
		// Only the fields that must change are touched: a newer server's configuration may have
		// some this build does not know.
		var config map[string]any
		if err := json.Unmarshal(info.Config, &config); err != nil {
			return nil, fmt.Errorf("decode the configuration: %w", err)
		}
		for _, c := range changes {
			config[c.Field] = c.set
		}
		if err := q.apiOnce(ctx, try, o.update, o.envelope(config, "update"), &done); err != nil {
			return nil, fmt.Errorf("change %s: %w", fields(differences), err)
		}
		q.log.Info().Str("object", o.name).Stringer("changes", fields(differences)).Msg("changed in JetStream")
	}
	return nil, errors.New("it is changed by somebody else all the time")
}

// codeConsumerExists says that a consumer was made with another configuration meanwhile.
const codeConsumerExists = 10148

// fields prints differences.
type fields []Difference

// String lists the fields, what they are and what is wanted.
func (f fields) String() string {
	parts := make([]string, len(f))
	for i, d := range f {
		parts[i] = fmt.Sprintf("%s from %s to %s", d.Field, d.Is, d.Wants)
	}
	return strings.Join(parts, ", ")
}

// healPause is how long a stream may take to be gone. One that is made again while it is being
// deleted answers nobody for minutes: its consumers are told of the deletion before it is over.
const healPause = 500 * time.Millisecond

// heal makes streams and consumers again that somebody deleted while we run, when err says so and
// Provision allows it. A cluster between two leaders looks the same at first; then it finds nothing
// to make.
func (q *Queue) heal(ctx context.Context, err error) {
	if !q.o.Provision || ctx.Err() != nil || !errors.Is(err, nats.ErrNoResponders) && !hasCode(err, codeStreamNotFound, codeConsumerNotFound) {
		return
	}
	if !q.healing.TryLock() {
		return
	}
	defer q.healing.Unlock()
	if wait(ctx, healPause) != nil {
		return
	}
	for _, o := range q.objects() {
		differences, err := q.ensure(ctx, 0, o)
		if err != nil {
			return // the caller tries again, and so will this
		}
		for _, d := range differences {
			q.log.Error().Stringer("difference", d).Msg("JetStream is not as it must be")
		}
	}
}
