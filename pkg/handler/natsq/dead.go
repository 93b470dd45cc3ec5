package natsq

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
)

// Headers of a dead letter.
const (
	headerErrorCode = "Cv-Error-Code"
	headerError     = "Cv-Error"
	headerAttempts  = "Cv-Attempts"
	headerTime      = "Cv-Time"
	headerTruncated = "Cv-Truncated"
	headerSeq       = "Cv-Seq"      // the message's sequence in the command stream
	headerStream    = "Cv-Stream"   // the identity of that stream
	headerGivenID   = "Cv-Given-Id" // the id in the message, where the dead letter has another one
	// headerOriginalPrefix is put before the name of an original header that JetStream would act
	// on, or that has the name of a header above.
	headerOriginalPrefix = "Cv-Original-"
)

// maxErrorHeaderBytes bounds the Cv-Error header.
const maxErrorHeaderBytes = 4 << 10

// PublishDead implements handler.Publisher. The dead letter has the original body and headers.
// Headers that JetStream would act on (Nats-Expected-Stream, Nats-TTL, …), or that have the name of
// one added here, get the prefix Cv-Original-. A body that leaves no room for the added headers
// under the server's limit is left out, and Cv-Truncated has its length in bytes.
func (q *Queue) PublishDead(ctx context.Context, d contract.DeadLetter) error {
	if err := checkTokens(string(d.Action), d.ID); err != nil {
		return fmt.Errorf("publish dead letter: %w", err)
	}
	w := jsapi.Write{Stream: q.dead, Subject: q.deadLetterSubject(d.Action, d.ID), Header: nats.Header{}, Body: d.Message.Body}
	for name, values := range d.Message.Header {
		name = deadHeaderName(name)
		for _, v := range values {
			w.Header[name] = append(w.Header[name], singleLine(v))
		}
	}
	w.Header.Set(headerErrorCode, singleLine(d.Error.Code))
	text := singleLine(d.Error.Message)
	if len(text) > maxErrorHeaderBytes {
		text = strings.ToValidUTF8(text[:maxErrorHeaderBytes], "") + "…"
	}
	w.Header.Set(headerError, text)
	w.Header.Set(headerAttempts, strconv.Itoa(d.Attempts))
	w.Header.Set(headerTime, d.Time.UTC().Format(time.RFC3339Nano))
	w.Header.Set(headerSeq, strconv.FormatUint(d.Message.Seq, 10))
	for name, value := range map[string]string{headerStream: d.Message.Stream, headerGivenID: d.GivenID} {
		if value != "" {
			w.Header.Set(name, value)
		}
	}
	if limit := q.nc.MaxPayload(); limit > 0 && int64(headerBytes(w.Header)+len(w.Body)) > limit {
		w.Header.Set(headerTruncated, strconv.Itoa(len(w.Body)))
		w.Body = nil
	}
	streamOf := func(s *jsapi.StoredMessage) string { return s.Header.Get(headerStream) }
	if err := q.publishAnswer(ctx, w, d.ID, d.Message.Stream, q.deadLetterSubject("*", d.ID), streamOf); err != nil {
		return fmt.Errorf("publish dead letter %s: %w", w.Subject, err)
	}
	return nil
}

// deadHeaderName is the name under which a dead letter keeps an original header.
func deadHeaderName(name string) string {
	name = strings.Map(func(r rune) rune { // nats.go refuses to send some names that it received
		if r <= ' ' || r >= 0x7f || r == ':' {
			return '_'
		}
		return r
	}, name)
	if strings.EqualFold(name, nats.MsgIdHdr) {
		return name
	}
	if low := strings.ToLower(name); strings.HasPrefix(low, "nats-") || name == "" {
		return headerOriginalPrefix + name
	}
	for _, ours := range []string{jsapi.HeaderWrite, headerSeq, headerStream, headerGivenID} {
		if strings.EqualFold(name, ours) {
			return headerOriginalPrefix + name
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

// headerBytes estimates how long headers are on the wire, with room for those that CompareAndSet
// adds.
func headerBytes(h nats.Header) int {
	n := 256
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// DeadLetters yields all dead letters, by action and id. It ends at the first error.
func (q *Queue) DeadLetters(ctx context.Context) iter.Seq2[contract.DeadLetter, error] {
	return func(yield func(contract.DeadLetter, error) bool) {
		prefix := q.prefix + ".dead."
		keys, err := q.api.SubjectSuffixes(ctx, q.dead, prefix)
		if err != nil {
			yield(contract.DeadLetter{}, fmt.Errorf("list dead letters: %w", err))
			return
		}
		for _, key := range keys {
			s, err := q.api.ReadMessage(ctx, q.dead, jsapi.MessageQuery{Last: prefix + key})
			if err != nil {
				yield(contract.DeadLetter{}, fmt.Errorf("read dead letter %s: %w", key, err))
				return
			}
			if s != nil && !yield(q.decodeDeadLetter(s), nil) { // nil: removed since it was listed
				return
			}
		}
	}
}

// DeadLetter reads the dead letter of an id from the leader. It fails with ErrNoMessage when there
// is none. The message is as it came, with the subject it was published on; its body is nil when
// PublishDead had to leave it out.
func (q *Queue) DeadLetter(ctx context.Context, id string) (contract.DeadLetter, error) {
	if err := checkID(id); err != nil {
		return contract.DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	s, err := q.api.ReadMessage(ctx, q.dead, jsapi.MessageQuery{Seq: 1, Next: q.deadLetterSubject("*", id)})
	if err == nil && s == nil {
		err = contract.ErrNoMessage
	}
	if err != nil {
		return contract.DeadLetter{}, fmt.Errorf("read the dead letter of %s: %w", id, err)
	}
	return q.decodeDeadLetter(s), nil
}

// RemoveDead removes the dead letter of an id. It succeeds when there is none.
func (q *Queue) RemoveDead(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("remove dead letter: %w", err)
	}
	if err := q.removeMessages(ctx, q.dead, q.deadLetterSubject("*", id)); err != nil {
		return fmt.Errorf("remove the dead letter of %s: %w", id, err)
	}
	return nil
}

// decodeDeadLetter is the dead letter that PublishDead stored as s.
func (q *Queue) decodeDeadLetter(s *jsapi.StoredMessage) contract.DeadLetter {
	action, id, _ := strings.Cut(strings.TrimPrefix(s.Subject, q.prefix+".dead."), ".")
	d := contract.DeadLetter{
		ID: id, GivenID: s.Header.Get(headerGivenID), Action: contract.Action(action),
		Error:   contract.Error{Code: s.Header.Get(headerErrorCode), Message: s.Header.Get(headerError)},
		Message: contract.Message{Subject: q.commandSubject(contract.Action(action)), Header: map[string][]string{}, Body: s.Data, Time: s.Time.UTC()},
		Time:    s.Time.UTC(),
	}
	d.Attempts, _ = strconv.Atoi(s.Header.Get(headerAttempts)) // PublishDead wrote it; from any other writer it counts as 0
	d.Message.Seq, _ = strconv.ParseUint(s.Header.Get(headerSeq), 10, 64)
	d.Message.Stream = s.Header.Get(headerStream)
	if t, err := time.Parse(time.RFC3339Nano, s.Header.Get(headerTime)); err == nil {
		d.Time = t
	}
	if s.Header.Get(headerTruncated) != "" {
		d.Message.Body = nil
	}
	for name, values := range s.Header {
		switch name {
		case headerErrorCode, headerError, headerAttempts, headerTime, headerTruncated, headerSeq, headerStream, headerGivenID, jsapi.HeaderWrite, jsapi.HeaderExpectedLast:
			continue
		}
		if original, ok := strings.CutPrefix(name, headerOriginalPrefix); ok {
			name = original
		}
		d.Message.Header[name] = values
	}
	return d
}
