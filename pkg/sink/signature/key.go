package signature

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// Kinds of keys that Generate makes.
const (
	P256    = "p256"    // ECDSA on the curve P-256; signs SHA-256 digests, in ASN.1 DER
	Ed25519 = "ed25519" // RFC 8032, without a digest before it
)

const (
	privateBlock = "PRIVATE KEY"    // PKCS #8
	sec1Block    = "EC PRIVATE KEY" // SEC 1
	curveBlock   = "EC PARAMETERS"  // which openssl puts before the former
	publicBlock  = "PUBLIC KEY"     // SubjectPublicKeyInfo
)

// Key is a public key.
type Key struct {
	public crypto.PublicKey // *ecdsa.PublicKey on P-256, or ed25519.PublicKey
	der    []byte
}

// ID is the SHA-256, in hex, of the key as DER SubjectPublicKeyInfo: what
// `openssl pkey -pubin -in key.pub -outform DER | sha256sum` prints.
func (k *Key) ID() string {
	sum := sha256.Sum256(k.der)
	return hex.EncodeToString(sum[:])
}

// DER is the key as SubjectPublicKeyInfo.
func (k *Key) DER() []byte { return k.der }

// PEM is the key as SubjectPublicKeyInfo in PEM.
func (k *Key) PEM() []byte { return pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: k.der}) }

// verify reports whether sig is the key's signature of a message.
func (k *Key) verify(message, sig []byte) bool {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		digest := sha256.Sum256(message)
		return ecdsa.VerifyASN1(public, digest[:], sig)
	case ed25519.PublicKey:
		return ed25519.Verify(public, message, sig)
	}
	return false
}

// newKey is a public key of a kind that is supported.
func newKey(public crypto.PublicKey) (*Key, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return nil, fmt.Errorf("it is on the curve %s: use P-256 or Ed25519", k.Curve.Params().Name)
		}
	default:
		return nil, fmt.Errorf("it is a %T: use P-256 or Ed25519", public)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode the public key: %w", err)
	}
	return &Key{public, der}, nil
}

// KeyFromDER reads a public key from DER SubjectPublicKeyInfo.
func KeyFromDER(der []byte) (*Key, error) {
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("it is no public key in DER") // the error may have parts of the content
	}
	return newKey(public)
}

// ParseKeys reads the public keys of a PEM file, at least one.
func ParseKeys(text []byte) ([]*Key, error) {
	var keys []*Key
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != publicBlock {
			return nil, fmt.Errorf("it holds a PEM block %q: only blocks %q are expected", block.Type, publicBlock)
		}
		key, err := KeyFromDER(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it holds no PEM block %q", publicBlock)
	}
	return keys, nil
}

// Signer is a private key, and its public one.
type Signer struct {
	*Key
	private crypto.Signer
}

// ParseSigner reads the private key of a PEM file: PKCS #8, or SEC 1 of a P-256 key. It is not
// encrypted. No error has a part of the content.
func ParseSigner(text []byte) (*Signer, error) {
	block, rest := pem.Decode(text)
	for block != nil && block.Type == curveBlock {
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, errors.New("it holds no private key in PEM")
	}
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("it holds more than one PEM block: give one private key")
	}
	var (
		private any
		err     error
	)
	switch block.Type {
	case privateBlock:
		private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case sec1Block:
		private, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it holds a PEM block %q: give a private key that is not encrypted, in a block %q", block.Type, privateBlock)
	}
	if err != nil {
		return nil, fmt.Errorf("the content of its PEM block %q is no private key", block.Type)
	}
	return newSigner(private)
}

// newSigner is the signer of a private key.
func newSigner(private any) (*Signer, error) {
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("it is a %T, which does not sign: use P-256 or Ed25519", private)
	}
	key, err := newKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{key, signer}, nil
}

// sign is the signature of a message.
func (s *Signer) sign(message []byte) ([]byte, error) {
	if _, ok := s.private.(ed25519.PrivateKey); ok {
		return s.private.Sign(rand.Reader, message, crypto.Hash(0)) //nolint:wrapcheck // the caller says what it signs
	}
	digest := sha256.Sum256(message)
	return s.private.Sign(rand.Reader, digest[:], crypto.SHA256) //nolint:wrapcheck // the caller says what it signs
}

// Generate makes a private key of a kind, as PKCS #8 in PEM, and its signer.
func Generate(kind string) (text []byte, s *Signer, err error) {
	var private any
	switch kind {
	case P256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, nil, fmt.Errorf("make a key: the kind is %q, not %s or %s", kind, P256, Ed25519)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the private key: %w", err)
	}
	s, err = newSigner(private)
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), s, err
}
