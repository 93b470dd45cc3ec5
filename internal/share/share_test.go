package share

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// all is how many slots a party gets, one at a time.
func all(p *Pool, party string) (n int64) {
	for p.TryAcquire(party, 1) {
		n++
	}
	return n
}

// TestShares: the next party finds a slot, though none is ever given back.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		size    int64
		parties int
		want    []int64 // what each gets that comes and takes all it may
	}{
		{size: 32, parties: 1, want: []int64{32}},
		{size: 32, parties: 5, want: []int64{24, 6, 1, 1, 0}},
		{size: 4, parties: 3, want: []int64{3, 1, 0}},
		{size: 2, parties: 2, want: []int64{1, 1}},
		{size: 1, parties: 2, want: []int64{1, 0}},
	} {
		p := NewPool(c.size, c.parties)
		var got []int64
		for i := range c.want {
			got = append(got, all(p, string(rune('a'+i))))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("of %d slots: %v, not %v", c.size, got, c.want)
		}
	}
}

// TestFewestFirst: what one gives back goes to the one that has least, until they have as many.
func TestFewestFirst(t *testing.T) {
	p := NewPool(32, 2)
	for range 24 {
		p.TryAcquire("slow", 1)
	}
	var got sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, party := range []string{"slow", "late"} {
		for range 32 {
			got.Go(func() { _ = p.Acquire(ctx, party, 1) })
		}
	}
	wait := func(n int) {
		for {
			p.mu.Lock()
			waiting := len(p.waiting["slow"]) + len(p.waiting["late"])
			p.mu.Unlock()
			if waiting == n {
				return
			}
			runtime.Gosched()
		}
	}
	wait(64 - 6)
	for range 8 {
		p.Release("slow", 1)
	}
	p.mu.Lock()
	slow, late := p.held["slow"], p.held["late"]
	p.mu.Unlock()
	if late < 12 || slow > 16 {
		t.Errorf("%d and %d", slow, late)
	}
	cancel()
	got.Wait()
}

// TestBigRequestsAreServed: small ones do not keep a big one waiting for ever, and one that is
// given up keeps no party waiting.
func TestBigRequestsAreServed(t *testing.T) {
	p := NewPool(10, 2)
	if err := p.Acquire(t.Context(), "a", 6); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	big, small := make(chan error, 1), make(chan error, 1)
	go func() { big <- p.Acquire(ctx, "b", 8) }()
	for waiting := 0; waiting == 0; {
		p.mu.Lock()
		waiting = len(p.waiting)
		p.mu.Unlock()
	}
	if p.TryAcquire("b", 1) {
		t.Error("a small one passed a big one")
	}
	go func() { small <- p.Acquire(t.Context(), "c", 1) }()
	cancel()
	if err := <-big; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := <-small; err != nil {
		t.Error(err)
	}
	p.Release("c", 1)
	p.Release("a", 6)
	if err := p.Acquire(t.Context(), "b", 10); err != nil {
		t.Error(err)
	}
}

// TestPoolIsNeverOverdrawn tries sequences of requests: no more is taken than there is, a party
// that has something leaves something, and in the end all is there again.
func TestPoolIsNeverOverdrawn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(1, 40).Draw(t, "size")
		p := NewPool(size, 3)
		held := map[string][]int64{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			party := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "party")
			if mine := held[party]; len(mine) > 0 && rapid.Bool().Draw(t, "release") {
				p.Release(party, mine[0])
				held[party] = mine[1:]
				continue
			}
			n := rapid.Int64Range(1, size).Draw(t, "n")
			had := len(held[party]) > 0
			if !p.TryAcquire(party, n) {
				if p.taken < p.size && !had && n == 1 {
					t.Fatal("a party that has nothing found no free slot")
				}
				continue
			}
			held[party] = append(held[party], n)
			if p.taken > p.size || had && p.taken == p.size {
				t.Fatalf("%d of %d are taken", p.taken, p.size)
			}
		}
		for party, mine := range held {
			for _, n := range mine {
				p.Release(party, n)
			}
		}
		if p.taken != 0 || len(p.held) != 0 {
			t.Fatalf("%d are still taken by %v", p.taken, p.held)
		}
	})
}

// TestManyWait: those that are given up in the middle leave the others in their order.
func TestManyWait(t *testing.T) {
	p := NewPool(1, 2)
	if err := p.Acquire(t.Context(), "a", 1); err != nil {
		t.Fatal(err)
	}
	const n = 9
	order := make(chan int, n)
	var all sync.WaitGroup
	for i := range n {
		ctx, giveUp := context.WithCancel(t.Context())
		defer giveUp()
		all.Go(func() {
			if err := p.Acquire(ctx, "a", 1); err == nil {
				order <- i
				p.Release("a", 1)
			}
		})
		for waiting := 0; waiting <= i-i/3; { // of each three one gives up
			p.mu.Lock()
			waiting = len(p.waiting["a"])
			p.mu.Unlock()
			runtime.Gosched()
		}
		if i%3 == 2 {
			giveUp()
			for waiting := n; waiting > i-i/3; {
				p.mu.Lock()
				waiting = len(p.waiting["a"])
				p.mu.Unlock()
				runtime.Gosched()
			}
		}
	}
	p.Release("a", 1)
	all.Wait()
	close(order)
	last, served := -1, 0
	for i := range order {
		if i < last || i%3 == 2 {
			t.Errorf("%d came after %d", i, last)
		}
		last, served = i, served+1
	}
	if served != 6 || len(p.waiting) != 0 || p.taken != 0 {
		t.Errorf("%d were served, %d slots are taken, %v wait", served, p.taken, p.waiting)
	}
}
