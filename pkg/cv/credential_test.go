package cv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type tokens func(context.Context) (string, error)

func (f tokens) Token(ctx context.Context) (string, error) { return f(ctx) }

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
	for _, cred := range []Credential{TrainingKey(testKey), TrainingKeyFile(path)} {
		c, err := New("https://h.example", cred, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, cred); strings.Contains(text, testKey) {
				t.Errorf("%s shows %s", verb, text)
			}
			_ = c
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
