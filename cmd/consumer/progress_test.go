package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// TestProgressInLines shows events where there is no terminal: each change, and else a line every
// few seconds with rate and time left.
func TestProgressInLines(t *testing.T) {
	var out bytes.Buffer
	shown := newProgress(&out)
	event := func(second int, status contract.Status, done int64, waits string) {
		d := contract.EventData{CommandID: "req-1", Status: status}
		if done > 0 {
			d.Progress = &contract.Progress{Done: done, Total: 500, Bytes: done << 10}
		}
		if waits != "" {
			d.Waiting = &contract.Waiting{For: waits, Detail: "a wrong key\x1b", Since: epoch}
		}
		shown.show(contract.Event{Time: epoch.Add(time.Duration(second) * time.Second), Data: d})
	}
	event(0, contract.StatusAccepted, 0, "")
	event(1, contract.StatusProgress, 100, "")
	event(3, contract.StatusProgress, 120, "")
	event(6, contract.StatusProgress, 150, "")
	event(8, contract.StatusProgress, 170, "")
	event(9, contract.StatusProgress, 170, "credential")
	event(11, contract.StatusProgress, 200, "")
	event(16, contract.StatusProgress, 250, "")
	shown.end()
	want := `req-1: accepted
req-1: progress, 100 of 500, 100.0 KiB
req-1: progress, 150 of 500, 10/s, 35s left, 150.0 KiB
req-1: progress, waiting for credential since 03:04:05: a wrong key\x1b, 170 of 500, 9/s, 38s left, 170.0 KiB
req-1: progress, 200 of 500, 10/s, 30s left, 200.0 KiB
req-1: progress, 250 of 500, 10/s, 25s left, 250.0 KiB
`
	if out.String() != want {
		t.Errorf("shown\n%s", &out)
	}
}

// TestBundleProgressInLines shows the lines that are printed where there is no terminal.
func TestBundleProgressInLines(t *testing.T) {
	var out bytes.Buffer
	r := newBundleProgress(&out)
	now := epoch
	r.now = func() time.Time { return now }
	progress, end := r.verifying("a\x1b/bundle")
	for range 12 {
		now = now.Add(time.Second)
		progress(verify.Progress{Bytes: int64(now.Sub(epoch).Seconds()) << 20, AllBytes: 60 << 20})
	}
	end()
	r.end()
	want := `a\x1b/bundle: 5.0 MiB of 60.0 MiB, 1.0 MiB/s, 55s left
a\x1b/bundle: 10.0 MiB of 60.0 MiB, 1.0 MiB/s, 50s left
`
	if out.String() != want {
		t.Errorf("shown\n%s", &out)
	}
}
