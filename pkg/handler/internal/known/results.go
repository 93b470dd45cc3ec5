package known

import (
	"sync"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
)

// maxResults bounds the results that wait in memory for the coordinator, in bytes.
const maxResults = 8 << 20

// Results has the results that this process stored, from the worker to the coordinator of their
// command if that is in this process, too: it need not read them from the store. The zero value is
// ready.
type Results struct {
	mu    sync.Mutex
	by    map[string]Result
	order []string // the oldest first
	bytes int
}

// Result is the result of a unit, as it was stored.
type Result struct {
	Content []byte
	SHA256  string // hex
}

// Put notes a result that was just stored, by the seal of its unit: of no other command and of no
// other unit is that the same. The oldest ones give way.
func (r *Results) Put(u unit.Unit, of Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if u.Seal == "" || len(of.Content) > maxResults {
		return
	}
	if r.by == nil {
		r.by = map[string]Result{}
	}
	r.drop(u.Seal)
	for r.bytes+len(of.Content) > maxResults {
		r.drop(r.order[0])
	}
	r.by[u.Seal] = of
	r.order = append(r.order, u.Seal)
	r.bytes += len(of.Content)
}

// Take takes out the result of a unit, if it is there.
func (r *Results) Take(u unit.Unit) (Result, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of, ok := r.by[u.Seal]
	r.drop(u.Seal)
	return of, ok
}

// drop forgets a result.
func (r *Results) drop(seal string) {
	of, ok := r.by[seal]
	if !ok {
		return
	}
	delete(r.by, seal)
	r.bytes -= len(of.Content)
	for i, s := range r.order {
		if s == seal {
			r.order = append(r.order[:i], r.order[i+1:]...)
			return
		}
	}
}
