package natsq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// PublishEvent publishes an event. Terminal events and "accepted" are stored once for ever: it
// succeeds only when the event is there, whoever published it, as the stream's leader says. A
// progress event replaces the one before and is tried once: the next one is not far.
func (q *Queue) PublishEvent(ctx context.Context, e contract.Event) error {
	d := e.Data
	if err := checkTokens(string(d.Action), d.CommandID, string(d.Status)); err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	subject := q.event(d.Action, d.CommandID, d.Status)
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", subject, err)
	}
	header := nats.Header{"Content-Type": {contract.EventContentType}}
	if d.Status == contract.StatusProgress {
		_, err = q.publishOnce(ctx, 0, q.events, &nats.Msg{Subject: subject, Header: header, Data: body})
		q.heal(ctx, err)
	} else {
		w := write{stream: q.events, subject: subject, header: header, body: body}
		err = q.putAnswer(ctx, w, d.CommandID, string(d.Stream), q.eventsOf(d.CommandID), streamOfEvent)
	}
	if err != nil {
		return fmt.Errorf("publish event %s: %w", subject, err)
	}
	return nil
}

// putAnswer is putOnce for an event or a dead letter of a command. A message that has no id of its
// own is answered under its sequence, where the message of an earlier stream may have its answer:
// that one makes way, under every action. streamOf says to which stream a stored answer belongs.
func (q *Queue) putAnswer(ctx context.Context, w write, id, stream, subjects string, streamOf func(*stored) string) error {
	if contract.IsSeqID(id) {
		w.replaces = func(s *stored) bool { return contract.EarlierStream(streamOf(s), stream) }
		if err := q.removeReplaced(ctx, w, subjects); err != nil {
			return err
		}
	}
	return q.putOnce(ctx, w)
}

// streamOfEvent is the identity of the stream that a stored event's command was published to; empty
// when it does not say.
func streamOfEvent(s *stored) string {
	var e contract.Event
	if err := json.Unmarshal(s.Data, &e); err != nil {
		return ""
	}
	return string(e.Data.Stream)
}

// Event reads an event from the leader; ErrNoMessage when there is none.
func (q *Queue) Event(ctx context.Context, a contract.Action, id string, status contract.Status) (contract.Event, error) {
	if err := checkTokens(string(a), id, string(status)); err != nil {
		return contract.Event{}, fmt.Errorf("read event: %w", err)
	}
	subject := q.event(a, id, status)
	s, err := q.read(ctx, q.events, get{Last: subject})
	if err == nil && s == nil {
		err = contract.ErrNoMessage
	}
	if err != nil {
		return contract.Event{}, fmt.Errorf("read event %s: %w", subject, err)
	}
	var e contract.Event
	if err := json.Unmarshal(s.Data, &e); err != nil {
		return contract.Event{}, fmt.Errorf("decode event %s: %w", subject, err)
	}
	return e, nil
}

// WatchEvents sends the events of one command, those stored already first, in the order they were
// stored, until ctx ends; then it closes the channel. Who reads slowly misses progress in between,
// never another event.
func (q *Queue) WatchEvents(ctx context.Context, id string) (<-chan contract.Event, error) {
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("watch events: %w", err)
	}
	return follow(ctx, q, q.events, q.eventsOf(id), func(s *stored) (contract.Event, bool) {
		var e contract.Event
		if err := json.Unmarshal(s.Data, &e); err != nil {
			q.log.Warn().Err(err).Str("subject", s.Subject).Msg("cannot read an event")
			return e, false
		}
		return e, true
	})
}

// Headers of a dead letter.
const (
	headerErrorCode = "Cv-Error-Code"
	headerError     = "Cv-Error"
	headerAttempts  = "Cv-Attempts"
	headerTime      = "Cv-Time"
	headerTruncated = "Cv-Truncated"
	headerSeq       = "Cv-Seq"      // the message's sequence in the command stream,
	headerStream    = "Cv-Stream"   // which stream that is,
	headerGivenID   = "Cv-Given-Id" // and the id that it gave where it goes by its sequence
	// headerKept is put before the name of an original header that would steer JetStream if it were
	// sent again, or be taken for one of ours.
	headerKept = "Cv-Original-"
)

// maxErrorHeader bounds the Cv-Error header, in bytes.
const maxErrorHeader = 4 << 10

// PublishDead stores a dead letter, once: one that is there already is left as it is. It has the
// original body and headers, but for headers that steer JetStream (Nats-Expected-Stream, Nats-TTL,
// …) or that say where the message was, which get the prefix Cv-Original-. A body that leaves no
// room for the added headers under the server's limit is left out, and Cv-Truncated says how many
// bytes it had.
func (q *Queue) PublishDead(ctx context.Context, d contract.DeadLetter) error {
	if err := checkTokens(string(d.Action), d.ID); err != nil {
		return fmt.Errorf("publish dead letter: %w", err)
	}
	w := write{stream: q.dead, subject: q.deadLetter(d.Action, d.ID), header: nats.Header{}, body: d.Message.Body}
	for name, values := range d.Message.Header {
		name = deadHeaderName(name)
		for _, v := range values {
			w.header[name] = append(w.header[name], singleLine(v))
		}
	}
	w.header.Set(headerErrorCode, singleLine(d.Error.Code))
	text := singleLine(d.Error.Message)
	if len(text) > maxErrorHeader {
		text = strings.ToValidUTF8(text[:maxErrorHeader], "") + "…"
	}
	w.header.Set(headerError, text)
	w.header.Set(headerAttempts, strconv.Itoa(d.Attempts))
	w.header.Set(headerTime, d.Time.UTC().Format(time.RFC3339Nano))
	w.header.Set(headerSeq, strconv.FormatUint(d.Message.Seq, 10))
	for name, value := range map[string]string{headerStream: d.Message.Stream, headerGivenID: d.GivenID} {
		if value != "" {
			w.header.Set(name, value)
		}
	}
	if limit := q.nc.MaxPayload(); limit > 0 && int64(headerBytes(w.header)+len(w.body)) > limit {
		w.header.Set(headerTruncated, strconv.Itoa(len(w.body)))
		w.body = nil
	}
	streamOf := func(s *stored) string { return s.Header.Get(headerStream) }
	if err := q.putAnswer(ctx, w, d.ID, d.Message.Stream, q.deadLetter("*", d.ID), streamOf); err != nil {
		return fmt.Errorf("publish dead letter %s: %w", w.subject, err)
	}
	return nil
}

// deadHeaderName is the name under which a dead letter keeps an original header.
func deadHeaderName(name string) string {
	name = strings.Map(func(r rune) rune { // nats.go refuses to send what it let in
		if r <= ' ' || r >= 0x7f || r == ':' {
			return '_'
		}
		return r
	}, name)
	if strings.EqualFold(name, nats.MsgIdHdr) {
		return name
	}
	if low := strings.ToLower(name); strings.HasPrefix(low, "nats-") || name == "" {
		return headerKept + name
	}
	for _, ours := range []string{headerWrite, headerSeq, headerStream, headerGivenID} {
		if strings.EqualFold(name, ours) {
			return headerKept + name
		}
	}
	return name
}

// singleLine makes text fit for a header's value.
func singleLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

// headerBytes is about how long headers are on the wire, with room for those that put adds.
func headerBytes(h nats.Header) int {
	n := 256
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// PublishUnit queues a unit of work; one that is queued already is left as it is.
func (q *Queue) PublishUnit(ctx context.Context, id string, n int, body []byte) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("publish unit: %w", err)
	}
	if err := q.putOnce(ctx, write{stream: q.work, subject: q.unit(id, n), body: body}); err != nil {
		return fmt.Errorf("publish unit %d of %s: %w", n, id, err)
	}
	return nil
}

// WaitingUnits is how many units, of all commands, were delivered to nobody yet.
func (q *Queue) WaitingUnits(ctx context.Context) (int, error) {
	var info struct {
		Pending int `json:"num_pending"`
	}
	if err := q.api(ctx, q.work, "CONSUMER.INFO."+q.work+"."+workDurable, nil, &info); err != nil {
		return 0, fmt.Errorf("count the waiting units: %w", err)
	}
	return info.Pending, nil
}

// PurgeUnits removes a command's queued units, those being worked on included: their workers'
// acknowledgements then find nothing.
func (q *Queue) PurgeUnits(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("purge units: %w", err)
	}
	if err := q.remove(ctx, q.work, q.unitsOf(id)); err != nil {
		return fmt.Errorf("purge the units of %s: %w", id, err)
	}
	return nil
}

// DrainUnits waits until the queue has no unit of a command, queued or being worked on, but no
// longer than an ack wait: then it removes what is left. Who works on a unit of a command that ends
// settles it only when it has stopped, so that afterwards nobody does who is alive.
func (q *Queue) DrainUnits(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("drain units: %w", err)
	}
	patience, cancel := context.WithTimeoutCause(ctx, q.o.AckWait, errPatience)
	defer cancel()
	for try := 0; ; try++ {
		s, err := q.read(patience, q.work, get{Seq: 1, Next: q.unitsOf(id)})
		if err == nil && s == nil {
			return nil
		}
		if err == nil {
			err = pause(patience, min(try, soonestDrainLook))
		}
		if errors.Is(err, errPatience) {
			return q.PurgeUnits(ctx, id)
		}
		if err != nil {
			return fmt.Errorf("drain the units of %s: %w", id, err)
		}
	}
}

// soonestDrainLook bounds the pause between two looks at a command's units, as pause counts.
const soonestDrainLook = 4

// errPatience is why waiting for units ends.
var errPatience = errors.New("units are left after an ack wait")

// Forget removes what the streams keep of one id: its job, events, dead letters, ledger and queued
// units. Its command is left to be settled by whoever holds it.
func (q *Queue) Forget(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("forget: %w", err)
	}
	for _, one := range []struct{ stream, subject string }{
		{q.work, q.unitsOf(id)}, {q.ledgers, q.ledger(id)}, {q.dead, q.deadLetter("*", id)}, {q.events, q.eventsOf(id)}, {q.jobs, q.job(id)},
	} {
		if err := q.remove(ctx, one.stream, one.subject); err != nil {
			return fmt.Errorf("forget %s: %w", id, err)
		}
	}
	return nil
}

func (s *stored) message() contract.Message {
	return contract.Message{Subject: s.Subject, Header: s.Header, Body: s.Data, Seq: s.Seq, Time: s.Time.UTC()}
}

// CommandsBetween yields the pending command messages with from ≤ sequence < to, in order, from the
// leader: delivered and delayed ones too, settled ones not.
func (q *Queue) CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error] {
	return func(yield func(contract.Message, error) bool) {
		if to == 0 {
			return
		}
		for s, err := range q.between(ctx, q.commands, q.anyCommand(), from, to-1) {
			if err != nil {
				yield(contract.Message{}, fmt.Errorf("read commands: %w", err))
				return
			}
			if !yield(s.message(), nil) {
				return
			}
		}
	}
}

// PublishCommand publishes a command message as it is (Subject, Header, Body) and returns its
// sequence. After a lost answer it is published again, which at worst stores it twice: ids are
// judged by the consumer, and the second is a replay.
func (q *Queue) PublishCommand(ctx context.Context, m contract.Message) (uint64, error) {
	if !strings.HasPrefix(m.Subject, q.command("")) {
		return 0, fmt.Errorf("publish command: %q is not a subject of commands", m.Subject)
	}
	msg := &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Body}
	var seq uint64
	err := q.retryUntilDone(ctx, q.commands, func(try int) error {
		var err error
		seq, err = q.publishOnce(ctx, try, q.commands, msg)
		if errors.Is(err, errDuplicate) {
			// Somebody used the same Nats-Msg-Id within the last 100 ms: this call's former try, or
			// another command, which must not swallow this one.
			s, readErr := q.readOnce(ctx, try, q.commands, get{Seq: seq})
			if readErr == nil && s != nil && s.Subject == m.Subject && bytes.Equal(s.Data, m.Body) {
				return nil
			}
		}
		return retry(err)
	})
	if err != nil {
		return 0, fmt.Errorf("publish command: %w", err)
	}
	return seq, nil
}
