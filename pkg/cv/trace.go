package cv

import (
	"context"
	"time"
)

// Call is one HTTP exchange with the Training API: one try of one operation.
type Call struct {
	Time      time.Time // when it was begun
	Answered  time.Time // when the answer was read, or the try failed without one; zero before
	Operation string    // the Swagger's operation id
	// Target is the path below the API's base path, such as projects/<id>/images; for calls that
	// name ids in the query a blank and the comma-joined ids follow (the iteration's first). No
	// other part of a query is ever in it.
	Target    string
	Attempt   int    // try of this call, from 1
	Status    int    // of the answer; 0 while there is none
	RequestID string // as the service names the exchange
	// Date is the service's clock, as the answer has it, to the second; zero where it has none.
	Date time.Time
	// Credential identifies the credential of the call. That of a key follows from the key alone:
	// keep it under a keyed hash only.
	Credential CredentialID
	Err        error // why the try failed; nil when it did not
}

// Trace observes every HTTP exchange with the Training API, each retry too, but no downloads from
// blob storage. All functions may be nil and must be safe for concurrent use.
type Trace struct {
	// Before is called when everything is ready to be sent. Its error stops the call, which is not
	// retried and returns it wrapped; After is not called then.
	Before func(ctx context.Context, c Call) error
	// Fresh is called when there is a connection, just before the request is written: finding one
	// can take long, and the process may have been suspended. False stops this try unsent, with
	// Status 0 and ErrUnavailable; the next try begins with Before again.
	Fresh func() bool
	// After is called once per exchange that Before let pass, when the answer is read or will not
	// come (Status 0).
	After func(c Call)
}

type traceKey struct{}

// WithTrace gives calls made under the context a Trace, in place of any it has.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

func traceOf(ctx context.Context) Trace {
	t, _ := ctx.Value(traceKey{}).(Trace)
	return t
}

func (t Trace) before(ctx context.Context, c Call) error {
	if t.Before == nil {
		return nil
	}
	return t.Before(ctx, c)
}

func (t Trace) after(c Call) {
	if t.After != nil {
		t.After(c)
	}
}
