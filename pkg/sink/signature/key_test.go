package signature_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// generated is a new key, as text and as a signer.
func generated(t *testing.T, kind string) (text string, s *signature.Signer) {
	t.Helper()
	raw, s, err := signature.Generate(kind)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw), s
}

func TestKeys(t *testing.T) {
	p256, ec := generated(t, signature.P256)
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sec1 := block("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(private)))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	large := must(rsa.GenerateKey(rand.Reader, 2048))
	ed, _ := generated(t, signature.Ed25519)
	for _, c := range []struct {
		name, text string
		want       string // in the error; empty: none
	}{
		{"P-256 in PKCS #8", p256, ""},
		{"Ed25519", ed, ""},
		{"P-256 in SEC 1", sec1, ""},
		{"P-256 as openssl ecparam writes it", block("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + sec1, ""},
		{"text before it", "The key of 2026.\n" + p256, ""},
		{"P-384", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p384))), "it is on the curve P-384: use P-256 or Ed25519"},
		{"RSA", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(large))), "it is a *rsa.PublicKey: use P-256 or Ed25519"},
		{"a public key", string(ec.PEM()), `it holds a PEM block "PUBLIC KEY": give a private key that is not encrypted, in a block "PRIVATE KEY"`},
		{"encrypted, of cosign", block("ENCRYPTED SIGSTORE PRIVATE KEY", []byte("x")), "give a private key that is not encrypted"},
		{"two", p256 + ed, "more than one PEM block"},
		{"nothing", "", "it holds no private key in PEM"},
		{"garbage", block("PRIVATE KEY", []byte("hunter2")), `the content of its PEM block "PRIVATE KEY" is no private key`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := signature.ParseSigner([]byte(c.text))
			switch {
			case (err == nil) != (c.want == ""), err != nil && !strings.Contains(err.Error(), c.want):
				t.Errorf("got %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("the error has the content: %v", err)
			}
		})
	}
}

func TestPublicKeys(t *testing.T) {
	text, ec := generated(t, signature.P256)
	_, ed := generated(t, signature.Ed25519)
	keys, err := signature.ParseKeys(append(ec.PEM(), ed.PEM()...))
	if err != nil || len(keys) != 2 || keys[0].ID() != ec.ID() || keys[1].ID() != ed.ID() {
		t.Fatalf("read %d keys, %v", len(keys), err)
	}
	der, _ := pem.Decode(ec.PEM())
	if sum := sha256.Sum256(der.Bytes); ec.ID() != hex.EncodeToString(sum[:]) {
		t.Errorf("the id is %s, not the SHA-256 of the DER", ec.ID())
	}
	for text, want := range map[string]string{
		text: `it holds a PEM block "PRIVATE KEY"`, "": `it holds no PEM block "PUBLIC KEY"`, block("PUBLIC KEY", []byte("x")): "public key 1: it is no public key in DER",
	} {
		if _, err := signature.ParseKeys([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
