// Package health knows which dependencies of this process fail, and whether work has to wait for
// them. It probes nothing: those who meet a failure report it.
package health

import (
	"context"
	"sync"
	"time"
)

// Health knows which dependencies of this process fail. A failing dependency is the operator's to
// mend, and never ends a command: while a blocking one fails, nothing is taken from the queues, and
// work resumes by itself when it recovers.
type Health struct {
	now func() time.Time

	mu       sync.Mutex
	failing  map[string]Problem
	changed  chan struct{} // closed and replaced at every change
	blocking func(failing map[string]Problem) bool
	explain  func(dependency string, err error) error
}

// Problem is why a dependency fails, and since when.
type Problem struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`

	err error
}

// Unwrap gives what the dependency failed with last.
func (p Problem) Unwrap() error { return p.err }

// Error is the reason.
func (p Problem) Error() string { return p.Reason }

// New makes a Health in which nothing fails.
func New(now func() time.Time) *Health {
	return &Health{now: now, failing: map[string]Problem{}, changed: make(chan struct{})}
}

// BlockWhen sets the rule by which problems stop this process from taking work. Without one, any
// problem but NATS does (without NATS there is nothing to take).
func (h *Health) BlockWhen(rule func(failing map[string]Problem) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blocking = rule
}

// ExplainWith sets what adds to each problem what the operator can do about it.
func (h *Health) ExplainWith(explain func(dependency string, err error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.explain = explain
}

// Explain adds to the problem of a dependency what the operator can do about it, as Fail does.
func (h *Health) Explain(dependency string, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.explained(dependency, err)
}

// explained is Explain. The caller holds the lock.
func (h *Health) explained(dependency string, err error) error {
	if h.explain == nil {
		return err
	}
	return h.explain(dependency, err)
}

// Fail records that a dependency fails, and why. It reports whether that is news.
func (h *Health) Fail(dependency string, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, known := h.failing[dependency]
	if !known {
		p.Since = h.now()
	}
	err = h.explained(dependency, err)
	p.Reason, p.err = err.Error(), err
	h.failing[dependency] = p
	if !known {
		h.signal()
	}
	return !known
}

// OK records that a dependency works. It reports whether that is news.
func (h *Health) OK(dependency string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.failing[dependency]; !known {
		return false
	}
	delete(h.failing, dependency)
	h.signal()
	return true
}

func (h *Health) signal() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// Problems is what fails now, by dependency; empty when all is well.
func (h *Health) Problems() map[string]Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.snapshot()
}

func (h *Health) snapshot() map[string]Problem {
	out := make(map[string]Problem, len(h.failing))
	for k, v := range h.failing {
		out[k] = v
	}
	return out
}

// Blocking is what fails now, by dependency, and stops this process from taking work; nil while it
// takes some.
func (h *Health) Blocking() map[string]Problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.blocked() {
		return nil
	}
	return h.snapshot()
}

// blocked reports whether a problem stops this process from taking work. The caller holds the lock.
func (h *Health) blocked() bool {
	if h.blocking != nil {
		return h.blocking(h.snapshot())
	}
	return len(h.failing) > 0
}

// Ready waits until nothing stops this process from taking work. Its error is ctx's.
func (h *Health) Ready(ctx context.Context) error {
	for {
		h.mu.Lock()
		blocked, changed := h.blocked(), h.changed
		h.mu.Unlock()
		if !blocked {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}
