package handler_test

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

var waitingCommands = flag.Int("waiting", 100, "commands that wait in TestManyCommandsWait, 30 at least")

// census counts what a handler asks of its queue for commands whose id begins with "w", and holds
// exports back just before they commit.
type census struct {
	Queue
	mu     sync.Mutex
	counts map[string]int
	holds  map[string]chan struct{} // by id, until closed
	held   map[string]*signal       // by id
	lags   atomic.Bool              // it is a leader that does not know of any command yet
}

func newCensus(q Queue, hold ...string) *census {
	c := &census{Queue: q, counts: map[string]int{}, holds: map[string]chan struct{}{}, held: map[string]*signal{}}
	for _, id := range hold {
		c.holds[id], c.held[id] = make(chan struct{}), newSignal()
	}
	return c
}

func (c *census) count(what, id string) {
	if !strings.HasPrefix(id, "w") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

// take returns the counts and begins again.
func (c *census) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[string]int{}
	return counts
}

func (c *census) deliveries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts["delivery"]
}

func (c *census) Job(ctx context.Context, id string) (contract.Job, uint64, error) {
	c.count("read of a job", id)
	return c.Queue.Job(ctx, id)
}

func (c *census) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	c.count("write of a job", j.ID)
	if held := c.holds[j.ID]; held != nil && j.Phase == contract.PhaseCommit {
		c.held[j.ID].happens()
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return c.Queue.PutJob(ctx, j, rev)
}

func (c *census) PublishEvent(ctx context.Context, e contract.Event) error {
	c.count("event", e.Subject)
	return c.Queue.PublishEvent(ctx, e)
}

// CommandIn does not say which command asks: only those that wait ask all the time.
func (c *census) CommandIn(ctx context.Context, stream string, seq uint64) (contract.Message, error) {
	c.count("read of another command", "w")
	return c.Queue.CommandIn(ctx, stream, seq)
}

func (c *census) CommandsBetween(ctx context.Context, from, to uint64) iter.Seq2[contract.Message, error] {
	return func(yield func(contract.Message, error) bool) {
		if c.lags.Load() {
			return
		}
		for m, err := range c.Queue.CommandsBetween(ctx, from, to) {
			c.count("read of another command", "w")
			if !yield(m, err) {
				return
			}
		}
	}
}

// Any number of commands may wait for one project. They hold no slot, delay no other project, cost
// a few reads each time they come again, and write nothing unless what they wait for changed. At
// last they end, in their order.
func TestManyCommandsWait(t *testing.T) {
	n := *waitingCommands
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	busy := w.api.AddProject(cvtest.ProjectSpec{Name: "busy", Images: 3, Tags: []string{"a"}}).ID
	other := w.api.AddProject(cvtest.ProjectSpec{Name: "other", Images: 3, Tags: []string{"a"}}).ID
	on := func(id uuid.UUID, more string) string { return fmt.Sprintf(`{"project_ids":["%s"]%s}`, id, more) }

	var c *census
	const slots = 3 // two of them are held all the time
	w.start(t, replicaOptions{
		commands: slots, units: slots,
		configure: func(o *handler.Config) {
			c = newCensus(whole(o.Queue), "first", "second")
			o.Queue = parts(c)
		},
		settles: func(d delivery.Delivery, verdict delivery.Disposition) {
			if id := http.Header(d.Header).Get(contract.HeaderMsgID); verdict.Verb == delivery.Nak && verdict.Reason == "waits for command" {
				c.count("delivery", id)
			}
		},
	})
	first, second := w.publish(t, "export", "first", on(busy, "")), w.publish(t, "export", "second", on(busy, ""))
	c.held["first"].wait(t, "the first export is about to commit")
	c.held["second"].wait(t, "the second export is about to commit")

	// Deletes that do not mind each other, deletes that mind everything, and exports.
	const tail = 6 // that run in the end; the others are cancelled
	action := func(i int) string { return [...]string{"delete", "delete", "export"}[i%3] }
	data := func(i int) string {
		return on(busy, [...]string{`,"image_ids":["` + uuid.NewString() + `"]`, `,"categories":["iterations"]`, ""}[i%3])
	}
	var ran []*history
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := time.Now()
	for i := range n {
		id := fmt.Sprintf("w%d", i)
		if i >= n-tail {
			ran = append(ran, w.publish(t, contract.Action(action(i)), id, data(i)))
			continue
		}
		_, err := w.queue.PublishCommand(t.Context(), contract.Message{
			Subject: "cv.commands." + action(i), Header: map[string][]string{contract.HeaderMsgID: {id}}, Body: []byte(data(i)),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s: %d commands published", time.Since(begun), n)
	elsewhere := w.publish(t, "export", "elsewhere", on(other, ""))
	if e := w.wait(t, elsewhere); e.Status != contract.StatusCompleted {
		t.Errorf("the export of another project ended %s: %v", e.Status, e.Error)
	}
	t.Logf("%s: another project's export, published last, has ended", time.Since(begun))
	for i := range n {
		id := fmt.Sprintf("w%d", i)
		w.eventually(t, id+" waits", func() bool {
			j, _, err := w.queue.Job(t.Context(), id)
			if err == nil && j.Waiting != nil && (j.Attempt != 0 || j.Waiting.For != contract.WaitCommand) {
				t.Fatalf("%s waits for %+v after %d attempts", id, j.Waiting, j.Attempt)
			}
			return err == nil && j.Waiting != nil
		})
	}
	t.Logf("%s: all wait", time.Since(begun))

	// Each of them comes again, and again.
	round := func(what string) {
		t.Helper()
		c.take()
		start := time.Now()
		w.eventually(t, "they come again", func() bool { return c.deliveries() >= n })
		counts := c.take()
		t.Logf("%s: %d times one came again in %s: %v", what, counts["delivery"], time.Since(start), counts)
		for what, most := range map[string]int{"read of a job": 2, "read of another command": 2, "write of a job": 0, "event": 0} {
			// A delivery on its way at the beginning or at the end is counted in part.
			if slack := 2 * slots * most; counts[what] > most*counts["delivery"]+slack {
				t.Errorf("%d deliveries cost %d times a %s", counts["delivery"], counts[what], what)
			}
		}
	}
	round("waiting for both")
	close(c.holds["first"])
	if e := w.wait(t, first); e.Status != contract.StatusCompleted {
		t.Errorf("the first export ended %s: %v", e.Status, e.Error)
	}
	round("waiting for the second")
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("the heap of the whole test, servers included, has grown by %d KiB", (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)

	for i := range n - tail {
		_, err := w.queue.PublishCommand(t.Context(), contract.Message{
			Subject: "cv.commands.cancel", Header: map[string][]string{contract.HeaderMsgID: {fmt.Sprintf("c%d", i)}}, Body: fmt.Appendf(nil, `{"id":"w%d"}`, i),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range n - tail {
		id := fmt.Sprintf("w%d", i)
		w.eventually(t, id+" is cancelled", func() bool {
			_, err := w.queue.Event(t.Context(), contract.Action(action(i)), id, contract.StatusCancelled)
			return err == nil
		})
	}
	t.Logf("%s: %d were cancelled", time.Since(begun), n-tail)
	close(c.holds["second"])
	if e := w.wait(t, second); e.Status != contract.StatusCompleted {
		t.Errorf("the second export ended %s: %v", e.Status, e.Error)
	}
	var last time.Time
	for _, h := range ran {
		e := w.wait(t, h)
		if e.Status != contract.StatusCompleted || e.Attempt != 1 {
			t.Fatalf("%s ended %s in attempt %d: %v", e.CommandID, e.Status, e.Attempt, e.Error)
		}
		if e.FinishedAt.Before(last) {
			t.Errorf("%s ended before the one that it waited for", e.CommandID)
		}
		last = *e.FinishedAt
	}
	for i := n - tail; i < n; i++ {
		w.bag(t, fmt.Sprintf("w%d", i), map[bool]sink.BagKind{true: sink.ExportBag, false: sink.DeleteBag}[action(i) == "export"])
	}
	t.Logf("%s: all have ended", time.Since(begun))
	w.eventually(t, "the queue is empty", func() bool { return len(w.messages(t, "CV_COMMANDS")) == 0 })
}

// A leader that has not caught up yet knows of no earlier command: that is no proof that there is
// none.
func TestTurnIsWaitedForWhileTheLeaderLags(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	data := fmt.Sprintf(`{"project_ids":["%s"]}`, w.api.AddProject(cvtest.ProjectSpec{Name: "busy", Images: 3, Tags: []string{"a"}}).ID)
	var c *census
	w.start(t, replicaOptions{
		configure: func(o *handler.Config) {
			c = newCensus(whole(o.Queue), "exp")
			o.Queue = parts(c)
		},
		settles: func(d delivery.Delivery, _ delivery.Disposition) {
			if d.Subject == "cv.commands.delete" {
				c.lags.Store(false)
			}
		},
	})
	exp := w.publish(t, "export", "exp", data)
	c.held["exp"].wait(t, "the export is about to commit")
	c.lags.Store(true)
	w.laterWaits(t, c, exp, w.publish(t, "delete", "del", data))
}

// laterWaits demands that the delete "del" waits for the export "exp", which is held, and that both
// end.
func (w *world) laterWaits(t *testing.T, c *census, exp, del *history) {
	t.Helper()
	w.eventually(t, "the delete waits, or begins", func() bool {
		j, _, err := w.queue.Job(t.Context(), "del")
		if err == nil && j.Attempted {
			t.Fatal("the delete began while the export was at work")
		}
		return err == nil && j.Waiting != nil
	})
	close(c.holds["exp"])
	for _, h := range []*history{exp, del} {
		if e := w.wait(t, h); e.Status != contract.StatusCompleted {
			t.Errorf("%s ended %s: %v", e.CommandID, e.Status, e.Error)
		}
	}
	w.bag(t, "exp", sink.ExportBag)
	w.bag(t, "del", sink.DeleteBag)
}

// An operator deletes the stream of commands while replicas run: it is made again, its numbers
// begin again, and the order of commands holds in it.
func TestTurnIsWaitedForInAStreamMadeAgain(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	data := fmt.Sprintf(`{"project_ids":["%s"]}`, w.api.AddProject(cvtest.ProjectSpec{Name: "busy", Images: 3, Tags: []string{"a"}}).ID)
	var c *census
	w.start(t, replicaOptions{configure: func(o *handler.Config) {
		c = newCensus(whole(o.Queue), "exp")
		o.Queue = parts(c)
	}})
	for n := range 3 {
		if e := w.run(t, fmt.Sprintf("before-%d", n), data); e.Status != contract.StatusCompleted {
			t.Fatalf("%s ended %s: %v", e.CommandID, e.Status, e.Error)
		}
	}
	js, err := jetstream.New(w.conn)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "CV_COMMANDS"); err != nil {
		t.Fatal(err)
	}
	exp := w.publish(t, "export", "exp", data)
	c.held["exp"].wait(t, "the export is about to commit")
	w.laterWaits(t, c, exp, w.publish(t, "delete", "del", data))
}
