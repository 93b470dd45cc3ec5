package sink

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// resolvedOnce resolves the endpoint of the objects of a bucket once. The SDK's resolver goes
// through its rules twice for every request, although the client's settings, which stay the same,
// and the bucket decide alone.
type resolvedOnce struct {
	s3.EndpointResolverV2
	buckets sync.Map // of names: the smithyendpoints.Endpoint
}

// ResolveEndpoint implements s3.EndpointResolverV2.
func (r *resolvedOnce) ResolveEndpoint(ctx context.Context, p s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	if p.Key == nil || p.CopySource != nil { // rare, and some have rules of their own
		return r.EndpointResolverV2.ResolveEndpoint(ctx, p) //nolint:wrapcheck // as the SDK has it
	}
	if known, ok := r.buckets.Load(aws.ToString(p.Bucket)); ok {
		return ownEndpoint(known.(smithyendpoints.Endpoint)), nil //nolint:forcetypeassert // see buckets
	}
	resolved, err := r.EndpointResolverV2.ResolveEndpoint(ctx, p)
	if err == nil {
		r.buckets.Store(aws.ToString(p.Bucket), ownEndpoint(resolved))
	}
	return resolved, err //nolint:wrapcheck // as the SDK has it
}

// ownEndpoint is a copy of an endpoint for one request: the SDK adds to what it says of signing.
func ownEndpoint(e smithyendpoints.Endpoint) smithyendpoints.Endpoint {
	options, signs := smithyauth.GetAuthOptions(&e.Properties)
	e.Headers, e.Properties = e.Headers.Clone(), ownProperties(e.Properties)
	if signs {
		own := make([]*smithyauth.Option, len(options))
		for i, o := range options {
			own[i] = &smithyauth.Option{SchemeID: o.SchemeID, IdentityProperties: ownProperties(o.IdentityProperties), SignerProperties: ownProperties(o.SignerProperties)}
		}
		smithyauth.SetAuthOptions(&e.Properties, own)
	}
	return e
}

func ownProperties(p smithy.Properties) (own smithy.Properties) {
	own.SetAll(&p)
	return own
}
