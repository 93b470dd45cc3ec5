package handler_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
)

// TestSmallCommandsOvertakeHugeOnes publishes a small export while a huge one is under way: its units get workers when those that were queued before are done, and the huge one
// has no more than a window of them in the queue.
func TestSmallCommandsOvertakeHugeOnes(t *testing.T) {
	t.Parallel()
	const workers, window, pages = 2, 2, 8
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	huge := w.api.AddProject(cvtest.ProjectSpec{Name: "Huge", Untagged: pages*(cv.MaxPage-1) + 1, ImageBytes: cvtest.Tiny})
	small := smallProject(w.api)
	var (
		begun, queued = make(chan struct{}), make(chan struct{})
		once          sync.Once
		pictures      atomic.Int64 // of the huge export, that were stored
		before        int64        // pictures when the small one had its first result
	)
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		switch {
		case !after && strings.HasPrefix(effect, "PutObject huge/export/data/") && strings.Contains(effect, "/images/"):
			once.Do(func() { close(begun) })
			<-queued
		case !after:
		case strings.HasPrefix(effect, "PutObject huge/export/data/") && strings.Contains(effect, "/images/"):
			pictures.Add(1)
		case effect == "PublishUnit 0#2":
			close(queued)
		case effect == "PutObject small/.work/units/000000.jsonl#1":
			before = pictures.Load()
		}
	}
	w.start(t, replicaOptions{fate: f, commands: 4, units: workers, configure: func(c *handler.Config) { c.Window = window }})
	first := w.publish(t, "export", "huge", `{"project_ids":`+idList(huge.ID)+`}`)
	<-begun
	second := w.publish(t, "export", "small", `{"project_ids":`+idList(small.ID)+`}`)
	for _, h := range []*history{second, first} {
		if e := w.wait(t, h); e.Outcome != handler.OutcomeComplete {
			t.Errorf("%s ended %s %s: %v", e.CommandID, e.Status, e.Outcome, e.Error)
		}
	}
	if most := int64((workers + window) * cv.MaxPage); before > most {
		t.Errorf("a small export had its first result after %d pictures of a huge one; at most %d were ahead of it", before, most)
	}
}
