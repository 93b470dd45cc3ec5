package sink

import (
	"context"
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// resolver counts what it is asked, and fails at first.
type resolver struct{ asked int }

var errFirst = errors.New("the first one fails")

func (r *resolver) ResolveEndpoint(context.Context, s3.EndpointParameters) (e smithyendpoints.Endpoint, err error) {
	if r.asked++; r.asked == 1 {
		return e, errFirst
	}
	option := &smithyauth.Option{SchemeID: "sigv4"}
	option.SignerProperties.Set("name", "s3")
	smithyauth.SetAuthOptions(&e.Properties, []*smithyauth.Option{option})
	return e, nil
}

// An endpoint is resolved once for each bucket, unless that fails, or the request is of another
// kind than those about an object. What a request adds to its own is in no other's.
func TestEndpointsAreResolvedOnce(t *testing.T) {
	counted := &resolver{}
	once := &resolvedOnce{EndpointResolverV2: counted}
	object := s3.EndpointParameters{Bucket: aws.String("one"), Key: aws.String("k")}
	if _, err := once.ResolveEndpoint(t.Context(), object); !errors.Is(err, errFirst) {
		t.Fatalf("got %v, want the resolver's error", err)
	}
	for range 3 {
		e, err := once.ResolveEndpoint(t.Context(), object)
		if err != nil {
			t.Fatal(err)
		}
		options, _ := smithyauth.GetAuthOptions(&e.Properties)
		if len(options) != 1 || options[0].SchemeID != "sigv4" || options[0].SignerProperties.Get("name") != "s3" || options[0].SignerProperties.Has("added") {
			t.Fatalf("it signs by %+v", options[0])
		}
		options[0].SchemeID = "changed"
		options[0].SignerProperties.Set("added", true)
		e.Properties.Set("added", true)
	}
	if counted.asked != 2 {
		t.Errorf("resolved %d times, want 2", counted.asked)
	}
	other, list, copied := object, object, object
	other.Bucket = aws.String("two")
	list.Key = nil
	copied.CopySource = aws.String("one/k")
	for i, p := range []s3.EndpointParameters{other, list, list, copied, copied} {
		if _, err := once.ResolveEndpoint(t.Context(), p); err != nil || counted.asked != 3+i {
			t.Errorf("resolved %d times, want %d: %v", counted.asked, 3+i, err)
		}
	}
}
