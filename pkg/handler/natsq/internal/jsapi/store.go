package jsapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Headers of a compare-and-set.
const (
	HeaderExpectedLast = "Nats-Expected-Last-Subject-Sequence"
	// HeaderWrite has a token that is unique to each write. Bodies alone would not distinguish two
	// coordinators that append the same line at the same time.
	HeaderWrite = "Cv-Write"
)

// ErrConflict means that a compare-and-set certainly failed: the leader has another message on the
// subject.
var ErrConflict = errors.New("another writer was first")

// ErrDuplicate means that JetStream took a message for a repetition because of its Nats-Msg-Id:
// it acknowledged the message and did not store it.
var ErrDuplicate = errors.New("taken for a duplicate because of its Nats-Msg-Id")

// StoredMessage is a message as a stream has it.
type StoredMessage struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// MessageQuery selects the message to read; the fields are JetStream's.
type MessageQuery struct {
	Seq  uint64 `json:"seq,omitempty"`          // this one, or with Next the first from here on
	Last string `json:"last_by_subj,omitempty"` // the last one of a subject
	Next string `json:"next_by_subj,omitempty"` // the next one of a subject, which may have wildcards

	Since *time.Time `json:"start_time,omitempty"` // with Next, in place of Seq: the first from then on
}

// ReadMessageOnce reads a message from the stream's leader, in one try; nil when there is none.
func (c *Client) ReadMessageOnce(ctx context.Context, try int, stream string, g MessageQuery) (*StoredMessage, error) {
	var answer struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := c.APIRequestOnce(ctx, try, "STREAM.MSG.GET."+stream, g, &answer)
	if HasCode(err, CodeNoMessage) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := answer.Message
	if m == nil {
		return nil, fmt.Errorf("read %s: no message: %w", stream, ErrForeignAnswer)
	}
	s := &StoredMessage{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Data: m.Data}
	if len(m.Header) > 0 {
		// Headers that cannot be parsed are left out, as nats.go does on delivery: the message must
		// not stop a reader of those after it.
		s.Header, _ = nats.DecodeHeadersMsg(m.Header)
	}
	return s, nil
}

// ReadMessage is ReadMessageOnce, repeated until the leader answers.
func (c *Client) ReadMessage(ctx context.Context, stream string, g MessageQuery) (*StoredMessage, error) {
	var s *StoredMessage
	err := c.RetryUntilDone(ctx, stream, func(try int) error {
		var err error
		s, err = c.ReadMessageOnce(ctx, try, stream, g)
		return TransientUnlessPermanent(err)
	})
	return s, err
}

// PublishOnce publishes a message to a stream, in one try, and returns its sequence.
func (c *Client) PublishOnce(ctx context.Context, try int, stream string, m *nats.Msg) (uint64, error) {
	sent := &nats.Msg{Subject: c.PublishSubject(m.Subject), Header: m.Header, Data: m.Data}
	answer, err := c.RequestOnce(ctx, try, sent)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error     *APIError `json:"error"`
		Stream    string    `json:"stream"`
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("decode the acknowledgement of %s: %w: %w", m.Subject, ErrForeignAnswer, err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != stream || ack.Seq == 0:
		return 0, fmt.Errorf("%s was stored by %q, not by %s: %w", m.Subject, ack.Stream, stream, ErrForeignAnswer)
	case ack.Duplicate:
		return ack.Seq, ErrDuplicate
	}
	return ack.Seq, nil
}

// Write is a message to be stored by compare-and-set: it becomes the last one of subject if the
// last one now is that with sequence expect (0: if there is none).
type Write struct {
	Stream, Subject string
	Header          nats.Header
	Body            []byte
	Expect          uint64
	// Shrinks means that the caller can make the message smaller: if it is larger than the server
	// takes, the write fails at once with a PayloadError.
	Shrinks bool
	// Supersedes reports whether this message may replace a stored one; nil means never. For
	// PutIfAbsent.
	Supersedes func(*StoredMessage) bool
}

// HeaderKVOperation marks the entry of a deleted key, as nats.go and the nats command line write
// it.
const HeaderKVOperation = "KV-Operation"

// HeaderOriginalPrefix is put before the name of a message's original header that JetStream would
// act on.
const HeaderOriginalPrefix = "Cv-Original-"

// isDuplicate reports whether JetStream did not store a message because another one has its
// Nats-Msg-Id.
func isDuplicate(err error) bool {
	return errors.Is(err, ErrDuplicate) || HasCode(err, CodeDuplicateInDoubt)
}

// MaxStaleAnswers bounds how often a leader is asked again after an answer that it may have given
// because it was just elected and has not caught up. Then the answer is believed.
const MaxStaleAnswers = 6

// CompareAndSet stores a message and returns its sequence. When another writer was first it fails
// with ErrConflict and returns the leader's last message of the subject, nil for none. After any
// other error the message may or may not be stored.
//
// Facts behind it, seen with nats-server 2.15: 10071 is also the answer to one's own repetition,
// after the first try was stored and its answer was lost; 10164 comes while any other write of the
// subject is under way, which may still fail; a publish that reaches a cluster while it elects a
// leader gets no answer at all, or one much later. A repetition is harmless since it expects the
// same sequence. So CompareAndSet reads from the leader and tries again until the outcome is clear.
func (c *Client) CompareAndSet(ctx context.Context, w Write) (uint64, *StoredMessage, error) {
	m := nats.NewMsg(w.Subject)
	maps.Copy(m.Header, w.Header)
	token := rand.Text()
	m.Header.Set(HeaderWrite, token)
	m.Header.Set(HeaderExpectedLast, strconv.FormatUint(w.Expect, 10))
	m.Data = w.Body

	var seq uint64
	var last *StoredMessage
	staleAnswers := 0
	err := c.RetryUntilDone(ctx, w.Stream, func(try int) error {
		var err error
		seq, err = c.PublishOnce(ctx, try, w.Stream, m)
		refused := HasCode(err, CodeWrongLast, CodeWrongLastInDoubt)
		switch {
		case err == nil || IsPermanent(err) && !refused || w.Shrinks && errors.Is(err, ErrTooLarge):
			return err
		case !refused && !MaybeApplied(err) && !errors.Is(err, ErrDuplicate):
			return TransientError{Err: err} // certainly not applied
		}
		l, readErr := c.ReadMessageOnce(ctx, try, w.Stream, MessageQuery{Last: w.Subject})
		if readErr != nil {
			return TransientError{Err: fmt.Errorf("%w; then read the leader: %w", err, readErr)}
		}
		last = l
		if foreign := l == nil || l.Header.Get(HeaderWrite) != token; foreign && isDuplicate(err) {
			// Another message was stored with this id just before. Under the header's other name
			// JetStream does not act on the id.
			m.Header.Set(HeaderOriginalPrefix+nats.MsgIdHdr, m.Header.Get(nats.MsgIdHdr))
			m.Header.Del(nats.MsgIdHdr)
		}
		var have uint64
		if l != nil {
			have = l.Seq
		}
		switch {
		case l != nil && l.Header.Get(HeaderWrite) == token:
			seq = have
			return nil
		case have > w.Expect:
			return ErrConflict
		case have < w.Expect && refused:
			// The leader may not have caught up, or the message with sequence expect is gone.
			if staleAnswers++; staleAnswers >= MaxStaleAnswers {
				return ErrConflict
			}
		}
		return TransientError{Err: err}
	})
	if err != nil {
		return 0, last, err
	}
	return seq, nil, nil
}

// PutIfAbsent stores a message that is written once for ever. It succeeds as well when the subject
// has one already, from any writer, unless w supersedes that one.
func (c *Client) PutIfAbsent(ctx context.Context, w Write) error {
	w.Expect = 0
	for {
		_, last, err := c.CompareAndSet(ctx, w)
		switch {
		case !errors.Is(err, ErrConflict) || last == nil:
			return err
		case w.Supersedes == nil || !w.Supersedes(last):
			return nil
		}
		w.Expect = last.Seq
	}
}

// RemoveSuperseded removes those messages of some subjects that w supersedes.
func (c *Client) RemoveSuperseded(ctx context.Context, w Write, subjects string) error {
	for s, err := range c.MessagesBetween(ctx, w.Stream, subjects, 1, MaxSequence) {
		if err != nil {
			return err
		}
		if !w.Supersedes(s) {
			continue
		}
		if err := c.RemoveMessage(ctx, w.Stream, s.Seq); err != nil {
			return err
		}
	}
	return nil
}

// RemoveMessageOnce removes a message, in one try. It succeeds when the message is gone already.
func (c *Client) RemoveMessageOnce(ctx context.Context, try int, stream string, seq uint64) error {
	var answer struct{}
	err := c.APIRequestOnce(ctx, try, "STREAM.MSG.DELETE."+stream, map[string]any{"seq": seq, "no_erase": true}, &answer)
	if err == nil {
		return nil
	}
	if s, failed := c.ReadMessageOnce(ctx, try, stream, MessageQuery{Seq: seq}); failed == nil && s == nil {
		return nil
	}
	return err
}

// RemoveMessage is RemoveMessageOnce, repeated until the leader answers.
func (c *Client) RemoveMessage(ctx context.Context, stream string, seq uint64) error {
	return c.RetryUntilDone(ctx, stream, func(try int) error {
		return TransientUnlessPermanent(c.RemoveMessageOnce(ctx, try, stream, seq))
	})
}

// Purge removes the messages of a subject up to this one, and none that was stored after it. It is
// for streams whose messages no consumer acknowledges.
func (c *Client) Purge(ctx context.Context, stream string, upTo *StoredMessage) error {
	var answer struct{}
	return c.APIRequest(ctx, stream, "STREAM.PURGE."+stream, map[string]any{"filter": upTo.Subject, "seq": upTo.Seq + 1}, &answer)
}

// SubjectSuffixes lists what follows a prefix in the subjects of a stream, sorted.
func (c *Client) SubjectSuffixes(ctx context.Context, stream, prefix string) ([]string, error) {
	subjects, err := c.subjects(ctx, stream, prefix+">")
	keys := make([]string, 0, len(subjects))
	for subject := range subjects {
		keys = append(keys, strings.TrimPrefix(subject, prefix))
	}
	slices.Sort(keys)
	return keys, err
}

// CountSubjects counts the subjects of a stream's messages that match a pattern.
func (c *Client) CountSubjects(ctx context.Context, stream, pattern string) (int, error) {
	subjects, err := c.subjects(ctx, stream, pattern)
	return len(subjects), err
}

// subjects are those of a stream's messages that match a pattern.
func (c *Client) subjects(ctx context.Context, stream, pattern string) (map[string]struct{}, error) {
	seen := map[string]struct{}{}
	for offset := 0; ; { // JetStream lists up to 100,000 subjects a page
		var answer struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		request := map[string]any{"subjects_filter": pattern, "offset": offset}
		if err := c.APIRequest(ctx, stream, "STREAM.INFO."+stream, request, &answer); err != nil {
			return nil, err
		}
		for subject := range answer.State.Subjects {
			seen[subject] = struct{}{}
		}
		offset += len(answer.State.Subjects)
		if len(answer.State.Subjects) == 0 || offset >= answer.Total {
			return seen, nil
		}
	}
}

// MaxSequence is beyond every sequence that a stream has.
const MaxSequence = ^uint64(0)

// MessagesBetween yields the messages of a subject with from ≤ sequence ≤ to, in order, read one by
// one from the leader.
func (c *Client) MessagesBetween(ctx context.Context, stream, subject string, from, to uint64) iter.Seq2[*StoredMessage, error] {
	return func(yield func(*StoredMessage, error) bool) {
		for next := max(from, 1); next <= to; {
			s, err := c.ReadMessage(ctx, stream, MessageQuery{Seq: next, Next: subject})
			if err != nil {
				yield(nil, err)
				return
			}
			if s == nil || s.Seq > to || !yield(s, nil) || s.Seq == MaxSequence {
				return
			}
			next = s.Seq + 1
		}
	}
}
