package handler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// unitTap shows the units that coordinators publish.
type unitTap struct {
	Queue
	show func(id string, n int, body []byte)
}

func (q unitTap) PublishUnit(ctx context.Context, id string, n int, body []byte) error {
	q.show(id, n, body)
	return q.Queue.PublishUnit(ctx, id, n, body)
}

// slowJob is a queue that reads a job and, once, answers only when the test says so.
type slowJob struct {
	Queue
	read, tell chan struct{}
	once       *sync.Once
}

func (q slowJob) Job(ctx context.Context, id string) (contract.Job, uint64, error) {
	j, rev, err := q.Queue.Job(ctx, id)
	q.once.Do(func() {
		close(q.read)
		<-q.tell
	})
	return j, rev, err
}

// A unit may be delivered once more after it was done: its acknowledgement was lost, or its first
// worker stalled. When that happens while the coordinator is cleaning up behind a finished bag,
// nothing may be done again, and nothing left behind.
func TestUnitDeliveredLate(t *testing.T) {
	t.Parallel()
	const (
		committed = "PutObject cut-1/export/receipt.json#1"
		removed   = "DeleteObjects cut-1/.work/cut.json#1" // the last of the coordinator's clean-up
	)
	for _, c := range []struct {
		name string
		slow bool // the late worker asks for the job before the clean-up, and acts on what it heard after it
	}{
		{name: "when the working objects are gone"},
		{name: "just before the working objects go", slow: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := exportScenario()
			w := s.world(t)
			units := map[int][]byte{}
			var mu sync.Mutex
			tap := unitTap{show: func(_ string, n int, body []byte) {
				mu.Lock()
				defer mu.Unlock()
				units[n] = body
			}}
			slow := slowJob{read: make(chan struct{}), tell: make(chan struct{}), once: &sync.Once{}}
			late := w.start(t, replicaOptions{idle: true, configure: func(o *handler.Config) {
				if c.slow {
					slow.Queue = whole(o.Queue)
					o.Queue = parts(slow)
				}
			}})
			deliver := func() {
				d := late.handler.Unit(t.Context(), delivery.UnitDelivery{Command: cutID, N: 0, Body: units[0], Delivered: 2})
				if d.Verb != delivery.Ack {
					t.Errorf("a unit delivered late is settled with %s: %s", d.Verb, d.Reason)
				}
			}
			var delivering sync.WaitGroup
			f := newFate("", false)
			f.hook = func(effect string, after bool) {
				switch {
				case after && c.slow && effect == committed:
					delivering.Go(deliver)
					<-slow.read
				case after && c.slow && effect == removed:
					close(slow.tell)
					delivering.Wait()
				case after && effect == removed:
					deliver()
				}
			}
			r := w.start(t, replicaOptions{fate: f, configure: func(o *handler.Config) {
				tap.Queue = whole(o.Queue)
				o.Queue = parts(tap)
			}})
			e := w.wait(t, w.publish(t, s.action, cutID, s.data))
			r.stop()
			w.checkTruth(t, w.bag(t, cutID, sink.ExportBag), e, w.truthOf(t, w.api.Snapshot(), selection{}))
			for _, effect := range late.fate.effects {
				if strings.Contains(effect, "/export/") || strings.HasPrefix(effect, "GET ") {
					t.Errorf("the late worker does %s", effect)
				}
			}
		})
	}
}

// Two workers are at one unit. The first one's result is enough for the command to end; the second
// stores its own, or that it failed for good, when the working objects are gone, and takes it away
// again.
func TestResultStoredLate(t *testing.T) {
	t.Parallel()
	const result = "PutObject cut-1/.work/units/000000.jsonl#1"
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprintf("the second fails %v", fails), func(t *testing.T) {
			s := exportScenario()
			w := s.world(t)
			bodies, inside, release := make(chan []byte, 10), make(chan struct{}), make(chan struct{})
			tap := unitTap{show: func(_ string, n int, body []byte) {
				if n == 0 {
					bodies <- body
				}
			}}
			slow := newFate("", false)
			slow.hook = func(effect string, after bool) {
				if !after && effect == result {
					close(inside)
					<-release
				}
			}
			second := w.start(t, replicaOptions{idle: true, fate: slow, configure: func(o *handler.Config) { o.MaxAttempts = 2 }})
			if fails {
				second.faults.Add(sinktest.Fault{Op: "PutObject", Key: "*/project.json", Times: -1, Status: 500})
			}
			var working sync.WaitGroup
			f := newFate("", false)
			f.hook = func(effect string, after bool) {
				if !after && effect == result {
					working.Go(func() {
						d := second.handler.Unit(t.Context(), delivery.UnitDelivery{Command: cutID, N: 0, Body: <-bodies, Delivered: 2})
						if d.Verb != delivery.Ack {
							t.Errorf("a unit done late is settled with %s: %s", d.Verb, d.Reason)
						}
					})
					<-inside
				}
			}
			r := w.start(t, replicaOptions{fate: f, configure: func(o *handler.Config) {
				tap.Queue = whole(o.Queue)
				o.Queue = parts(tap)
			}})
			w.wait(t, w.publish(t, s.action, cutID, s.data))
			close(release)
			working.Wait()
			r.stop()
			for _, key := range w.objects(t, cutID) {
				if strings.HasPrefix(key, ".work/") {
					t.Errorf("%s is left behind", key)
				}
			}
		})
	}
}

// TestALaterAttemptWorksOnTheFrozenReading kills a replica when it has read a page and stored
// nothing of it. Meanwhile one image goes and another comes, so that all counts are as before. The
// next holder exports what was read, and does not read the page again; the image that came is what
// the witness has more.
func TestALaterAttemptWorksOnTheFrozenReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}, ackWait: redelivery})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "Still", Untagged: 3, ImageBytes: cvtest.Tiny})
	f := newFate("PutObject exp/.work/units/000002.list#1", true) // after the project's own, and that of the tagged images
	first := w.start(t, replicaOptions{fate: f})
	h := w.publish(t, "export", "exp", `{"all_projects":true}`)
	select {
	case <-f.died:
	case <-time.After(patience):
		t.Fatalf("no page is frozen; these effects happened:\n%s", strings.Join(f.effects, "\n"))
	}
	first.stop()
	w.api.RemoveImage(p.ID, p.Images[0])
	added := w.api.AddImage(p.ID, cvtest.ImageSpec{ImageBytes: cvtest.Tiny})
	w.start(t, replicaOptions{})
	if e := w.wait(t, h); e.Status != contract.StatusCompleted || e.Counts.Images != 4 {
		t.Fatalf("ended %s with %d images: %v", e.Status, e.Counts.Images, e.Error)
	}
	images := string(w.bag(t, "exp", sink.ExportBag)["data/projects/"+p.ID.String()+"/images.jsonl"])
	if !strings.Contains(images, p.Images[0].String()) || !strings.Contains(images, added.String()) {
		t.Errorf("it has\n%s", images)
	}
	if n := w.api.Count("GetUntaggedImages"); n != 1 {
		t.Errorf("the page was read %d times", n)
	}
}
