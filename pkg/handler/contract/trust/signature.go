package trust

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// Kind is what a signature says of a message.
type Kind struct {
	Header string // that carries it
	domain string // the first line of what is signed, so that none passes for the other
}

// Signature says that the command is asked for, and Approval that it is to be carried out.
var (
	Signature = Kind{contract.HeaderSignature, "cv1"}
	Approval  = Kind{contract.HeaderApproval, "cv1-approval"}
)

// Statement is what of a message is signed.
type Statement struct {
	Audience string // the service's CONSUMER_AUDIENCE
	Subject  string // that it is published on, with the prefix
	ID       string
	Body     []byte // as it is published, whichever its encoding
}

// StatementOf is what of a message is signed, for an audience.
func StatementOf(audience string, m contract.Message) Statement {
	return Statement{Audience: audience, Subject: m.Subject, ID: contract.GivenID(m), Body: m.Body}
}

// signed is the bytes that are signed. None of the lines before the body can have a line break: an
// audience is checked by CheckAudience, a subject has none, and an id that has one is refused.
func (s Statement) signed(k Kind) []byte {
	return slices.Concat([]byte(strings.Join([]string{k.domain, s.Audience, s.Subject, s.ID}, "\n")+"\n"), s.Body)
}

// Sign makes the header's value: "<NKey public key>.<base64url of the Ed25519 signature>". It fails
// where pair has no seed.
func (k Kind) Sign(pair nkeys.KeyPair, s Statement) (string, error) {
	key, err := pair.PublicKey()
	if err != nil {
		return "", fmt.Errorf("make %s: %w", k.Header, err)
	}
	signature, err := pair.Sign(s.signed(k))
	if err != nil {
		return "", fmt.Errorf("make %s: %w", k.Header, err)
	}
	return key + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// By is the public key that signed a message, whichever that is. The error says what is wrong.
func (k Kind) By(m contract.Message, audience string) (string, error) {
	value, err := contract.OneHeader(m, k.Header)
	if err != nil {
		return "", err //nolint:wrapcheck // it names the header
	}
	key, signature, err := parse(value)
	if err != nil {
		return "", err
	}
	public, err := nkeys.FromPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("read the public key: %w", err)
	}
	// Nothing here is secret, so nothing needs constant time: keys, signature and message are all
	// known to the publisher. What is wrong is for the operator's log, not for the publisher.
	if err := public.Verify(StatementOf(audience, m).signed(k), signature); err != nil {
		return "", fmt.Errorf("it is not a signature by %s over this audience, subject, id and body: %w", key, err)
	}
	return key, nil
}

// parse reads a header's value. The signature may have padding.
func parse(value string) (key string, signature []byte, err error) {
	key, text, ok := strings.Cut(value, ".")
	switch {
	case value == "":
		return "", nil, errors.New("there is none")
	case !ok:
		return "", nil, errors.New("it is not <public key>.<signature>")
	}
	if err := CheckKey(key); err != nil {
		return "", nil, fmt.Errorf("before the dot: %w", err)
	}
	encoding := base64.RawURLEncoding
	if strings.HasSuffix(text, "=") {
		encoding = base64.URLEncoding
	}
	if strings.ContainsAny(text, "\r\n") { // which the decoder skips
		return "", nil, errors.New("the signature has a line break")
	}
	if signature, err = encoding.Strict().DecodeString(text); err != nil {
		return "", nil, fmt.Errorf("the signature is not base64url: %w", err)
	}
	if len(signature) != signatureBytes {
		return "", nil, fmt.Errorf("the signature has %d bytes, not %d", len(signature), signatureBytes)
	}
	return key, signature, nil
}

// signatureBytes is the length of an Ed25519 signature.
const signatureBytes = 64

// CheckKey says what is wrong with an NKey public key; it never repeats it, since it may be a seed.
func CheckKey(key string) error {
	prefix := nkeys.Prefix(key)
	switch {
	case prefix == nkeys.PrefixByteSeed:
		return errors.New("this is a seed, which is a secret, and not a public key")
	case prefix == nkeys.PrefixByteCurve:
		return errors.New("this is a key for encryption, which cannot sign")
	case !nkeys.IsValidPublicKey(key):
		return errors.New("this is not an NKey public key, which has 56 capital letters and digits")
	}
	raw, err := nkeys.Decode(prefix, []byte(key))
	if err != nil {
		return fmt.Errorf("this is not an NKey public key: %w", err)
	}
	// There must be one way to write a key: keys are compared as text.
	if again, err := nkeys.Encode(prefix, raw); err != nil || string(again) != key {
		return errors.New("this is not the usual form of an NKey public key")
	}
	return nil
}

// SameKey reports whether two NKey public keys are of one key pair, whatever types of keys they
// say they are.
func SameKey(a, b string) bool {
	x, errA := nkeys.Decode(nkeys.Prefix(a), []byte(a))
	y, errB := nkeys.Decode(nkeys.Prefix(b), []byte(b))
	return a == b || errA == nil && errB == nil && bytes.Equal(x, y)
}
