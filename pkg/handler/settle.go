package handler

import (
	"math/rand/v2"
	"time"
)

// Delays between deliveries, of one message.
const (
	minDelay = time.Second
	maxDelay = 30 * time.Second
)

// backoffDelay is the pause before attempt n+1 of a command or a unit: doubling from 1 s to 30 s
// with up to a quarter of jitter, and never less than hint, which is what the other side asked for.
func backoffDelay(n int, hint time.Duration) time.Duration {
	d := maxDelay
	if n < 6 {
		d = min(maxDelay, minDelay<<max(0, n-1))
	}
	d -= time.Duration(rand.Int64N(int64(d)/4 + 1)) //nolint:gosec // jitter is no secret
	return max(d, hint)
}

// waitDelay is the pause of a command that has been waiting since then: it grows with the wait,
// from 1 s to 30 s.
func waitDelay(since, now time.Time) time.Duration {
	return min(maxDelay, max(minDelay, now.Sub(since)/4))
}

// turnDelay is the pause of a command that waits its turn: it grows with the number of commands
// ahead, from 1 s to 30 s. So the next in turn begins soon, and any number behind it costs little.
// (JetStream delivers what comes again before what is new: many that come again soon would keep all
// others out.)
func turnDelay(ahead int) time.Duration {
	return min(maxDelay, max(minDelay, time.Duration(ahead)*minDelay/20))
}

// settle decides what becomes of a message: a pure function of what happened. attempt is how many
// attempts were made, this one included, of at most limit. final says that the attempt is to be the
// last: the caller ends the command instead.
func settle(class Class, attempt, limit int, hint time.Duration) (d Disposition, final bool) {
	switch class {
	case Done, Ended:
		return Disposition{Verb: Ack}, false
	case Fenced:
		return Disposition{Verb: Abandon, Reason: class.String()}, false
	case Stopping:
		return Disposition{Verb: Nak, Reason: class.String()}, false
	case Misconfigured:
		return Disposition{Verb: Nak, Delay: max(backoffDelay(4, 0), hint), Reason: class.String()}, false
	case Throttled, Retryable:
		if attempt >= limit {
			return Disposition{Verb: Ack}, true
		}
		return Disposition{Verb: Nak, Delay: backoffDelay(attempt, hint), Reason: class.String()}, false
	default: // Gone, Permanent
		return Disposition{Verb: Ack}, true
	}
}

// counts says whether an attempt that ended so counts. One that somebody else took over does when
// its holder stood still; any other ending when it was made while NATS was there, and is to blame.
func (l Lease) counts(c Class) bool {
	switch c {
	case Stopping, Misconfigured, Ended:
		return false
	case Fenced:
		return l.stalled()
	default:
		return !l.outage()
	}
}
