package natsq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// A sequence identifies a message only together with its stream: a stream that is deleted and
// created again counts from 1, and a message does not name its stream. Two streams of one name
// differ in the time of their creation, which only a stream's info has. So a reading is tied to a
// stream like this: the stream's identity was known before the reading, and the info shows after it
// that it is still the same. A deleted stream does not come back, so it was the same one in
// between.

// CommandStream is the identity of the command stream that is there now: the time of its creation,
// as text. A sequence identifies a message only together with it.
func (q *Queue) CommandStream(ctx context.Context) (string, error) {
	now, err := q.api.StreamIdentity(ctx, q.names.Commands)
	if err == nil {
		q.lastCommandStream.Store(&now)
	}
	return now, err
}

// Command is CommandIn for the command stream that is there now. It believes the leader at once.
func (q *Queue) Command(ctx context.Context, seq uint64) (contract.Message, error) {
	stream := ""
	if known := q.lastCommandStream.Load(); known != nil {
		stream = *known
	}
	for {
		if stream != "" {
			m, now, err := q.commandAndStream(ctx, stream, seq, 0)
			if err != nil || now == stream {
				return m, err
			}
		}
		var err error
		if stream, err = q.CommandStream(ctx); err != nil {
			return contract.Message{}, fmt.Errorf("read command %d: %w", seq, err)
		}
	}
}

// CommandIn implements handler.CommandQueue; the message is read from the leader. A leader that may
// not have caught up is asked again, up to MaxStaleAnswers times.
func (q *Queue) CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error) {
	if stream == "" {
		return q.Command(ctx, seq)
	}
	m, now, err := q.commandAndStream(ctx, stream, seq, jsapi.MaxStaleAnswers)
	if err == nil && now != stream {
		err = fmt.Errorf("read command %d: the stream of %s was replaced by one of %s: %w", seq, stream, now, contract.ErrNoMessage)
	}
	return m, err
}

// commandAndStream reads a command message of a stream whose identity was known before, and returns
// which stream is there now: the message counts only if it is the same. A leader that is behind is
// no proof that the message is gone; it is asked again up to retriesIfBehind times.
func (q *Queue) commandAndStream(ctx context.Context, stream string, seq uint64, retriesIfBehind int) (m contract.Message, now string, err error) {
	if seq == 0 { // JetStream calls it a malformed request
		return contract.Message{}, "", fmt.Errorf("read command 0: %w", contract.ErrNoMessage)
	}
	err = q.api.RetryUntilDone(ctx, q.names.Commands, func(try int) error {
		s, err := q.api.ReadMessageOnce(ctx, try, q.names.Commands, jsapi.MessageQuery{Seq: seq})
		if err != nil {
			return jsapi.TransientUnlessPermanent(err)
		}
		info, err := q.api.StreamInfoOnce(ctx, try, q.names.Commands)
		if err != nil {
			return jsapi.TransientUnlessPermanent(err)
		}
		now = info.Identity()
		q.lastCommandStream.Store(&now)
		switch {
		case now != stream:
			return nil
		case s == nil && info.State.Last < seq && retriesIfBehind > 0:
			retriesIfBehind--
			return jsapi.TransientError{Err: jsapi.ErrLeaderBehind}
		case s == nil:
			return contract.ErrNoMessage
		}
		m = messageOf(s)
		m.Stream = stream
		return nil
	})
	if err != nil {
		err = fmt.Errorf("read command %d: %w", seq, err)
	}
	return m, now, err
}

// Queued reports whether the message with this sequence is in the command stream with this
// identity. It does not read the message, so a user who has no right to read commands may ask.
func (q *Queue) Queued(ctx context.Context, stream string, seq uint64) (bool, error) {
	queued, err := q.api.Holds(ctx, q.names.Commands, stream, seq)
	if err != nil {
		err = fmt.Errorf("look for command %d in the queue: %w", seq, err)
	}
	return queued, err
}

// RemoveCommand implements handler.CommandQueue: it deletes the message, and its holder finds none
// to settle. It succeeds when the message is gone already, also when another stream has its
// sequence now. It tries once.
func (q *Queue) RemoveCommand(ctx context.Context, m contract.Message) error {
	_, err := q.CommandIn(ctx, m.Stream, m.Seq)
	switch {
	case errors.Is(err, contract.ErrNoMessage):
		return nil
	case err != nil:
		return fmt.Errorf("remove command %d: %w", m.Seq, err)
	}
	// JetStream has no conditional removal. To hit another message here, the stream would have to
	// be deleted, created again and filled between these two requests.
	if err := q.api.RemoveMessageOnce(ctx, 0, q.names.Commands, m.Seq); err != nil {
		return fmt.Errorf("remove command %d: %w", m.Seq, err)
	}
	return nil
}

// errEarlierStream means that a delivery's sequence has another message now: the delivery's stream
// was deleted.
var errEarlierStream = errors.New("the message was delivered from an earlier stream")

// identifyStream sets the stream of a delivered command: the one that has the same message at its
// sequence, stored at the same nanosecond with the same content. It fails with ErrNoMessage when no
// message is there, and with errEarlierStream when another one is.
func (q *Queue) identifyStream(ctx context.Context, d *receivedMessage) error {
	m, err := q.Command(ctx, d.seq)
	if err != nil {
		return err
	}
	if !m.Time.Equal(d.time) || m.Subject != d.msg.Subject || !bytes.Equal(m.Body, d.msg.Data) {
		return fmt.Errorf("identify the stream of command %d: %w", d.seq, errEarlierStream)
	}
	d.stream = m.Stream
	return nil
}

// checkStream fails with errEarlierStream when a delivered command's stream was deleted. The server
// would apply an acknowledgement for that delivery to the message that has its sequence now.
func (q *Queue) checkStream(ctx context.Context, d receivedMessage) error {
	now, err := q.CommandStream(ctx)
	if err == nil && now != d.stream {
		err = fmt.Errorf("settle command %d: %w", d.seq, errEarlierStream)
	}
	return err
}

// CommandsBetween implements handler.CommandQueue; the messages are read from the leader, delivered
// and delayed ones too.
func (q *Queue) CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error] {
	return func(yield func(contract.Message, error) bool) {
		if to == 0 {
			return
		}
		for s, err := range q.api.MessagesBetween(ctx, q.names.Commands, q.names.AnyCommandSubject(), from, to-1) {
			if err != nil {
				yield(contract.Message{}, fmt.Errorf("read commands: %w", err))
				return
			}
			if !yield(messageOf(s), nil) {
				return
			}
		}
	}
}

// PublishCommand publishes a command message as it is (Subject, Header, Body) and returns its
// sequence. After a lost answer it publishes the message again, which at worst stores it twice: the
// consumer recognizes the second by its id as a replay.
func (q *Queue) PublishCommand(ctx context.Context, m contract.Message) (uint64, error) {
	if !strings.HasPrefix(m.Subject, q.names.CommandSubject("")) {
		return 0, fmt.Errorf("publish command: %q is not a subject of commands", m.Subject)
	}
	msg := &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Body}
	var seq uint64
	err := q.api.RetryUntilDone(ctx, q.names.Commands, func(try int) error {
		var err error
		seq, err = q.api.PublishOnce(ctx, try, q.names.Commands, msg)
		if errors.Is(err, jsapi.ErrDuplicate) {
			// The Nats-Msg-Id was used within the last minDuplicateWindow: by this call's former
			// try, or by another command, which must not swallow this one.
			s, readErr := q.api.ReadMessageOnce(ctx, try, q.names.Commands, jsapi.MessageQuery{Seq: seq})
			if readErr == nil && s != nil && s.Subject == m.Subject && bytes.Equal(s.Data, m.Body) {
				return nil
			}
		}
		return jsapi.TransientUnlessPermanent(err)
	})
	if err != nil {
		return 0, fmt.Errorf("publish command: %w", err)
	}
	return seq, nil
}

// messageOf is the message as the handler gets it, without the identity of its stream.
func messageOf(s *jsapi.StoredMessage) contract.Message {
	return contract.Message{Subject: s.Subject, Header: s.Header, Body: s.Data, Seq: s.Seq, Time: s.Time.UTC()}
}
