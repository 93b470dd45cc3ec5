package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/cvconsumer/cvconsumer/internal/secret"
)

const (
	// renewBefore is how long before its end a token is replaced, unless Entra ID says when.
	renewBefore = 5 * time.Minute
	// renewPause is the least time between two attempts to replace a token that is still valid.
	renewPause = 30 * time.Second
	// tokenTimeout bounds one attempt to get a token, with all that the chain tries.
	tokenTimeout = 25 * time.Second
)

// Options are the settings of a Source; the zero value is good.
type Options struct {
	// HTTP sends the requests to Entra ID and to managed identities; nil is the SDK's own client.
	HTTP interface {
		Do(req *http.Request) (*http.Response, error)
	}
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Source gives the tokens of one identity for the Training API of one cloud. It implements
// cv.TokenSource, and is safe for concurrent use.
type Source struct {
	chain azcore.TokenCredential
	scope string
	now   func() time.Time
	turn  chan struct{} // has a value while one caller reads or replaces what follows

	token   secret.Text
	expires time.Time
	renew   time.Time // when the token is to be replaced
}

// New makes a source for the resource at a host, whose suffix says which cloud it is in. The
// identity is the first that the default Azure credential chain finds, by the environment of the
// process: a client secret or certificate, a workload identity, a managed identity, or the Azure
// CLI. Nothing is called; the error is one of the settings (AZURE_TOKEN_CREDENTIALS).
func New(host string, o Options) (*Source, error) {
	in := cloudOf(host)
	client := azcore.ClientOptions{Transport: o.HTTP, Telemetry: policy.TelemetryOptions{ApplicationID: "cvconsumer"}}
	if os.Getenv("AZURE_AUTHORITY_HOST") == "" { // it is the operator's word, and counts more
		client.Cloud = in.authority
	}
	chain, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: client})
	if err != nil {
		return nil, fmt.Errorf("entra: %w", err)
	}
	s := &Source{chain: chain, scope: in.scope, now: o.Now, turn: make(chan struct{}, 1)}
	if s.now == nil {
		s.now = time.Now //nolint:forbidigo // the default of the injected clock
	}
	return s, nil
}

// azureCloud is one of the clouds that have Custom Vision.
type azureCloud struct {
	scope     string
	authority cloud.Configuration
}

// cloudOf is the cloud of a resource's host; the public one where its suffix is of no other.
func cloudOf(host string) azureCloud {
	switch host = strings.ToLower(host); {
	case strings.HasSuffix(host, ".azure.us"):
		return azureCloud{"https://cognitiveservices.azure.us/.default", cloud.AzureGovernment}
	case strings.HasSuffix(host, ".azure.cn"):
		return azureCloud{"https://cognitiveservices.azure.cn/.default", cloud.AzureChina}
	}
	return azureCloud{"https://cognitiveservices.azure.com/.default", cloud.AzurePublic}
}

// Token is a token that is valid now: the one at hand, or a new one when that is about to end.
// While no new one can be had, the one at hand is used to its end.
func (s *Source) Token(ctx context.Context) (string, error) {
	if err := s.lock(ctx); err != nil {
		return "", err
	}
	defer s.unlock()
	if s.now().Before(s.renew) {
		return s.token.Reveal(), nil
	}
	got, err := s.get(ctx)
	now := s.now()
	s.renew = now.Add(renewPause)
	switch {
	case err == nil:
		s.token, s.expires = secret.New(got.Token), got.ExpiresOn
		s.renew = latest(renewal(got), s.renew)
	case ctx.Err() != nil || !now.Before(s.expires):
		s.renew = time.Time{}
		return "", err
	}
	if s.renew.After(s.expires) {
		s.renew = s.expires
	}
	return s.token.Reveal(), nil
}

// Forget has the next Token ask for a new one: the service refused the one at hand.
func (s *Source) Forget(ctx context.Context) {
	if s.lock(ctx) != nil {
		return
	}
	defer s.unlock()
	s.token, s.expires, s.renew = secret.Text{}, time.Time{}, time.Time{}
}

func (s *Source) lock(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Source) unlock() { <-s.turn }

// renewal is when a token should be replaced.
func renewal(t azcore.AccessToken) time.Time {
	at := t.ExpiresOn.Add(-renewBefore)
	if !t.RefreshOn.IsZero() && t.RefreshOn.Before(at) {
		return t.RefreshOn
	}
	return at
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

var errTimeout = fmt.Errorf("no answer within %s", tokenTimeout)

// get asks the chain for a token.
func (s *Source) get(ctx context.Context) (azcore.AccessToken, error) {
	limited, cancel := context.WithTimeoutCause(ctx, tokenTimeout, errTimeout)
	defer cancel()
	token, err := s.chain.GetToken(limited, policy.TokenRequestOptions{Scopes: []string{s.scope}})
	switch {
	case err == nil && token.Token == "":
		return token, errors.New("entra: the token is empty")
	case err == nil:
		return token, nil
	case ctx.Err() != nil:
		return token, context.Cause(ctx)
	case limited.Err() != nil:
		return token, fmt.Errorf("entra: %w; %s", errTimeout, remedy)
	}
	return token, explain(err)
}
