package handler_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// TestBufferBoundsBlobsInMemory keeps uploads waiting until every picture was asked for: there are as many of them as CONSUMER_BUFFER has room for, and no more.
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
	)
	w.api.OnCall(func(operation string, _ int) {
		if operation != cvtest.OperationBlob {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if asked++; asked == pictures {
			close(full)
		}
	})
	f := newFate("", false)
	f.hook = func(effect string, after bool) {
		if !strings.HasPrefix(effect, "PutObject all-1/export/data/") || !strings.Contains(effect, "/images/") {
			return
		}
		mu.Lock()
		if after {
			now--
		} else {
			now++
			top = max(top, now)
		}
		mu.Unlock()
		if !after {
			<-full
		}
	}
	w.start(t, replicaOptions{fate: f, configure: func(c *handler.Config) { c.Buffer = buffer }})
	if e := w.run(t, "all-1", `{"all_projects":true}`); e.Outcome != handler.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	if top != room {
		t.Errorf("%d pictures of 3 MiB were in memory at once; %d MiB have room for %d", top, buffer>>20, room)
	}
	w.bag(t, "all-1", sink.ExportBag)
}
