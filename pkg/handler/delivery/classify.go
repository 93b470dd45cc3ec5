package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// Class is the kind of an outcome: it says what has to happen next.
type Class int

// The classes, from best to worst.
const (
	Done          Class = iota // it worked
	Stopping                   // this process drains: no attempt is to blame
	Ended                      // the command has ended, or is ending: there is nothing left to do
	Fenced                     // another replica holds the command now
	Misconfigured              // the operator's problem: credentials, a missing bucket, a wrong endpoint, a full disk here
	Throttled                  // slow down
	Retryable                  // may work the next time
	Gone                       // what was named is not there
	Permanent                  // will never work
)

// String is the class's name in lower case.
func (c Class) String() string {
	return [...]string{"done", "stopping", "ended", "fenced", "misconfigured", "throttled", "retryable", "gone", "permanent"}[c]
}

// Classify is the one table from errors to classes, for all that handling a command or a unit can
// meet under ctx.
func Classify(ctx context.Context, err error) Class {
	if err == nil {
		return Done
	}
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	var own *contract.Error
	switch {
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrFenced), errors.Is(err, contract.ErrConflict):
		return Fenced
	case errors.Is(err, ErrStopping):
		return Stopping
	case errors.Is(err, ErrEnded):
		return Ended
	case IsShortage(err): // before all that is said of what was worked on
		return Misconfigured
	case errors.As(err, &own), errors.Is(err, ErrRefused):
		return Permanent
	case errors.Is(err, cv.ErrMisconfigured), errors.Is(err, sink.ErrMisconfigured), errors.Is(err, sink.ErrWantsTLS), errors.Is(err, sink.ErrNotS3):
		return Misconfigured
	case errors.Is(err, cv.ErrThrottled), errors.Is(err, sink.ErrThrottled):
		return Throttled
	case errors.Is(err, cv.ErrUnavailable), errors.Is(err, cv.ErrTooSlow), errors.Is(err, sink.ErrUnavailable), errors.Is(err, sink.ErrConflict):
		return Retryable
	case errors.Is(err, cv.ErrGone):
		return Gone
	case errors.Is(err, cv.ErrBadLink), errors.Is(err, cv.ErrHostNotAllowed), errors.Is(err, cv.ErrTooLarge), errors.Is(err, cv.ErrLinkExpired),
		errors.Is(err, cv.ErrReadOnly), errors.Is(err, cv.ErrPublished), errors.Is(err, cv.ErrUntrained), errors.Is(err, cv.ErrBatchTooBig),
		errors.Is(err, sink.ErrMixed), errors.Is(err, sink.ErrNotKept), errors.Is(err, sink.ErrNotEncrypted):
		return Permanent
	}
	var api *cv.Error
	if errors.As(err, &api) && api.Status >= 300 && api.Status < 500 {
		return Permanent
	}
	// What is in no table is a local hiccup (a queue that did not answer) more often than a
	// verdict.
	return Retryable
}

// RetryAfter is what the other side asked us to wait, zero when it did not say.
func RetryAfter(err error) time.Duration {
	var api *cv.Error
	if errors.As(err, &api) {
		return api.RetryAfter
	}
	var store *sink.Error
	if errors.As(err, &store) {
		return store.RetryAfter
	}
	return 0
}

// Verdict is the error of a command that ends because of err.
func Verdict(ctx context.Context, err error) *contract.Error {
	var own *contract.Error
	if errors.As(err, &own) {
		return own
	}
	e := &contract.Error{Code: contract.CodeInternal, Message: err.Error()}
	var api *cv.Error
	if errors.As(err, &api) {
		e.RequestID = api.RequestID
	}
	switch {
	case Classify(ctx, err) == Gone:
		e.Code = contract.CodeNotFound
	case errors.Is(err, cv.ErrReadOnly):
		e.Code = contract.CodeReadOnly
	}
	return e
}
