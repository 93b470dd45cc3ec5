package signature

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

const (
	// MediaType is that of a bundle.
	MediaType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	// PayloadType is that of the statement in a bundle's envelope.
	PayloadType = "application/vnd.in-toto+json"
)

// MaxBytes bounds a bundle that is read: a statement of 4 MiB in base64, and what is around it.
const MaxBytes = 6 << 20

// Bundle is a signed statement.
type Bundle struct {
	Payload   []byte // the statement
	KeyID     string // of the key that is said to have signed, as the hint of the bundle's public key; see Key.ID
	Signature []byte // over the pre-authentication encoding of type and payload (DSSE 1.0)
	TimeStamp []byte // an RFC 3161 TimeStampResp over Signature, in DER; nil: there is none
}

// Sign signs a statement.
func (s *Signer) Sign(statement []byte) (*Bundle, error) {
	signed, err := s.sign(dsse.PAE(PayloadType, statement))
	if err != nil {
		return nil, fmt.Errorf("sign the receipt: %w", err)
	}
	return &Bundle{Payload: statement, KeyID: s.ID(), Signature: signed}, nil
}

// SignedBy reports whether a key made the bundle's signature.
func (b *Bundle) SignedBy(k *Key) bool {
	return k.verify(dsse.PAE(PayloadType, b.Payload), b.Signature)
}

// file is the JSON form of a bundle: the fields of the protocol buffer
// dev.sigstore.bundle.v1.Bundle that are used.
type file struct {
	MediaType string `json:"mediaType"`
	Material  struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
		TimeStamps *timeStamps `json:"timestampVerificationData,omitempty"`
	} `json:"verificationMaterial"`
	Envelope dsse.Envelope `json:"dsseEnvelope"`
}

type timeStamps struct {
	RFC3161 []timeStamp `json:"rfc3161Timestamps"`
}

type timeStamp struct {
	Response []byte `json:"signedTimestamp"`
}

// Encode is the bundle as a file: one line of JSON.
func (b *Bundle) Encode() ([]byte, error) {
	f := file{MediaType: MediaType, Envelope: dsse.Envelope{
		PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(b.Payload),
		// Without a key id, which is optional: verifiers compare it with ids of their own making.
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(b.Signature)}},
	}}
	f.Material.PublicKey.Hint = b.KeyID
	if b.TimeStamp != nil {
		f.Material.TimeStamps = &timeStamps{[]timeStamp{{b.TimeStamp}}}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(f); err != nil {
		return nil, fmt.Errorf("encode the signature: %w", err)
	}
	return out.Bytes(), nil
}

// Parse reads a bundle: one DSSE envelope of an in-toto statement with one signature, and at most
// one time stamp. Members that it does not know it leaves alone.
func Parse(raw []byte) (*Bundle, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("it has %d bytes, at most %d are allowed", len(raw), MaxBytes)
	}
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("it is no Sigstore bundle: %w", err)
	}
	envelope := f.Envelope
	switch {
	case f.MediaType != MediaType:
		return nil, fmt.Errorf("its media type is %q, expected %q", f.MediaType, MediaType)
	case envelope.PayloadType != PayloadType:
		return nil, fmt.Errorf("its payload has the type %q, expected %q", envelope.PayloadType, PayloadType)
	case len(envelope.Signatures) != 1:
		return nil, fmt.Errorf("it has %d signatures, expected one", len(envelope.Signatures))
	}
	b := &Bundle{KeyID: f.Material.PublicKey.Hint}
	var err error
	if b.Payload, err = base64.StdEncoding.DecodeString(envelope.Payload); err != nil {
		return nil, errors.New("its payload is not in base64")
	}
	if b.Signature, err = base64.StdEncoding.DecodeString(envelope.Signatures[0].Sig); err != nil {
		return nil, errors.New("its signature is not in base64")
	}
	if stamps := f.Material.TimeStamps; stamps != nil {
		if len(stamps.RFC3161) != 1 || len(stamps.RFC3161[0].Response) == 0 {
			return nil, fmt.Errorf("it has %d time stamps, expected one that is not empty", len(stamps.RFC3161))
		}
		b.TimeStamp = stamps.RFC3161[0].Response
	}
	return b, nil
}
