package contract

import (
	"errors"
	"slices"
	"time"
)

// Message is a command as it lies in the queue.
type Message struct {
	Subject string              // "<prefix>.commands.<action>"
	Header  map[string][]string // names in any letter case
	Body    []byte
	Seq     uint64    // its sequence in the command stream
	Stream  string    // when that stream was made (RFC 3339, nanoseconds, UTC): the sequence counts in no other. Empty when not known
	Time    time.Time // when the stream stored it
}

// DeadLetter is a refused or failed command as CV_DEAD keeps it: the message as it came, and why it
// ended so.
type DeadLetter struct {
	ID       string // the command's id, or seq-<stream sequence>
	GivenID  string // the id that the message gave, where it goes by its sequence because that was taken; else empty
	Action   Action
	Message  Message // original payload and headers
	Missing  string  // what of these was not kept, for people; empty when they are whole
	Error    Error
	Attempts int
	Time     time.Time
}

// NeverCommand reports whether the message was refused before it was a command: what it was to do
// was not understood, its id is another command's, or it lacks a valid signature or approval. Every
// publisher can make any number of these, so what is kept of them is bounded. A command whose
// signature counts no more, since a key was removed, has its id.
func (d DeadLetter) NeverCommand() bool {
	return slices.Contains([]string{CodeInvalidCommand, CodeIDConflict}, d.Error.Code) || d.Error.Code == CodeUnsigned && IsSeqID(d.ID)
}

// Key is the key of the dead command.
func (d DeadLetter) Key() string { return Key(d.Action, d.ID) }

// ErrNoMessage says that a message is no longer in its stream: it was settled.
var ErrNoMessage = errors.New("no such message: it was settled")
