package handler_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// identity is a source of Entra ID tokens, which changes in the middle of work.
type identity struct{ token atomic.Value }

func newIdentity(token string) *identity {
	i := &identity{}
	i.token.Store(token)
	return i
}

// Token implements cv.TokenSource.
func (i *identity) Token(context.Context) (string, error) { return i.token.Load().(string), nil }

// Forget implements cv.TokenSource.
func (*identity) Forget(context.Context) {}

// tokenOf is the n-th token of a principal.
func tokenOf(principal uuid.UUID, n int) string {
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"tid":"72f988bf-86f1-41af-91ab-2d7cd011db47","oid":"%s","iat":%d}`, principal, n)
	return part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(claims)) + "." + part([]byte("signature"))
}

// TestTokenRefreshedInADelete has the token of an identity be refreshed when all projects of the
// account are gone: that is the credential that was seen to read them. A token of another identity
// is another credential, which may be of another account.
func TestTokenRefreshedInADelete(t *testing.T) {
	t.Parallel()
	first, second := uuid.MustParse("8a32ea60-1c53-43c3-8113-d0b1f470fbdb"), uuid.MustParse("468e679e-ad7e-4707-9622-2d8d8ce71e2e")
	for name, c := range map[string]struct {
		later string
		waits bool
	}{
		"refreshed":         {later: tokenOf(first, 2)},
		"another principal": {later: tokenOf(second, 1), waits: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := tokenOf(first, 1)
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 4, Token: token}})
			account := fillAccount(w.api)
			as := newIdentity(token)
			h := w.deleteUnseen(t, account.small.ID, replicaOptions{key: cv.BearerToken(as)})
			for _, p := range w.api.Snapshot().Projects {
				w.api.RemoveProject(p.ID)
			}
			use := func(token string) {
				w.api.SetToken(token)
				as.token.Store(token)
			}
			use(c.later)
			w.start(t, replicaOptions{key: cv.BearerToken(as), configure: noWait})
			if c.waits {
				w.keepsWaiting(t, h)
				use(tokenOf(first, 2))
			}
			w.completes(t, h)
		})
	}
}
