package handler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// turnstile holds every coordinator back just before its export commits, until it is opened or the
// attempt is called off.
type turnstile struct {
	Queue
	*turns
}

type turns struct {
	arrived, calledOff chan struct{}
	open               chan struct{}
}

func newTurns() *turns {
	return &turns{arrived: make(chan struct{}, 100), calledOff: make(chan struct{}, 100), open: make(chan struct{})}
}

func (s turnstile) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	if j.Phase == contract.PhaseCommit {
		s.arrived <- struct{}{}
		select {
		case <-s.open:
		case <-ctx.Done():
			s.calledOff <- struct{}{}
		}
	}
	return s.Queue.PutJob(ctx, j, rev)
}

// receive waits until something comes from c.
func receive(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("it never happens that %s", what)
	}
}

const fewAttempts = 2

// newOutageWorld is one with a short ack wait and a clock of its own: however busy the machine is,
// by that clock no process stands still, which would count.
func newOutageWorld(t *testing.T) *world {
	t.Helper()
	return newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, now: stepClock(), ackWait: 2 * time.Second})
}

// takenBack waits until all attempts at a command but the one under way are taken back. A holder
// that lost NATS takes its own back as soon as it is connected, be it after another one began: only
// a holder that ends at once could be faster.
func (w *world) takenBack(t *testing.T, id string) {
	t.Helper()
	w.await(t, id, "with one attempt", func(j contract.Job) bool { return j.Attempt == 1 })
}

// publishFew publishes an export, "exp", of a project of three images.
func (w *world) publishFew(t *testing.T) *history {
	t.Helper()
	project := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 3, Tags: []string{"a"}}).ID
	return w.publish(t, "export", "exp", fmt.Sprintf(`{"project_ids":["%s"]}`, project))
}

// completesInOneAttempt waits until a command has ended, well and in its first attempt that counts.
func (w *world) completesInOneAttempt(t *testing.T, h *history) {
	t.Helper()
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Attempt != 1 {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
}

// NATS goes away for longer than the ack wait, and comes back, more often than a command has
// attempts: that is not the command's fault, and costs none.
func TestNATSAwayCostsNoAttempt(t *testing.T) {
	w := newOutageWorld(t)
	turns := newTurns()
	for range 2 {
		w.start(t, replicaOptions{configure: func(c *handler.Config) {
			c.Queue, c.MaxAttempts = parts(turnstile{whole(c.Queue), turns}), fewAttempts
		}})
	}
	h := w.publishFew(t)
	for range 2 * fewAttempts {
		receive(t, turns.arrived, "a coordinator is at work")
		w.nats.Stop()
		receive(t, turns.calledOff, "the lease is lost")
		if err := w.nats.Start(); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, turns.arrived, "a coordinator is at work")
	w.takenBack(t, "exp")
	close(turns.open)
	w.completesInOneAttempt(t, h)
	w.bag(t, "exp", sink.ExportBag)
}

func yes() bool { return true }

var natsLost = delivery.Lease{Outage: yes}

// A command is taken over from a holder that is alive, again and again. Its attempt does not count,
// whichever holder writes first, be it that the holder lost NATS meanwhile, or that the server
// delivered the message again for reasons of its own. Only where the holder stood still does each
// attempt count.
func TestTakenOverFromTheLiving(t *testing.T) {
	for _, c := range []struct {
		name   string
		lease  delivery.Lease
		counts bool
	}{
		{"it lost NATS", natsLost, false},
		{"it stood still", delivery.Lease{Stalled: yes}, true},
		{"it did neither", delivery.Lease{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			turns := newTurns()
			configure := func(c *handler.Config) { c.Queue, c.MaxAttempts = parts(turnstile{whole(c.Queue), turns}), fewAttempts }
			h := w.publishFew(t)
			verdicts := make(chan delivery.Disposition, 100)
			var holders sync.WaitGroup
			t.Cleanup(holders.Wait)
			w.start(t, replicaOptions{units: 4})
			deliver := func() {
				r := w.start(t, replicaOptions{configure: configure, idle: true})
				verdict := w.deliver(t.Context(), t, h, r, c.lease)
				holders.Go(func() { verdicts <- <-verdict })
			}
			deliver()
			receive(t, turns.arrived, "a coordinator is at work")
			taken, ended := 1, false
			for !ended && taken < 4*fewAttempts {
				deliver()
				for handled := false; !handled; {
					select {
					case <-turns.arrived:
						taken, handled = taken+1, true
					case d := <-verdicts:
						switch {
						case d.Verb == delivery.Abandon: // the previous holder
						case d.Verb == delivery.Ack:
							ended, handled = true, true
						case strings.HasPrefix(d.Reason, "attempts used up"):
							receive(t, turns.calledOff, "the previous holder stops") // it is told, and refunds its attempt
							if !c.counts {
								w.eventually(t, "an attempt is taken back", func() bool {
									j, _, err := w.queue.Job(t.Context(), "exp")
									return err == nil && j.Attempt < fewAttempts
								})
							}
							deliver()
						default:
							t.Fatalf("settled %s: %s", d.Verb, d.Reason)
						}
					case <-time.After(patience):
						t.Fatal("nothing happens")
					}
				}
			}
			if c.counts && (!ended || taken != fewAttempts) || !c.counts && ended {
				t.Errorf("it was taken %d times, ended: %v", taken, ended)
			}
			if !c.counts {
				w.takenBack(t, "exp")
			}
			close(turns.open)
			if !c.counts {
				for d := range verdicts { // of the last holder
					if d.Verb == delivery.Ack {
						break
					}
				}
			}
			w.start(t, replicaOptions{configure: configure}) // acknowledges
			e := w.wait(t, h)
			if !c.counts && (e.Status != contract.StatusCompleted || e.Attempt != 1) {
				t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
			}
			if c.counts && (e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || e.Attempt != fewAttempts) {
				t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
			}
		})
	}
}

// deliver delivers a command to a replica.
func (w *world) deliver(ctx context.Context, t *testing.T, h *history, r *replica, lease delivery.Lease) <-chan delivery.Disposition {
	t.Helper()
	message, err := w.queue.Command(ctx, h.seq)
	if err != nil {
		t.Fatal(err)
	}
	w.stamp(&message)
	verdict := make(chan delivery.Disposition, 1)
	go func() {
		verdict <- r.handler.Command(ctx, delivery.Delivery{Message: message, Delivered: 1, Lease: lease})
	}()
	return verdict
}

// beforeEndNotice is a queue that calls before, then sends the notice that tells a previous holder
// to stop.
type beforeEndNotice struct {
	Queue
	before func()
}

func (o beforeEndNotice) NotifyOver(ctx context.Context, id string) error {
	o.before()
	return o.Queue.NotifyOver(ctx, id)
}

// A holder that lost NATS is drained after another one took its command over, and before it heard
// of that: it takes back its attempt all the same.
func TestDrainedWhenTakenOver(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	turns := newTurns()
	h := w.publishFew(t)
	w.start(t, replicaOptions{units: 4})
	previous := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) { c.Queue = parts(turnstile{whole(c.Queue), turns}) }})
	work, drain := context.WithCancelCause(t.Context())
	defer drain(nil)
	given := w.deliver(work, t, h, previous, natsLost)
	receive(t, turns.arrived, "a coordinator is at work")
	later := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(beforeEndNotice{whole(c.Queue), func() {
			drain(delivery.ErrStopping)
			if d := <-given; d.Verb != delivery.Abandon {
				t.Errorf("the previous holder settles the message of the next one: %s %s", d.Verb, d.Reason)
			}
		}})
	}})
	if d := <-w.deliver(t.Context(), t, h, later, delivery.Lease{}); d.Verb != delivery.Ack {
		t.Errorf("settled %s: %s", d.Verb, d.Reason)
	}
	w.start(t, replicaOptions{}) // acknowledges
	w.completesInOneAttempt(t, h)
}

// losesTakeAnswer is a queue that stores which holder takes the job and loses the answer, once.
// meanwhile is called then, and its error is what the holder gets instead.
type losesTakeAnswer struct {
	Queue
	lost      sync.Once
	meanwhile func() error
}

func (u *losesTakeAnswer) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	rev, err := u.Queue.PutJob(ctx, j, rev)
	if err == nil && j.State == contract.StateRunning {
		u.lost.Do(func() { err = u.meanwhile() })
	}
	return rev, err
}

// NATS goes away when it has stored that a command was taken, and before it answers; another
// replica takes the command over before the first one is connected again. The first one takes back
// its attempt, although nothing ever told it that there was one.
func TestTakenWithoutAnswerCostsNoAttempt(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	h := w.publishFew(t)
	w.start(t, replicaOptions{units: 4})
	turns := newTurns()
	later := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) { c.Queue = parts(turnstile{whole(c.Queue), turns}) }})
	var ends <-chan delivery.Disposition
	previous := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(&losesTakeAnswer{Queue: whole(c.Queue), meanwhile: func() error {
			ends = w.deliver(t.Context(), t, h, later, delivery.Lease{})
			<-turns.arrived
			return delivery.ErrLeaseLost
		}})
	}})
	if d := <-w.deliver(t.Context(), t, h, previous, natsLost); d.Verb != delivery.Abandon {
		t.Errorf("settled %s: %s", d.Verb, d.Reason)
	}
	close(turns.open)
	if d := <-ends; d.Verb != delivery.Ack {
		t.Errorf("settled %s: %s", d.Verb, d.Reason)
	}
	w.start(t, replicaOptions{}) // acknowledges
	w.completesInOneAttempt(t, h)
}

// A replica is drained when it is stored that it took a command, and before it hears so: no attempt
// was begun.
func TestDrainedBeforeTheAnswerCostsNoAttempt(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	h := w.publishFew(t)
	work, drain := context.WithCancelCause(t.Context())
	defer drain(nil)
	r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(&losesTakeAnswer{Queue: whole(c.Queue), meanwhile: func() error {
			drain(delivery.ErrStopping)
			return delivery.ErrStopping
		}})
	}})
	if d := <-w.deliver(work, t, h, r, delivery.Lease{}); d.Verb != delivery.Nak || d.Delay != 0 {
		t.Errorf("settled %s %s: %s", d.Verb, d.Delay, d.Reason)
	}
	if j := w.job(t, "exp"); j.Attempt != 0 {
		t.Errorf("%d attempts count", j.Attempt)
	}
	w.start(t, replicaOptions{})
	w.completesInOneAttempt(t, h)
}

// writesJobFirst is a queue that writes the job, once, just before its holder does, so that the
// holder's write conflicts. then is called before the holder reads the job again.
type writesJobFirst struct {
	Queue
	first sync.Once
	then  func()
}

func (o *writesJobFirst) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	first := false
	if j.Phase == contract.PhaseCommit {
		o.first.Do(func() { first = true })
	}
	if first {
		now, at, err := o.Queue.Job(ctx, j.ID)
		if err != nil {
			return 0, err
		}
		if _, err := o.Queue.PutJob(ctx, now, at); err != nil {
			return 0, err
		}
		defer o.then()
	}
	return o.Queue.PutJob(ctx, j, rev)
}

// A replica is drained when it has lost a write of the job to another writer, and before it has
// read what that wrote: it still knows whose job it has, and takes back its attempt.
func TestDrainedBeforeTheJobIsReadAgain(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	h := w.publishFew(t)
	w.start(t, replicaOptions{units: 4})
	work, drain := context.WithCancelCause(t.Context())
	defer drain(nil)
	r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(&writesJobFirst{Queue: whole(c.Queue), then: func() { drain(delivery.ErrStopping) }})
	}})
	if d := <-w.deliver(work, t, h, r, delivery.Lease{}); d.Verb != delivery.Nak || d.Delay != 0 {
		t.Errorf("settled %s %s: %s", d.Verb, d.Delay, d.Reason)
	}
	if j := w.job(t, "exp"); j.Attempt != 0 {
		t.Errorf("%d attempts count", j.Attempt)
	}
	w.start(t, replicaOptions{})
	w.completesInOneAttempt(t, h)
}

// endsJobFirst is a queue that ends the job, once, just before its holder writes it, as the handler
// of a cancel does. then is called before the holder reads the job again.
type endsJobFirst struct {
	Queue
	first sync.Once
	then  func()
}

func (e *endsJobFirst) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	var err error
	if j.Phase == contract.PhaseCommit {
		e.first.Do(func() {
			var now contract.Job
			var at uint64
			if now, at, err = e.Queue.Job(ctx, j.ID); err != nil {
				return
			}
			event := contract.NewEvent(contract.EventData{CommandID: j.ID, Seq: j.Command.Seq, Action: j.Action, Status: contract.StatusCancelled}, now.Created, "")
			now.State, now.Event, now.Phase = contract.StateCancelled, &event, ""
			_, err = e.Queue.PutJob(ctx, now, at)
			e.then()
		})
	}
	if err != nil {
		return 0, err
	}
	return e.Queue.PutJob(ctx, j, rev)
}

// A replica is drained while another one ends its command: the end is published, and the message
// is acknowledged at once.
func TestDrainedWhileTheCommandIsEnded(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	h := w.publishFew(t)
	w.start(t, replicaOptions{units: 4})
	work, drain := context.WithCancelCause(t.Context())
	defer drain(nil)
	r := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) {
		c.Queue = parts(&endsJobFirst{Queue: whole(c.Queue), then: func() { drain(delivery.ErrStopping) }})
	}})
	if d := <-w.deliver(work, t, h, r, delivery.Lease{}); d.Verb != delivery.Ack {
		t.Errorf("settled %s %s: %s", d.Verb, d.Delay, d.Reason)
	}
	if e, err := w.queue.Event(t.Context(), contract.ActionExport, "exp", contract.StatusCancelled); err != nil || e.Data.Status != contract.StatusCancelled {
		t.Errorf("published %+v: %v", e.Data, err)
	}
}

// failsTerminalJobWrites is a queue that fails each write of a terminal job, as if NATS had gone
// away just before it.
type failsTerminalJobWrites struct{ Queue }

func (u failsTerminalJobWrites) PutJob(ctx context.Context, j contract.Job, rev uint64) (uint64, error) {
	if j.State.Terminal() {
		return 0, delivery.ErrLeaseLost
	}
	return u.Queue.PutJob(ctx, j, rev)
}

// NATS goes away when all is done but to say so: that costs no attempt either.
func TestNATSAwayAtTheEndCostsNoAttempt(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	h := w.publishFew(t)
	w.start(t, replicaOptions{units: 4})
	holder := w.start(t, replicaOptions{idle: true, configure: func(c *handler.Config) { c.Queue = parts(failsTerminalJobWrites{whole(c.Queue)}) }})
	if d := <-w.deliver(t.Context(), t, h, holder, natsLost); d.Verb != delivery.Abandon {
		t.Errorf("settled %s: %s", d.Verb, d.Reason)
	}
	if j := w.job(t, "exp"); j.Attempt != 0 {
		t.Errorf("%d attempts count", j.Attempt)
	}
	w.start(t, replicaOptions{})
	w.completesInOneAttempt(t, h)
	w.bag(t, "exp", sink.ExportBag)
}

// The same for a unit: NATS goes away in the middle of it, more often than it has attempts. Each
// worker takes its attempt back, and so does the one that drains in the end.
func TestNATSAwayCostsAUnitNoAttempt(t *testing.T) {
	w := newOutageWorld(t)
	project := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 1}).ID
	w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: -1, Hang: true})
	hangs, calledOff := make(chan struct{}, 100), make(chan struct{}, 100)
	configure := func(c *handler.Config) { c.MaxAttempts = fewAttempts }
	var all []*replica
	for range 2 {
		f := newFate("", false)
		f.hook = func(effect string, after bool) {
			switch {
			case !strings.HasPrefix(effect, "blob "):
			case after:
				calledOff <- struct{}{}
			default:
				hangs <- struct{}{}
			}
		}
		all = append(all, w.start(t, replicaOptions{fate: f, configure: configure}))
	}
	h := w.publish(t, "export", "exp", fmt.Sprintf(`{"project_ids":["%s"],"categories":["images"]}`, project))
	for range 2 * fewAttempts {
		receive(t, hangs, "a download hangs")
		w.nats.Stop()
		receive(t, calledOff, "the lease is lost")
		if err := w.nats.Start(); err != nil {
			t.Fatal(err)
		}
	}
	receive(t, hangs, "a download hangs")
	for _, r := range all {
		w.eventually(t, "every replica is connected", r.conn.IsConnected)
		r.drain()
	}
	for _, r := range all {
		r.stop()
	}
	if j := w.job(t, "exp"); j.State.Terminal() || j.Attempt != 0 {
		t.Errorf("handed back %s after %d attempts: %v", j.State, j.Attempt, j.Error)
	}
	w.api.ClearFaults()
	w.start(t, replicaOptions{configure: configure})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
		t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}

// A unit that kills every replica that begins it does not do so for ever: its command fails.
func TestUnitThatKillsReplicas(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}, ackWait: time.Second})
	configure := func(c *handler.Config) { c.MaxAttempts = fewAttempts }
	h := w.publishFew(t)
	w.start(t, replicaOptions{commands: 4, configure: configure})
	for n := range fewAttempts {
		f := newFate(fmt.Sprintf("PutObject exp/.work/units/000000.try-%d#1", n+1), true)
		r := w.start(t, replicaOptions{units: 4, fate: f, configure: configure})
		receive(t, f.died, "the unit kills a replica")
		r.stop()
	}
	w.start(t, replicaOptions{units: 4, configure: configure})
	if e := w.wait(t, h); e.Status != contract.StatusFailed || e.Error.Code != contract.CodeExhausted || !strings.Contains(e.Error.Message, "unit 0") {
		t.Errorf("ended %s in attempt %d: %v", e.Status, e.Attempt, e.Error)
	}
}

// A process gets a delivery of what it is at already, as the server sends it after a restart: one
// attempt goes on, and nothing is begun beside it.
func TestDeliveredTwiceToOneProcess(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
	project := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 1}).ID
	w.api.Fault(cvtest.Fault{Operation: cvtest.OperationBlob, Times: -1, Hang: true})
	hangs := make(chan struct{}, 10)
	w.api.OnCall(func(operation string, _ int) {
		if operation == cvtest.OperationBlob {
			hangs <- struct{}{}
		}
	})
	r := w.start(t, replicaOptions{})
	h := w.publish(t, "export", "exp", fmt.Sprintf(`{"project_ids":["%s"],"categories":["images"]}`, project))
	receive(t, hangs, "a download hangs")
	message, err := w.queue.Command(t.Context(), h.seq)
	if err != nil {
		t.Fatal(err)
	}
	if d := r.handler.Command(t.Context(), delivery.Delivery{Message: message, Delivered: 2}); d.Verb != delivery.Abandon {
		t.Errorf("the command, delivered again, is settled: %s %s", d.Verb, d.Reason)
	}
	var units []*jetstream.RawStreamMsg
	w.eventually(t, "only the unit that hangs is at work", func() bool {
		units = w.messages(t, "CV_WORK")
		return len(units) == 1
	})
	var n int
	if _, err := fmt.Sscanf(units[0].Subject, "cv.work.exp.%d", &n); err != nil {
		t.Fatal(err)
	}
	if d := r.handler.Unit(t.Context(), delivery.UnitDelivery{Command: "exp", N: n, Body: units[0].Data, Delivered: 2}); d.Verb != delivery.Abandon {
		t.Errorf("the unit, delivered again, is settled: %s %s", d.Verb, d.Reason)
	}
	if len(hangs) > 0 {
		t.Error("the unit was begun again")
	}
	if j, _, err := w.queue.Job(t.Context(), "exp"); err != nil || j.Attempt != 1 {
		t.Errorf("attempt %d: %v", j.Attempt, err)
	}
	r.stop()
	w.api.ClearFaults()
	w.start(t, replicaOptions{})
	w.completesInOneAttempt(t, h)
}

// The mark of a unit's only attempt is stored, and the answer is lost; or the replica drains just
// then. The unit was not begun: nothing is counted twice, or for nothing.
func TestMarkOfAnAttemptInDoubt(t *testing.T) {
	for _, c := range []struct {
		name   string
		effect sinktest.Effect // what becomes of the answer
		drains bool            // the replica, once the mark is stored
	}{
		{"the answer is lost", sinktest.Reset, false},
		{"drained before the answer", sinktest.Hang, true},
		{"drained after the answer", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 5}})
			project := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 1}).ID
			configure := func(c *handler.Config) { c.MaxAttempts = 1 }
			w.start(t, replicaOptions{commands: 4, configure: configure})
			f := newFate("", false)
			drained := make(chan struct{})
			release := sync.OnceFunc(func() { close(drained) })
			defer release()
			f.hook = func(effect string, after bool) {
				if after && c.drains && effect == "PutObject exp/.work/units/000000.try-1#1" {
					<-drained
				}
			}
			r := w.start(t, replicaOptions{units: 4, fate: f, configure: configure})
			if c.effect != "" {
				r.faults.Add(sinktest.Fault{Op: "PutObject", Key: "*000000.try-1", Effect: c.effect, After: true})
			}
			h := w.publish(t, "export", "exp", fmt.Sprintf(`{"project_ids":["%s"],"categories":["images"]}`, project))
			if c.drains {
				w.eventually(t, "the mark is stored", func() bool {
					_, err := w.store.Head(t.Context(), "exp/.work/units/000000.try-1")
					return err == nil
				})
				r.drain()
				release()
				r.stop()
				w.start(t, replicaOptions{units: 4, configure: configure})
			}
			w.completesInOneAttempt(t, h)
			r.faults.Check(t)
			w.bag(t, "exp", sink.ExportBag)
		})
	}
}
