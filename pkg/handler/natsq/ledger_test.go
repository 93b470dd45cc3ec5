package natsq

import (
	"errors"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

func TestLedgerFence(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	tail, seq, err := w.q.LedgerTail(w.ctx, "x")
	if tail != nil || seq != 0 || err != nil {
		t.Fatalf("an empty ledger's tail is %q at %d, %v", tail, seq, err)
	}
	s1 := must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("1\n"), 0))
	s2 := must[uint64](t)(w.q.AppendLedger(w.ctx, "x", []byte("2\n"), s1))
	must[uint64](t)(w.q.AppendLedger(w.ctx, "y", []byte("other\n"), 0))
	// Another replica takes over; the previous holder is fenced out for good.
	_, seq, err = other.LedgerTail(w.ctx, "x")
	ok(t, err)
	s3 := must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("takeover\n"), seq))
	_, err = w.q.AppendLedger(w.ctx, "x", []byte("3\n"), s2)
	is(t, err, delivery.ErrFenced)
	must[uint64](t)(other.AppendLedger(w.ctx, "x", []byte("3\n"), s3))

	var got []string
	for m, err := range w.q.Ledger(w.ctx, "x", s3) {
		ok(t, err)
		got = append(got, string(m))
	}
	if want := []string{"1\n", "2\n", "takeover\n"}; !slices.Equal(got, want) {
		t.Fatalf("ledger up to %d is %q, want %q", s3, got, want)
	}
	n := 0
	for _, err := range w.q.Ledger(w.ctx, "x", math.MaxUint64) {
		ok(t, err)
		n++
	}
	if n != 4 {
		t.Fatalf("the whole ledger has %d messages", n)
	}
	var last error
	for _, err := range w.q.Ledger(w.ctx, "x", s3+10) {
		last = err
	}
	if last == nil {
		t.Fatal("a ledger that ends too early is not noticed")
	}
}

// However two coordinators interleave, each message has one successor.
func TestLedgerTwoAppenders(t *testing.T) {
	w := newWorld(t)
	queues := []*Queue{w.q, w.open(t), w.open(t)}
	for round := range 30 {
		_, tail, err := w.q.LedgerTail(w.ctx, "x")
		ok(t, err)
		won := make([]bool, len(queues))
		var wg sync.WaitGroup
		for i, q := range queues {
			wg.Go(func() {
				_, err := q.AppendLedger(w.ctx, "x", []byte("the same line\n"), tail)
				won[i] = err == nil
				if err != nil && !errors.Is(err, delivery.ErrFenced) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := count(won); n != 1 {
			t.Fatalf("round %d has %d winners", round, n)
		}
	}
}
