package delivery_test

import (
	"context"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// classes are all classes.
var classes = []delivery.Class{
	delivery.Done, delivery.Stopping, delivery.Ended, delivery.Fenced, delivery.Misconfigured,
	delivery.Throttled, delivery.Retryable, delivery.Gone, delivery.Permanent,
}

// between are the bounds of a delay that has jitter.
type between struct{ least, most time.Duration }

func (b between) holds(d time.Duration) bool { return b.least <= d && d <= b.most }

var (
	atOnce  = between{}
	longest = between{delivery.MaxDelay, delivery.MaxDelay}
)

func TestSettle(t *testing.T) {
	const limit = 3
	for _, c := range []struct {
		name    string
		class   delivery.Class
		attempt int
		hint    time.Duration
		verb    delivery.Verb
		delay   between
		final   bool
	}{
		{"done", delivery.Done, 1, 0, delivery.Ack, atOnce, false},
		{"done with the last attempt", delivery.Done, limit, 0, delivery.Ack, atOnce, false},
		{"stopping", delivery.Stopping, 1, 0, delivery.Nak, atOnce, false},
		{"stopping with the last attempt", delivery.Stopping, limit, 0, delivery.Nak, atOnce, false},
		{"ended", delivery.Ended, limit, 0, delivery.Ack, atOnce, false},
		{"fenced", delivery.Fenced, 1, 0, delivery.Abandon, atOnce, false},
		{"fenced with the last attempt", delivery.Fenced, limit, 0, delivery.Abandon, atOnce, false},
		{"misconfigured", delivery.Misconfigured, 1, 0, delivery.Nak, between{6 * time.Second, 8 * time.Second}, false},
		{"misconfigured with the last attempt", delivery.Misconfigured, limit, 0, delivery.Nak, between{6 * time.Second, 8 * time.Second}, false},
		{"misconfigured, with a hint", delivery.Misconfigured, 1, time.Minute, delivery.Nak, between{time.Minute, time.Minute}, false},
		{"retryable", delivery.Retryable, 1, 0, delivery.Nak, between{750 * time.Millisecond, time.Second}, false},
		{"retryable, a later attempt", delivery.Retryable, limit - 1, 0, delivery.Nak, between{1500 * time.Millisecond, 2 * time.Second}, false},
		{"retryable, no attempt left", delivery.Retryable, limit, 0, delivery.Ack, atOnce, true},
		{"retryable, more attempts than allowed", delivery.Retryable, limit + 1, 0, delivery.Ack, atOnce, true},
		{"throttled", delivery.Throttled, 1, 0, delivery.Nak, between{750 * time.Millisecond, time.Second}, false},
		{"throttled, with a hint", delivery.Throttled, 1, 90 * time.Second, delivery.Nak, between{90 * time.Second, 90 * time.Second}, false},
		{"throttled, no attempt left", delivery.Throttled, limit, time.Minute, delivery.Ack, atOnce, true},
		{"gone", delivery.Gone, 1, 0, delivery.Ack, atOnce, true},
		{"permanent", delivery.Permanent, 1, 0, delivery.Ack, atOnce, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, final := delivery.Settle(c.class, c.attempt, limit, c.hint)
			if d.Verb != c.verb || !c.delay.holds(d.Delay) || final != c.final {
				t.Errorf("%s after %s, final %t; want %s after %s to %s, final %t", d.Verb, d.Delay, final, c.verb, c.delay.least, c.delay.most, c.final)
			}
		})
	}
}

// Outside an attempt nothing ends a command, however it went wrong.
func TestHandBack(t *testing.T) {
	for _, c := range []struct {
		class delivery.Class
		tries int
		hint  time.Duration
		verb  delivery.Verb
		delay between
	}{
		{delivery.Done, 1, 0, delivery.Ack, atOnce},
		{delivery.Ended, 1, 0, delivery.Ack, atOnce},
		{delivery.Fenced, 1, time.Minute, delivery.Abandon, atOnce},
		{delivery.Stopping, 1, time.Minute, delivery.Nak, atOnce},
		{delivery.Misconfigured, 1, 0, delivery.Nak, between{6 * time.Second, 8 * time.Second}},
		{delivery.Misconfigured, 100, time.Minute, delivery.Nak, between{time.Minute, time.Minute}},
		{delivery.Throttled, 1, time.Minute, delivery.Nak, between{time.Minute, time.Minute}},
		{delivery.Retryable, 1, 0, delivery.Nak, between{750 * time.Millisecond, time.Second}},
		{delivery.Retryable, 1000, 0, delivery.Nak, between{22500 * time.Millisecond, 30 * time.Second}},
		{delivery.Gone, 1, 0, delivery.Nak, longest},
		{delivery.Permanent, 1, 0, delivery.Nak, longest},
	} {
		d := delivery.HandBack(c.class, c.tries, c.hint)
		if d.Verb != c.verb || !c.delay.holds(d.Delay) {
			t.Errorf("%s, %d tries: %s after %s; want %s after %s to %s", c.class, c.tries, d.Verb, d.Delay, c.verb, c.delay.least, c.delay.most)
		}
		if reason := c.class.String(); d.Verb != delivery.Ack && d.Reason != reason {
			t.Errorf("%s: the reason is %q", c.class, d.Reason)
		}
	}
}

func TestCounts(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	quiet := map[delivery.Class]bool{
		delivery.Done: true, delivery.Throttled: true, delivery.Retryable: true, delivery.Gone: true, delivery.Permanent: true,
	}
	for _, c := range []struct {
		name  string
		lease delivery.Lease
		want  map[delivery.Class]bool // a class that is not there does not count
	}{
		{"nothing is known", delivery.Lease{}, quiet},
		{"nothing happened", delivery.Lease{Outage: no, Stalled: no}, quiet},
		{"NATS was away", delivery.Lease{Outage: yes, Stalled: no}, nil},
		{"the process stood still", delivery.Lease{Outage: no, Stalled: yes}, map[delivery.Class]bool{
			delivery.Fenced: true,
			delivery.Done:   true, delivery.Throttled: true, delivery.Retryable: true, delivery.Gone: true, delivery.Permanent: true,
		}},
		{"both", delivery.Lease{Outage: yes, Stalled: yes}, map[delivery.Class]bool{delivery.Fenced: true}},
	} {
		for _, class := range classes {
			if got := c.lease.Counts(class); got != c.want[class] {
				t.Errorf("%s: an attempt that ended %s counts: %t", c.name, class, got)
			}
		}
	}
}

func TestClassAndVerbNames(t *testing.T) {
	seen := map[string]bool{}
	for _, class := range classes {
		seen[class.String()] = true
	}
	if len(seen) != len(classes) {
		t.Errorf("the names of the classes are %v", seen)
	}
	for verb, want := range map[delivery.Verb]string{
		delivery.Nak: "nak", delivery.Ack: "ack", delivery.Term: "term", delivery.Abandon: "abandon", delivery.Verb(99): "nak",
	} {
		if got := verb.String(); got != want {
			t.Errorf("verb %d is %s, not %s", verb, got, want)
		}
	}
	if (delivery.Disposition{}).Verb != delivery.Nak {
		t.Error("a disposition that was not decided is no nak")
	}
}

func TestBackoff(t *testing.T) {
	for n, full := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 16 * time.Second,
		6: 30 * time.Second, 7: 30 * time.Second, 64: 30 * time.Second, 1 << 40: 30 * time.Second,
	} {
		bounds := between{full - full/4, full}
		differ := map[time.Duration]bool{}
		for range 50 {
			d := delivery.Backoff(n, 0)
			if !bounds.holds(d) {
				t.Fatalf("the pause after attempt %d is %s, not %s to %s", n, d, bounds.least, bounds.most)
			}
			differ[d] = true
		}
		if len(differ) == 1 {
			t.Errorf("the pauses after attempt %d have no jitter", n)
		}
		if d := delivery.Backoff(n, time.Hour); d != time.Hour {
			t.Errorf("after attempt %d, asked to wait an hour: %s", n, d)
		}
		if d := delivery.Backoff(n, time.Millisecond); !bounds.holds(d) {
			t.Errorf("after attempt %d, asked to wait a millisecond: %s", n, d)
		}
	}
}

func TestWaitDelay(t *testing.T) {
	now := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
	for waited, want := range map[time.Duration]time.Duration{
		-time.Hour: time.Second, 0: time.Second, 4 * time.Second: time.Second, 20 * time.Second: 5 * time.Second,
		2 * time.Minute: 30 * time.Second, 24 * time.Hour: 30 * time.Second,
	} {
		if got := delivery.WaitDelay(now.Add(-waited), now); got != want {
			t.Errorf("after a wait of %s: %s, not %s", waited, got, want)
		}
	}
}

func TestTurnDelay(t *testing.T) {
	for ahead, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 20: time.Second, 40: 2 * time.Second, 600: 30 * time.Second, 10_000: 30 * time.Second,
	} {
		if got := delivery.TurnDelay(ahead); got != want {
			t.Errorf("behind %d commands: %s, not %s", ahead, got, want)
		}
	}
}

func TestShareDelay(t *testing.T) {
	for n, want := range map[uint64]time.Duration{0: time.Second, 1: time.Second, 7: 7 * time.Second, 30: 30 * time.Second, 1 << 63: 30 * time.Second} {
		if got := delivery.ShareDelay(n); got != want {
			t.Errorf("at delivery %d: %s, not %s", n, got, want)
		}
	}
}

// What is written after an attempt may take its time, though the attempt's context has ended.
func TestGrace(t *testing.T) {
	type key struct{}
	live := context.WithValue(t.Context(), key{}, "kept")
	ctx, cancel := delivery.DetachedIfDone(live)
	if _, bounded := ctx.Deadline(); bounded || ctx.Err() != nil {
		t.Errorf("a live context is bounded: %t, %v", bounded, ctx.Err())
	}
	cancel()
	if ctx.Err() == nil {
		t.Error("a live context is not ended")
	}
	dead, kill := context.WithCancelCause(live)
	kill(delivery.ErrStopping)
	ctx, cancel = delivery.DetachedIfDone(dead)
	defer cancel()
	if _, bounded := ctx.Deadline(); !bounded || ctx.Err() != nil || ctx.Value(key{}) != "kept" {
		t.Errorf("in place of an ended context: bounded %t, %v, %v", bounded, ctx.Err(), ctx.Value(key{}))
	}
}
