package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// counts is what a ledger says of its destructive calls.
type counts struct {
	calls    []bagfile.CallCount       // in the order of their first call
	projects map[projectCalls]int      // how often a call for a project may have been carried out
	intents  map[[sha256.Size]byte]int // by callKey: how often a call may have been carried out

	firstIntent int64 // its number in the ledger, 0 when there is none
}

// Projects are those that the destructive calls of the ledger were about.
func (l *Ledger) Projects() []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(l.counts.projects))
	for calls := range l.counts.projects {
		ids = append(ids, calls.project)
	}
	return slices.Compact(contract.SortedIDs(ids))
}

// projectCalls stands for the calls of an operation for a project.
type projectCalls struct {
	operation string
	project   uuid.UUID
}

// callKey stands for a destructive call, whose target may be long.
func callKey(operation, target string) [sha256.Size]byte {
	return sha256.Sum256([]byte(operation + " " + target))
}

func (f *counts) of(operation string) *bagfile.CallCount {
	i := slices.IndexFunc(f.calls, func(o bagfile.CallCount) bool { return o.Operation == operation })
	if i < 0 {
		f.calls = append(f.calls, bagfile.CallCount{Operation: operation})
		i = len(f.calls) - 1
	}
	return &f.calls[i]
}

// note takes account of a line.
func (l *Ledger) note(line sink.LedgerLine) {
	if line.Time.After(l.last) && line.Kind != sink.LedgerCall {
		l.last = line.Time
	}
	switch line.Kind {
	case sink.LedgerIntent:
		l.open = line.Time
		if l.counts.firstIntent == 0 {
			l.counts.firstIntent = line.Seq
		}
		l.counts.of(line.Operation).Intended++
		l.counts.countPossible(line, 1)
	case sink.LedgerResult:
		l.open = time.Time{}
		if line.Status != 0 {
			l.counts.of(line.Operation).Answered++
		}
		if refused(line.Status) {
			l.counts.countPossible(line, -1)
		}
		if line.Status/100 == 2 {
			l.counts.of(line.Operation).Succeeded++
		}
	}
}

// refused reports whether an answer with this HTTP status says that the call was not carried out: a
// 4xx, but for 408, which tells nothing.
func refused(status int) bool { return status/100 == 4 && status != 408 }

// countPossible counts a call that may have been carried out (1), or takes back one that was
// refused (-1).
func (f *counts) countPossible(line sink.LedgerLine, n int) {
	f.intents[callKey(line.Operation, line.Target)] += n
	f.projects[projectCalls{line.Operation, ProjectOf(line.Target)}] += n
}

// Removed are the ids that the calls of an operation named for a project and may have removed, in
// byte order: those of every intent that was not refused. all says that such a call named no ids,
// which means everything. A ledger that is not small is read again, as there may be millions of
// ids, and nothing of it is kept.
func (l *Ledger) Removed(ctx context.Context, operation string, project uuid.UUID) (ids []uuid.UUID, all bool, err error) {
	var open func() // takes account of the last intent, unless it is refused
	settle := func() {
		if open != nil {
			open()
		}
		open = nil
	}
	for message, err := range l.messages(ctx) {
		if err != nil {
			return nil, false, fmt.Errorf("read the ledger: %w", err)
		}
		for line := range bytes.Lines(message) {
			var have sink.LedgerLine
			if err := json.Unmarshal(line, &have); err != nil {
				return nil, false, fmt.Errorf("read a ledger line: %w", err)
			}
			switch {
			case have.Kind == sink.LedgerResult && refused(have.Status):
				open = nil
			case have.Kind == sink.LedgerResult:
				settle()
			case have.Kind == sink.LedgerIntent:
				settle()
				if have.Operation != operation || ProjectOf(have.Target) != project {
					continue
				}
				open = func() {
					named := namedIn(have.Target)
					ids = append(ids, named...)
					all = all || len(named) == 0
				}
			}
		}
	}
	settle()
	slices.SortFunc(ids, contract.CompareIDs)
	return slices.Compact(ids), all, nil
}

// messages are the lines of the ledger, as this writer knows them where it keeps all; last come
// those that are not flushed yet.
func (l *Ledger) messages(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if l.whole {
			if !yield(l.own.Bytes(), nil) {
				return
			}
		} else {
			for message, err := range l.queue.Ledger(ctx, l.id, l.seq) {
				if !yield(message, err) {
					return
				}
			}
		}
		yield(l.buf.Bytes(), nil)
	}
}

// Operations of which more is noted: which ids they named.
const (
	OpDeleteImages     = "DeleteImages"
	OpDeletePrediction = "DeletePrediction"
)

// ProjectOf is the project that a ledger line's target is of, or is.
func ProjectOf(target string) uuid.UUID {
	id, _, _ := strings.Cut(strings.TrimPrefix(target, "projects/"), "/")
	project, err := uuid.Parse(id)
	if err != nil {
		return uuid.Nil
	}
	return project
}

// namedIn are the ids that a call was made with, out of a ledger line's target.
func namedIn(target string) (ids []uuid.UUID) {
	_, list, _ := strings.Cut(target, " ")
	for s := range strings.SplitSeq(list, ",") {
		if id, err := uuid.Parse(s); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
