package signature

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// TimeStamp is what an RFC 3161 time stamp says.
type TimeStamp struct {
	Time      time.Time
	Authority string // subject of the certificate that it was signed with, as it names itself

	nonce *big.Int
}

// parsing lets one time stamp be read at a time: package pkcs7 counts the depth of what it reads in
// a variable of its own.
var parsing sync.Mutex

// maxNesting is how deep elements of a time stamp may be nested. Authorities nest them some 20
// deep.
const maxNesting = 64

// isDER reports whether all of a text is elements in DER, nested at most so deep. Package pkcs7
// reads other text, too: it panics at some, and takes hours for others.
func isDER(text cryptobyte.String, deep int) bool {
	const constructed = 0x20
	for !text.Empty() {
		var (
			content cryptobyte.String
			tag     asn1.Tag
		)
		if !text.ReadAnyASN1(&content, &tag) || tag&constructed != 0 && (deep == 0 || !isDER(content, deep-1)) {
			return false
		}
	}
	return true
}

// ParseTimeStamp reads a TimeStampResp in DER, of at most 64 KiB, and checks that it is a granted
// time stamp over a signature, that it was signed with a certificate for time stamping that it
// brings along, and that this is part of a chain as far as the others with it show. Whether the
// authority is to be trusted is not known here.
func ParseTimeStamp(response, signature []byte) (TimeStamp, error) {
	if len(response) > maxResponse || !isDER(response, maxNesting) {
		return TimeStamp{}, fmt.Errorf("it is no granted time stamp: it is not in DER, has more than %d bytes, or is nested more than %d deep", maxResponse, maxNesting)
	}
	parsing.Lock()
	defer parsing.Unlock()
	stamp, err := timestamp.ParseResponse(response)
	if err != nil {
		return TimeStamp{}, fmt.Errorf("it is no granted time stamp: %w", err)
	}
	imprint := imprintOf(stamp.HashAlgorithm, signature)
	if imprint == nil || !bytes.Equal(imprint, stamp.HashedMessage) {
		return TimeStamp{}, errors.New("it is over another signature")
	}
	signer, err := signerOf(stamp)
	if err != nil {
		return TimeStamp{}, err
	}
	return TimeStamp{stamp.Time.UTC(), signer.Subject.String(), stamp.Nonce}, nil
}

// imprintOf is the digest that a time stamp over a signature has; nil under a function that is not
// accepted.
func imprintOf(hash crypto.Hash, signature []byte) []byte {
	switch hash {
	case crypto.SHA256:
		sum := sha256.Sum256(signature)
		return sum[:]
	case crypto.SHA384:
		sum := sha512.Sum384(signature)
		return sum[:]
	case crypto.SHA512:
		sum := sha512.Sum512(signature)
		return sum[:]
	}
	return nil
}

// signerOf is the certificate that a time stamp was signed with, checked with the others that came
// with it: those that no other of them has issued count as the ends of chains.
func signerOf(stamp *timestamp.Timestamp) (*x509.Certificate, error) {
	if len(stamp.Certificates) == 0 {
		return nil, errors.New("it has no certificate")
	}
	signed, err := pkcs7.Parse(stamp.RawToken)
	if err != nil {
		return nil, fmt.Errorf("read its signature: %w", err)
	}
	signer := signed.GetOnlySigner()
	if signer == nil {
		return nil, errors.New("it has not one signer whose certificate it brings along")
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range stamp.Certificates {
		between.AddCert(c)
		issued := false
		for _, other := range stamp.Certificates {
			issued = issued || !other.Equal(c) && bytes.Equal(c.RawIssuer, other.RawSubject)
		}
		if !issued {
			roots.AddCert(c)
		}
	}
	if _, err := signer.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: stamp.Time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	}); err != nil {
		return nil, fmt.Errorf("the certificate that it was signed with does not hold: %w", err)
	}
	return signer, nil
}
