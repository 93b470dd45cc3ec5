package worker

import (
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// maxTries bounds of how many units a process remembers its attempts.
const maxTries = 10_000

// tries is how many attempts of units this process made, beside the marks in storage: a writer to
// the bucket can remove these, and a unit would be tried without end. The zero value is ready.
type tries struct {
	mu sync.Mutex
	n  map[triedUnit]int
}

type triedUnit struct {
	command string
	stream  string
	seq     uint64
	n       int
}

func tried(u unit.Unit) triedUnit { return triedUnit{u.Command, string(u.Stream), u.Seq, u.N} }

// of is how many attempts of a unit this process made that count.
func (t *tries) of(u unit.Unit) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[tried(u)]
}

// add counts an attempt, or takes one back. Beyond maxTries units all are forgotten, and the marks
// alone count.
func (t *tries) add(u unit.Unit, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.n) >= maxTries || t.n == nil {
		t.n = map[triedUnit]int{}
	}
	if t.n[tried(u)] += n; t.n[tried(u)] <= 0 {
		delete(t.n, tried(u))
	}
}

// forget is to be called when a unit is done.
func (t *tries) forget(u unit.Unit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.n, tried(u))
}
