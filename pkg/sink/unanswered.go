package sink

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// answerChanges has a client wait for the answer to a request that changes something, for at most
// patience after the call's context ended: the store may carry out a request after its caller has
// given up, and the clean-up of a command must not be overtaken by that. A request that was not
// sent yet is not sent.
func answerChanges(patience time.Duration) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		const tries = "Retry"
		if _, ok := stack.Finalize.Get(tries); !ok {
			return nil // a request that is only signed
		}
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("AnswerChanges", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok && req.Method != http.MethodGet && req.Method != http.MethodHead {
				var done func()
				ctx, done = untilAnswered(ctx, patience, nil)
				defer done()
			}
			return next.HandleFinalize(ctx, in)
		}), tries, middleware.After) // each try for itself: once the call was given up there is no further one
	}
}

// How far a request is: whichever comes first, the connection or the end of its caller's context,
// decides.
const (
	requestWaits int32 = iota
	requestSent
	requestGivenUp
)

// untilAnswered is a context for one request. It ends with ctx, for the same cause, as long as
// there is no connection for the request; after that it ends some time later, or when done is
// called. wrote, if given, is called once the request was written: nothing reads its body then.
func untilAnswered(ctx context.Context, patience time.Duration, wrote func(httptrace.WroteRequestInfo)) (answered context.Context, done func()) {
	if ctx.Err() != nil { // what follows would learn of it only when its goroutine runs
		return ctx, func() {}
	}
	answered, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	var state atomic.Int32
	stop := context.AfterFunc(ctx, func() {
		if !state.CompareAndSwap(requestWaits, requestGivenUp) {
			timer := time.NewTimer(patience)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-answered.Done():
			}
		}
		cancel(context.Cause(ctx))
	})
	traced := httptrace.WithClientTrace(answered, &httptrace.ClientTrace{WroteRequest: wrote, GotConn: func(c httptrace.GotConnInfo) {
		if !state.CompareAndSwap(requestWaits, requestSent) && state.Load() == requestGivenUp {
			_ = c.Conn.Close() // nothing has been written yet, and nothing can be any more
		}
	}})
	return traced, func() {
		stop()
		cancel(nil)
	}
}
