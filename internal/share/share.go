// Package share divides slots (workers, downloads, bytes of memory) among parties, so that none of
// them can take all, however long each keeps what it took.
package share

import (
	"context"
	"slices"
	"sync"
)

// Pool has a number of slots for any number of parties, each known by a name. A party that has none
// gets one whenever one is free. Beyond that it gets at most three quarters of what the others
// leave, rounded up, and never the last one: so the next party finds a free slot, even if none is
// given back. Of parties that wait, the one that has the fewest is served first, and each in its
// order.
//
// A pool for one party alone gives it all.
type Pool struct {
	size  int64
	alone bool

	mu      sync.Mutex
	taken   int64
	held    map[string]int64
	came    uint64               // how many ever waited
	waiting map[string][]*waiter // of each party, in the order in which they came
}

type waiter struct {
	party  string
	n      int64
	number uint64        // in the order of all
	got    chan struct{} // closed when it has its slots
}

// NewPool makes a pool of size slots for this many parties.
func NewPool(size int64, parties int) *Pool {
	return &Pool{size: size, alone: parties <= 1, held: map[string]int64{}, waiting: map[string][]*waiter{}}
}

// TryAcquire takes n slots for a party if it may have them now and none waits.
func (p *Pool) TryAcquire(party string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 || !p.allowed(party, n) {
		return false
	}
	p.take(party, n)
	return true
}

// Acquire waits until a party may have n slots, and takes them. Its error is ctx's. A request for
// more slots than the pool has waits until ctx ends.
func (p *Pool) Acquire(ctx context.Context, party string, n int64) error {
	p.mu.Lock()
	p.came++
	w := &waiter{party: party, n: n, number: p.came, got: make(chan struct{})}
	p.waiting[party] = append(p.waiting[party], w)
	p.serve()
	p.mu.Unlock()
	select {
	case <-w.got:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.got: // meanwhile
		p.give(party, n)
	default:
		p.remove(w)
	}
	p.serve()
	return ctx.Err()
}

// Release gives back n slots of a party.
func (p *Pool) Release(party string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.give(party, n)
	p.serve()
}

func (p *Pool) take(party string, n int64) {
	p.taken += n
	p.held[party] += n
}

func (p *Pool) give(party string, n int64) {
	p.taken -= n
	if p.held[party] -= n; p.held[party] == 0 {
		delete(p.held, party)
	}
}

// allowed reports whether a party may have n slots more.
func (p *Pool) allowed(party string, n int64) bool {
	if p.taken+n > p.size {
		return false
	}
	held := p.held[party]
	if p.alone || held == 0 {
		return true
	}
	left := p.size - (p.taken - held) // by the others
	return held+n <= left-max(1, left/4)
}

// serve gives slots to waiters, as long as there are any.
func (p *Pool) serve() {
	for {
		next := p.next()
		if next == nil {
			return
		}
		p.take(next.party, next.n)
		p.remove(next)
		close(next.got)
	}
}

// remove takes a waiter out of the queue. It is the first of its party, unless its caller gave up.
func (p *Pool) remove(w *waiter) {
	of := p.waiting[w.party]
	if of[0] == w {
		of[0] = nil
		of = of[1:]
	} else {
		of = slices.DeleteFunc(of, func(other *waiter) bool { return other == w })
	}
	if p.waiting[w.party] = of; len(of) == 0 {
		delete(p.waiting, w.party)
	}
}

// next is the waiter that is served next, nil while none can be: of the first waiters of all
// parties, the one whose party has the fewest slots. While the pool has not as many free slots as
// it wants, all wait: else small requests would keep it waiting for ever. A party that has its
// share does not keep others waiting.
func (p *Pool) next() *waiter {
	var next *waiter
	for party, of := range p.waiting {
		w := of[0]
		if full := p.taken+w.n > p.size; !full && !p.allowed(party, w.n) {
			continue
		}
		if next == nil || p.held[party] < p.held[next.party] || p.held[party] == p.held[next.party] && w.number < next.number {
			next = w
		}
	}
	if next == nil || !p.allowed(next.party, next.n) {
		return nil
	}
	return next
}
