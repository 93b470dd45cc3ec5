package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust/trusttest"
)

// pairOf is a person's key pair.
func pairOf(t *testing.T, p trusttest.Person) nkeys.KeyPair {
	t.Helper()
	pair, err := nkeys.FromSeed([]byte(p.Seed()))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// seedFile is a file with a person's seed.
func seedFile(t *testing.T, p trusttest.Person) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), p.Name+".nk")
	if err := os.WriteFile(file, []byte(p.Seed()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// signedBy reports whether a header of a message is a person's, over what the contract says.
func signedBy(p trusttest.Person, m contract.Message, header, domain, audience, id string) bool {
	return slices.Equal(m.Header[header], []string{p.Sign(domain, audience, m.Subject, id, string(m.Body))})
}

var (
	alice = trusttest.Person{Name: "alice"}
	bob   = trusttest.Person{Name: "bob"}
)

const here = "cvconsumer.example"

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
		{name: "signers", s: trustSettings{Signers: alice.Key() + ", " + bob.Key(), Audience: here, SignExports: "true"}},
		{name: "signers and approvers", s: trustSettings{Signers: alice.Key(), Approvers: bob.Key() + "," + alice.Key(), Audience: here}},
		{name: "without an audience", s: trustSettings{Signers: alice.Key()}, wrong: []string{"CONSUMER_AUDIENCE"}, says: "is needed with CONSUMER_TRUSTED_SIGNERS"},
		{name: "an audience of two lines", s: trustSettings{Signers: alice.Key(), Audience: "a\nb"}, wrong: []string{"CONSUMER_AUDIENCE"}, says: "line breaks"},
		{name: "approvers alone", s: trustSettings{Approvers: bob.Key(), Audience: here}, wrong: []string{"CONSUMER_APPROVERS"}, says: "needs CONSUMER_TRUSTED_SIGNERS"},
		{name: "exports alone", s: trustSettings{SignExports: "true"}, wrong: []string{"CONSUMER_SIGN_EXPORTS"}, says: "needs CONSUMER_TRUSTED_SIGNERS"},
		{name: "one person", s: trustSettings{Signers: alice.Key(), Approvers: alice.As(nkeys.PrefixByteAccount).Key(), Audience: here},
			wrong: []string{"CONSUMER_APPROVERS"}, says: "the key of another person"},
		{name: "no key", s: trustSettings{Signers: " , ", Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "has no key"},
		{name: "a wrong key", s: trustSettings{Signers: alice.Key() + "," + bob.Key()[:55], Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "key 2 of 2"},
		{name: "a seed", s: trustSettings{Signers: alice.Key(), Approvers: bob.Seed(), Audience: here}, wrong: []string{"CONSUMER_APPROVERS"}, says: "this is a seed"},
		{name: "twice", s: trustSettings{Signers: alice.Key() + "," + alice.Key(), Audience: here}, wrong: []string{"CONSUMER_TRUSTED_SIGNERS"}, says: "is there twice"},
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
			if !slices.Equal(wrong, tt.wrong) || !strings.Contains(said, tt.says) || strings.Contains(said, bob.Seed()) {
				t.Errorf("wrong: %v\n%s", wrong, said)
			}
			if len(tt.wrong) == 0 && (len(policy.Signers) != len(list(tt.s.Signers)) || policy.Audience != tt.s.Audience) {
				t.Errorf("got %+v", policy)
			}
		})
	}
}
