package handler_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestBufferBoundsBlobsInMemory keeps uploads waiting until every picture was asked for and as many
// are in memory as CONSUMER_BUFFER has room for; then it lets one go at a time. More are never
// there.
func TestBufferBoundsBlobsInMemory(t *testing.T) {
	t.Parallel()
	const (
		buffer   = 16 << 20
		pictures = 9
		room     = 5 // of 3 MiB and a little
	)
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	w.api.AddProject(cvtest.ProjectSpec{Name: "Large", Untagged: pictures, ImageBytes: 3 << 20})
	var (
		mu              sync.Mutex
		asked, now, top int
		full            = make(chan struct{})
		one             = make(chan struct{}, 1)
	)
	look := sync.OnceFunc(func() { close(full) })
	w.api.OnCall(func(operation string, _ int) {
		if operation != cvtest.OperationBlob {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == pictures && now >= room {
			look()
		}
	})
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		if !strings.HasPrefix(effect, "PutObject all-1/export/data/") || !strings.Contains(effect, "/images/") {
			return
		}
		if after {
			mu.Lock()
			now--
			mu.Unlock()
			<-one
			return
		}
		mu.Lock()
		now++
		top = max(top, now)
		if asked == pictures && now >= room {
			look()
		}
		mu.Unlock()
		<-full
		one <- struct{}{}
	}
	w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) { c.Buffer = buffer }})
	if e := w.run(t, "all-1", `{"all_projects":true}`); e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if top != room {
		t.Errorf("%d pictures of 3 MiB were in memory at once; %d MiB have room for %d", top, buffer>>20, room)
	}
	w.bag(t, "all-1", sink.ExportBag)
}
