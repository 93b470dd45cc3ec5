package known

import (
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// maxTries bounds the number of units whose attempts a process remembers.
const maxTries = 10_000

// Tries counts the attempts that this process made at units. The marks in storage count those of
// all processes, but a writer to the bucket can remove them, and with the marks alone a unit could
// then be tried without end. The zero value is ready.
type Tries struct {
	mu sync.Mutex
	n  map[triedUnit]int
}

// triedUnit identifies a unit, by its command's message.
type triedUnit struct {
	command string
	stream  string
	seq     uint64
	n       int
}

func tried(u unit.Unit) triedUnit { return triedUnit{u.Command, string(u.Stream), u.Seq, u.N} }

// Of is how many attempts this process made at a unit, but for those that were taken back.
func (t *Tries) Of(u unit.Unit) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n[tried(u)]
}

// Add counts an attempt (n is 1), or takes one back (-1). When there are maxTries units it forgets
// all of them, and the marks alone count.
func (t *Tries) Add(u unit.Unit, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.n) >= maxTries || t.n == nil {
		t.n = map[triedUnit]int{}
	}
	if t.n[tried(u)] += n; t.n[tried(u)] <= 0 {
		delete(t.n, tried(u))
	}
}

// Forget drops the count of a unit that is done.
func (t *Tries) Forget(u unit.Unit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.n, tried(u))
}
