package sink

import (
	"context"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// resolvedOnce resolves the endpoint of the objects of a bucket once. The SDK's resolver goes
// through its rules twice for every request, although the client's settings, which stay the same,
// and the bucket decide alone.
type resolvedOnce struct {
	s3.EndpointResolverV2
	buckets sync.Map // of names: the smithyendpoints.Endpoint

	// Of the client that it is made for.
	apiOptions int           // how many there are
	patience   time.Duration // see answerChanges
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

// plain is where the objects of a bucket are, and the region that requests about them are signed
// for. It is not ok where that is not known yet, or where requests are not signed in S3's usual
// way.
func (r *resolvedOnce) plain(bucket string) (at url.URL, region string, ok bool) {
	known, ok := r.buckets.Load(bucket)
	if !ok {
		return at, "", false
	}
	e := known.(smithyendpoints.Endpoint) //nolint:forcetypeassert // see buckets
	options, _ := smithyauth.GetAuthOptions(&e.Properties)
	if len(options) == 0 || options[0].SchemeID != usualScheme || len(e.Headers) > 0 {
		return at, "", false
	}
	name, _ := smithyhttp.GetSigV4SigningName(&options[0].SignerProperties)
	once, _ := smithyhttp.GetDisableDoubleEncoding(&options[0].SignerProperties)
	region, ok = smithyhttp.GetSigV4SigningRegion(&options[0].SignerProperties)
	return e.URI, region, ok && once && name == signingName
}

// usualScheme is how endpoints name S3's usual way to sign.
const usualScheme = "sigv4"
