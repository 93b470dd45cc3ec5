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
	troubled map[string]*trouble // by stream or consumer
}

type trouble struct {
	operations int
	reason     string
}

// operation is one operation's part in the health of what it works on.
type operation struct {
	health  *health
	where   string
	failing bool
}

func (h *health) operation(where string) *operation { return &operation{health: h, where: where} }

// failed records a failed try.
func (o *operation) failed(err error) {
	reason := reasonOf(err)
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	t := o.health.troubled[o.where]
	if t == nil {
		t = &trouble{}
		o.health.troubled[o.where] = t
	}
	if !o.failing {
		o.failing = true
		t.operations++
	}
	if t.reason != reason {
		t.reason = reason
		o.health.log.Warn().Str("object", o.where).Str("reason", reason).AnErr("error", err).Msg("JetStream is in trouble, trying on")
	}
}

// done ends the operation's part.
func (o *operation) done() {
	if !o.failing {
		return
	}
	o.failing = false
	o.health.mu.Lock()
	defer o.health.mu.Unlock()
	t := o.health.troubled[o.where]
	if t.operations--; t.operations == 0 {
		delete(o.health.troubled, o.where)
		o.health.log.Info().Str("object", o.where).Str("reason", t.reason).Msg("nothing waits for JetStream there any more")
	}
}

// err is what is being waited for, nil when nothing is.
func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, where := range slices.Sorted(maps.Keys(h.troubled)) {
		return fmt.Errorf("%s: %s", where, h.troubled[where].reason)
	}
	return nil
}
