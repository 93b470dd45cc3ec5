package handler_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// traffic is what a replica exchanged with NATS and asked of the store, by kind.
type traffic struct {
	took     time.Duration
	messages int            // in both directions
	subjects map[string]int // of messages that it sent
	requests map[string]int
}

// total is how many requests there were.
func (c traffic) total() (n int) {
	for _, requests := range c.requests {
		n += requests
	}
	return n
}

// text lists counts by kind.
func text(counts map[string]int) string {
	var lines []string
	for _, kind := range slices.Sorted(maps.Keys(counts)) {
		lines = append(lines, fmt.Sprintf("%6d %s", counts[kind], kind))
	}
	return "\n" + strings.Join(lines, "\n")
}

var numbered = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+`)

// kindOfObject names what a request is for: the operation, and the kind of object.
func kindOfObject(op, key string) string {
	_, name, _ := strings.Cut(key, "/")
	return op + " " + numbered.ReplaceAllString(name, "*")
}

// trafficOfAnExport counts what one replica asks for to export a project of so many images.
func trafficOfAnExport(t *testing.T, images int) traffic {
	t.Helper()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: images, ImageBytes: cvtest.Tiny})
	var (
		mu    sync.Mutex
		count = traffic{subjects: map[string]int{}, requests: map[string]int{}}
	)
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, key string, before bool) error {
		mu.Lock()
		defer mu.Unlock()
		if before {
			count.requests[kindOfObject(op, key)]++
		}
		return nil
	}
	r := w.start(t, replicaOptions{commands: 1, units: 4, faults: faults})
	listener, err := w.conn.Subscribe(">", func(m *nats.Msg) {
		mu.Lock()
		defer mu.Unlock()
		count.subjects[kindOfSubject(m.Subject)]++
	})
	if err != nil {
		t.Fatal(err)
	}
	run := func(id string) {
		if e := w.wait(t, w.publish(t, "export", id, `{"project_ids":`+idList(p.ID)+`,"categories":["projects","images"]}`)); e.Outcome != contract.OutcomeComplete || e.Counts.Images != int64(images) {
			t.Fatalf("ended %s %s with %+v: %v", e.Status, e.Outcome, e.Counts, e.Error)
		}
	}
	run("learns") // what there is to learn once
	mu.Lock()
	clear(count.subjects)
	clear(count.requests)
	mu.Unlock()
	before, begun := r.conn.Stats(), time.Now()
	run("counted")
	after := r.conn.Stats()
	count.took = time.Since(begun)
	if err := listener.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	count.messages = int(after.InMsgs + after.OutMsgs - before.InMsgs - before.OutMsgs)
	return count
}

// kindOfSubject names what a message is for.
func kindOfSubject(subject string) string {
	switch words := strings.Split(subject, "."); {
	case words[0] == "_INBOX":
		return "answers"
	case strings.HasPrefix(subject, "$JS.ACK."):
		return "ACK " + words[2]
	case strings.HasPrefix(subject, "$JS.API."):
		return strings.Join(words[2:], ".")
	default:
		return strings.Join(words[:2], ".")
	}
}

// TestRequestsOfAnExport holds how many requests to the store, and messages to and from NATS, an
// export of one project makes in one replica: beside one for each image, for the export itself and
// for each page of 256 images.
func TestRequestsOfAnExport(t *testing.T) {
	t.Parallel()
	const few, many = 1020, 3060 // 4 and 12 pages, of which each begins with the last image of the one before
	small, large := trafficOfAnExport(t, few), trafficOfAnExport(t, many)
	perPage := func(small, large int) float64 { return float64(large-small) / ((many - few) / cv.PageStride) }
	store := perPage(small.total()-few, large.total()-many)
	messages := perPage(small.messages, large.messages)
	t.Logf("beside its blobs, an export of %d images makes %d requests to the store, and each page %.1f more", few, small.total()-few, store)
	t.Logf("it exchanges %d messages with NATS, and for each page %.1f more", small.messages, messages)
	t.Logf("requests of %d images:%s", many, text(large.requests))
	t.Logf("messages that were sent:%s", text(large.subjects))
	// What looks at the command, its job and its message, and requests that expire, come by time.
	byTime := perPage(0, int(6*large.took.Seconds()))
	if store > 4.6 || messages > 10+byTime {
		t.Errorf("%.1f requests to the store and %.1f messages for each page", store, messages)
	}
	if fixed := small.total() - few - int(4*store); fixed > 52 {
		t.Errorf("%d requests to the store for the export itself", fixed)
	}
}

// TestPagesAreStoredSideBySide holds up the first page of an export until the next one is stored,
// too.
func TestPagesAreStoredSideBySide(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4}})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 450, ImageBytes: cvtest.Tiny})
	next := newSignal()
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = func(op, key string, before bool) error {
		switch {
		case !before:
		case strings.HasSuffix(key, "/images-2.html"):
			next.happens()
		case strings.HasSuffix(key, "/images-1.html"):
			next.wait(t, "the second page is stored beside the first one")
		}
		return nil
	}
	w.start(t, replicaOptions{faults: faults})
	if e := w.wait(t, w.publish(t, "export", "exp", `{"project_ids":`+idList(p.ID)+`,"categories":["projects","images"]}`)); e.Outcome != contract.OutcomeComplete {
		t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
	}
	w.bag(t, "exp", sink.ExportBag)
}
