package entra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// issuer is a chain that gives a token for an hour, or fails.
type issuer struct {
	now     time.Time
	issued  int
	asked   int
	fails   bool
	refresh time.Duration // after which a token is to be replaced, if it is set
}

func (i *issuer) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	i.asked++
	if i.fails {
		return azcore.AccessToken{}, errors.New("not now")
	}
	i.issued++
	t := azcore.AccessToken{Token: fmt.Sprintf("token-%d", i.issued), ExpiresOn: i.now.Add(time.Hour)}
	if i.refresh > 0 {
		t.RefreshOn = i.now.Add(i.refresh)
	}
	return t, nil
}

// TestRenewal keeps a token until shortly before its end, uses it to its end while no other can be
// had, and never longer; and a refused one not at all.
func TestRenewal(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	i := &issuer{now: start}
	s := &Source{chain: i, now: func() time.Time { return i.now }, turn: make(chan struct{}, 1)}
	at := func(since time.Duration, want string, questions int) {
		t.Helper()
		i.now = start.Add(since)
		before := i.asked
		got, err := s.Token(t.Context())
		if got != want || (err == nil) != (want != "") {
			t.Errorf("after %s: %q, %v", since, got, err)
		}
		if n := i.asked - before; n != questions {
			t.Errorf("after %s: %d questions", since, n)
		}
	}
	at(0, "token-1", 1)
	if text := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(text, "token-1") {
		t.Errorf("it shows the token: %s", text)
	}
	at(54*time.Minute, "token-1", 0)
	i.fails = true
	at(55*time.Minute, "token-1", 1)
	at(55*time.Minute+29*time.Second, "token-1", 0)
	at(55*time.Minute+30*time.Second, "token-1", 1)
	at(59*time.Minute+59*time.Second, "token-1", 1)
	at(time.Hour, "", 1)
	at(time.Hour, "", 1)
	i.fails, i.refresh = false, 10*time.Minute
	at(61*time.Minute, "token-2", 1)
	at(70*time.Minute, "token-2", 0)
	at(71*time.Minute, "token-3", 1)
	s.Forget(t.Context())
	at(72*time.Minute, "token-4", 1)
	s.Forget(t.Context())
	i.fails = true
	at(72*time.Minute, "", 1)
}
