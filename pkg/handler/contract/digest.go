package contract

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// keyedDigest is what a digest begins with that was made under a key: "hmac-sha256:<id of the
// key>:<salt>.<hex>". One without it is "<salt>.<hex>", of the salt and the data.
const keyedDigest = "hmac-sha256:"

// DigestKeys are the keys for digests of commands that have metadata values: a digest that needs no
// key would let every reader test a guessed value. Digests are made under the first key, and
// compared under all of them.
type DigestKeys []DigestKey

// DigestKey is one of them.
type DigestKey struct {
	id  string // shown in digests
	key []byte
}

// DigestKeys returns the keys of a deployment that has this secret: p's own key if it has one, then
// the secret.
func (p *Pseudonymizer) DigestKeys(secret string) DigestKeys {
	var keys DigestKeys
	if p != nil && len(p.key) > 0 {
		keys = append(keys, newDigestKey(p.key))
	}
	return append(keys, newDigestKey([]byte(secret)))
}

// newDigestKey derives a key, so that its digests have nothing in common with pseudonyms and
// fingerprints under the same secret.
func newDigestKey(secret []byte) DigestKey {
	key := mac(secret, "digests of commands")
	return DigestKey{id: hex.EncodeToString(mac(key, "id")[:8]), key: key}
}

// String shows the key's id only.
func (k DigestKey) String() string { return k.id }

// GoString does as String, for %#v.
func (k DigestKey) GoString() string { return k.id }

func (k DigestKey) digest(salt string, canonical []byte) string {
	return keyedDigest + k.id + ":" + salt + "." + hex.EncodeToString(mac(k.key, salt+"\n", string(canonical)))
}

func mac(key []byte, parts ...string) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

func saltedDigest(salt string, canonical []byte) string {
	h := sha256.New()
	h.Write([]byte(salt))
	h.Write(canonical)
	return salt + "." + hex.EncodeToString(h.Sum(nil))
}

// NewSalt returns a fresh random salt of 26 letters and digits for Ref.
func NewSalt() string { return rand.Text() }

// Ref returns what the job remembers of the command, with a digest under salt (letters and digits)
// of the data, whatever alias it names: which account that means is compared apart. Of data with
// metadata values the digest is made under the first of keys; without keys there is none.
func (c Command) Ref(salt string, keys DigestKeys) CommandRef {
	ref := CommandRef{Resource: c.Data.Resource}.WithMessage(c)
	switch canonical := c.withoutAlias(); {
	case len(c.Data.ImageMetadata) == 0:
		ref.Digest = saltedDigest(salt, canonical)
	case len(keys) > 0:
		ref.Digest = keys[0].digest(salt, canonical)
	}
	return ref
}

// withoutAlias is the canonical data under the default alias.
func (c Command) withoutAlias() []byte {
	c.Data.Resource = DefaultResource
	return c.Canonical()
}

// SameAs reports whether c is known to ask for what job j was made for: same id, same action and
// same data. A command for which it is false while the job exists is an id_conflict, unless it came
// with the job's own message.
func (c Command) SameAs(j Job, keys DigestKeys) bool {
	same, _ := c.compare(j, keys)
	return same
}

// Differs reports whether c is known to ask for something else than job j was made for. Where
// neither is known the key of the job's digest is missing: it was replaced or lost.
func (c Command) Differs(j Job, keys DigestKeys) bool {
	same, known := c.compare(j, keys)
	return known && !same
}

// CameWith reports whether c came with the very message that job j was made for. Then its data is
// the job's, whatever keys there are.
func (c Command) CameWith(j Job) bool {
	return c.ID == j.ID && c.Action == j.Action && j.Command.SameMessage(c)
}

func (c Command) compare(j Job, keys DigestKeys) (same, known bool) {
	head, _, ok := strings.Cut(j.Command.Digest, ".")
	if !ok || c.ID != j.ID || c.Action != j.Action {
		return false, true
	}
	rest, keyed := strings.CutPrefix(head, keyedDigest)
	if !keyed {
		// Jobs made before accounts were written down have the alias in their digest. Those made
		// before digests had keys have a salt only, whatever their data.
		return saltedDigest(head, c.withoutAlias()) == j.Command.Digest ||
			j.Command.Account == "" && saltedDigest(head, c.Canonical()) == j.Command.Digest, true
	}
	if len(c.Data.ImageMetadata) == 0 {
		return false, true
	}
	id, salt, _ := strings.Cut(rest, ":")
	for _, k := range keys {
		if k.id == id {
			return hmac.Equal([]byte(k.digest(salt, c.withoutAlias())), []byte(j.Command.Digest)), true
		}
	}
	return false, false
}
