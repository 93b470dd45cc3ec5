package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Call is one Training API call as a unit's result carries it to the coordinator.
type Call struct {
	Time      time.Time `json:"time"` // of the answer; of an intent, when it is written
	Operation string    `json:"operation"`
	Target    string    `json:"target"`
	Status    int       `json:"status"`
	RequestID string    `json:"request_id,omitempty"`
	Attempt   int       `json:"attempt"`
}

// CallOf is the record of a call, with the time that its ledger line will have.
func CallOf(c cv.Call, at time.Time) Call {
	return Call{Time: at.UTC(), Operation: c.Operation, Target: c.Target, Status: c.Status, RequestID: c.RequestID, Attempt: c.Attempt}
}

func (c Call) key() string {
	return fmt.Sprintf("%d %s %s %d", c.Time.UnixNano(), c.Operation, c.Target, c.Attempt)
}

func (c Call) Line(kind string) sink.LedgerLine {
	return sink.LedgerLine{Time: c.Time, Kind: kind, Operation: c.Operation, Target: c.Target, Status: c.Status, RequestID: c.RequestID, Attempt: c.Attempt}
}

// Recorder collects the calls made under a context.
type Recorder struct {
	onCall func(cv.Call) // hears of every call, if there is one

	mu    sync.Mutex
	calls []Call
	date  time.Time
}

// NewRecorder makes a recorder. onCall, which may be nil, hears of every call.
func NewRecorder(onCall func(cv.Call)) *Recorder { return &Recorder{onCall: onCall} }

// Attach makes ctx report its calls to the recorder.
func (r *Recorder) Attach(ctx context.Context) context.Context {
	return cv.WithTrace(ctx, cv.Trace{After: func(c cv.Call) {
		if r.onCall != nil {
			r.onCall(c)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.calls = append(r.calls, CallOf(c, c.Answered))
		if !c.Date.IsZero() {
			r.date = c.Date
		}
	}})
}

// ServiceTime is the service's clock, as its latest answer had it; zero before.
func (r *Recorder) ServiceTime() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.date
}

// Take returns the calls collected so far and forgets them.
func (r *Recorder) Take() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}
