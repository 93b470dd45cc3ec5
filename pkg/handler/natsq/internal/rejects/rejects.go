// Package rejects bounds what NATS keeps of messages that were never carried out: those that never
// were commands, and those that only repeat an earlier one. Anybody who may publish can make any
// number of these, and each has traces for as long as those of commands. Beyond the bounds the
// oldest go. What is kept of commands is never touched.
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

// Bound removes what is too much. It is safe for concurrent use, also by any number of processes.
type Bound struct {
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

// New makes a Bound.
func New(api *jsapi.Client, places Places) *Bound {
	return &Bound{api: api, places: places, Limits: Default()}
}

// StoredLetter is to be called after a dead letter of what never was a command was stored.
func (b *Bound) StoredLetter(ctx context.Context) error {
	if b.storedLetters.Add(1)%lettersBetweenLooks != 0 || !b.mu.TryLock() {
		return nil
	}
	defer b.mu.Unlock()
	return b.trimLetters(ctx)
}

// StoredDuplicate is to be called after the event of a duplicate was stored.
func (b *Bound) StoredDuplicate(ctx context.Context) error {
	if b.storedDuplicates.Add(1)%duplicatesBetweenLooks != 0 {
		return nil
	}
	return b.trimDuplicates(ctx)
}

// Trim removes what is too much now.
func (b *Bound) Trim(ctx context.Context) error {
	if err := b.trimDuplicates(ctx); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trimLetters(ctx)
}

// trimLetters looks at the letters that were stored since the last look, by any process, and
// removes the oldest rejects that are too many, with all their traces.
func (b *Bound) trimLetters(ctx context.Context) error {
	stream, err := b.api.StreamIdentity(ctx, b.places.Dead)
	if err != nil {
		return err
	}
	if stream != b.stream {
		b.stream, b.next, b.kept, b.bytes = stream, 0, nil, 0
	}
	for s, err := range b.api.MessagesBetween(ctx, b.places.Dead, b.places.DeadPrefix+"*.*", b.next, jsapi.MaxSequence) {
		if err != nil {
			return fmt.Errorf("look through the dead letters: %w", err)
		}
		b.next = s.Seq + 1
		if r, is := b.rejectOf(s); is {
			b.kept = append(b.kept, r)
			b.bytes += r.bytes
		}
	}
	for len(b.kept) > b.Limits.Letters || b.bytes > b.Limits.Bytes {
		oldest := b.kept[0]
		if err := b.remove(ctx, oldest); err != nil {
			return fmt.Errorf("remove the traces of %s: %w", oldest.key, err)
		}
		b.kept = b.kept[1:]
		b.bytes -= oldest.bytes
	}
	return nil
}

// rejectOf reports whether a stored letter is that of a reject, and which.
func (b *Bound) rejectOf(s *jsapi.StoredMessage) (reject, bool) {
	d := letter.Decode(s.Header, s.Data, s.Time)
	if !d.NeverCommand() {
		return reject{}, false
	}
	action, id, _ := strings.Cut(strings.TrimPrefix(s.Subject, b.places.DeadPrefix), ".")
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
// places by now, and then the letter, without which the others would not be found again.
func (b *Bound) remove(ctx context.Context, r reject) error {
	event, err := b.api.ReadMessage(ctx, b.places.Events, jsapi.MessageQuery{Last: b.places.Event(r.action, r.id, contract.StatusRefused)})
	if err != nil {
		return err
	}
	var e contract.Event
	if event != nil && json.Unmarshal(event.Data, &e) == nil && r.isOf(e.Data.Seq, e.Data.Stream) {
		if err := b.api.RemoveMessage(ctx, b.places.Events, event.Seq); err != nil {
			return err
		}
	}
	job, err := b.api.ReadMessage(ctx, b.places.Jobs, jsapi.MessageQuery{Last: b.places.Job(r.key)})
	if err != nil {
		return err
	}
	if job != nil {
		j, err := contract.DecodeJob(job.Data)
		if err == nil && j.State == contract.StateRefused && r.isOf(j.Command.Seq, j.Command.Stream) {
			if err := b.api.Purge(ctx, b.places.Jobs, job); err != nil {
				return err
			}
		}
	}
	return b.api.RemoveMessage(ctx, b.places.Dead, r.seq)
}

// isOf reports whether a trace is that of the reject's message.
func (r reject) isOf(seq uint64, stream contract.Text) bool {
	return r.message == seq && r.stream == string(stream)
}

// trimDuplicates removes the oldest events of duplicates that are too many.
func (b *Bound) trimDuplicates(ctx context.Context) error {
	subjects := b.places.Event("*", "*", contract.StatusDuplicate)
	n, err := b.api.CountSubjects(ctx, b.places.Events, subjects)
	if err != nil {
		return fmt.Errorf("count the duplicates: %w", err)
	}
	excess := n - b.Limits.Duplicates
	if excess <= 0 {
		return nil
	}
	for s, err := range b.api.MessagesBetween(ctx, b.places.Events, subjects, 0, jsapi.MaxSequence) {
		if err == nil {
			err = b.api.RemoveMessage(ctx, b.places.Events, s.Seq)
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
