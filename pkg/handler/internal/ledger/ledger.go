package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// ledgerBatch is how many bytes of calls that only read go into one message.
const ledgerBatch = 128 << 10

// maxOwn is how many bytes of the ledger its writer keeps, so that they need not be read again.
const maxOwn = 128 << 10

// Queue keeps the ledger of a command: one subject, one writer at a time.
type Queue interface {
	// LedgerTail is the last message and its stream sequence, 0 when there is none.
	LedgerTail(ctx context.Context, id string) (message []byte, seq uint64, err error)
	// AppendLedger appends after the message with sequence after, or fails with ErrFenced when that
	// is not the last one any more.
	AppendLedger(ctx context.Context, id string, lines []byte, after uint64) (uint64, error)
	// Ledger yields the messages in order, up to stream sequence upTo.
	Ledger(ctx context.Context, id string, upTo uint64) iter.Seq2[[]byte, error]
}

// Ledger is the coordinator's pen: it chains lines and appends them to CV_LEDGER, each append
// fenced by the one before.
type Ledger struct {
	queue  Queue
	prefix string // of all subjects
	id     string
	chain  *sink.Chain
	seq    uint64 // stream sequence of the last message
	buf    bytes.Buffer
	seen   map[string]struct{} // calls that an earlier holder wrote, nil when there was none
	heads  map[string]int64    // of the chain, after each message; the entries up to it
	open   time.Time           // of the last intent, while it has no result; zero else
	last   time.Time           // the latest of an intent, a result or a takeover: none goes back
	counts counts

	own   bytes.Buffer // what this holder appended,
	whole bool         // if that is the whole ledger, and at most maxOwn

	assumed bool // to have been empty when it was opened
}

// Ref is how far the ledger goes into the bag.
type Ref struct {
	Seq     uint64 `json:"seq"` // stream sequence of its last message
	Entries int64  `json:"entries"`
	Head    string `json:"head"`
}

// Open opens a command's ledger. Where an earlier holder wrote, it takes over: it appends a line
// that says so, after which that holder's appends fail with ErrFenced. With takenBefore it does so
// also where it finds nothing: what was written before is not there any more.
func Open(ctx context.Context, q Queue, prefix, id string, now time.Time, takenBefore bool) (*Ledger, error) {
	tail, seq, err := q.LedgerTail(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the ledger's tail: %w", err)
	}
	l := newLedger(q, prefix, id)
	l.seq = seq
	l.chain, err = sink.NewChain(lastLine(tail))
	if err != nil {
		return nil, fmt.Errorf("continue the ledger: %w", err)
	}
	l.whole = seq == 0
	if l.whole && !takenBefore {
		return l, nil
	}
	// What is there is read first, so that the takeover's time is not before an earlier line's;
	// when more is appended meanwhile, the takeover fails.
	if err := l.read(ctx, seq); err != nil {
		return nil, err
	}
	for line := range bytes.Lines(tail) {
		var have sink.LedgerLine
		if err := json.Unmarshal(line, &have); err != nil {
			return nil, fmt.Errorf("read a ledger line: %w", err)
		}
		if have.Time.After(now) {
			now = have.Time // this clock is behind that of the earlier holder
		}
	}
	if err := l.TakeOver(ctx, now); err != nil {
		return nil, err
	}
	return l, nil
}

// errNotEmpty says that a ledger has lines which were not looked for.
var errNotEmpty = errors.New("it has lines already: the next attempt takes it over")

// Begin opens the ledger of a command that nothing tells of but the job which its first attempt
// made for it just now: what may be there is not looked for. Where there is something nevertheless,
// as of a job that was lost with all that was stored, the first append fails: no call can be made,
// nor an end, and the next attempt opens the ledger.
func Begin(q Queue, prefix, id string) *Ledger {
	l := newLedger(q, prefix, id)
	l.chain, _ = sink.NewChain(nil) // of no line, which does not fail
	l.whole, l.assumed = true, true
	return l
}

// TakeOver appends a takeover, so that the appends of every other holder fail from now on.
func (l *Ledger) TakeOver(ctx context.Context, now time.Time) error {
	if err := l.Write(sink.LedgerLine{Time: now.UTC(), Kind: sink.LedgerTakeover}); err != nil {
		return err
	}
	return l.Flush(ctx)
}

func newLedger(q Queue, prefix, id string) *Ledger {
	return &Ledger{queue: q, prefix: prefix, id: id, heads: map[string]int64{}, counts: counts{
		projects: map[projectCalls]int{}, intents: map[[sha256.Size]byte]int{},
	}}
}

// read takes account of the messages up to a stream sequence.
func (l *Ledger) read(ctx context.Context, upTo uint64) error {
	l.seen = map[string]struct{}{}
	for message, err := range l.queue.Ledger(ctx, l.id, upTo) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		for line := range bytes.Lines(message) {
			var have sink.LedgerLine
			if err := json.Unmarshal(line, &have); err != nil {
				return fmt.Errorf("read a ledger line: %w", err)
			}
			if have.Kind == sink.LedgerCall {
				l.seen[Call{Time: have.Time, Operation: have.Operation, Target: have.Target, Attempt: have.Attempt}.key()] = struct{}{}
			}
			l.note(have)
		}
		chain, err := sink.NewChain(lastLine(message))
		if err != nil {
			return fmt.Errorf("follow the ledger: %w", err)
		}
		l.heads[chain.Head()] = chain.Seq()
	}
	return nil
}

// Has reports whether the ledger is the one that was brought as far as ref, by this holder or by
// one before.
func (l *Ledger) Has(ref Ref) bool {
	entries, ok := l.heads[ref.Head]
	if !ok && ref.Head == l.chain.Head() { // as where nothing is written yet
		entries, ok = l.chain.Seq(), true
	}
	return ok && entries == ref.Entries
}

// Continues fails unless the ledger Has ref.
func (l *Ledger) Continues(ref Ref) error {
	if l.Has(ref) {
		return nil
	}
	return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("the ledger of this command, %s.ledger.%s, was removed from NATS: which calls were made before is not known any more, "+
		"so nothing more is done; publish the command again under a new id", l.prefix, l.id)}
}

// HasDestructiveCalls reports whether a command's ledger has destructive calls.
func HasDestructiveCalls(ctx context.Context, q Queue, prefix, id string) (bool, error) {
	tail, seq, err := q.LedgerTail(ctx, id)
	if err != nil || tail == nil {
		return false, err //nolint:wrapcheck // it says that it reads the ledger
	}
	l := newLedger(q, prefix, id)
	err = l.read(ctx, seq)
	return len(l.counts.calls) > 0, err
}

func lastLine(message []byte) []byte {
	message = bytes.TrimRight(message, "\n")
	return message[bytes.LastIndexByte(message, '\n')+1:]
}

// Write chains a line. Where this clock is behind that of the writer of the last intent, result or
// takeover, a line of these kinds gets the time of that one.
func (l *Ledger) Write(line sink.LedgerLine) error {
	line.Time = line.Time.Round(0) // what is compared is what is written down: without the monotonic clock
	if line.Kind != sink.LedgerCall && line.Time.Before(l.last) {
		line.Time = l.last
	}
	b, err := l.chain.Append(line)
	if err != nil {
		return fmt.Errorf("chain a ledger line: %w", err)
	}
	l.buf.Write(b)
	line.Seq = l.chain.Seq()
	l.note(line)
	return nil
}

// Intend makes the intent of a destructive call durable, after the calls made before it. When it
// fails the call must not be made.
func (l *Ledger) Intend(ctx context.Context, before []Call, c Call) error {
	if err := l.Add(ctx, before); err != nil {
		return err
	}
	if err := l.Write(c.Line(sink.LedgerIntent)); err != nil {
		return err
	}
	return l.Flush(ctx)
}

// Add writes calls that are not in the ledger yet, and appends them once there is a batch.
func (l *Ledger) Add(ctx context.Context, calls []Call) error {
	for _, c := range calls {
		if _, known := l.seen[c.key()]; known {
			continue
		}
		if err := l.Write(c.Line(sink.LedgerCall)); err != nil {
			return err
		}
		if l.buf.Len() >= ledgerBatch {
			if err := l.Flush(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flush appends what was written. After an error the ledger is not usable any more: the next
// attempt opens it again.
func (l *Ledger) Flush(ctx context.Context) error {
	if l.buf.Len() == 0 {
		return nil
	}
	seq, err := l.queue.AppendLedger(ctx, l.id, l.buf.Bytes(), l.seq)
	if l.assumed && l.seq == 0 && errors.Is(err, delivery.ErrFenced) {
		// Which attempt wrote is not known: the job says whether another one holds the command.
		err = errNotEmpty
	}
	if err != nil {
		return fmt.Errorf("append to the ledger: %w", err)
	}
	l.seq = seq
	l.heads[l.chain.Head()] = l.chain.Seq()
	if l.whole = l.whole && l.own.Len()+l.buf.Len() <= maxOwn; l.whole {
		l.own.Write(l.buf.Bytes())
	} else {
		l.own = bytes.Buffer{}
	}
	l.buf.Reset()
	return nil
}

// End is the stream sequence of the ledger's last message.
func (l *Ledger) End() uint64 { return l.seq }

// Pending is the time of the last intent, by its writer's clock, while it has no result; zero else.
func (l *Ledger) Pending() time.Time { return l.open }

// Destructive counts the destructive calls, in the order of their first call.
func (l *Ledger) Destructive() []bagfile.CallCount {
	return append([]bagfile.CallCount{}, l.counts.calls...)
}

// FirstIntent is the number of the first line that is an intent, 0 when there is none.
func (l *Ledger) FirstIntent() int64 { return l.counts.firstIntent }

// Last is the time of the last intent, result or takeover; zero when there is none. What is seen
// after it has no earlier time, also where this clock is behind that of an earlier holder.
func (l *Ledger) Last() time.Time { return l.last }

// Possible is how many calls of an operation with this target may have been carried out.
func (l *Ledger) Possible(operation, target string) int {
	return l.counts.intents[callKey(operation, target)]
}

// ProjectCalls is how many calls of an operation for a project may have been carried out.
func (l *Ledger) ProjectCalls(operation string, project uuid.UUID) int {
	return l.counts.projects[projectCalls{operation, project}]
}

// Ref is how far the ledger goes now; nothing may be written and not flushed.
func (l *Ledger) Ref() Ref {
	return Ref{Seq: l.seq, Entries: l.chain.Seq(), Head: l.chain.Head()}
}

// CopyTo writes the ledger up to ref's message, one line a call. Unless ref names no head, the copy
// has to be that ledger, whole: a chain without a gap from its first line, with ref's entries and
// head. A small ledger that this holder wrote alone is copied as it was written, once NATS shows
// that its last message is still the last one: nothing was appended by another holder.
func (l *Ledger) CopyTo(ctx context.Context, w *sink.Spool, ref Ref) error {
	if l.whole && l.seq > 0 && ref == l.Ref() {
		return l.copyOwn(ctx, w)
	}
	for message, err := range l.queue.Ledger(ctx, l.id, ref.Seq) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if _, err := w.Write(message); err != nil {
			return fmt.Errorf("spool the ledger: %w", err)
		}
	}
	if ref.Head == "" {
		return nil
	}
	sum, err := sink.VerifyLedger(w.ReadSeeker())
	var unread *sink.ReadError
	switch {
	case errors.As(err, &unread):
		return fmt.Errorf("read the ledger's copy: %w", err)
	case err != nil:
		return l.lost(err.Error())
	case sum.Lines != ref.Entries || sum.Head != ref.Head:
		return l.lost(fmt.Sprintf("it has %d lines and head %s, and had %d and %s", sum.Lines, sum.Head, ref.Entries, ref.Head))
	}
	return nil
}

// copyOwn writes the ledger as this holder wrote all of it.
func (l *Ledger) copyOwn(ctx context.Context, w *sink.Spool) error {
	tail, seq, err := l.queue.LedgerTail(ctx, l.id)
	switch {
	case err != nil:
		return fmt.Errorf("read the ledger's tail: %w", err)
	case seq != l.seq || len(tail) == 0 || !bytes.HasSuffix(l.own.Bytes(), tail):
		return l.lost("its last message is not the one that was written last")
	}
	if _, err := w.Write(l.own.Bytes()); err != nil {
		return fmt.Errorf("spool the ledger: %w", err)
	}
	return nil
}

// lost says that the ledger in NATS is not the one that was written, so that no bag can be sealed
// with it.
func (l *Ledger) lost(how string) error {
	return &contract.Error{Code: contract.CodeInternal, Message: fmt.Sprintf("the ledger of this command, %s.ledger.%s, was changed in NATS or is not whole any more, "+
		"so no receipt can be made: %s; publish the command again under a new id", l.prefix, l.id, how)}
}
