package sink

import (
	"context"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go/middleware"
)

// payloadKey is the key of a context's payload digest.
type payloadKey struct{}

// withPayload is a context for a request whose body has a known SHA-256, in hex. A [Client] signs
// the request with it, over https too; without it the SDK reads the body once more over http, and
// leaves it out of the signature over https.
func withPayload(ctx context.Context, digest string) context.Context {
	return context.WithValue(ctx, payloadKey{}, digest)
}

// signPayload has a client sign requests with the digests that their contexts have.
func signPayload(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("SignPayload", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
		if digest, ok := ctx.Value(payloadKey{}).(string); ok {
			ctx = v4.SetPayloadHash(ctx, digest)
		}
		return next.HandleInitialize(ctx, in)
	}), middleware.Before)
}
