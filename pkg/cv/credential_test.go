package cv

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

type tokens func(context.Context) (string, error)

func (f tokens) Token(ctx context.Context) (string, error) { return f(ctx) }

func (tokens) Forget(context.Context) {}

// jwt is a token with these claims, and a signature of its own.
func jwt(claims, signature string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256"}`)) + "." + part([]byte(claims)) + "." + part([]byte(signature))
}

const tenantA, principalA = "72f988bf-86f1-41af-91ab-2d7cd011db47", "8a32ea60-1c53-43c3-8113-d0b1f470fbdb"

// TestIdentityOfATokenIsItsPrincipal has tokens of one principal, refreshed, be one credential, and
// all others be others. Where a principal cannot be told, each token is a credential of its own.
func TestIdentityOfATokenIsItsPrincipal(t *testing.T) {
	claims := func(tenant, principal string, more string) string {
		return fmt.Sprintf(`{"tid":%q,"oid":%q%s}`, tenant, principal, more)
	}
	at := func(host, token string) CredentialID {
		req := &http.Request{URL: &url.URL{Scheme: "https", Host: host}, Header: http.Header{"Authorization": {"Bearer " + token}}}
		return credentialOf(req)
	}
	const host = "faces.cognitiveservices.azure.com"
	now := at(host, jwt(claims(tenantA, principalA, `,"iat":1`), "one"))
	for name, c := range map[string]struct {
		host, token string
		same        bool
	}{
		"refreshed":             {host, jwt(claims(tenantA, principalA, `,"iat":3601`), "two"), true},
		"ids in other letters":  {host, jwt(claims(strings.ToUpper(tenantA), strings.ToUpper(principalA), ""), "two"), true},
		"another principal":     {host, jwt(claims(tenantA, idA.String(), ""), "one"), false},
		"another tenant":        {host, jwt(claims(idA.String(), principalA, ""), "one"), false},
		"at another host":       {"other.cognitiveservices.azure.com", jwt(claims(tenantA, principalA, `,"iat":1`), "one"), false},
		"no object id":          {host, jwt(`{"tid":"`+tenantA+`"}`, "one"), false},
		"ids that are none":     {host, jwt(claims(tenantA, "me", ""), "one"), false},
		"a claim given twice":   {host, jwt(`{"tid":"`+tenantA+`","oid":"`+idA.String()+`","OID":"`+principalA+`"}`, "one"), false},
		"opaque":                {host, "opaque", false},
		"claims are no JSON":    {host, jwt("{", "one"), false},
		"claims are no base64":  {host, "e30.!!.c2ln", false},
		"an encrypted token":    {host, "a.b.c.d.e", false},
		"claims that are a key": {host, principalA, false},
	} {
		if got := at(c.host, c.token) == now; got != c.same {
			t.Errorf("%s: the same credential %t", name, got)
		}
	}
	if once, again := at(host, "opaque-1"), at(host, "opaque-1"); once != again || once == at(host, "opaque-2") {
		t.Error("opaque tokens are not told apart by themselves")
	}
	key := &http.Request{URL: &url.URL{Host: host}, Header: http.Header{"Training-Key": {testKey}}}
	if credentialOf(key) != sha256.Sum256([]byte(testKey)) {
		t.Error("the identity of a key has changed: fingerprints in jobs are of the earlier one")
	}
}

// refreshed is a source of tokens of one principal, of which the service refuses the first.
type refreshed struct{ made, forgotten int }

func (r *refreshed) Token(context.Context) (string, error) {
	return jwt(`{"tid":"`+tenantA+`","oid":"`+principalA+`"}`, fmt.Sprint(r.made)), nil
}

func (r *refreshed) Forget(context.Context) { r.forgotten++; r.made = 1 }

// TestRefusedTokenIsRenewed asks for a new token after a 401, once.
func TestRefusedTokenIsRenewed(t *testing.T) {
	source := &refreshed{}
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if want, _ := (&refreshed{made: 1}).Token(r.Context()); r.Header.Get("Authorization") != "Bearer "+want {
			answer(rw, 401, `{"error":{"code":"401","message":"expired"}}`)
			return
		}
		answer(rw, 200, "[]")
	})
	w.cred = BearerToken(source)
	if _, err := w.GetDomains(t.Context()); err != nil || source.forgotten != 1 || len(w.requests()) != 2 {
		t.Error(err, source.forgotten, len(w.requests()))
	}
}

// TestForbiddenNamesTheRole has a 403 to a token name the role that the identity lacks, and a 403
// to a key, which has no roles, none.
func TestForbiddenNamesTheRole(t *testing.T) {
	w := newWorld(t, status(403, `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`))
	token := BearerToken(tokens(func(context.Context) (string, error) { return "e.y.J", nil }))
	for _, c := range []struct {
		name string
		cred Credential
		do   func() error
		role string
	}{
		{"read", token, func() error { _, err := w.GetProjects(t.Context()); return err }, "Cognitive Services Custom Vision Reader"},
		{"read by POST", token, func() error { _, err := w.QueryPredictions(t.Context(), idP, PredictionQueryToken{}); return err }, "Cognitive Services Custom Vision Reader"},
		{"delete of a project", token, func() error { return w.DeleteProject(t.Context(), idP) }, "Cognitive Services Custom Vision Contributor"},
		{"delete of a tag", token, func() error { return w.DeleteTag(t.Context(), idP, idT) }, "Cognitive Services Custom Vision Labeler"},
		{"delete of predictions", token, func() error { return w.DeletePredictions(t.Context(), idP, []uuid.UUID{idA}) }, "Cognitive Services Custom Vision Trainer"},
		{"with a key", TrainingKey(testKey), func() error { return w.DeleteProject(t.Context(), idP) }, ""},
	} {
		w.cred = c.cred
		err := c.do()
		if !errors.Is(err, ErrMisconfigured) || strings.Contains(err.Error(), "Cognitive Services") != (c.role != "") || !strings.Contains(err.Error(), c.role) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCredentials(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		cred          Credential
		header, value string
		err           string
	}{
		"key":                {TrainingKey(testKey), "Training-Key", testKey, ""},
		"key with a newline": {TrainingKey(testKey + "\n"), "Training-Key", testKey, ""},
		"empty key":          {TrainingKey(" "), "", "", "the credential is empty"},
		"broken key":         {TrainingKey("abc\r\ndef"), "", "", "characters that no key or token has"},
		"file":               {TrainingKeyFile(file(" " + testKey + "\r\n")), "Training-Key", testKey, ""},
		"empty file":         {TrainingKeyFile(file("\n")), "", "", "the credential is empty"},
		"no file":            {TrainingKeyFile("/nowhere/key"), "", "", "read training key file: stat /nowhere/key"},
		"token":              {BearerToken(tokens(func(context.Context) (string, error) { return "e.y.J", nil })), "Authorization", "Bearer e.y.J", ""},
		"no token":           {BearerToken(tokens(func(context.Context) (string, error) { return "", errors.New("not logged in") })), "", "", "get token: not logged in"},
		"empty token":        {BearerToken(tokens(func(context.Context) (string, error) { return "", nil })), "", "", "the credential is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, status(200, "[]"))
			w.cred = c.cred
			_, err := w.GetDomains(t.Context())
			if c.err != "" {
				if !errors.Is(err, ErrMisconfigured) || !strings.Contains(err.Error(), c.err) || len(w.requests()) != 0 {
					t.Error(err)
				}
				return
			}
			if err != nil || w.requests()[0].Header.Get(c.header) != c.value {
				t.Error(err, w.requests()[0].Header)
			}
		})
	}
}

func TestKeysAreNotShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(testKey), 0o600); err != nil {
		t.Fatal(err)
	}
	read := TrainingKeyFile(path)
	if err := read.Apply(t.Context(), &http.Request{Header: http.Header{}}); err != nil {
		t.Fatal(err)
	}
	for _, cred := range []Credential{TrainingKey(testKey), read} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, cred); strings.Contains(text, testKey) {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	write := func(key string, changed time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	write("first", testStart)
	want := "first"
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Training-Key") != want {
			answer(rw, 401, `{"error":{"code":"401","message":"wrong key"}}`)
			return
		}
		answer(rw, 200, "[]")
	})
	w.cred = TrainingKeyFile(path)
	call := func(wantErr error, tries int) {
		t.Helper()
		before := len(w.requests())
		if _, err := w.GetDomains(t.Context()); !errors.Is(err, wantErr) {
			t.Error(err)
		}
		if n := len(w.requests()) - before; n != tries {
			t.Errorf("%d tries", n)
		}
	}
	call(nil, 1)
	write("second", testStart.Add(time.Second))
	want = "second"
	call(nil, 1) // seen by its time
	write("third!", testStart.Add(time.Second))
	want = "third!"
	call(nil, 2) // neither by time nor by size: the refusal tells
	want = "fourth"
	call(ErrMisconfigured, 1) // the file has no other key
	write("fourth", testStart.Add(2*time.Second))
	call(nil, 1)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	call(ErrMisconfigured, 0)
}
