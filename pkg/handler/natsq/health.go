package natsq

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rs/zerolog"
)

// health knows what is being waited for, and says so once per change. An operation is in trouble
// from its first failed try to its end, whichever that is, so nothing stays red that nobody needs
// any more.
type health struct {
	log zerolog.Logger

	mu       sync.Mutex
	problems map[string]*problem // by stream or consumer
}

type problem struct {
	operations int
	reason     string
}

// operation is one operation's part in the health of what it works on.
type operation struct {
	health  *health
	object  string
	failing bool
}

func (h *health) startOperation(where string) *operation { return &operation{health: h, object: where} }

// failed records a failed try.
func (o *operation) recordFailure(err error) {
	reason := shortReason(err)
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	t := o.health.problems[o.object]
	if t == nil {
		t = &problem{}
		o.health.problems[o.object] = t
	}
	if !o.failing {
		o.failing = true
		t.operations++
	}
	if t.reason != reason {
		t.reason = reason
		o.health.log.Warn().Str("object", o.object).Str("reason", reason).AnErr("error", err).Msg("JetStream is in trouble, trying on")
	}
}

// done ends the operation's part.
func (o *operation) end() {
	if !o.failing {
		return
	}
	o.failing = false
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	t := o.health.problems[o.object]
	if t.operations--; t.operations == 0 {
		delete(o.health.problems, o.object)
		o.health.log.Info().Str("object", o.object).Str("reason", t.reason).Msg("nothing waits for JetStream there any more")
	}
}

// firstProblem is what is being waited for, nil when nothing is.
func (h *health) firstProblem() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, where := range slices.Sorted(maps.Keys(h.problems)) {
		return fmt.Errorf("%s: %s", where, h.problems[where].reason)
	}
	return nil
}
