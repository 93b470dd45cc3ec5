package sink

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// answerChanges has a client wait for the answer to a request that changes something, for at most patience once the call was given up: the store may
// carry out what it was sent when nobody waits any more, and who removes what a command stored must not be overtaken by that. A request that was not
// sent yet is not sent.
func answerChanges(patience time.Duration) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("AnswerChanges", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok && req.Method != http.MethodGet && req.Method != http.MethodHead {
				var done func()
				ctx, done = outlive(ctx, patience)
				defer done()
			}
			return next.HandleFinalize(ctx, in)
		}), "Retry", middleware.After) // each try for itself: once the call was given up there is no further one
	}
}

// outlive is a context that ends some time after ctx does, for the same cause, or when done is called.
func outlive(ctx context.Context, by time.Duration) (longer context.Context, done func()) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}
