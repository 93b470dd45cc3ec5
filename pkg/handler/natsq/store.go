package natsq

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
	headerExpectedLast = "Nats-Expected-Last-Subject-Sequence"
	// headerWrite has a token that is unique to each write. Bodies alone would not distinguish two
	// coordinators that append the same line at the same time.
	headerWrite = "Cv-Write"
)

// errConflict means that a compare-and-set certainly failed: the leader has another message on the
// subject.
var errConflict = errors.New("another writer was first")

// errDuplicate means that JetStream took a message for a repetition because of its Nats-Msg-Id:
// it acknowledged the message and did not store it.
var errDuplicate = errors.New("taken for a duplicate because of its Nats-Msg-Id")

// storedMessage is a message as a stream has it.
type storedMessage struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// messageQuery selects the message to read; the fields are JetStream's.
type messageQuery struct {
	Seq  uint64 `json:"seq,omitempty"`          // this one, or with Next the first from here on
	Last string `json:"last_by_subj,omitempty"` // the last one of a subject
	Next string `json:"next_by_subj,omitempty"` // the next one of a subject, which may have wildcards
}

// readMessageOnce reads a message from the stream's leader, in one try; nil when there is none.
func (c *client) readMessageOnce(ctx context.Context, try int, stream string, g messageQuery) (*storedMessage, error) {
	var answer struct {
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	err := c.apiRequestOnce(ctx, try, "STREAM.MSG.GET."+stream, g, &answer)
	if hasCode(err, codeNoMessage) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := answer.Message
	if m == nil {
		return nil, fmt.Errorf("read %s: no message: %w", stream, errForeignAnswer)
	}
	s := &storedMessage{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Data: m.Data}
	if len(m.Header) > 0 {
		// Headers that cannot be parsed are left out, as nats.go does on delivery: the message must
		// not stop a reader of those after it.
		s.Header, _ = nats.DecodeHeadersMsg(m.Header)
	}
	return s, nil
}

// readMessage is readMessageOnce, repeated until the leader answers.
func (c *client) readMessage(ctx context.Context, stream string, g messageQuery) (*storedMessage, error) {
	var s *storedMessage
	err := c.retryUntilDone(ctx, stream, func(try int) error {
		var err error
		s, err = c.readMessageOnce(ctx, try, stream, g)
		return transientUnlessPermanent(err)
	})
	return s, err
}

// publishOnce publishes a message to a stream, in one try, and returns its sequence.
func (c *client) publishOnce(ctx context.Context, try int, stream string, m *nats.Msg) (uint64, error) {
	answer, err := c.requestOnce(ctx, try, m)
	if err != nil {
		return 0, err
	}
	var ack struct {
		Error     *apiError `json:"error"`
		Stream    string    `json:"stream"`
		Seq       uint64    `json:"seq"`
		Duplicate bool      `json:"duplicate"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("decode the acknowledgement of %s: %w: %w", m.Subject, errForeignAnswer, err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Stream != stream || ack.Seq == 0:
		return 0, fmt.Errorf("%s was stored by %q, not by %s: %w", m.Subject, ack.Stream, stream, errForeignAnswer)
	case ack.Duplicate:
		return ack.Seq, errDuplicate
	}
	return ack.Seq, nil
}

// write is a message to be stored by compare-and-set: it becomes the last one of subject if the
// last one now is that with sequence expect (0: if there is none).
type write struct {
	stream, subject string
	header          nats.Header
	body            []byte
	expect          uint64
	// supersedes reports whether this message may replace a stored one; nil means never. For
	// putIfAbsent.
	supersedes func(*storedMessage) bool
}

// maxStaleAnswers bounds how often a leader is asked again after an answer that it may have given
// because it was just elected and has not caught up. Then the answer is believed.
const maxStaleAnswers = 6

// compareAndSet stores a message and returns its sequence. When another writer was first it fails
// with errConflict and returns the leader's last message of the subject, nil for none. After any
// other error the message may or may not be stored.
//
// Facts behind it, seen with nats-server 2.15: 10071 is also the answer to one's own repetition,
// after the first try was stored and its answer was lost; 10164 comes while any other write of the
// subject is under way, which may still fail; a publish that reaches a cluster while it elects a
// leader gets no answer at all, or one much later. A repetition is harmless since it expects the
// same sequence. So compareAndSet reads from the leader and tries again until the outcome is clear.
func (c *client) compareAndSet(ctx context.Context, w write) (uint64, *storedMessage, error) {
	m := nats.NewMsg(w.subject)
	maps.Copy(m.Header, w.header)
	token := rand.Text()
	m.Header.Set(headerWrite, token)
	m.Header.Set(headerExpectedLast, strconv.FormatUint(w.expect, 10))
	m.Data = w.body

	var seq uint64
	var last *storedMessage
	staleAnswers := 0
	err := c.retryUntilDone(ctx, w.stream, func(try int) error {
		var err error
		seq, err = c.publishOnce(ctx, try, w.stream, m)
		refused := hasCode(err, codeWrongLast, codeWrongLastInDoubt)
		switch {
		case err == nil || isPermanent(err) && !refused:
			return err
		case !refused && !maybeApplied(err) && !errors.Is(err, errDuplicate):
			return transientError{err} // certainly not applied
		}
		l, readErr := c.readMessageOnce(ctx, try, w.stream, messageQuery{Last: w.subject})
		if readErr != nil {
			return transientError{fmt.Errorf("%w; then read the leader: %w", err, readErr)}
		}
		last = l
		var have uint64
		if l != nil {
			have = l.Seq
		}
		switch {
		case l != nil && l.Header.Get(headerWrite) == token:
			seq = have
			return nil
		case have > w.expect:
			return errConflict
		case have < w.expect && refused:
			// The leader may not have caught up, or the message with sequence expect is gone.
			if staleAnswers++; staleAnswers >= maxStaleAnswers {
				return errConflict
			}
		}
		return transientError{err}
	})
	if err != nil {
		return 0, last, err
	}
	return seq, nil, nil
}

// putIfAbsent stores a message that is written once for ever. It succeeds as well when the subject
// has one already, from any writer, unless w supersedes that one.
func (c *client) putIfAbsent(ctx context.Context, w write) error {
	w.expect = 0
	for {
		_, last, err := c.compareAndSet(ctx, w)
		switch {
		case !errors.Is(err, errConflict) || last == nil:
			return err
		case w.supersedes == nil || !w.supersedes(last):
			return nil
		}
		w.expect = last.Seq
	}
}

// removeSuperseded removes those messages of some subjects that w supersedes.
func (c *client) removeSuperseded(ctx context.Context, w write, subjects string) error {
	for s, err := range c.messagesBetween(ctx, w.stream, subjects, 1, maxSequence) {
		if err != nil {
			return err
		}
		if !w.supersedes(s) {
			continue
		}
		if err := c.removeMessage(ctx, w.stream, s.Seq); err != nil {
			return err
		}
	}
	return nil
}

// removeMessageOnce removes a message, in one try. It succeeds when the message is gone already.
func (c *client) removeMessageOnce(ctx context.Context, try int, stream string, seq uint64) error {
	var answer struct{}
	err := c.apiRequestOnce(ctx, try, "STREAM.MSG.DELETE."+stream, map[string]any{"seq": seq, "no_erase": true}, &answer)
	if err == nil {
		return nil
	}
	if s, failed := c.readMessageOnce(ctx, try, stream, messageQuery{Seq: seq}); failed == nil && s == nil {
		return nil
	}
	return err
}

// removeMessage is removeMessageOnce, repeated until the leader answers.
func (c *client) removeMessage(ctx context.Context, stream string, seq uint64) error {
	return c.retryUntilDone(ctx, stream, func(try int) error {
		return transientUnlessPermanent(c.removeMessageOnce(ctx, try, stream, seq))
	})
}

// subjectSuffixes lists what follows a prefix in the subjects of a stream, sorted.
func (c *client) subjectSuffixes(ctx context.Context, stream, prefix string) ([]string, error) {
	var keys []string
	seen := map[string]struct{}{}
	for offset := 0; ; { // JetStream lists up to 100,000 subjects a page
		var answer struct {
			Total int `json:"total"`
			State struct {
				Subjects map[string]uint64 `json:"subjects"`
			} `json:"state"`
		}
		request := map[string]any{"subjects_filter": prefix + ">", "offset": offset}
		if err := c.apiRequest(ctx, stream, "STREAM.INFO."+stream, request, &answer); err != nil {
			return nil, err
		}
		for subject := range maps.Keys(answer.State.Subjects) {
			if _, ok := seen[subject]; !ok {
				seen[subject] = struct{}{}
				keys = append(keys, strings.TrimPrefix(subject, prefix))
			}
		}
		offset += len(answer.State.Subjects)
		if len(answer.State.Subjects) == 0 || offset >= answer.Total {
			slices.Sort(keys)
			return keys, nil
		}
	}
}

// maxSequence is beyond every sequence that a stream has.
const maxSequence = ^uint64(0)

// messagesBetween yields the messages of a subject with from ≤ sequence ≤ to, in order, read one by
// one from the leader.
func (c *client) messagesBetween(ctx context.Context, stream, subject string, from, to uint64) iter.Seq2[*storedMessage, error] {
	return func(yield func(*storedMessage, error) bool) {
		for next := max(from, 1); next <= to; {
			s, err := c.readMessage(ctx, stream, messageQuery{Seq: next, Next: subject})
			if err != nil {
				yield(nil, err)
				return
			}
			if s == nil || s.Seq > to || !yield(s, nil) || s.Seq == maxSequence {
				return
			}
			next = s.Seq + 1
		}
	}
}
