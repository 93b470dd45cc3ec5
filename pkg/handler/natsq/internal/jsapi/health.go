package jsapi

import (
	"maps"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// health knows which streams and consumers operations are waiting for, and logs each change once.
// An operation counts as waiting from its first failed try to its end, whether it succeeds or gives
// up, so that nothing stays red that no operation needs any more.
type health struct {
	log zerolog.Logger

	mu       sync.Mutex
	problems map[string]*problem // by stream or consumer
}

// problem is why operations wait for one stream or consumer.
type problem struct {
	operations int // that wait
	reason     string
	err        error // of the last try with this reason
}

// Waiting is why operations wait for an object: a stream, a consumer, or the account.
type Waiting struct {
	Object string
	Reason string // in a few words
	Err    error  // of the last try
}

// Error names the object and the reason.
func (w *Waiting) Error() string { return w.Object + ": " + w.Reason }

// Unwrap is the error of the last try.
func (w *Waiting) Unwrap() error { return w.Err }

// Operation is one operation's part in the health of the object it needs.
type Operation struct {
	health  *health
	object  string
	failing bool
}

// StartOperation begins an operation that needs an object. Nothing is recorded until a try fails.
func (h *health) StartOperation(object string) *Operation {
	return &Operation{health: h, object: object}
}

// RecordFailure records a failed try.
func (o *Operation) RecordFailure(err error) {
	reason := shortReason(err)
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	p := o.health.problems[o.object]
	if p == nil {
		p = &problem{}
		o.health.problems[o.object] = p
	}
	if !o.failing {
		o.failing = true
		p.operations++
	}
	if p.reason != reason {
		p.reason, p.err = reason, err
		o.health.log.Warn().Str("object", o.object).Str("reason", reason).AnErr("error", err).Msg("JetStream unavailable, retrying")
	}
}

// End ends the operation's part, whether it succeeded or gave up. It may be called repeatedly.
func (o *Operation) End() {
	if !o.failing {
		return
	}
	o.failing = false
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	p := o.health.problems[o.object]
	if p.operations--; p.operations == 0 {
		delete(o.health.problems, o.object)
		o.health.log.Info().Str("object", o.object).Str("reason", p.reason).Msg("no operation is waiting for JetStream any more")
	}
}

// FirstProblem is the *Waiting of the first object, by name, that operations wait for; nil when
// they wait for none.
func (h *health) FirstProblem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, object := range slices.Sorted(maps.Keys(h.problems)) {
		p := h.problems[object]
		return &Waiting{Object: object, Reason: p.reason, Err: p.err}
	}
	return nil
}
