// Package rejects bounds what NATS keeps of messages that were never carried out: those that never
// were commands, and those that only repeat an earlier one. Every publisher can make any number of
// these, and the traces of each (dead letter, job and event) are kept as long as those of commands.
// Beyond the limits the oldest go. What is kept of commands is never touched.
package rejects

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/letter"
)

// Limits are how much is kept. Each replica may exceed them by what it stores between two looks.
type Limits struct {
	Letters    int   // dead letters of what never was a command, each with its job and its event
	Bytes      int64 // of these letters
	Duplicates int   // events that say that a message repeats an earlier one
}

// Default is how much is kept by default.
func Default() Limits { return Limits{Letters: 10_000, Bytes: 32 << 20, Duplicates: 10_000} }

// How many letters, or duplicates, a process stores between two looks. A look at the duplicates
// lists them all.
const (
	lettersBetweenLooks    = 16
	duplicatesBetweenLooks = 256
)

// Places are where traces are kept.
type Places struct {
	Dead, Events, Jobs string // streams
	DeadPrefix         string // of the subjects of dead letters, before "<action>.<id>"
	Event              func(contract.Action, string, contract.Status) string
	Job                func(key string) string
}

// Trimmer removes what is too much. It is safe for concurrent use, also by any number of processes.
type Trimmer struct {
	api    *jsapi.Client
	places Places
	Limits Limits // to be set before use

	storedLetters, storedDuplicates atomic.Int64

	mu     sync.Mutex // held by one look at the letters at a time
	stream string     // the identity of the stream of dead letters
	next   uint64     // the first sequence there that was not looked at
	kept   []reject   // oldest first
	bytes  int64      // of these
}

// reject is a dead letter of what never was a command.
type reject struct {
	seq     uint64 // of the letter
	bytes   int64
	key, id string
	action  contract.Action
	message uint64 // its message's sequence
	stream  string // and stream
}

// New makes a Trimmer.
func New(api *jsapi.Client, places Places) *Trimmer {
	return &Trimmer{api: api, places: places, Limits: Default()}
}

// StoredLetter is to be called after a dead letter of what never was a command was stored.
func (t *Trimmer) StoredLetter(ctx context.Context) error {
	if t.storedLetters.Add(1)%lettersBetweenLooks != 0 || !t.mu.TryLock() {
		return nil
	}
	defer t.mu.Unlock()
	return t.trimLetters(ctx)
}

// StoredDuplicate is to be called after the event of a duplicate was stored.
func (t *Trimmer) StoredDuplicate(ctx context.Context) error {
	if t.storedDuplicates.Add(1)%duplicatesBetweenLooks != 0 {
		return nil
	}
	return t.trimDuplicates(ctx)
}

// Trim removes what is too much now.
func (t *Trimmer) Trim(ctx context.Context) error {
	if err := t.trimDuplicates(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trimLetters(ctx)
}

// trimLetters looks at the letters that were stored since the last look, by any process, and
// removes the oldest rejects that are too many, with all their traces.
func (t *Trimmer) trimLetters(ctx context.Context) error {
	stream, err := t.api.StreamIdentity(ctx, t.places.Dead)
	if err != nil {
		return err
	}
	if stream != t.stream {
		t.stream, t.next, t.kept, t.bytes = stream, 0, nil, 0
	}
	for s, err := range t.api.MessagesBetween(ctx, t.places.Dead, t.places.DeadPrefix+"*.*", t.next, jsapi.MaxSequence) {
		if err != nil {
			return fmt.Errorf("look through the dead letters: %w", err)
		}
		t.next = s.Seq + 1
		if r, ok := t.rejectOf(s); ok {
			t.kept = append(t.kept, r)
			t.bytes += r.bytes
		}
	}
	for len(t.kept) > t.Limits.Letters || t.bytes > t.Limits.Bytes {
		oldest := t.kept[0]
		if err := t.remove(ctx, oldest); err != nil {
			return fmt.Errorf("remove the traces of %s: %w", oldest.key, err)
		}
		t.kept = t.kept[1:]
		t.bytes -= oldest.bytes
	}
	return nil
}

// rejectOf reports whether a stored letter is that of a reject, and which.
func (t *Trimmer) rejectOf(s *jsapi.StoredMessage) (reject, bool) {
	d := letter.Decode(s.Header, s.Data, s.Time)
	if !d.NeverCommand() {
		return reject{}, false
	}
	action, id, _ := strings.Cut(strings.TrimPrefix(s.Subject, t.places.DeadPrefix), ".")
	r := reject{
		seq: s.Seq, bytes: int64(len(s.Data)), id: id, action: contract.Action(action), key: contract.Key(contract.Action(action), id),
		message: d.Message.Seq, stream: d.Message.Stream,
	}
	for name, values := range s.Header {
		for _, v := range values {
			r.bytes += int64(len(name) + len(v))
		}
	}
	return r, true
}

// remove removes the traces of a reject: its event and its job, unless another message has these
// places by now, and then the letter, without which the others would not be found again. The job
// stays if it keeps a copy of a signed delete from being carried out: only a trusted signer can
// make such jobs, and they expire.
func (t *Trimmer) remove(ctx context.Context, r reject) error {
	event, err := t.api.ReadMessage(ctx, t.places.Events, jsapi.MessageQuery{Last: t.places.Event(r.action, r.id, contract.StatusRefused)})
	if err != nil {
		return err
	}
	var e contract.Event
	if event != nil && json.Unmarshal(event.Data, &e) == nil && r.isOf(e.Data.Seq, e.Data.Stream) {
		if err := t.api.RemoveMessage(ctx, t.places.Events, event.Seq); err != nil {
			return err
		}
	}
	job, err := t.api.ReadMessage(ctx, t.places.Jobs, jsapi.MessageQuery{Last: t.places.Job(r.key)})
	if err != nil {
		return err
	}
	if job != nil {
		j, err := contract.DecodeJob(job.Data)
		if err == nil && j.State == contract.StateRefused && r.isOf(j.Command.Seq, j.Command.Stream) && j.Command.SignedUntil == nil {
			if err := t.api.Purge(ctx, t.places.Jobs, job); err != nil {
				return err
			}
		}
	}
	return t.api.RemoveMessage(ctx, t.places.Dead, r.seq)
}

// isOf reports whether a trace is that of the reject's message.
func (r reject) isOf(seq uint64, stream contract.Text) bool {
	return r.message == seq && r.stream == string(stream)
}

// trimDuplicates removes the oldest events of duplicates that are too many.
func (t *Trimmer) trimDuplicates(ctx context.Context) error {
	subjects := t.places.Event("*", "*", contract.StatusDuplicate)
	n, err := t.api.CountSubjects(ctx, t.places.Events, subjects)
	if err != nil {
		return fmt.Errorf("count the duplicates: %w", err)
	}
	excess := n - t.Limits.Duplicates
	if excess <= 0 {
		return nil
	}
	for s, err := range t.api.MessagesBetween(ctx, t.places.Events, subjects, 0, jsapi.MaxSequence) {
		if err == nil {
			err = t.api.RemoveMessage(ctx, t.places.Events, s.Seq)
		}
		if err != nil {
			return fmt.Errorf("remove the oldest duplicates: %w", err)
		}
		if excess--; excess == 0 {
			break
		}
	}
	return nil
}
