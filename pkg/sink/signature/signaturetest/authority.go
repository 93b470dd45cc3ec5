// Package signaturetest is a time stamp authority in the process, for tests.
package signaturetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
)

// Authority answers RFC 3161 requests over HTTP. Its certificate is issued by one of its own, and
// every time stamp brings both along.
type Authority struct {
	URL   string
	Root  []byte // certificate of the issuer, in PEM
	Chain []byte // certificates of authority and issuer, in PEM

	now       func() time.Time
	issuer    *x509.Certificate
	impostors map[Impostor]certified // "": the authority itself

	mu       sync.Mutex
	requests [][]byte
	fault    Fault
}

// Fault changes what an authority answers. Each of its fields that is set is applied.
type Fault struct {
	Status int                              // HTTP status instead of an answer
	Body   func(answer []byte) []byte       // of an answer
	Stamp  func(t *timestamp.Timestamp)     // before it is signed
	Before func(w http.ResponseWriter) bool // reports whether it has answered
	By     Impostor                         // who makes the answer instead
}

// Impostor is what makes an answer in place of the authority.
type Impostor string

// Impostors.
const (
	OtherKey   Impostor = "other key"   // under the authority's certificate
	OtherUsage Impostor = "other usage" // with a certificate of the same issuer that is not for time stamps
)

// New starts an authority until the test ends. Its time is now's; nil: the time of the machine.
func New(t testing.TB, now func() time.Time) *Authority {
	t.Helper()
	if now == nil {
		now = time.Now
	}
	a := &Authority{now: now}
	root := newCertificate(t, nil, nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := newCertificate(t, root.cert, root.key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test authority"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}},
	})
	other := newCertificate(t, root.cert, root.key, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Test server"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	a.impostors = map[Impostor]certified{"": leaf, OtherKey: {leaf.cert, other.key}, OtherUsage: other}
	a.issuer = root.cert
	a.Root = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw})
	a.Chain = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.cert.Raw}), a.Root...)
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// certified is a certificate and its key.
type certified struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newCertificate issues a certificate; without an issuer it is its own.
func newCertificate(t testing.TB, issuer *x509.Certificate, by *ecdsa.PrivateKey, template *x509.Certificate) certified {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(20, 0, 0)
	if issuer == nil {
		issuer, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certified{cert, key}
}

// Fail has the authority answer with a fault from now on; the zero value ends that.
func (a *Authority) Fail(f Fault) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// Requests are the requests that it got, in DER.
func (a *Authority) Requests() [][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([][]byte(nil), a.requests...)
}

// ServeHTTP implements http.Handler.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	a.mu.Lock()
	a.requests = append(a.requests, raw)
	fault := a.fault
	a.mu.Unlock()
	if fault.Before != nil && fault.Before(w) {
		return
	}
	if fault.Status != 0 {
		w.WriteHeader(fault.Status)
		return
	}
	request, err := timestamp.ParseRequest(raw)
	if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	stamp := &timestamp.Timestamp{
		HashAlgorithm: request.HashAlgorithm, HashedMessage: request.HashedMessage, Nonce: request.Nonce, Time: a.now().UTC(),
		Policy: asn1.ObjectIdentifier{1, 2, 3, 4}, AddTSACertificate: request.Certificates, Certificates: []*x509.Certificate{a.issuer},
	}
	if fault.Stamp != nil {
		fault.Stamp(stamp)
	}
	answer, err := stamp.CreateResponseWithOpts(a.impostors[fault.By].cert, a.impostors[fault.By].key, crypto.SHA256)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if fault.Body != nil {
		answer = fault.Body(answer)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(answer)
}
