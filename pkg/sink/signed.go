package sink

import (
	"context"
	"encoding/base64"
	"errors"
)

// metaPublicKey is the user metadata of receipt.sigstore.json that holds the public key, as DER in
// base64. No seal is over it: a key is known by its digest, which the receipt names.
const metaPublicKey = "cv-public-key"

// PutSignature stores receipt.sigstore.json, the signature of the receipt that is about to be
// stored, with the public key (DER) that it was made with. It reports whether that was done: where
// another attempt stored one, that stays, and its receipt is the one to be stored. Errors as of
// Store.Put.
func (b *Bag) PutSignature(ctx context.Context, signature, publicKey []byte) (stored bool, err error) {
	if b.sealed == nil {
		return false, errors.New("store signature: the bag is not sealed")
	}
	body := Bytes(signature, applicationJSON)
	body.Meta, body.lock = SignatureMeta(publicKey), b.locked
	object, err := b.store.Put(ctx, b.root+Key(SignatureFile), body)
	if err == nil && b.store.lacks(conditions) { // another attempt may have looked at the same time
		object, err = b.store.Describe(ctx, b.root+Key(SignatureFile))
	}
	if err != nil || object.SHA256 != body.SHA256 {
		return false, err
	}
	return true, b.takeBack(ctx, object, b.LockSignature(ctx, object.SHA256))
}

// LockSignature locks the stored receipt.sigstore.json, which has this SHA-256 (hex), as Retain
// locked the bag; it does nothing for a bag that is not locked. Errors: those of Retain.
func (b *Bag) LockSignature(ctx context.Context, sha256 string) error {
	if b.locked == nil {
		return nil
	}
	return b.store.retain(ctx, b.root+Key(SignatureFile), sha256, false, *b.locked)
}

// SignatureMeta is the user metadata of a signature by the key with this DER.
func SignatureMeta(publicKey []byte) map[string]string {
	return map[string]string{metaPublicKey: base64.StdEncoding.EncodeToString(publicKey)}
}

// RemoveSignature removes a receipt.sigstore.json that is of no use: its receipt must not be stored
// yet. Errors: those of Store.Remove.
func (b *Bag) RemoveSignature(ctx context.Context) error {
	return b.store.Remove(ctx, b.root+Key(SignatureFile))
}

// Signature reads the receipt.sigstore.json of the bag at root, of at most limit bytes, and the
// public key that was stored with it: that may be anything. Errors: those of Store.Open.
func (s *Store) Signature(ctx context.Context, root Key, limit int64) (signature, publicKey []byte, err error) {
	body, object, err := s.open(ctx, root+Key(SignatureFile), limit)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = body.Close() }()
	if signature, err = readAll(ctx, body, object, limit); err != nil {
		return nil, nil, err
	}
	publicKey, _ = base64.StdEncoding.DecodeString(object.Meta[metaPublicKey])
	return signature, publicKey, nil
}
