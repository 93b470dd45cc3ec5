package delivery

import (
	"errors"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Verb is what becomes of a queue message, in JetStream's own words.
type Verb int

const (
	// Nak hands the message back, to be delivered again after Delay. It is the zero value: an
	// undecided message is never lost.
	Nak Verb = iota
	// Ack settles the message: its command reached a terminal state and the event is stored, or its
	// unit has a durable result.
	Ack
	// Term settles a message that must never be delivered again although nothing was done, with
	// Reason.
	Term
	// Abandon sends nothing at all: another replica holds the command now, and any answer would
	// settle that replica's delivery.
	Abandon
)

// String is the verb's JetStream name in lower case, as logs show it.
func (v Verb) String() string {
	switch v {
	case Ack:
		return "ack"
	case Term:
		return "term"
	case Abandon:
		return "abandon"
	default:
		return "nak"
	}
}

// Disposition is what the queue adapter is to do with a delivered message.
type Disposition struct {
	Verb   Verb
	Delay  time.Duration // of a Nak; zero is at once
	Reason string        // of a Term, and for the log of the others
}

// Delivery is one delivery of a command message.
type Delivery struct {
	contract.Message
	// Delivered is the server's count of deliveries of this message, 1 at first; it counts
	// blameless hand-backs too.
	Delivered uint64
	Lease     Lease
}

// Lease reports what happened to a delivery since it arrived. A nil function reports false.
type Lease struct {
	// Outage reports whether the connection to NATS was lost meanwhile, or no heartbeat was
	// answered for a whole ack wait, while this process was awake. It waits until NATS is back, and
	// is false when this process ends before.
	Outage func() bool
	// Stalled reports whether this process stood still meanwhile, for so long that the lease was
	// lost for that alone.
	Stalled func() bool
}

// LostConnection is Outage, false where that is not known.
func (l Lease) LostConnection() bool { return l.Outage != nil && l.Outage() }
func (l Lease) stoodStill() bool     { return l.Stalled != nil && l.Stalled() }

// UnitDelivery is one delivery of a unit of work.
type UnitDelivery struct {
	Command   string              // the command's id
	N         int                 // the unit's number
	Header    map[string][]string // of its message
	Body      []byte              // the unit, as the coordinator published it
	Delivered uint64              // the server's count of deliveries, 1 at first
	Lease     Lease
}

var (
	// ErrFenced says that another coordinator took the command over; the fenced one stops at once
	// and writes nothing more.
	ErrFenced = errors.New("fenced: this attempt does not hold the command any more")
	// ErrStopping is the cause of a context cancelled because this process drains. The attempt
	// is not to blame.
	ErrStopping = errors.New("stopping")
	// ErrLeaseLost is the cause of a context cancelled because no heartbeat reached the server for
	// a whole ack wait.
	ErrLeaseLost = errors.New("lease lost: no heartbeat was acknowledged within the ack wait")
	// ErrRefused says that the service refuses one thing for good, while it answers about all else.
	ErrRefused = errors.New("the service refuses this, and answers about all else")
	// ErrEnded says that the command of a unit has ended or is ending.
	ErrEnded = errors.New("the command has ended")
)
