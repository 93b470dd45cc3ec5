package drift

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Difference is one way in which a JetStream object differs from what is required.
type Difference struct {
	Object    string // the stream, or "<stream> > <consumer>"
	Field     string // as JetStream names it; empty when the object is missing
	Is        string
	Wants     string
	Immutable bool // no update can change the field
}

// String is the difference in one line.
func (d Difference) String() string {
	if d.Field == "" {
		return fmt.Sprintf("%s is %s, wants %s", d.Object, d.Is, d.Wants)
	}
	s := fmt.Sprintf("%s: %s is %s, wants %s", d.Object, d.Field, d.Is, d.Wants)
	if d.Immutable {
		s += " (cannot be updated: delete and create it again)"
	}
	return s
}

// Error means that JetStream objects differ from what is required, and that this process may
// not or cannot change them.
type Error struct {
	Differences []Difference
}

// Error lists every difference.
func (e *Error) Error() string {
	lines := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		lines[i] = d.String()
	}
	return "JetStream differs from what is required: " + strings.Join(lines, "; ")
}

// Change is a difference, and the value that the field must be set to.
type Change struct {
	Difference Difference
	Set        any
}

// comparison collects the changes that one object needs.
type comparison struct {
	object  string
	changes []Change
}

// requireUpdatable records a difference, unless ok, in a field that an update can change.
func requireUpdatable[T any](c *comparison, ok bool, field string, is, wants T) {
	if !ok {
		c.changes = append(c.changes, Change{Difference{Object: c.object, Field: field, Is: formatValue(is), Wants: formatValue(wants)}, wants})
	}
}

// requireImmutable is requireUpdatable for a field that no update can change.
func requireImmutable[T any](c *comparison, ok bool, field string, is, wants T) {
	if !ok {
		c.changes = append(c.changes, Change{Difference{Object: c.object, Field: field, Is: formatValue(is), Wants: formatValue(wants), Immutable: true}, nil})
	}
}

// formatValue is a value as a difference shows it.
func formatValue(v any) string {
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

// age is the age of a stream's messages as a difference shows it.
type age time.Duration

// String implements fmt.Stringer.
func (a age) String() string {
	if a <= 0 {
		return "no limit"
	}
	return time.Duration(a).String()
}

// atLeast reports whether a limit is no lower than another; zero and less mean no limit.
func atLeast[T int32 | int64 | time.Duration](is, wants T) bool {
	return is <= 0 || wants > 0 && is >= wants
}

// limit is a limit in bytes as a difference shows it.
type limit int64

// String implements fmt.Stringer.
func (l limit) String() string {
	if l <= 0 {
		return "no limit"
	}
	return strconv.FormatInt(int64(l), 10)
}

// CompareStream lists what must change in a stream. What an operator set beyond that stays:
// more replicas, longer retention, more history, limits of the whole stream, placement,
// compression, sources, further subjects.
func CompareStream(is, wants jetstream.StreamConfig) []Change {
	c := &comparison{object: wants.Name}
	var missing []string
	for _, s := range wants.Subjects {
		if !slices.ContainsFunc(is.Subjects, func(have string) bool { return subjectCovers(have, s) }) {
			missing = append(missing, s)
		}
	}
	switch {
	case len(missing) == len(wants.Subjects): // another product's stream of the same name
		requireImmutable(c, false, "subjects", is.Subjects, wants.Subjects)
	case len(missing) > 0:
		requireUpdatable(c, false, "subjects", is.Subjects, append(slices.Clone(is.Subjects), missing...))
	}
	requireImmutable(c, is.Retention == wants.Retention, "retention", is.Retention, wants.Retention)
	requireImmutable(c, is.Storage == wants.Storage, "storage", is.Storage, wants.Storage)
	requireImmutable(c, is.Mirror == nil, "mirror", is.Mirror != nil, false)
	requireImmutable(c, !is.Sealed, "sealed", is.Sealed, false)
	requireImmutable(c, !is.DenyPurge, "deny_purge", is.DenyPurge, false)
	requireImmutable(c, is.PersistMode == wants.PersistMode, "persist_mode", is.PersistMode, wants.PersistMode) // async mode acknowledges what a crash may lose
	requireImmutable(c, !is.AllowMsgCounter, "allow_msg_counter", is.AllowMsgCounter, false)
	// A publisher's Nats-TTL would remove a command before it has ended.
	requireImmutable(c, !is.AllowMsgTTL || wants.Retention != jetstream.WorkQueuePolicy, "allow_msg_ttl", is.AllowMsgTTL, false)
	requireUpdatable(c, is.SubjectTransform == nil, "subject_transform", is.SubjectTransform, nil)
	requireUpdatable(c, is.Replicas >= wants.Replicas, "num_replicas", is.Replicas, wants.Replicas)
	requireUpdatable(c, atLeast(is.MaxAge, wants.MaxAge), "max_age", age(is.MaxAge), age(wants.MaxAge))
	switch {
	case wants.MaxMsgsPerSubject < 0:
		requireUpdatable(c, is.MaxMsgsPerSubject <= 0, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	case wants.AllowRollup: // a bucket, whose history may be longer
		requireUpdatable(c, is.MaxMsgsPerSubject >= wants.MaxMsgsPerSubject, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	default:
		requireUpdatable(c, is.MaxMsgsPerSubject == wants.MaxMsgsPerSubject, "max_msgs_per_subject", is.MaxMsgsPerSubject, wants.MaxMsgsPerSubject)
	}
	requireUpdatable(c, is.Discard == wants.Discard, "discard", is.Discard, wants.Discard)
	requireUpdatable(c, !is.DiscardNewPerSubject, "discard_new_per_subject", is.DiscardNewPerSubject, false)
	requireUpdatable(c, wants.Duplicates == 0 || is.Duplicates <= wants.Duplicates, "duplicate_window", is.Duplicates, wants.Duplicates)
	requireUpdatable(c, atLeast(is.MaxMsgSize, wants.MaxMsgSize), "max_msg_size", is.MaxMsgSize, wants.MaxMsgSize)
	// Whatever an operator chose, a queue must not be able to fill the account.
	queue := wants.Retention == jetstream.WorkQueuePolicy && wants.MaxBytes > 0
	requireUpdatable(c, !queue || is.MaxBytes > 0, "max_bytes", limit(is.MaxBytes), limit(wants.MaxBytes))
	requireUpdatable(c, !is.NoAck, "no_ack", is.NoAck, false)
	// A publisher's Nats-Rollup would remove the commands of all others.
	requireUpdatable(c, is.AllowRollup == wants.AllowRollup, "allow_rollup_hdrs", is.AllowRollup, wants.AllowRollup)
	// This package reads from the leader anyhow; the setting is for readers with stock tools.
	requireUpdatable(c, is.AllowDirect == wants.AllowDirect, "allow_direct", is.AllowDirect, wants.AllowDirect)
	return c.changes
}

// subjectCovers reports whether the pattern have matches every subject that the pattern sub does.
func subjectCovers(have, sub string) bool {
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

// CompareConsumer lists what must change in a consumer.
func CompareConsumer(stream string, is, wants jetstream.ConsumerConfig) []Change {
	c := &comparison{object: stream + " > " + wants.Durable}
	requireImmutable(c, is.AckPolicy == wants.AckPolicy, "ack_policy", is.AckPolicy, wants.AckPolicy)
	requireImmutable(c, is.DeliverPolicy == wants.DeliverPolicy, "deliver_policy", is.DeliverPolicy, wants.DeliverPolicy)
	requireImmutable(c, is.DeliverSubject == "", "deliver_subject", is.DeliverSubject, "")
	requireImmutable(c, is.PriorityPolicy == wants.PriorityPolicy, "priority_policy", is.PriorityPolicy, wants.PriorityPolicy)
	requireUpdatable(c, is.AckWait >= wants.AckWait, "ack_wait", is.AckWait, wants.AckWait)
	requireUpdatable(c, is.MaxDeliver <= 0, "max_deliver", is.MaxDeliver, wants.MaxDeliver)
	requireUpdatable(c, is.MaxAckPending <= 0, "max_ack_pending", is.MaxAckPending, wants.MaxAckPending)
	requireUpdatable(c, len(is.BackOff) == 0, "backoff", is.BackOff, nil)
	requireUpdatable(c, is.FilterSubject == wants.FilterSubject, "filter_subject", is.FilterSubject, wants.FilterSubject)
	requireUpdatable(c, len(is.FilterSubjects) == 0, "filter_subjects", is.FilterSubjects, nil)
	requireUpdatable(c, !is.HeadersOnly, "headers_only", is.HeadersOnly, false)
	requireUpdatable(c, is.MaxRequestBatch <= 0, "max_batch", is.MaxRequestBatch, 0)
	requireUpdatable(c, is.MaxRequestExpires <= 0, "max_expires", is.MaxRequestExpires, 0)
	requireUpdatable(c, is.MaxRequestMaxBytes <= 0, "max_bytes", is.MaxRequestMaxBytes, 0)
	requireUpdatable(c, is.InactiveThreshold <= 0, "inactive_threshold", is.InactiveThreshold, 0)
	return c.changes
}

// Summary prints differences as an update makes them.
type Summary []Difference

// String lists the fields, each with its present and its required value.
func (f Summary) String() string {
	parts := make([]string, len(f))
	for i, d := range f {
		parts[i] = fmt.Sprintf("%s from %s to %s", d.Field, d.Is, d.Wants)
	}
	return strings.Join(parts, ", ")
}
