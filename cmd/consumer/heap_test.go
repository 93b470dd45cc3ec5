package main

import (
	"runtime"
	"testing"
	"time"
)

// TestHeapPercent says how much may be allocated until the next collection: up to the floor, and
// above it as much as is in use.
func TestHeapPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1 << 20: 1600, 4 << 20: 700, 8 << 20: 300, 12 << 20: 166, 16 << 20: 100, 17 << 20: 100, 500 << 20: 100,
	} {
		if got := heapPercent(live); got != want {
			t.Errorf("%d bytes in use: %d percent, not %d", live, got, want)
		}
		if goal := live * uint64(100+want) / 100; goal > max(heapFloor, 2*live) {
			t.Errorf("%d bytes in use may become %d", live, goal)
		}
	}
}

// TestAfterCollection is told of each collection.
func TestAfterCollection(t *testing.T) {
	told := make(chan uint64, 100)
	afterCollection(func() {
		select {
		case told <- liveHeap():
		default:
		}
	})
	for range 3 {
		runtime.GC()
		select {
		case live := <-told:
			if live == 0 {
				t.Error("it is not known how much is in use")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("not told of a collection")
		}
	}
}
