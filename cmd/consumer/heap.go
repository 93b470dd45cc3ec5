package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

const (
	// heapFloor is how large the heap may become, in bytes, before it is collected at all. Small
	// commands leave much garbage and hardly anything else: without a floor their heap is collected
	// several times a second.
	heapFloor = 32 << 20
	// usualPercent is Go's own default: how much may be allocated until the next collection, in
	// percent of what is in use.
	usualPercent = 100
	// maxPercent bounds it where hardly anything is in use.
	maxPercent = 1600
)

// raiseHeapFloor has the heap collected only once it is as large as heapFloor; a heap of which half
// of that is in use is collected as usual. It leaves alone what the operator set (GOGC), and a
// process that is to stay small (GOMEMLIMIT).
func raiseHeapFloor() {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) < 4*heapFloor {
		return
	}
	percent := usualPercent
	afterCollection(func() {
		// To set it takes a stop of the world, so it is set only where it has changed much.
		if p := heapPercent(liveHeap()); math.Abs(float64(p-percent)) > float64(percent)/8 {
			percent = p
			debug.SetGCPercent(p)
		}
	})
}

// heapPercent is what may be allocated, in percent of what is in use, until the next collection.
func heapPercent(live uint64) int {
	if live == 0 {
		return usualPercent
	}
	return int(min(max(heapFloor*100/live, 2*usualPercent)-100, maxPercent))
}

// liveHeap is what was in use at the last collection, in bytes; 0 where it is not known.
func liveHeap() uint64 {
	sample := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(sample)
	if sample[0].Value.Kind() != runtimemetrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}

// afterCollection calls do after each collection of garbage.
func afterCollection(do func()) {
	sentinel := new([16]byte) // large enough not to share its place with other small objects
	runtime.AddCleanup(sentinel, func(do func()) {
		do()
		afterCollection(do)
	}, do)
}
