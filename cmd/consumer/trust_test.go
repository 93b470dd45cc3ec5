package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// person is the owner of an NKey, who signs as the contract says it.
type person string

func (p person) private() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(p))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (p person) keyAs(kind nkeys.PrefixByte) string {
	key, err := nkeys.Encode(kind, p.private().Public().(ed25519.PublicKey))
	if err != nil {
		panic(err)
	}
	return string(key)
}

func (p person) key() string { return p.keyAs(nkeys.PrefixByteUser) }

// seed is the person's seed, as nk prints it.
func (p person) seed() string {
	seed, err := nkeys.EncodeSeed(nkeys.PrefixByteUser, p.private().Seed())
	if err != nil {
		panic(err)
	}
	return string(seed)
}

// pair is the person's key pair.
func (p person) pair(t *testing.T) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.FromSeed([]byte(p.seed()))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// seedFile is a file with the person's seed.
func (p person) seedFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), string(p)+".nk")
	if err := os.WriteFile(file, []byte(p.seed()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// signed reports whether a header of a message is the person's, over what the contract says.
func (p person) signed(m contract.Message, header, domain, audience, id string) bool {
	if len(m.Header[header]) != 1 {
		return false
	}
	key, signature, _ := strings.Cut(m.Header[header][0], ".")
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	text := strings.Join([]string{domain, audience, m.Subject, id, string(m.Body)}, "\n")
	return err == nil && key == p.key() && ed25519.Verify(p.private().Public().(ed25519.PublicKey), []byte(text), raw)
}

const (
	alice person = "alice"
	bob   person = "bob"
	here         = "cvconsumer.example"
)

// TestTrustSettings checks whose signatures can be demanded, and what is said of settings that
// cannot be meant.
func TestTrustSettings(t *testing.T) {
	for _, tt := range []struct {
		name  string
		s     trustSettings
		wrong []string // variables
		says  string
	}{
		{name: "nothing", s: trustSettings{}},
		{name: "an audience alone, for the command line", s: trustSettings{Audience: here}},
		{name: "signers", s: trustSettings{Signers: alice.key() + ", " + bob.key(), Audience: here, SignExports: "true"}},
		{name: "signers and approvers", s: trustSettings{Signers: alice.key(), Approvers: bob.key() + "," + alice.key(), Audience: here}},
		{name: "without an audience", s: trustSettings{Signers: alice.key()}, wrong: []string{"CONSUMER_AUDIENCE"}, says: "is needed with CONSUMER_TRUSTED_SIGNERS"},
		{name: "an audience of two lines", s: trustSettings{Signers: alice.key(), Audience: "a\nb"}, wrong: []string{"CONSUMER_AUDIENCE"}, says: "line breaks"},
		{name: "approvers alone", s: trustSettings{Approvers: bob.key(), Audience: here}, wrong: []string{"CONSUMER_APPROVERS"}, says: "needs CONSUMER_TRUSTED_SIGNERS"},
		{name: "exports alone", s: trustSettings{SignExports: "true"}, wrong: []string{"CONSUMER_SIGN_EXPORTS"}, says: "needs CONSUMER_TRUSTED_SIGNERS"},
		{name: "one person", s: trustSettings{Signers: alice.key(), Approvers: alice.keyAs(nkeys.PrefixByteAccount), Audience: here},
			wrong: []string{"CONSUMER_APPROVERS"}, says: "the key of another person"},
		{name: "no key", s: trustSettings{Signers: " , ", Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "has no key"},
		{name: "a wrong key", s: trustSettings{Signers: alice.key() + "," + bob.key()[:55], Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "key 2 of 2"},
		{name: "a seed", s: trustSettings{Signers: alice.key(), Approvers: bob.seed(), Audience: here}, wrong: []string{"CONSUMER_APPROVERS"}, says: "this is a seed"},
		{name: "twice", s: trustSettings{Signers: alice.key() + "," + alice.key(), Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "is there twice"},
		{name: "neither yes nor no", s: trustSettings{SignExports: "perhaps"}, wrong: []string{"CONSUMER_SIGN_EXPORTS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.s.SignExports == "" {
				tt.s.SignExports = "false"
			}
			var p problems
			policy := tt.s.policy(&p)
			var wrong []string
			for _, one := range p {
				wrong = append(wrong, one.variable)
			}
			said := ""
			if err := p.err(); err != nil {
				said = err.Error()
			}
			if !slices.Equal(wrong, tt.wrong) || !strings.Contains(said, tt.says) || strings.Contains(said, bob.seed()) {
				t.Errorf("wrong: %v\n%s", wrong, said)
			}
			if len(tt.wrong) == 0 && (len(policy.Signers) != len(list(tt.s.Signers)) || policy.Audience != tt.s.Audience) {
				t.Errorf("got %+v", policy)
			}
		})
	}
}
