package sink

import "errors"

var (
	// ErrNotFound says that there is no object at the key.
	ErrNotFound = errors.New("no such object")
	// ErrConflict says that a conditional request lost: somebody else wrote or is writing the key.
	ErrConflict = errors.New("written by somebody else")
	// ErrThrottled says that the store asks for a slower pace (SlowDown, 503, 429). Retry later, after RetryAfter when it is set.
	ErrThrottled = errors.New("throttled by the store")
	// ErrUnavailable says that a later try may succeed: 5xx, a reset or timed-out connection, a body that arrived damaged.
	ErrUnavailable = errors.New("store not available")
	// ErrMisconfigured is the operator's problem: refused credentials, a missing bucket, a host that is not there.
	ErrMisconfigured = errors.New("store refused or not reachable")
	// ErrNotKept says that the store did not keep what it was asked to keep, although it said so. Trying again does not help.
	ErrNotKept = errors.New("store did not keep what was asked")
	// ErrMixed says that a stored object of the bag has another content than the one this run derives from the same facts. It is an
	// internal error: two truths never go into one bag.
	ErrMixed = errors.New("stored object has other content than this bag's")
)
