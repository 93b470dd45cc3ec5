package signature_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

var statement = []byte(`{"_type":"https://in-toto.io/Statement/v1","note":"<&>"}` + "\n")

// signed is a bundle of the statement.
func signed(t *testing.T, s *signature.Signer) *signature.Bundle {
	t.Helper()
	b, err := s.Sign(statement)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBundle(t *testing.T) {
	_, other := generated(t, signature.P256)
	for _, kind := range []string{signature.P256, signature.Ed25519} {
		t.Run(kind, func(t *testing.T) {
			_, s := generated(t, kind)
			b := signed(t, s)
			b.TimeStamp = []byte("stamp")
			raw, err := b.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Count(raw, []byte("\n")) != 1 || raw[len(raw)-1] != '\n' {
				t.Errorf("it is not one line: %q", raw)
			}
			got, err := signature.Parse(raw)
			if err != nil || !bytes.Equal(got.Payload, statement) || got.KeyID != s.ID() || !bytes.Equal(got.Signature, b.Signature) || string(got.TimeStamp) != "stamp" {
				t.Fatalf("read %+v, %v", got, err)
			}
			if !got.SignedBy(s.Key) || got.SignedBy(other.Key) {
				t.Error("the signature is not that of its key alone")
			}
			got.Payload = append(got.Payload, ' ')
			if got.SignedBy(s.Key) {
				t.Error("the signature holds for another statement")
			}
		})
	}
}

// The members as the Sigstore bundle specification has them.
func TestBundleAsJSON(t *testing.T) {
	_, s := generated(t, signature.P256)
	b := signed(t, s)
	var got map[string]any
	raw, err := b.Encode()
	if err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	material := got["verificationMaterial"].(map[string]any)
	envelope := got["dsseEnvelope"].(map[string]any)
	if got["mediaType"] != "application/vnd.dev.sigstore.bundle.v0.3+json" || material["publicKey"].(map[string]any)["hint"] != s.ID() ||
		len(material) != 1 || envelope["payloadType"] != "application/vnd.in-toto+json" || len(envelope["signatures"].([]any)) != 1 {
		t.Errorf("got %s", raw)
	}
	b.TimeStamp = []byte("stamp")
	raw, err = b.Encode()
	if want := `"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"c3RhbXA="}]}`; err != nil || !strings.Contains(string(raw), want) {
		t.Errorf("no %s in %s", want, raw)
	}
}

func TestParseRefuses(t *testing.T) {
	_, s := generated(t, signature.P256)
	b := signed(t, s)
	b.TimeStamp = []byte("stamp")
	raw, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"no JSON", "{", "<", "no Sigstore bundle"},
		{"another version", "v0.3", "v0.2", "media type"},
		{"another payload", "vnd.in-toto", "vnd.other", "its payload has the type"},
		{"no signature", `"signatures":[`, `"x":[`, "it has 0 signatures"},
		{"a payload that is no base64", `"payload":"`, `"payload":"*`, "its payload is not in base64"},
		{"a signature that is no base64", `"sig":"`, `"sig":"*`, "its signature is not in base64"},
		{"a time stamp that is empty", "c3RhbXA=", "", "time stamps"},
		{"no time stamp where there should be one", `[{"signedTimestamp":"c3RhbXA="}]`, "[]", "0 time stamps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.Replace(string(raw), c.old, c.new, 1)
			if _, err := signature.Parse([]byte(changed)); changed == string(raw) || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if _, err := signature.Parse(make([]byte, signature.MaxBytes+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v for a file that is too long", err)
	}
}
