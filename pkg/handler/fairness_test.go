package handler_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestSmallCommandsOvertakeHugeOnes publishes a small export while a huge one is under way: its
// units get workers when those that were queued before are done, and no more than a window of those
// of the huge one wait before it.
func TestSmallCommandsOvertakeHugeOnes(t *testing.T) {
	t.Parallel()
	const workers, window, pages = 2, 2, 8
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	huge := w.api.AddProject(cvtest.ProjectSpec{Name: "Huge", Untagged: pages*(cv.MaxPage-1) + 1, ImageBytes: cvtest.Tiny})
	small := smallProject(w.api)
	var (
		begun, queued = make(chan struct{}), make(chan struct{})
		once, ahead   sync.Once
		pictures      atomic.Int64 // of the huge export, that were stored
		before        int64        // pictures when a worker began with the small one
	)
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		switch {
		case !after && strings.HasPrefix(effect, "PutObject huge/export/data/") && strings.Contains(effect, "/images/"):
			once.Do(func() { close(begun) })
			<-queued
		case !after && strings.HasPrefix(effect, "PutObject small/.work/units/000000.try"):
			ahead.Do(func() { before = pictures.Load() })
		case !after:
		case strings.HasPrefix(effect, "PutObject huge/export/data/") && strings.Contains(effect, "/images/"):
			pictures.Add(1)
		case effect == "PublishUnit 0#2":
			close(queued)
		}
	}
	w.start(t, replicaOptions{fate: f, commands: 4, units: workers, configure: func(c *handler.Config) { c.Window = window }})
	first := w.publish(t, "export", "huge", `{"project_ids":`+idList(huge.ID)+`}`)
	<-begun
	second := w.publish(t, "export", "small", `{"project_ids":`+idList(small.ID)+`}`)
	for _, h := range []*history{second, first} {
		if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete {
			t.Errorf("%s ended %s %s: %v", e.CommandID, e.Status, e.Outcome, e.Error)
		}
	}
	if most := int64((workers + window) * cv.MaxPage); before > most {
		t.Errorf("a small export was begun after %d pictures of a huge one; at most %d were ahead of it", before, most)
	}
}

// reportsManyWaitingUnits is a queue that reports many waiting units of other commands.
type reportsManyWaitingUnits struct{ Queue }

func (reportsManyWaitingUnits) WaitingUnits(context.Context) (int, error) { return 1000, nil }

// TestCrowdedQueue exports while others' units wait for workers: no more than two of its own join
// them at a time, and they are done all the same.
func TestCrowdedQueue(t *testing.T) {
	t.Parallel()
	const projects, most = 8, 2
	for _, c := range []struct {
		name    string
		crowded bool
	}{{"crowded", true}, {"empty", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			for n := range projects {
				w.api.AddProject(cvtest.ProjectSpec{Name: fmt.Sprint(n), Untagged: 1, ImageBytes: cvtest.Tiny})
			}
			var queued, top atomic.Int64
			f := newFate("", false)
			f.hook = func(effect string, after bool) {
				if !after && strings.HasPrefix(effect, "PutObject all/.work/units/") && strings.Contains(effect, ".jsonl") {
					queued.Add(-1)
				}
			}
			w.start(t, replicaOptions{fate: f, commands: 1, units: 1, configure: func(o *handler.Config) {
				if c.crowded {
					o.Queue = parts(reportsManyWaitingUnits{whole(o.Queue)})
				}
				o.Queue = parts(unitTap{whole(o.Queue), func(string, int, []byte) { top.Store(max(top.Load(), queued.Add(1))) }})
			}})
			if e := w.run(t, "all", `{"all_projects":true}`); e.Outcome != contract.OutcomeComplete {
				t.Errorf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			if n := top.Load(); c.crowded != (n <= most) {
				t.Errorf("it had %d units in the queue at once", n)
			}
		})
	}
}
