package natsq

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// PublishEvent implements handler.Publisher. A terminal event or "accepted" is tried until the
// stream's leader has it. A progress event replaces the one before and is tried once: the next one
// follows soon.
func (q *Queue) PublishEvent(ctx context.Context, e contract.Event) error {
	d := e.Data
	if err := names.CheckTokens(string(d.Action), d.CommandID, string(d.Status)); err != nil {
		return fmt.Errorf("publish event: %w", err)
	}
	subject := q.names.EventSubject(d.Action, d.CommandID, d.Status)
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", subject, err)
	}
	header := nats.Header{"Content-Type": {contract.EventContentType}}
	if d.Status == contract.StatusProgress {
		_, err = q.api.PublishOnce(ctx, 0, q.names.Events, &nats.Msg{Subject: subject, Header: header, Data: body})
		q.recreateMissing(ctx, err)
	} else {
		w := jsapi.Write{Stream: q.names.Events, Subject: subject, Header: header, Body: body}
		err = q.publishAnswer(ctx, w, d.CommandID, string(d.Stream), q.names.EventSubjects(d.CommandID), streamOfEvent)
	}
	if err != nil {
		return fmt.Errorf("publish event %s: %w", subject, err)
	}
	if d.Status == contract.StatusDuplicate {
		q.warnOfRejects(q.rejects.StoredDuplicate(ctx))
	}
	return nil
}

// publishAnswer is PutIfAbsent for an event or a dead letter of a command. A message without an id
// of its own is answered under its sequence, where the answer to a message of an earlier stream may
// be stored: the new answer supersedes that one, under every action. streamOf is the identity of
// the stream that a stored answer belongs to.
func (q *Queue) publishAnswer(ctx context.Context, w jsapi.Write, id, stream, subjects string, streamOf func(*jsapi.StoredMessage) string) error {
	if contract.IsSeqID(id) {
		w.Supersedes = func(s *jsapi.StoredMessage) bool { return contract.EarlierStream(streamOf(s), stream) }
		if err := q.api.RemoveSuperseded(ctx, w, subjects); err != nil {
			return err
		}
	}
	return q.api.PutIfAbsent(ctx, w)
}

// streamOfEvent is the identity of the stream that a stored event's command was published to; empty
// when the event does not have it.
func streamOfEvent(s *jsapi.StoredMessage) string {
	var e contract.Event
	if err := json.Unmarshal(s.Data, &e); err != nil {
		return ""
	}
	return string(e.Data.Stream)
}

// Event reads an event from the leader. It fails with ErrNoMessage when there is none.
func (q *Queue) Event(ctx context.Context, a contract.Action, id string, status contract.Status) (contract.Event, error) {
	if err := names.CheckTokens(string(a), id, string(status)); err != nil {
		return contract.Event{}, fmt.Errorf("read event: %w", err)
	}
	subject := q.names.EventSubject(a, id, status)
	s, err := q.api.ReadMessage(ctx, q.names.Events, jsapi.MessageQuery{Last: subject})
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

// Answer reads from the leader what was answered under a key: a command's terminal event, or the
// duplicate under a sequence. It fails with ErrNoMessage when nothing was.
func (q *Queue) Answer(ctx context.Context, key string) (contract.Event, error) {
	if err := names.CheckKey(key); err != nil {
		return contract.Event{}, fmt.Errorf("read the answer: %w", err)
	}
	id, _ := contract.ParseKey(key)
	subjects := q.names.EventSubjects(id)
	for s, err := range q.api.MessagesBetween(ctx, q.names.Events, subjects, 1, jsapi.MaxSequence) {
		if err != nil {
			return contract.Event{}, fmt.Errorf("read %s: %w", subjects, err)
		}
		var e contract.Event
		if err := json.Unmarshal(s.Data, &e); err != nil {
			return contract.Event{}, fmt.Errorf("decode event %s: %w", s.Subject, err)
		}
		if answer := e.Data.Status.Terminal() || e.Data.Status == contract.StatusDuplicate; answer && e.Data.Key() == key {
			return e, nil
		}
	}
	return contract.Event{}, fmt.Errorf("read %s: %w", subjects, contract.ErrNoMessage)
}

// WatchEvents sends the events of the command with a key in the order in which they were stored,
// beginning with those stored already, until ctx ends; then it closes the channel. A slow reader
// misses progress in between, never another event.
func (q *Queue) WatchEvents(ctx context.Context, key string) (<-chan contract.Event, error) {
	if err := names.CheckKey(key); err != nil {
		return nil, fmt.Errorf("watch events: %w", err)
	}
	id, _ := contract.ParseKey(key)
	return jsapi.Watch(ctx, q.api, q.names.Events, q.names.EventSubjects(id), func(s *jsapi.StoredMessage) (contract.Event, bool) {
		var e contract.Event
		if err := json.Unmarshal(s.Data, &e); err != nil {
			q.log.Warn().Err(err).Str("subject", s.Subject).Msg("cannot decode an event")
			return e, false
		}
		return e, e.Data.Key() == key
	})
}
