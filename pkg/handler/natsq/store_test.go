package natsq

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestJobCompareAndSet(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.q.Job(w.ctx, "a")
	is(t, err, contract.ErrNoJob)
	r1 := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "one"}, 0))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "again"}, 0)
	is(t, err, contract.ErrConflict)
	r2 := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "two"}, r1))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a", Phase: "stale"}, r1)
	is(t, err, contract.ErrConflict)
	j, rev, err := w.q.Job(w.ctx, "a")
	if err != nil || rev != r2 || j.Phase != "two" {
		t.Fatalf("job is %q at %d, %v; want two at %d", j.Phase, rev, err, r2)
	}
	ok(t, w.q.DeleteJob(w.ctx, "a"))
	ok(t, w.q.DeleteJob(w.ctx, "a"))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "a"}, r2)
	is(t, err, contract.ErrConflict)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "a"}, 0))
	for _, id := range []string{"", "a.b", "*", ">", "a b", strings.Repeat("x", 129)} {
		if _, _, err := w.q.Job(w.ctx, id); err == nil {
			t.Errorf("id %q was accepted", id)
		}
	}
}

func TestJobCreatedByOneOfMany(t *testing.T) {
	w := newWorld(t)
	const replicas, rounds = 4, 20
	var queues []*Queue
	for range replicas {
		queues = append(queues, w.open(t))
	}
	for round := range rounds {
		id := fmt.Sprintf("job-%d", round)
		won := make([]bool, replicas)
		var wg sync.WaitGroup
		for i, q := range queues {
			wg.Go(func() {
				_, err := q.PutJob(w.ctx, contract.Job{ID: id}, 0) // the same bytes from everybody
				won[i] = err == nil
				if err != nil && !errors.Is(err, contract.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(won); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
	}
}

func count(won []bool) int {
	n := 0
	for _, w := range won {
		if w {
			n++
		}
	}
	return n
}

// Every write that decides something, with every way in which its answer can mislead.
func TestWritesUnderFaults(t *testing.T) {
	body := []byte("line\n")
	writes := []struct {
		name    string
		subject string
		stream  string
		do      func(ctx context.Context, q *Queue, round string) error
		lost    error // of a second one; nil when it is well
	}{
		{"job", "$KV.CV_JOBS.x", "KV_CV_JOBS", func(ctx context.Context, q *Queue, _ string) error {
			_, err := q.PutJob(ctx, contract.Job{ID: "x"}, 0)
			return err
		}, contract.ErrConflict},
		{"ledger", "cv.ledger.x", "CV_LEDGER", func(ctx context.Context, q *Queue, _ string) error {
			_, err := q.AppendLedger(ctx, "x", body, 0)
			return err
		}, delivery.ErrFenced},
		{"event", "cv.events.export.x.completed", "CV_EVENTS", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishEvent(ctx, event("x", contract.StatusCompleted))
		}, nil},
		{"accepted", "cv.events.export.x.accepted", "CV_EVENTS", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishEvent(ctx, event("x", contract.StatusAccepted))
		}, nil},
		{"unit", "cv.work.x.7", "CV_WORK", func(ctx context.Context, q *Queue, _ string) error {
			return q.PublishUnit(ctx, "x", 7, body)
		}, nil},
		{"dead letter", "cv.dead.export.x", "CV_DEAD", func(ctx context.Context, q *Queue, round string) error { // its Nats-Msg-Id is remembered for 100 ms, purged or not
			return q.PublishDead(ctx, contract.DeadLetter{ID: "x", Action: contract.ActionExport, Message: command(round, "{}")})
		}, nil},
	}
	faults := []struct {
		name  string
		first fault
		reads int // how many reads of the leader fail, too
	}{
		{"answer lost", loseAnswer, 0},
		{"request lost", loseRequest, 0},
		{"in doubt", doubt, 0},
		{"refused for nothing", refuse, 0},
		{"answer lost, leader silent", loseAnswer, 2},
		{"in doubt, leader silent", doubt, 1},
	}
	w := newWorld(t)
	for _, write := range writes {
		for _, f := range faults {
			t.Run(write.name+"/"+f.name, func(t *testing.T) {
				ok(t, must[jetstream.Stream](t)(w.js.Stream(w.ctx, write.stream)).Purge(w.ctx))
				q := w.open(t)
				hits := 0
				x := meddle(q, func(m *nats.Msg, nth int) fault {
					switch {
					case m.Subject == write.subject && nth == 1:
						hits++
						return f.first
					case strings.HasPrefix(m.Subject, "$JS.API.STREAM.MSG.GET.") && nth <= f.reads:
						hits++
						return loseAnswer
					}
					return none
				})
				if err := write.do(w.ctx, q, f.name); err != nil {
					t.Fatal(err)
				}
				if hits != 1+f.reads {
					t.Fatalf("%d faults were hit, want %d", hits, 1+f.reads)
				}
				if n := w.messages(t, write.stream); n != 1 {
					t.Fatalf("%s has %d messages", write.stream, n)
				}
				// The same from another process.
				if err := write.do(w.ctx, w.open(t), f.name); !errors.Is(err, write.lost) {
					t.Fatalf("the second time: %v, want %v", err, write.lost)
				}
				if n := w.messages(t, write.stream); n != 1 {
					t.Fatalf("%s has %d messages after the second", write.stream, n)
				}
				if n := x.requests("$JS.API.DIRECT"); n > 0 {
					t.Fatalf("%d direct reads", n)
				}
			})
		}
	}
}

// A write whose answer is lost, and which somebody else overwrote before we looked, is lost.
func TestAnswerLostAndOvertaken(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	meddle(w.q, func(m *nats.Msg, nth int) fault {
		if m.Subject == "cv.ledger.x" && nth == 1 {
			return loseAnswer
		}
		if strings.HasPrefix(m.Subject, "$JS.API.STREAM.MSG.GET.") && nth == 1 {
			_, seq, err := other.LedgerTail(w.ctx, "x")
			ok(t, err)
			must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("takeover\n"), seq))
		}
		return none
	})
	_, err := w.q.AppendLedger(w.ctx, "x", []byte("line\n"), 0)
	is(t, err, delivery.ErrFenced)
}

// When ctx ends, the error tells both why, and what was last heard: and that nothing is decided.
func TestWriteGivesUpWithItsContext(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(w.ctx)
	meddle(w.q, func(m *nats.Msg, nth int) fault {
		if m.Subject != "cv.ledger.x" {
			return none
		}
		if nth == 3 {
			cancel(delivery.ErrStopping)
		}
		return loseRequest
	})
	_, err := w.q.AppendLedger(ctx, "x", nil, 0)
	is(t, err, delivery.ErrStopping)
	is(t, err, errNoAnswer)
	if errors.Is(err, delivery.ErrFenced) {
		t.Fatal("a write that was not decided is called lost")
	}
}

func TestLedgerFence(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	tail, seq, err := w.q.LedgerTail(w.ctx, "x")
	if tail != nil || seq != 0 || err != nil {
		t.Fatalf("an empty ledger's tail is %q at %d, %v", tail, seq, err)
	}
	s1 := must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("1\n"), 0))
	s2 := must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("2\n"), s1))
	must[uint64](t)(w.q.AppendLedger(w.ctx, "y", []byte("other\n"), 0))
	// The heir takes over; the former holder is out for good.
	_, seq, err = other.LedgerTail(w.ctx, "x")
	ok(t, err)
	s3 := must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("takeover\n"), seq))
	_, err = w.q.AppendLedger(w.ctx, "x", []byte("3\n"), s2)
	is(t, err, delivery.ErrFenced)
	must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("3\n"), s3))

	var got []string
	for m, err := range w.q.Ledger(w.ctx, "x", s3) {
		ok(t, err)
		got = append(got, string(m))
	}
	if want := []string{"1\n", "2\n", "takeover\n"}; !slices.Equal(got, want) {
		t.Fatalf("ledger up to %d is %q, want %q", s3, got, want)
	}
	n := 0
	for _, err := range w.q.Ledger(w.ctx, "x", math.MaxUint64) {
		ok(t, err)
		n++
	}
	if n != 4 {
		t.Fatalf("the whole ledger has %d messages", n)
	}
	var last error
	for _, err := range w.q.Ledger(w.ctx, "x", s3+10) {
		last = err
	}
	if last == nil {
		t.Fatal("a ledger that ends too early is not noticed")
	}
}

// Units wait until they are delivered.
func TestWaitingUnits(t *testing.T) {
	w := newWorld(t)
	waiting := func(want int) { // the server counts a unit a little later than it stores it
		t.Helper()
		for last := 0; ; {
			n, err := w.q.WaitingUnits(w.ctx)
			if err != nil {
				t.Fatalf("%d units wait, not %d: %v", last, want, err)
			}
			if n == want {
				return
			}
			last = n
		}
	}
	waiting(0)
	for n := range 5 {
		ok(t, w.q.PublishUnit(w.ctx, []string{"a", "b"}[n%2], n, []byte("{}")))
	}
	waiting(5)
	r, release := holdTwoUnits(t, w.q)
	waiting(3)
	ok(t, w.q.PurgeUnits(w.ctx, "b"))
	waiting(2) // of a, whose third is at work
	r.stop(delivery.ErrStopping)
	release()
	ok(t, receive(t, r.done))
}

// Three units are at work, and the first worker dies. Then the second's command ends, whose units
// are removed, and the third is done: the first must come again. (A purge by subject makes
// nats-server 2.15 take it for acknowledged: it stays in the stream, and nobody gets it.)
func TestPurgedUnitsTakeNoOthersWithThem(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.AckWait = time.Second })
	for _, id := range []string{"first", "second", "third"} {
		ok(t, w.q.PublishUnit(w.ctx, id, 0, []byte("{}")))
	}
	deliveries := make(chan delivery.UnitDelivery, 10)
	purged := make(chan struct{})
	r := serveUnits(t, w.q, UnitLoop{Slots: 3, Handle: func(_ context.Context, d delivery.UnitDelivery) delivery.Disposition {
		deliveries <- d
		if d.Command == "first" && d.Delivered == 1 {
			return delivery.Disposition{Verb: delivery.Abandon}
		}
		<-purged
		return delivery.Disposition{Verb: delivery.Ack}
	}})
	for range 3 {
		receive(t, deliveries)
	}
	ok(t, w.q.PurgeUnits(w.ctx, "second"))
	close(purged)
	if d := receive(t, deliveries); d.Command != "first" || d.Delivered != 2 {
		t.Errorf("%s is delivered, for the %d. time", d.Command, d.Delivered)
	}
	r.stop(delivery.ErrStopping)
	ok(t, receive(t, r.done))
	if n := w.messages(t, "CV_WORK"); n != 0 {
		t.Errorf("%d units are left", n)
	}
}

// However two coordinators interleave, each message has one successor.
func TestLedgerTwoAppenders(t *testing.T) {
	w := newWorld(t)
	queues := []*Queue{w.q, w.open(t), w.open(t)}
	for round := range 30 {
		_, tail, err := w.q.LedgerTail(w.ctx, "x")
		ok(t, err)
		won := make([]bool, len(queues))
		var wg sync.WaitGroup
		for i, q := range queues {
			wg.Go(func() {
				_, err := q.AppendLedger(w.ctx, "x", []byte("the same line\n"), tail)
				won[i] = err == nil
				if err != nil && !errors.Is(err, delivery.ErrFenced) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(won); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
	}
}

func TestEventOnceForEver(t *testing.T) {
	w := newWorld(t)
	first, second := event("x", contract.StatusCompleted), event("x", contract.StatusCompleted)
	second.Data.Exceptions = 9
	ok(t, w.q.PublishEvent(w.ctx, first))
	ok(t, w.q.PublishEvent(w.ctx, second))
	got := must[contract.Event](t)(w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusCompleted))
	if got.Data.Exceptions != 0 {
		t.Fatal("the second terminal event replaced the first")
	}
	_, err := w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusFailed)
	is(t, err, contract.ErrNoMessage)
	for n := range 3 {
		e := contract.NewProgressEvent(contract.EventData{CommandID: "x", Action: contract.ActionExport, Exceptions: int64(n)}, uint64(n), time.Unix(0, 0), "")
		ok(t, w.q.PublishEvent(w.ctx, e))
	}
	got = must[contract.Event](t)(w.q.Event(w.ctx, contract.ActionExport, "x", contract.StatusProgress))
	if got.Data.Exceptions != 2 || w.messages(t, "CV_EVENTS") != 2 {
		t.Fatalf("progress is number %d of %d messages", got.Data.Exceptions, w.messages(t, "CV_EVENTS"))
	}
}

func TestWatchEvents(t *testing.T) {
	w := newWorld(t)
	ok(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusAccepted)))
	ok(t, w.q.PublishEvent(w.ctx, event("other", contract.StatusCompleted)))
	ctx, cancel := context.WithCancel(w.ctx)
	events := must[<-chan contract.Event](t)(w.q.WatchEvents(ctx, "x"))
	if e := receive(t, events); e.Data.Status != contract.StatusAccepted {
		t.Fatalf("first is %s", e.Data.Status)
	}
	ok(t, w.server.Restart())
	ok(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusCompleted)))
	if e := receive(t, events); e.Data.Status != contract.StatusCompleted || e.Data.CommandID != "x" {
		t.Fatalf("second is %s of %s", e.Data.Status, e.Data.CommandID)
	}
	cancel()
	for range events {
		t.Fatal("an event too many")
	}
}

func TestWatchJob(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(w.ctx)
	jobs := must[<-chan contract.Job](t)(w.q.WatchJob(ctx, "x"))
	rev := uint64(0)
	for _, phase := range []string{"one", "two", "three"} {
		rev = must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", Phase: phase}, rev))
		if j := receive(t, jobs); j.Phase != phase {
			t.Fatalf("phase %q, want %q", j.Phase, phase)
		}
	}
	// A stream that was deleted and made again starts at 1.
	ok(t, w.js.DeleteStream(w.ctx, "KV_CV_JOBS"))
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", Phase: "anew"}, 0))
	if j := receive(t, jobs); j.Phase != "anew" {
		t.Fatalf("phase %q", j.Phase)
	}
	cancel()
	for range jobs {
		t.Fatal("a job too many")
	}
}

func TestJobs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"c", "a", "b", "gone"} {
		rev := must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id, Phase: "old"}, 0))
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id, Phase: "new"}, rev))
	}
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS"))
	ok(t, kv.Delete(w.ctx, "gone"))
	must[uint64](t)(kv.PutString(w.ctx, "b-newer", `{"v":99}`))
	must[uint64](t)(kv.PutString(w.ctx, "b-broken", `{`))
	var got []string
	for j, err := range w.q.Jobs(w.ctx) {
		switch {
		case errors.Is(err, contract.ErrNewer):
			got = append(got, j.ID+" newer")
		case err != nil:
			got = append(got, j.ID+" broken")
		default:
			got = append(got, j.ID+" "+j.Phase)
		}
	}
	if want := []string{"a new", "b new", "b-broken broken", "b-newer newer", "c new"}; !slices.Equal(got, want) {
		t.Fatalf("jobs are %q, want %q", got, want)
	}
	for range w.q.Jobs(w.ctx) {
		break
	}
}

// The buckets are what nats.go's key-value store expects: `nats kv` works on them.
func TestBucketsAreKeyValueStores(t *testing.T) {
	w := newWorld(t)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x", Phase: "ours"}, 0))
	for _, bucket := range []string{"CV_JOBS", "CV_HOLDS", "CV_SECRETS"} {
		kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, bucket))
		st := must[jetstream.KeyValueStatus](t)(kv.Status(w.ctx))
		if st.History() != 1 || st.BackingStore() != "JetStream" {
			t.Fatalf("%s has history %d", bucket, st.History())
		}
		rev := must[uint64](t)(kv.Create(w.ctx, "k", []byte("1")))
		must[uint64](t)(kv.Update(w.ctx, "k", []byte("2"), rev))
		if e := must[jetstream.KeyValueEntry](t)(kv.Get(w.ctx, "k")); string(e.Value()) != "2" {
			t.Fatalf("%s has %q", bucket, e.Value())
		}
		ok(t, kv.Purge(w.ctx, "k"))
	}
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_JOBS"))
	e := must[jetstream.KeyValueEntry](t)(kv.Get(w.ctx, "x"))
	j, rev, err := w.q.Job(w.ctx, "x")
	if err != nil || rev != e.Revision() || j.Phase != "ours" {
		t.Fatalf("revision %d and %d, %v", rev, e.Revision(), err)
	}
	// A deleted key is no job, and a new one can be made over it.
	ok(t, kv.Delete(w.ctx, "x"))
	_, _, err = w.q.Job(w.ctx, "x")
	is(t, err, contract.ErrNoJob)
	must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: "x"}, 0))
	_, err = w.q.PutJob(w.ctx, contract.Job{ID: "x"}, 0)
	is(t, err, contract.ErrConflict)
}

func TestHolds(t *testing.T) {
	w := newWorld(t)
	const id = "0f0e0d0c-0000-0000-0000-00000000abcd"
	held := func(want bool) {
		t.Helper()
		if got := must[bool](t)(w.q.Held(w.ctx, id)); got != want {
			t.Fatalf("held is %v, want %v", got, want)
		}
	}
	held(false)
	ok(t, w.q.PutHold(w.ctx, "11111111-0000-0000-0000-000000000000", nil))
	held(false)
	kv := must[jetstream.KeyValue](t)(w.js.KeyValue(w.ctx, "CV_HOLDS"))
	must[uint64](t)(kv.PutString(w.ctx, strings.ToUpper(id), "by hand"))
	held(true)
	ok(t, kv.Delete(w.ctx, strings.ToUpper(id)))
	held(false)
	ok(t, w.q.PutHold(w.ctx, id, []byte("case 1")))
	held(true)
	if got := must[[]Hold](t)(w.q.Holds(w.ctx)); len(got) != 2 || got[0].Project != id || got[0].Note != "case 1" || got[0].Since.IsZero() {
		t.Fatalf("holds are %+v", got)
	}
	ok(t, w.q.RemoveHold(w.ctx, strings.ToUpper(id)))
	held(false)
}

func TestDeadLetterKeepsTheMessage(t *testing.T) {
	w := newWorld(t)
	letter := contract.DeadLetter{
		ID: "seq-9", Action: contract.ActionDelete, Attempts: 3, Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
		Message: contract.Message{Subject: "cv.commands.delete", Body: []byte("\x00not json"), Header: map[string][]string{
			"Nats-Msg-Id": {"used"}, "ce-id": {"a", "b"}, "Nats-Expected-Stream": {"CV_COMMANDS"}, "nats-ttl": {"1s"}, "Nats-Rollup": {"all"}, "odd name": {"x"},
			"Cv-Write": {"theirs"}, "Status": {"503"},
		}},
		Error: contract.Error{Code: "invalid_command", Message: "line one\r\nNats-Rollup: all\x00" + strings.Repeat("é", maxErrorHeader)},
	}
	// Another dead letter with the same Nats-Msg-Id just before: JetStream would take this one for
	// a duplicate and acknowledge it.
	before := letter
	before.ID = "seq-8"
	ok(t, w.q.PublishDead(w.ctx, before))
	ok(t, w.q.PublishDead(w.ctx, letter))
	ok(t, w.q.PublishDead(w.ctx, letter))
	if n := w.messages(t, "CV_DEAD"); n != 2 {
		t.Fatalf("%d dead letters", n)
	}
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_DEAD"))
	m := must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.delete.seq-9"))
	if !bytes.Equal(m.Data, letter.Message.Body) {
		t.Fatalf("body is %q", m.Data)
	}
	for name, want := range map[string]string{
		"Nats-Msg-Id": "used", "ce-id": "a", "Cv-Original-Nats-Expected-Stream": "CV_COMMANDS", "Cv-Original-nats-ttl": "1s", "Cv-Original-Nats-Rollup": "all",
		"odd_name": "x", "Cv-Original-Cv-Write": "theirs", "Status": "503", "Cv-Error-Code": "invalid_command", "Cv-Attempts": "3", "Cv-Time": "2026-01-02T03:04:05.000000006Z",
	} {
		if got := m.Header[name]; len(got) == 0 || got[0] != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	text := m.Header.Get("Cv-Error")
	if !strings.HasPrefix(text, "line one  Nats-Rollup: all") || len(text) > maxErrorHeader+3 {
		t.Errorf("Cv-Error has %d bytes: %.60q", len(text), text)
	}
	if got := m.Header["ce-id"]; len(got) != 2 {
		t.Errorf("ce-id is %q", got)
	}
}

// A body as long as the server lets it be leaves no room for the headers.
func TestDeadLetterOfAHugeMessage(t *testing.T) {
	w := newWorld(t)
	letter := contract.DeadLetter{ID: "x", Action: contract.ActionExport, Message: contract.Message{Body: make([]byte, w.nc.MaxPayload())}}
	ok(t, w.q.PublishDead(w.ctx, letter))
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_DEAD"))
	m := must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.export.x"))
	if len(m.Data) != 0 || m.Header.Get("Cv-Truncated") != "1048576" {
		t.Fatalf("%d bytes, truncated %q", len(m.Data), m.Header.Get("Cv-Truncated"))
	}
	// The largest command that its stream takes has room.
	letter.ID, letter.Message.Body = "y", make([]byte, maxCommandSize)
	letter.Error.Message = strings.Repeat("x", 2*maxErrorHeader)
	ok(t, w.q.PublishDead(w.ctx, letter))
	m = must[*jetstream.RawStreamMsg](t)(s.GetLastMsgForSubject(w.ctx, "cv.dead.export.y"))
	if len(m.Data) != maxCommandSize {
		t.Fatalf("%d bytes", len(m.Data))
	}
}

func TestUnits(t *testing.T) {
	w := newWorld(t)
	for range 2 {
		for n := range 3 {
			ok(t, w.q.PublishUnit(w.ctx, "x", n, []byte("unit")))
		}
	}
	ok(t, w.q.PublishUnit(w.ctx, "xx", 0, nil))
	if n := w.messages(t, "CV_WORK"); n != 4 {
		t.Fatalf("%d units are queued", n)
	}
	ok(t, w.q.PurgeUnits(w.ctx, "x"))
	ok(t, w.q.PurgeUnits(w.ctx, "x"))
	if n := w.messages(t, "CV_WORK"); n != 1 {
		t.Fatalf("%d units are left", n)
	}
	ok(t, w.q.PublishUnit(w.ctx, "x", 1, nil)) // a purged one may come again
	if n := w.messages(t, "CV_WORK"); n != 2 {
		t.Fatalf("%d units are queued again", n)
	}
}

func TestForget(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"x", "xy"} {
		must[uint64](t)(w.q.PutJob(w.ctx, contract.Job{ID: id}, 0))
		must[uint64](t)(w.q.AppendLedger(w.ctx, id, []byte("1\n"), 0))
		ok(t, w.q.PublishUnit(w.ctx, id, 1, nil))
		ok(t, w.q.PublishEvent(w.ctx, event(id, contract.StatusAccepted)))
		ok(t, w.q.PublishEvent(w.ctx, event(id, contract.StatusFailed)))
		ok(t, w.q.PublishDead(w.ctx, contract.DeadLetter{ID: id, Action: contract.ActionExport}))
	}
	ok(t, w.q.Forget(w.ctx, "x"))
	for stream, want := range map[string]uint64{"KV_CV_JOBS": 1, "CV_LEDGER": 1, "CV_WORK": 1, "CV_EVENTS": 2, "CV_DEAD": 1} {
		if n := w.messages(t, stream); n != want {
			t.Errorf("%s has %d messages, want %d", stream, n, want)
		}
	}
	if err := w.q.Forget(w.ctx, "*"); err == nil {
		t.Error("forgot everybody")
	}
}

// A subject of ours that somebody else's stream has taken is an error, not something to wait for.
func TestForeignStream(t *testing.T) {
	w := newWorld(t)
	ok(t, w.js.DeleteStream(w.ctx, "CV_EVENTS"))
	must[jetstream.Stream](t)(w.js.CreateStream(w.ctx, jetstream.StreamConfig{Name: "THEIRS", Subjects: []string{"cv.events.>"}}))
	is(t, w.q.PublishEvent(w.ctx, event("x", contract.StatusCompleted)), errForeign)
}

func TestResults(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	numbers, stop, err := w.q.Results(w.ctx, "x")
	ok(t, err)
	ok(t, other.NotifyResult(w.ctx, "y", 1))
	ok(t, other.NotifyResult(w.ctx, "x", 42))
	if n := receive(t, numbers); n != 42 {
		t.Fatalf("got %d", n)
	}
	// A reader that does not read loses what is too much, and holds nobody up.
	for n := range 3 * resultsBuffer {
		ok(t, other.NotifyResult(w.ctx, "x", n))
	}
	ok(t, other.nc.FlushWithContext(w.ctx))
	for n := range resultsBuffer / 2 {
		if got := receive(t, numbers); got != n {
			t.Fatalf("got %d, want %d", got, n)
		}
	}
	stop()
	stop()
	for range numbers { // ends
	}
}

func TestCommands(t *testing.T) {
	w := newWorld(t)
	var seqs []uint64
	for n := range 5 {
		seqs = append(seqs, must[uint64](t)(w.q.PublishCommand(w.ctx, command(fmt.Sprintf("c%d", n), "{}"))))
	}
	m := must[contract.Message](t)(w.q.Command(w.ctx, seqs[1]))
	if m.Subject != "cv.commands.export" || m.Header["Nats-Msg-Id"][0] != "c1" || string(m.Body) != "{}" || m.Seq != seqs[1] || m.Time.IsZero() {
		t.Fatalf("command is %+v", m)
	}
	s := must[jetstream.Stream](t)(w.js.Stream(w.ctx, "CV_COMMANDS"))
	ok(t, s.DeleteMsg(w.ctx, seqs[2]))
	_, err := w.q.Command(w.ctx, seqs[2])
	is(t, err, contract.ErrNoMessage)
	_, err = w.q.Command(w.ctx, 0)
	is(t, err, contract.ErrNoMessage)
	between := func(from, to uint64) (got []uint64) {
		t.Helper()
		for m, err := range w.q.CommandsBetween(w.ctx, from, to) {
			ok(t, err)
			got = append(got, m.Seq)
		}
		return got
	}
	for _, c := range []struct {
		from, to uint64
		want     []uint64
	}{
		{0, 100, []uint64{1, 2, 4, 5}}, {2, 5, []uint64{2, 4}}, {3, 4, nil}, {4, 5, []uint64{4}}, {5, 5, nil}, {9, 3, nil}, {0, 0, nil}, {0, math.MaxUint64, []uint64{1, 2, 4, 5}},
	} {
		if got := between(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("between %d and %d: %d, want %d", c.from, c.to, got, c.want)
		}
	}
	if _, err := w.q.PublishCommand(w.ctx, contract.Message{Subject: "cv.events.export.x.completed"}); err == nil {
		t.Fatal("published on a subject that is none of commands")
	}
}

// The duplicate window swallows with a positive acknowledgement. A command must not be lost to it.
func TestCommandWithAUsedMessageID(t *testing.T) {
	w := newWorld(t)
	a := must[uint64](t)(w.q.PublishCommand(w.ctx, command("same", `{"a":1}`)))
	b := must[uint64](t)(w.q.PublishCommand(w.ctx, command("same", `{"b":2}`)))
	if a == b || w.messages(t, "CV_COMMANDS") != 2 {
		t.Fatalf("stored as %d and %d, %d messages", a, b, w.messages(t, "CV_COMMANDS"))
	}
	// The answer is lost: the second try finds the first one's message, or stores it again.
	meddle(w.q, func(m *nats.Msg, nth int) fault {
		if strings.HasPrefix(m.Subject, "cv.commands.") && nth == 1 {
			return loseAnswer
		}
		return none
	})
	c := must[uint64](t)(w.q.PublishCommand(w.ctx, command("once", `{"c":3}`)))
	if m := must[contract.Message](t)(w.q.Command(w.ctx, c)); string(m.Body) != `{"c":3}` {
		t.Fatalf("command is %s", m.Body)
	}
}

// A header block that nobody can parse does not stop whoever reads past it.
func TestCommandWithUnreadableHeaders(t *testing.T) {
	w := newWorld(t)
	conn, err := w.server.InProcessConn()
	ok(t, err)
	defer conn.Close()
	head := "NATS/1.0\r\nno colon here\r\n\r\n"
	pong := make(chan struct{})
	go func() { // the connection is a pipe without a buffer: somebody must read what the server says
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PONG" {
				close(pong)
			}
		}
	}()
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"protocol\":1}\r\nHPUB cv.commands.export %d %d\r\n%sbody\r\nPING\r\n", len(head), len(head)+4, head)
	ok(t, err)
	<-pong
	must[uint64](t)(w.q.PublishCommand(w.ctx, command("next", "{}")))
	n := 0
	for m, err := range w.q.CommandsBetween(w.ctx, 0, 10) {
		ok(t, err)
		if n++; n == 1 && string(m.Body) != "body" {
			t.Fatalf("body is %q", m.Body)
		}
	}
	if n != 2 {
		t.Fatalf("%d commands", n)
	}
}
