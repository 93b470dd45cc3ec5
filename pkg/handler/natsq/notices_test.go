package natsq

import "testing"

func TestResults(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	numbers, stop, err := w.q.Results(w.ctx, "x")
	ok(t, err)
	ok(t, other.NotifyResult(w.ctx, "y", 1))
	ok(t, other.NotifyResult(w.ctx, "x", 42))
	if n := receive(t, numbers); n != 42 {
		t.Fatalf("got %d", n)
	}
	// A slow reader loses what its buffer has no room for, and holds up no publisher.
	for n := range 3 * resultsBuffer {
		ok(t, other.NotifyResult(w.ctx, "x", n))
	}
	ok(t, other.nc.FlushWithContext(w.ctx))
	for n := range resultsBuffer / 2 {
		if got := receive(t, numbers); got != n {
			t.Fatalf("got %d, want %d", got, n)
		}
	}
	stop()
	stop()
	for range numbers { // ends
	}
}

// TestResultsInTheProcess has word of a result stay in the process where the coordinator is.
func TestResultsInTheProcess(t *testing.T) {
	w := newWorld(t)
	numbers, stop, err := w.q.Results(w.ctx, "x")
	ok(t, err)
	before := w.q.nc.Stats().OutMsgs
	ok(t, w.q.NotifyResult(w.ctx, "x", 42))
	if n := receive(t, numbers); n != 42 {
		t.Errorf("got %d", n)
	}
	for n := range 3 * resultsBuffer { // a slow reader holds up no worker
		ok(t, w.q.NotifyResult(w.ctx, "x", n))
	}
	if sent := w.q.nc.Stats().OutMsgs - before; sent != 0 {
		t.Errorf("%d messages were sent", sent)
	}
	stop()
	ok(t, w.q.NotifyResult(w.ctx, "x", 42))
	ok(t, w.q.NotifyResult(w.ctx, "y", 42))
	if sent := w.q.nc.Stats().OutMsgs - before; sent != 2 {
		t.Errorf("%d messages were sent to other processes", sent)
	}
}

func TestOver(t *testing.T) {
	w := newWorld(t)
	other := w.open(t)
	notices, stop := must2[<-chan struct{}, func()](t)(w.q.Over("a"))
	defer stop()
	ok(t, w.q.nc.FlushWithContext(w.ctx)) // the server knows of the interest
	ok(t, other.NotifyOver(w.ctx, "ab"))
	ok(t, other.NotifyOver(w.ctx, "a"))
	receive(t, notices)
	if len(notices) != 0 {
		t.Error("notified of another command")
	}
	if _, _, err := w.q.Over("*"); err == nil {
		t.Error("subscribed to every command")
	}
	if err := other.NotifyOver(w.ctx, "*"); err == nil {
		t.Error("published a notice of no command")
	}
}
