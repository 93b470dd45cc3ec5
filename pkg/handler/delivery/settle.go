package delivery

import (
	"context"
	"math/rand/v2"
	"time"
)

// Delays between deliveries, of one message.
const (
	MinDelay = time.Second
	MaxDelay = 30 * time.Second
)

// Backoff is the pause before attempt n+1 of a command or a unit: doubling from 1 s to 30 s
// with up to a quarter of jitter, and never less than hint, which is what the other side asked for.
func Backoff(n int, hint time.Duration) time.Duration {
	d := MaxDelay
	if n < 6 {
		d = min(MaxDelay, MinDelay<<max(0, n-1))
	}
	d -= time.Duration(rand.Int64N(int64(d)/4 + 1)) //nolint:gosec // jitter is no secret
	return max(d, hint)
}

// WaitDelay is the pause of a command that has been waiting since then: it grows with the wait,
// from 1 s to 30 s.
func WaitDelay(since, now time.Time) time.Duration {
	return min(MaxDelay, max(MinDelay, now.Sub(since)/4))
}

// TurnDelay is the pause of a command that waits its turn: it grows with the number of commands
// ahead, from 1 s to 30 s. So the next in turn begins soon, and any number behind it costs little.
// (JetStream delivers what comes again before what is new: many that come again soon would keep all
// others out.)
func TurnDelay(ahead int) time.Duration {
	return min(MaxDelay, max(MinDelay, time.Duration(ahead)*MinDelay/20))
}

// ShareDelay is the pause of a command or a unit whose resource has its share of the slots, at its
// nth delivery: it grows with each, from 1 s to 30 s. So any number that wait cost little, and keep
// those of other resources waiting for as little.
func ShareDelay(n uint64) time.Duration {
	return MinDelay * time.Duration(max(1, min(n, uint64(MaxDelay/MinDelay)))) //nolint:gosec // at most 30
}

// Settle decides what becomes of a message after an attempt that ended so: a function of what it is
// given, but for the jitter of delays. attempt is how many attempts were made, this one included,
// of at most limit. final says that this attempt was the last one: the caller ends the command
// instead.
func Settle(class Class, attempt, limit int, hint time.Duration) (d Disposition, final bool) {
	switch class {
	case Gone, Permanent:
		return Disposition{Verb: Ack}, true
	case Throttled, Retryable:
		if attempt >= limit {
			return Disposition{Verb: Ack}, true
		}
	}
	return HandBack(class, attempt, hint), false
}

// HandBack is the disposition after a failure outside an attempt, where no command may end. tries
// counts such failures, as far as is known.
func HandBack(class Class, tries int, hint time.Duration) Disposition {
	switch class {
	case Done, Ended:
		return Disposition{Verb: Ack}
	case Fenced:
		return Disposition{Verb: Abandon, Reason: class.String()}
	case Stopping:
		return Disposition{Verb: Nak, Reason: class.String()}
	case Misconfigured:
		return Disposition{Verb: Nak, Delay: max(Backoff(4, 0), hint), Reason: class.String()}
	case Throttled, Retryable:
		return Disposition{Verb: Nak, Delay: Backoff(tries, hint), Reason: class.String()}
	default: // Gone, Permanent
		return Disposition{Verb: Nak, Delay: MaxDelay, Reason: class.String()}
	}
}

// Counts reports whether an attempt that ended with this class counts. A fenced attempt counts if
// its process stood still; any other failure counts unless NATS was lost.
func (l Lease) Counts(c Class) bool {
	switch c {
	case Stopping, Misconfigured, Ended:
		return false
	case Fenced:
		return l.stoodStill()
	default:
		return !l.LostConnection()
	}
}

const (
	// WatchEvery is how often the job of a command under way is looked at, should word of its end
	// be lost.
	WatchEvery = 5 * time.Second
	// HolderGrace is how long the previous holder of a command has to say that its attempt does not
	// count: time to look at the job twice.
	HolderGrace = 2 * WatchEvery
)

// settleTimeout bounds what is still written after an attempt has ended.
const settleTimeout = 20 * time.Second

// Detached is a context for what must be written also when ctx has ended, as when this process is
// on its way out.
func Detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// DetachedIfDone is ctx or, where that has ended, a detached one.
func DetachedIfDone(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return Detached(ctx)
}
