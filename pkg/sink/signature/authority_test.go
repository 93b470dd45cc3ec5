package signature_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
)

func authority(t *testing.T, address string) *signature.Authority {
	t.Helper()
	a, err := signature.NewAuthority(address, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestStamp(t *testing.T) {
	tsa := signaturetest.New(t, nil)
	sig := []byte("a signature")
	response, err := authority(t, tsa.URL).Stamp(t.Context(), sig)
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := signature.ParseTimeStamp(response, sig)
	if err != nil || stamp.Authority != "CN=Test authority" || time.Since(stamp.Time) > time.Minute {
		t.Errorf("it says %+v, %v", stamp, err)
	}
	if _, err := signature.ParseTimeStamp(response, []byte("another")); err == nil || !strings.Contains(err.Error(), "it is over another signature") {
		t.Errorf("of another signature: %v", err)
	}
	for i := range response { // whatever is changed in it, it is refused or says the same
		changed := bytes.Clone(response)
		changed[i] ^= 1
		if got, err := signature.ParseTimeStamp(changed, sig); err == nil && !got.Time.Equal(stamp.Time) {
			t.Fatalf("with byte %d changed it says %+v", i, got)
		}
	}
	requests := tsa.Requests()
	if len(requests) != 1 || len(requests[0]) > 80 || bytes.Contains(requests[0], sig) {
		t.Errorf("the authority got %x", requests)
	}
}

// Whatever else the authority answers is no time stamp.
func TestStampRefuses(t *testing.T) {
	sig := []byte("a signature")
	stamped := func(change func(*timestamp.Timestamp)) signaturetest.Fault { return signaturetest.Fault{Stamp: change} }
	body := func(text []byte) signaturetest.Fault {
		return signaturetest.Fault{Body: func([]byte) []byte { return text }}
	}
	refused, err := timestamp.CreateErrorResponse(timestamp.Rejection, timestamp.TimeNotAvailable)
	if err != nil {
		t.Fatal(err)
	}
	// token is a granted answer whose token has this content.
	token := func(content ...byte) signaturetest.Fault {
		var b cryptobyte.Builder
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Int64(0) })
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		})
		return body(b.BytesOrPanic())
	}
	tsa := signaturetest.New(t, nil)
	for _, c := range []struct {
		name  string
		fault signaturetest.Fault
		want  string
	}{
		{"a tag that does not end", token(0x1f, 0x80), "it is not in DER"},
		{"a tag without a length", token(0x1f, 0x01), "it is not in DER"},
		{"a length that is cut", token(0x04, 0x82), "it is not in DER"},
		{"nesting without an end", token(bytes.Repeat([]byte{0x30, 0x80}, 30<<10)...), "it is not in DER"},
		{"an answer with something behind it", signaturetest.Fault{Body: func(b []byte) []byte { return append(b, 0x1f) }}, "it is not in DER"},
		{"an HTTP error", signaturetest.Fault{Status: 503}, "it answers with status 503"},
		{"a redirect", signaturetest.Fault{Before: func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}}, "it answers with status 307"},
		{"a rejection", body(refused), "the TSA's time source is not available"},
		{"nothing", body(nil), "its answer is not usable"},
		{"a page", body([]byte("<html>")), "its answer is not usable"},
		{"too much", body(make([]byte, 1<<20)), "its answer has more than 65536 bytes"},
		{"another digest", stamped(func(s *timestamp.Timestamp) { s.HashedMessage = make([]byte, 32) }), "it is over another signature"},
		{"another nonce", stamped(func(s *timestamp.Timestamp) { s.Nonce = big.NewInt(7) }), "the nonce is another one"},
		{"no nonce", stamped(func(s *timestamp.Timestamp) { s.Nonce = nil }), "the nonce is another one"},
		{"no certificate", stamped(func(s *timestamp.Timestamp) { s.AddTSACertificate, s.Certificates = false, nil }), "certificate"},
		{"another's signature", signaturetest.Fault{By: signaturetest.OtherKey}, "it is no granted time stamp"},
		{"a certificate for something else", signaturetest.Fault{By: signaturetest.OtherUsage}, "does not hold: x509: certificate specifies an incompatible key usage"},
		{"a digest of another function", stamped(func(s *timestamp.Timestamp) { s.HashAlgorithm = crypto.SHA384 }), "it is over another signature"},
		{"a time in the past", stamped(func(s *timestamp.Timestamp) { s.Time = s.Time.Add(-time.Hour) }), "one of both is wrong"},
		{"a time in the future", stamped(func(s *timestamp.Timestamp) { s.Time = s.Time.Add(time.Hour) }), "one of both is wrong"},
		{"a time before its certificate's", stamped(func(s *timestamp.Timestamp) { s.Time = s.Time.AddDate(-10, 0, 0) }), "its answer is not usable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tsa.Fail(c.fault)
			response, err := authority(t, tsa.URL).Stamp(t.Context(), sig)
			if response != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAuthorityThatHangs(t *testing.T) {
	tsa := signaturetest.New(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	tsa.Fail(signaturetest.Fault{Before: func(http.ResponseWriter) bool {
		cancel()
		<-over
		return true
	}})
	_, err := authority(t, tsa.URL).Stamp(ctx, []byte("a signature"))
	close(over)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// No error names the query of the URL, which may hold a secret.
func TestAuthorityURL(t *testing.T) {
	for address, want := range map[string]string{
		"ftp://tsa.test/": "no http:// or https:// URL", "tsa.test": "no http:// or https:// URL", "http://": "no http:// or https:// URL", "https://me:secret@tsa.test/": "user name or password",
	} {
		if _, err := signature.NewAuthority(address, time.Now); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", address, err, want)
		}
	}
	_, err := authority(t, "http://127.0.0.1:1/tsa?token=secret").Stamp(t.Context(), []byte("x"))
	if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}
