// Package trusttest has persons who sign commands as the contract says it, without package trust,
// for tests.
package trusttest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/nats-io/nkeys"
)

// Person is the owner of an NKey, which follows from the name.
type Person struct {
	Name string
	kind nkeys.PrefixByte
}

// As is the same key pair as an NKey of another kind; a Person's is that of a user.
func (p Person) As(kind nkeys.PrefixByte) Person { return Person{p.Name, kind} }

func (p Person) private() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(p.Name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func (p Person) prefix() nkeys.PrefixByte {
	if p.kind == 0 {
		return nkeys.PrefixByteUser
	}
	return p.kind
}

// Key is the public key.
func (p Person) Key() string {
	return must(nkeys.Encode(p.prefix(), p.private().Public().(ed25519.PublicKey)))
}

// Seed is the seed, as nk prints it.
func (p Person) Seed() string { return must(nkeys.EncodeSeed(p.prefix(), p.private().Seed())) }

// Sign is the value of a header: "<NKey public key>.<base64url of the Ed25519 signature over domain
// + "\n" + audience + "\n" + subject + "\n" + id + "\n" + body>".
func (p Person) Sign(domain, audience, subject, id, body string) string {
	text := strings.Join([]string{domain, audience, subject, id, body}, "\n")
	return p.Key() + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(p.private(), []byte(text)))
}

func must(text []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(text)
}
