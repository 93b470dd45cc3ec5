package cv

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/keyfile"
	"github.com/cvconsumer/cvconsumer/internal/secret"
)

// The headers that carry a credential.
const (
	keyHeader   = "Training-Key"
	tokenHeader = "Authorization"
)

// Credential sets the key or token on requests to the Training API. Apply is called before every
// try and must be safe for concurrent use. Its errors end the call as ErrMisconfigured.
type Credential interface {
	Apply(ctx context.Context, req *http.Request) error
}

// TrainingKey is a credential made of one of the two keys of a training resource.
func TrainingKey(key string) Credential { return trainingKey{secret.New(strings.TrimSpace(key))} }

type trainingKey struct{ key secret.Text }

func (k trainingKey) Apply(_ context.Context, req *http.Request) error {
	return setSecret(req, keyHeader, "", k.key.Reveal())
}

// TrainingKeyFile is a credential made of a training key in a file, which is read again when the
// file changes, and when the service refused the key. Blanks and line ends around the key are
// ignored.
func TrainingKeyFile(path string) Credential { return &keyFile{path: path} }

type keyFile struct {
	path string

	mu      sync.Mutex
	key     secret.Text
	changed time.Time
	size    int64
}

func (f *keyFile) Apply(_ context.Context, req *http.Request) error {
	key, err := f.read()
	if err != nil {
		return fmt.Errorf("read training key file: %w", err)
	}
	return setSecret(req, keyHeader, "", key)
}

func (f *keyFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err != nil {
		return "", err
	}
	if f.key.IsSet() && info.ModTime().Equal(f.changed) && info.Size() == f.size {
		return f.key.Reveal(), nil
	}
	b, err := keyfile.Read(f.path)
	if err != nil {
		return "", err
	}
	f.key, f.changed, f.size = secret.New(strings.TrimSpace(string(b))), info.ModTime(), info.Size()
	return f.key.Reveal(), nil
}

// forget makes the next Apply read the file whatever its times say: a rewrite within one tick of
// the file system's clock shows in neither.
func (f *keyFile) forget(context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = secret.Text{}
}

// TokenSource gives Entra ID access tokens for the Training API.
type TokenSource interface {
	// Token is called before every try, and caches tokens for as long as they are valid.
	Token(ctx context.Context) (string, error)
	// Forget has the next Token ask for a new one: the service refused the one at hand.
	Forget(ctx context.Context)
}

// BearerToken is a credential made of Entra ID tokens. The service takes them only at a resource's
// own sub-domain, not at a regional endpoint.
func BearerToken(source TokenSource) Credential { return bearer{source} }

type bearer struct{ source TokenSource }

func (b bearer) Apply(ctx context.Context, req *http.Request) error {
	token, err := b.source.Token(ctx)
	if err != nil {
		return fmt.Errorf("get token: %w", err)
	}
	return setSecret(req, tokenHeader, "Bearer ", token)
}

func (b bearer) forget(ctx context.Context) { b.source.Forget(ctx) }

// setSecret sets a header to a secret, or says what is wrong with it without showing it.
func setSecret(req *http.Request, header, scheme, value string) error {
	if value == "" {
		return errors.New("the credential is empty")
	}
	for i := range len(value) {
		if value[i] <= ' ' || value[i] > '~' {
			return errors.New("the credential holds characters that no key or token has")
		}
	}
	req.Header.Set(header, scheme+value)
	return nil
}

// CredentialID is the identity of the credential that a call was made with, a SHA-256; zero for a
// call without one. That of a training key is the key's. That of an Entra ID token is its
// principal's at the endpoint's host: a refreshed token is the same credential.
type CredentialID [sha256.Size]byte

// String keeps the digest out of logs: a short secret could be guessed from it.
func (CredentialID) String() string { return "credential" }

// credentialOf is the identity of a request's credential.
func credentialOf(req *http.Request) CredentialID {
	if key := req.Header.Get(keyHeader); key != "" {
		return sha256.Sum256([]byte(key))
	}
	token, ok := strings.CutPrefix(req.Header.Get(tokenHeader), "Bearer ")
	if !ok {
		return CredentialID{}
	}
	tenant, object, ok := principalOf(token)
	if !ok {
		return sha256.Sum256([]byte(token))
	}
	// A key is of one account, a principal may have roles in many: what it was told at one host
	// says nothing about another.
	return sha256.Sum256([]byte("entra\n" + tenant.String() + "\n" + object.String() + "\n" + strings.ToLower(req.URL.Host)))
}

// principalOf reads who a token speaks for from its claims: tenant and object id. The service alone
// checks whether that is true: it answers a token whose signature is wrong by a 401, which proves
// nothing.
func principalOf(token string) (tenant, object uuid.UUID, ok bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return tenant, object, false
	}
	var claims map[string]any // a struct would take other cases of the names
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return tenant, object, false
	}
	read := func(name string) (id uuid.UUID) {
		text, _ := claims[name].(string)
		id, _ = uuid.Parse(text)
		return id
	}
	tenant, object = read("tid"), read("oid")
	return tenant, object, tenant != uuid.Nil && object != uuid.Nil
}

// roleFor is the least role in Azure that allows a call.
func roleFor(k call) string {
	switch {
	case k.op == "DeleteProject":
		return "Cognitive Services Custom Vision Contributor"
	case k.op == "DeleteImages", k.op == "DeleteTag":
		return "Cognitive Services Custom Vision Labeler"
	case k.method == http.MethodDelete:
		return "Cognitive Services Custom Vision Trainer"
	}
	return "Cognitive Services Custom Vision Reader"
}

// secretsOf are the secrets a request carries, to be kept out of errors and logs about it.
func secretsOf(req *http.Request) []string {
	var secrets []string
	for _, header := range [...]string{keyHeader, tokenHeader} {
		if v := strings.TrimPrefix(req.Header.Get(header), "Bearer "); v != "" {
			secrets = append(secrets, v)
		}
	}
	return secrets
}
