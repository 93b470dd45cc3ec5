package ledger_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/ledger"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// queue keeps the ledger of one command in memory.
type queue struct{ messages [][]byte }

func (q *queue) LedgerTail(context.Context, string) ([]byte, uint64, error) {
	n := len(q.messages)
	if n == 0 {
		return nil, 0, nil
	}
	return q.messages[n-1], uint64(n), nil
}

func (q *queue) AppendLedger(_ context.Context, _ string, lines []byte, after uint64) (uint64, error) {
	if after != uint64(len(q.messages)) {
		return 0, delivery.ErrFenced
	}
	q.messages = append(q.messages, bytes.Clone(lines))
	return uint64(len(q.messages)), nil
}

func (q *queue) Ledger(_ context.Context, _ string, upTo uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, m := range q.messages[:min(upTo, uint64(len(q.messages)))] {
			if !yield(m, nil) {
				return
			}
		}
	}
}

var start = time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)

// open opens the ledger of del-1.
func (q *queue) open(t *testing.T, now time.Time, takeOver bool) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(t.Context(), q, "cv", "del-1", now, takeOver)
	if err != nil {
		t.Fatalf("open the ledger: %v", err)
	}
	return l
}

var (
	project = uuid.MustParse("7f0ce8b1-5a5a-4c6e-9d0e-3f2b6d1c9a11")
	other   = uuid.MustParse("11111111-2222-4333-8444-555555555555")
	pred1   = uuid.MustParse("00000000-0000-4000-8000-000000000001")
	pred2   = uuid.MustParse("00000000-0000-4000-8000-000000000002")
)

// step is one destructive call in a ledger: its intent and, unless answer is noAnswerYet, the
// result after it.
type step struct {
	operation string
	target    string
	answer    int // the HTTP status; 0 when none came
}

const noAnswerYet = -1

// write writes a step as the deletion does.
func write(t *testing.T, l *ledger.Ledger, at time.Time, s step) {
	t.Helper()
	c := ledger.Call{Time: at, Operation: s.operation, Target: s.target, Attempt: 1}
	if err := l.Intend(t.Context(), nil, c); err != nil {
		t.Fatalf("write the intent: %v", err)
	}
	if s.answer == noAnswerYet {
		return
	}
	c.Time, c.Status = at.Add(time.Second), s.answer
	if err := errors.Join(l.Write(c.Line(sink.LedgerResult)), l.Flush(t.Context())); err != nil {
		t.Fatalf("write the result: %v", err)
	}
}

// TestPossible says of which calls it must be assumed that they were carried out: all that were
// intended, but for those that the service refused. The next holder reads the same from the ledger.
func TestPossible(t *testing.T) {
	iteration := fmt.Sprintf("projects/%s/iterations/%s", project, other)
	predictions := fmt.Sprintf("projects/%s/predictions %s,%s", project, pred1, pred2)
	onePrediction := fmt.Sprintf("projects/%s/predictions %s", project, pred1)
	images := fmt.Sprintf("projects/%s/images 3 ids", project)
	for _, c := range []struct {
		name     string
		steps    []step
		possible int         // calls of the first step's operation and target
		images   int         // calls of DeleteImages for the project
		gone     []uuid.UUID // predictions of the project
		counted  bagfile.CallCount
	}{
		{"intended, not answered yet", []step{{"DeleteIteration", iteration, noAnswerYet}}, 1, 0, nil, bagfile.CallCount{Intended: 1}},
		{"carried out", []step{{"DeleteIteration", iteration, 204}}, 1, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1, Succeeded: 1}},
		{"no answer", []step{{"DeleteIteration", iteration, 0}}, 1, 0, nil, bagfile.CallCount{Intended: 1}},
		{"500", []step{{"DeleteIteration", iteration, 500}}, 1, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"503", []step{{"DeleteIteration", iteration, 503}}, 1, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"408, which tells nothing", []step{{"DeleteIteration", iteration, 408}}, 1, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"302", []step{{"DeleteIteration", iteration, 302}}, 1, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"400", []step{{"DeleteIteration", iteration, 400}}, 0, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"401", []step{{"DeleteIteration", iteration, 401}}, 0, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"404", []step{{"DeleteIteration", iteration, 404}}, 0, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{"429", []step{{"DeleteIteration", iteration, 429}}, 0, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{
			"refused, then no answer", []step{{"DeleteIteration", iteration, 429}, {"DeleteIteration", iteration, 0}}, 1, 0, nil,
			bagfile.CallCount{Intended: 2, Answered: 1},
		},
		{
			"no answer, then not there", []step{{"DeleteIteration", iteration, 0}, {"DeleteIteration", iteration, 404}}, 1, 0, nil,
			bagfile.CallCount{Intended: 2, Answered: 1},
		},
		{
			"another target", []step{{"DeleteIteration", iteration, 429}, {"DeleteIteration", "projects/" + other.String(), 204}}, 0, 0, nil,
			bagfile.CallCount{Intended: 2, Answered: 2, Succeeded: 1},
		},
		{"images", []step{{"DeleteImages", images, 204}, {"DeleteImages", images, 0}}, 2, 2, nil, bagfile.CallCount{Intended: 2, Answered: 1, Succeeded: 1}},
		{"images, refused", []step{{"DeleteImages", images, 204}, {"DeleteImages", images, 400}}, 1, 1, nil, bagfile.CallCount{Intended: 2, Answered: 2, Succeeded: 1}},
		{
			"images of another project", []step{{"DeleteImages", fmt.Sprintf("projects/%s/images 3 ids", other), 204}}, 1, 0, nil,
			bagfile.CallCount{Intended: 1, Answered: 1, Succeeded: 1},
		},
		{"predictions", []step{{"DeletePrediction", predictions, 0}}, 1, 0, []uuid.UUID{pred1, pred2}, bagfile.CallCount{Intended: 1}},
		{"predictions, refused", []step{{"DeletePrediction", predictions, 400}}, 0, 0, nil, bagfile.CallCount{Intended: 1, Answered: 1}},
		{
			"predictions, refused together, then one of them deleted", []step{{"DeletePrediction", predictions, 400}, {"DeletePrediction", onePrediction, 204}}, 0, 0,
			[]uuid.UUID{pred1}, bagfile.CallCount{Intended: 2, Answered: 2, Succeeded: 1},
		},
		{
			"predictions of another project", []step{{"DeletePrediction", fmt.Sprintf("projects/%s/predictions %s", other, pred1), 204}}, 1, 0, nil,
			bagfile.CallCount{Intended: 1, Answered: 1, Succeeded: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &queue{}
			l := q.open(t, start, false)
			for i, s := range c.steps {
				write(t, l, start.Add(time.Duration(i)*time.Minute), s)
			}
			c.counted.Operation = c.steps[0].operation
			next := q.open(t, start.Add(time.Hour), true)
			for holder, l := range map[string]*ledger.Ledger{"the writer": l, "the next holder": next} {
				if got := l.Possible(c.steps[0].operation, c.steps[0].target); got != c.possible {
					t.Errorf("%s: %d calls may have been carried out, not %d", holder, got, c.possible)
				}
				if got := l.ProjectCalls(ledger.OpDeleteImages, project); got != c.images {
					t.Errorf("%s: %d calls may have deleted images, not %d", holder, got, c.images)
				}
				if got, _, err := l.Removed(t.Context(), ledger.OpDeletePrediction, project); err != nil || !slices.Equal(got, c.gone) {
					t.Errorf("%s: the predictions %v may be gone, not %v: %v", holder, got, c.gone, err)
				}
				if got := l.Destructive(); len(got) != 1 || got[0] != c.counted {
					t.Errorf("%s: counted %+v, not %+v", holder, got, c.counted)
				}
				pending := c.steps[len(c.steps)-1].answer == noAnswerYet
				if at := l.Pending(); at.IsZero() == pending || pending && !at.Equal(start) {
					t.Errorf("%s: the intent without a result is of %v", holder, at)
				}
			}
		})
	}
}

// TestRemovedImages says which images a delete may have removed, by the calls that named them.
func TestRemovedImages(t *testing.T) {
	target := fmt.Sprintf("projects/%s/images", project)
	for _, c := range []struct {
		name  string
		steps []step
		want  []uuid.UUID
		all   bool
	}{
		{"none", nil, nil, false},
		{"answered", []step{{"DeleteImages", target + " " + pred1.String(), 204}}, []uuid.UUID{pred1}, false},
		{"not answered, and another one refused", []step{{"DeleteImages", target + " " + pred1.String(), 0}, {"DeleteImages", target + " " + pred2.String(), 404}}, []uuid.UUID{pred1}, false},
		{"refused, then answered", []step{{"DeleteImages", target + " " + pred1.String(), 413}, {"DeleteImages", target + " " + pred1.String(), 204}}, []uuid.UUID{pred1}, false},
		{"all", []step{{"DeleteImages", target, 202}}, nil, true},
		{"all, refused", []step{{"DeleteImages", target, 404}}, nil, false},
		{"another operation", []step{{"DeletePrediction", target + " " + pred1.String(), 204}}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &queue{}
			l := q.open(t, start, false)
			for i, s := range c.steps {
				write(t, l, start.Add(time.Duration(i)*time.Minute), s)
			}
			if got, all, err := l.Removed(t.Context(), ledger.OpDeleteImages, project); err != nil || all != c.all || !slices.Equal(got, c.want) {
				t.Errorf("%v, all %t: %v", got, all, err)
			}
		})
	}
}

// deaf is a queue that keeps nothing.
type deaf struct{ queue }

func (d *deaf) AppendLedger(_ context.Context, _ string, _ []byte, after uint64) (uint64, error) {
	return after + 1, nil
}

// TestMemory deletes many predictions: the ledger keeps none of them.
func TestMemory(t *testing.T) {
	l, err := ledger.Open(t.Context(), &deaf{}, "cv", "del-1", start, false)
	if err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const calls, batch = 1000, 64
	before := heap()
	for range calls {
		ids := make([]string, batch)
		for i := range ids {
			ids[i] = uuid.NewString()
		}
		write(t, l, start, step{"DeletePrediction", fmt.Sprintf("projects/%s/predictions %s", project, strings.Join(ids, ",")), 204})
	}
	if grew := int64(heap()) - int64(before); grew > 8*calls*batch {
		t.Errorf("%d bytes for each of %d predictions", grew/(calls*batch), calls*batch)
	}
	runtime.KeepAlive(l)
}

// TestCalledBefore says whether a ledger tells of destructive calls: also one whose only call was
// refused does, since the delete was begun.
func TestCalledBefore(t *testing.T) {
	for _, c := range []struct {
		name string
		fill func(t *testing.T, q *queue)
		want bool
	}{
		{"no ledger", func(*testing.T, *queue) {}, false},
		{"a takeover", func(t *testing.T, q *queue) { q.open(t, start, true) }, false},
		{"reads", func(t *testing.T, q *queue) {
			l := q.open(t, start, false)
			read := ledger.Call{Time: start, Operation: "GetTags", Target: "projects/" + project.String(), Status: 200, Attempt: 1}
			if err := errors.Join(l.Add(t.Context(), []ledger.Call{read}), l.Flush(t.Context())); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"an intent", func(t *testing.T, q *queue) {
			write(t, q.open(t, start, false), start, step{"DeleteProject", "projects/p", noAnswerYet})
		}, true},
		{"a refused call", func(t *testing.T, q *queue) {
			write(t, q.open(t, start, false), start, step{"DeleteProject", "projects/p", 403})
		}, true},
		{"a call before a takeover", func(t *testing.T, q *queue) {
			write(t, q.open(t, start, false), start, step{"DeleteProject", "projects/p", 204})
			q.open(t, start, true)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &queue{}
			c.fill(t, q)
			if got, err := ledger.HasDestructiveCalls(t.Context(), q, "cv", "del-1"); err != nil || got != c.want {
				t.Errorf("%t, %v; want %t", got, err, c.want)
			}
		})
	}
}

// A holder that was replaced cannot write an intent, so it makes no call.
func TestPreviousHolderIsFenced(t *testing.T) {
	q := &queue{}
	first := q.open(t, start, false)
	write(t, first, start, step{"DeleteTag", "projects/p/tags/t", 204})
	next := q.open(t, start, true)
	err := first.Intend(t.Context(), nil, ledger.Call{Time: start, Operation: "DeleteProject", Target: "projects/p", Attempt: 1})
	if !errors.Is(err, delivery.ErrFenced) {
		t.Errorf("the previous holder writes an intent: %v", err)
	}
	write(t, next, start, step{"DeleteProject", "projects/p", 204})
}

// Calls that an earlier holder wrote are not written again.
func TestCallsAreWrittenOnce(t *testing.T) {
	call := func(n int) ledger.Call {
		return ledger.Call{Time: start.Add(time.Duration(n) * time.Second), Operation: "GetTags", Target: "projects/p", Status: 200, Attempt: 1}
	}
	q := &queue{}
	l := q.open(t, start, false)
	if err := errors.Join(l.Add(t.Context(), []ledger.Call{call(1), call(2)}), l.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	next := q.open(t, start, true)
	if err := errors.Join(next.Add(t.Context(), []ledger.Call{call(1), call(2), call(3)}), next.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	if ref := next.Ref(); ref.Entries != 4 || ref.Seq != 3 { // two calls, the takeover, one call
		t.Errorf("the ledger has %d lines in %d messages", ref.Entries, ref.Seq)
	}
}

// The time of an intent or a result is never before that of the one before, whatever the clock of
// its writer says.
func TestTimesDoNotGoBack(t *testing.T) {
	q := &queue{}
	write(t, q.open(t, start, false), start, step{"DeleteTag", "projects/p/tags/t", 204}) // answered a second later
	next := q.open(t, start.Add(-time.Hour), true)
	write(t, next, start.Add(-time.Hour), step{"DeleteProject", "projects/p", noAnswerYet})
	if want := start.Add(time.Second); !next.Pending().Equal(want) {
		t.Errorf("the intent is of %v, not %v", next.Pending(), want)
	}
}

// Nor is that of a takeover, also when the last message has only the reads of a holder whose clock
// is behind.
func TestTakeoverTimesDoNotGoBack(t *testing.T) {
	q := &queue{}
	write(t, q.open(t, start, false), start, step{"DeleteTag", "projects/p/tags/t", 204}) // answered a second later
	behind := start.Add(-time.Hour)
	reader := q.open(t, behind, true)
	read := ledger.Call{Time: behind, Operation: "GetProject", Target: "projects/p", Status: 200, Attempt: 1}
	if err := errors.Join(reader.Add(t.Context(), []ledger.Call{read}), reader.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	q.open(t, behind, true)
	var takeover sink.LedgerLine
	if err := json.Unmarshal(q.messages[len(q.messages)-1], &takeover); err != nil {
		t.Fatal(err)
	}
	if want := start.Add(time.Second); takeover.Kind != sink.LedgerTakeover || !takeover.Time.Equal(want) {
		t.Errorf("the last line is %s of %v, not a takeover of %v", takeover.Kind, takeover.Time, want)
	}
}

// A ledger continues a reference to it as far as it went at any message, and no other one.
func TestContinues(t *testing.T) {
	q := &queue{}
	l := q.open(t, start, false)
	refs := []ledger.Ref{}
	for i := range 3 {
		write(t, l, start.Add(time.Duration(i)*time.Minute), step{"DeleteTag", fmt.Sprintf("projects/p/tags/%d", i), 204})
		refs = append(refs, l.Ref())
	}
	next := q.open(t, start.Add(time.Hour), true)
	for _, ref := range append(refs, next.Ref()) {
		if err := next.Continues(ref); err != nil {
			t.Errorf("message %d: %v", ref.Seq, err)
		}
	}
	remade := (&queue{}).open(t, start.Add(time.Hour), true)
	var own *contract.Error
	for _, ref := range refs {
		if err := remade.Continues(ref); !errors.As(err, &own) {
			t.Errorf("a ledger that was removed continues message %d: %v", ref.Seq, err)
		}
	}
}

// TestCopy copies a ledger of which NATS has something else than was written: no bag gets that
// copy, and only evidence of a failure, which names no head, takes what is there. The holder that
// wrote all of it copies what it wrote, if the last message is still its own.
func TestCopy(t *testing.T) {
	for _, c := range []struct {
		name      string
		change    func(messages [][]byte) [][]byte
		whole     bool // to a later holder
		writerHas bool // the last message
	}{
		{"unchanged", func(m [][]byte) [][]byte { return m }, true, true},
		{"its beginning expired", func(m [][]byte) [][]byte { return append([][]byte{{}, {}}, m[2:]...) }, false, true},
		{"one in the middle removed", func(m [][]byte) [][]byte { return slices.Concat(m[:2], [][]byte{{}}, m[3:]) }, false, true},
		{"the last removed", func(m [][]byte) [][]byte { return append(m[:len(m)-1:len(m)-1], nil) }, false, false},
		{"all removed", func(m [][]byte) [][]byte { return nil }, false, false},
		{"another holder appended", func(m [][]byte) [][]byte { return append(m, m[2]) }, true, false},
		{"two in another order", func(m [][]byte) [][]byte { return slices.Concat(m[:2], [][]byte{m[3], m[2]}, m[4:]) }, false, true},
		{"one changed", func(m [][]byte) [][]byte {
			return slices.Concat(m[:2], [][]byte{bytes.Replace(m[2], []byte("tags/1"), []byte("tags/9"), 1)}, m[3:])
		}, false, true},
		{"another one", func(m [][]byte) [][]byte {
			q := &queue{}
			l := q.open(t, start, false)
			for range len(m) {
				if err := l.TakeOver(t.Context(), start); err != nil {
					t.Fatal(err)
				}
			}
			return q.messages
		}, false, false},
	} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, by a later holder %t", c.name, later), func(t *testing.T) {
				q := &queue{}
				l := q.open(t, start, false)
				for i := range 3 {
					write(t, l, start.Add(time.Duration(i)*time.Minute), step{"DeleteTag", fmt.Sprintf("projects/p/tags/%d", i), 204})
				}
				want := c.writerHas
				if later {
					l, want = q.open(t, start.Add(time.Hour), true), c.whole
				}
				ref, written := l.Ref(), bytes.Join(q.messages, nil)
				q.messages = c.change(q.messages)
				copied, err := copyOf(t, l, ref)
				var own *contract.Error
				if refused := errors.As(err, &own); refused == want || err != nil && !refused {
					t.Errorf("as a part of a bag: %v", err)
				}
				if err == nil && !bytes.Equal(copied, written) {
					t.Errorf("the copy is\n%s\nwritten was\n%s", copied, written)
				}
				there := bytes.Join(q.messages[:min(ref.Seq, uint64(len(q.messages)))], nil)
				if copied, err := copyOf(t, l, ledger.Ref{Seq: ref.Seq}); err != nil || !bytes.Equal(copied, there) {
					t.Errorf("as evidence of a failure: %d bytes, %v", len(copied), err)
				}
			})
		}
	}
}

// copyOf copies a ledger as far as ref.
func copyOf(t *testing.T, l *ledger.Ledger, ref ledger.Ref) ([]byte, error) {
	t.Helper()
	s := sink.NewSpool(t.TempDir())
	defer s.Close()
	if err := l.CopyTo(t.Context(), s, ref); err != nil {
		return nil, err //nolint:wrapcheck // it is what is tested
	}
	content, err := io.ReadAll(s.ReadSeeker())
	if err != nil {
		t.Fatal(err)
	}
	return content, nil
}

// TestBegin begins a ledger that is taken for empty: one that is not takes no line, neither a call
// nor an end, and is taken over as any other.
func TestBegin(t *testing.T) {
	q := &queue{}
	l := ledger.Begin(q, "cv", "del-1")
	write(t, l, start, step{"DeleteTag", "projects/p/tags/t", 204})
	if copied, err := copyOf(t, l, l.Ref()); err != nil || !bytes.Equal(copied, bytes.Join(q.messages, nil)) {
		t.Errorf("%s, %v", copied, err)
	}
	had := len(q.messages)
	call := ledger.Call{Time: start, Operation: "DeleteTag", Target: "projects/p/tags/u", Attempt: 1}
	for name, err := range map[string]error{
		"an intent":  ledger.Begin(q, "cv", "del-1").Intend(t.Context(), nil, call),
		"a takeover": ledger.Begin(q, "cv", "del-1").TakeOver(t.Context(), start),
	} {
		if err == nil || errors.Is(err, delivery.ErrFenced) || len(q.messages) != had {
			t.Errorf("%s: %v, %d messages", name, err, len(q.messages))
		}
	}
	write(t, q.open(t, start, true), start, step{"DeleteTag", "projects/p/tags/u", 204})
	if err := l.TakeOver(t.Context(), start); !errors.Is(err, delivery.ErrFenced) {
		t.Errorf("the first holder after a takeover: %v", err)
	}
}

// A result that is written and not appended yet counts like any other.
func TestRemovedBeforeTheResultIsAppended(t *testing.T) {
	q := &queue{}
	for _, later := range []bool{false, true} {
		l := q.open(t, start, false)
		target := fmt.Sprintf("projects/%s/images %s", project, pred1)
		write(t, l, start, step{ledger.OpDeleteImages, target, noAnswerYet})
		refused := ledger.Call{Time: start, Operation: ledger.OpDeleteImages, Target: target, Attempt: 1, Status: 404}
		if err := l.Write(refused.Line(sink.LedgerResult)); err != nil {
			t.Fatal(err)
		}
		if ids, all, err := l.Removed(t.Context(), ledger.OpDeleteImages, project); len(ids) > 0 || all || err != nil {
			t.Errorf("by a later holder %t: %v, %t, %v", later, ids, all, err)
		}
		if err := l.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProjectOf(t *testing.T) {
	for target, want := range map[string]uuid.UUID{
		"projects/" + project.String():                 project,
		"projects/" + project.String() + "/tags/x":     project,
		"projects/" + project.String() + "/images ids": project,
		"projects/none":                 uuid.Nil,
		"":                              uuid.Nil,
		"elsewhere/" + project.String(): uuid.Nil,
		"projects/" + project.String() + "/iterations/x more": project,
	} {
		if got := ledger.ProjectOf(target); got != want {
			t.Errorf("%q is of %s, not %s", target, got, want)
		}
	}
}
