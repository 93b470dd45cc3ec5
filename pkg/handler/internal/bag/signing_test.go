package bag_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/action"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// signed is a bag whose receipt is to be signed, in a bucket of its own.
type signed struct {
	*production
	server *sinktest.Server
	bucket string
}

func toSign(t *testing.T) *signed {
	t.Helper()
	s := sinktest.Shared(t)
	p := &signed{production: load(t), server: s, bucket: s.Bucket(t, sinktest.BucketOptions{Versioned: true})}
	p.says.Signed = true
	return p
}

// by is the bag as an attempt has it that signs so, with faults of the store.
func (p *signed) by(m *signature.Maker, faults *sinktest.Faults) bag.Bags {
	p.t.Helper()
	if faults == nil {
		faults = sinktest.NewFaults(nil)
	}
	store := sink.NewStore(p.server.FaultyClient(faults), sink.StoreOptions{Bucket: p.bucket})
	b := p.bags(store.Sealed(sink.NewSealer([]byte("secret"), "two-tags", "1")))
	b.Signing = m
	return b
}

// diesBefore is a store that fails at a file for good.
func diesBefore(t *testing.T, path sink.Path) *sinktest.Faults {
	return sinktest.Script(t, sinktest.Fault{Op: "PutObject", Key: "*/" + string(path), Times: -1, Status: http.StatusForbidden})
}

func newSigner(t *testing.T) *signature.Signer {
	t.Helper()
	_, s, err := signature.Generate(signature.P256)
	must(t, err)
	return s
}

func with(s *signature.Signer) *signature.Maker {
	return &signature.Maker{Key: func() (*signature.Signer, error) { return s, nil }}
}

// stamped is a maker with an authority, too.
func stamped(t *testing.T, s *signature.Signer, tsa *signaturetest.Authority, optional bool) *signature.Maker {
	t.Helper()
	m := with(s)
	var err error
	m.Authority, err = signature.NewAuthority(tsa.URL, time.Now)
	must(t, err)
	m.Optional = optional
	return m
}

// check verifies the stored bag with a key, and gives what is stored.
func (p *signed) check(key *signature.Signer) (*signature.Bundle, *sink.Receipt) {
	t := p.t
	t.Helper()
	b := p.by(nil, nil)
	report, err := verify.Bag(t.Context(), verify.Stored(b.Store.Unsealed(), b.Layout.Bag(sink.ExportBag)), verify.Options{Keys: []*signature.Key{key.Key}})
	if err != nil || report.Result != verify.OK || report.Signature != verify.Signed || report.Signer != key.ID() {
		t.Fatalf("%s, %s by %q, %v, %v", report.Result, report.Signature, report.Signer, report.Problems, err)
	}
	raw, _, err := b.Store.Signature(t.Context(), b.Layout.Bag(sink.ExportBag), signature.MaxBytes)
	must(t, err)
	made, err := signature.Parse(raw)
	must(t, err)
	receipt, err := b.Store.ReadAll(t.Context(), b.Layout.Key(sink.ExportBag, sink.ReceiptFile), 1<<20)
	must(t, err)
	if !bytes.Equal(made.Payload, receipt) {
		t.Error("what is signed is not the receipt, byte for byte")
	}
	says, err := sink.ParseReceipt(receipt)
	must(t, err)
	if p := says.Predicate; !p.Signed || p.KeyID != key.ID() || p.Bundle.Objects != report.Files {
		t.Errorf("the receipt says %t, %s, %d objects of %d", p.Signed, p.KeyID, p.Bundle.Objects, report.Files)
	}
	versions, err := sinktest.Versions(t.Context(), p.server.Client(), p.bucket, "")
	must(t, err)
	if len(versions) != report.Files {
		t.Errorf("%d versions and markers are in the bucket, the bag has %d files", len(versions), report.Files)
	}
	return made, says
}

func TestSignedReceipt(t *testing.T) {
	p, key, tsa := toSign(t), newSigner(t), signaturetest.New(t, nil)
	proof, err := p.attempt(p.by(stamped(t, key, tsa, false), nil))
	if err != nil || !proof.Signed || !proof.TimeStamped {
		t.Fatalf("%+v, %v", proof, err)
	}
	made, says := p.check(key)
	if made.TimeStamp == nil || says.Predicate.Timestamp != "required" {
		t.Errorf("a time stamp of %d bytes, the receipt says %s", len(made.TimeStamp), says.Predicate.Timestamp)
	}
}

// A signature costs one request to the store, and a time stamp one to the authority.
func TestSigningCosts(t *testing.T) {
	plain := toSign(t)
	plain.says.Signed = false
	unsigned, faults := sinktest.NewFaults(nil), sinktest.NewFaults(nil)
	_, err := plain.attempt(plain.by(nil, unsigned))
	must(t, err)
	p, tsa := toSign(t), signaturetest.New(t, nil)
	_, err = p.attempt(p.by(stamped(t, newSigner(t), tsa, false), faults))
	must(t, err)
	if got, want := faults.Calls("")+len(tsa.Requests()), unsigned.Calls("")+2; got != want || len(tsa.Requests()) != 1 {
		t.Errorf("%d requests, without a signature there are %d; the authority got %d", got, want-2, len(tsa.Requests()))
	}
}

// What contradicts itself is not signed, and no authority hears of it.
func TestNoSignatureForAContradiction(t *testing.T) {
	p, tsa := toSign(t), signaturetest.New(t, nil)
	p.says.Counts.Images++
	b := p.by(stamped(t, newSigner(t), tsa, false), nil)
	_, err := p.attempt(b)
	if err == nil || p.stored(b, sink.SignatureFile) || p.stored(b, sink.ReceiptFile) || len(tsa.Requests()) > 0 {
		t.Errorf("%v; signed %t, receipt %t, %d requests", err, p.stored(b, sink.SignatureFile), p.stored(b, sink.ReceiptFile), len(tsa.Requests()))
	}
}

// An attempt that died between signature and receipt left a signature, which counts whatever the
// key is by then.
func TestSignatureOfAnEarlierAttempt(t *testing.T) {
	tsa := signaturetest.New(t, nil)
	first, second := newSigner(t), newSigner(t)
	for _, c := range []struct {
		name        string
		first, next *signature.Maker
		stamped     bool
	}{
		{"the key is the same", with(first), with(first), false},
		{"the key was rotated", with(first), with(second), false},
		{"there is no key any more", with(first), nil, false},
		{"the key cannot be read", with(first), &signature.Maker{Key: func() (*signature.Signer, error) { return nil, errors.New("gone") }}, false},
		{"time stamps are no longer asked for", stamped(t, first, tsa, false), with(second), true},
		{"time stamps are asked for now", with(first), stamped(t, second, tsa, false), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := toSign(t)
			b := p.by(c.first, diesBefore(t, sink.ReceiptFile))
			if _, err := p.attempt(b); err == nil || p.stored(b, sink.ReceiptFile) || !p.stored(b, sink.SignatureFile) {
				t.Fatalf("the first attempt: %v", err)
			}
			proof, err := p.attempt(p.by(c.next, nil))
			if err != nil || !proof.Signed || proof.TimeStamped != c.stamped {
				t.Fatalf("%+v, %v", proof, err)
			}
			p.check(first)
		})
	}
}

// What is at the place of the signature and no attempt at this command stored is replaced.
func TestSignatureFromOutside(t *testing.T) {
	key, other, tsa := newSigner(t), newSigner(t), signaturetest.New(t, nil)
	of := func(receipt []byte) func(*testing.T, bag.Bags) ([]byte, []byte) {
		return func(t *testing.T, _ bag.Bags) ([]byte, []byte) {
			made, err := other.Sign(receipt)
			must(t, err)
			raw, err := made.Encode()
			must(t, err)
			return raw, other.DER()
		}
	}
	left := func(change func(*signature.Bundle), der []byte) func(*testing.T, bag.Bags) ([]byte, []byte) {
		return func(t *testing.T, b bag.Bags) ([]byte, []byte) { // what an attempt left, changed
			raw, had, err := b.Store.Signature(t.Context(), b.Layout.Bag(sink.ExportBag), signature.MaxBytes)
			must(t, err)
			made, err := signature.Parse(raw)
			must(t, err)
			change(made)
			raw, err = made.Encode()
			must(t, err)
			if der == nil {
				der = had
			}
			return raw, der
		}
	}
	for _, c := range []struct {
		name   string
		put    func(*testing.T, bag.Bags) (raw, key []byte)
		sealed bool // the writer can seal, which no other than the service can
	}{
		{"junk", func(*testing.T, bag.Bags) ([]byte, []byte) { return []byte("{}"), nil }, false},
		{"junk, sealed", func(*testing.T, bag.Bags) ([]byte, []byte) { return []byte("{}"), nil }, true},
		{"the signature of another statement", of([]byte("{}")), true},
		{"without its key", left(func(*signature.Bundle) {}, []byte("x")), true},
		{"with another key", left(func(*signature.Bundle) {}, other.DER()), true},
		{"not by the key that it names", left(func(b *signature.Bundle) { b.Signature[9]++ }, nil), true},
		{"without its time stamp", left(func(b *signature.Bundle) { b.TimeStamp = nil }, nil), true},
		{"with the time stamp of another", left(func(b *signature.Bundle) { b.TimeStamp[len(b.TimeStamp)-1]++ }, nil), true},
		{"of a receipt that the bag contradicts", left(func(b *signature.Bundle) {
			again, err := key.Sign(bytes.Replace(b.Payload, []byte(`"images":4`), []byte(`"images":5`), 1))
			must(t, err)
			b.Payload, b.Signature, b.TimeStamp = again.Payload, again.Signature, nil
			b.Payload = bytes.Clone(b.Payload)
		}, nil), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := toSign(t)
			b := p.by(stamped(t, key, tsa, false), diesBefore(t, sink.ReceiptFile))
			if _, err := p.attempt(b); err == nil {
				t.Fatal("there is a receipt")
			}
			raw, der := c.put(t, b)
			p.replaceSignature(b, raw, der, c.sealed)
			if proof, err := p.attempt(p.by(stamped(t, key, tsa, false), nil)); err != nil || !proof.TimeStamped {
				t.Fatalf("%+v, %v", proof, err)
			}
			p.check(key)
		})
	}
}

// replaceSignature puts another object in the signature's place.
func (p *signed) replaceSignature(b bag.Bags, raw, key []byte, sealed bool) {
	t := p.t
	t.Helper()
	place := b.Layout.Key(sink.ExportBag, sink.SignatureFile)
	store := p.by(nil, nil).Store
	if !sealed {
		store = store.Unsealed()
	}
	must(t, store.Remove(t.Context(), place))
	body := sink.Bytes(raw, "application/json")
	body.Meta = sink.SignatureMeta(key)
	_, err := store.Put(t.Context(), place, body)
	must(t, err)
}

// Another attempt at the same command may sign at the same time: the first counts.
func TestTwoSignAtOnce(t *testing.T) {
	p, first, second := toSign(t), newSigner(t), newSigner(t)
	slow := with(second)
	slow.Key = func() (*signature.Signer, error) { // after it looked, and before it signs
		if _, err := p.attempt(p.by(with(first), diesBefore(t, sink.ReceiptFile))); err == nil {
			t.Error("there is a receipt")
		}
		return second, nil
	}
	if proof, err := p.attempt(p.by(slow, nil)); err != nil || !proof.Signed {
		t.Fatalf("%+v, %v", proof, err)
	}
	p.check(first)
}

// A bag whose receipt is not signed has no signature, whatever was put there.
func TestUnsignedReceiptBesideASignature(t *testing.T) {
	p := toSign(t)
	p.says.Signed = false
	b := p.by(with(newSigner(t)), nil)
	_, err := b.Store.Unsealed().Put(t.Context(), b.Layout.Key(sink.ExportBag, sink.SignatureFile), sink.Bytes([]byte("{}"), ""))
	must(t, err)
	proof, err := p.attempt(b)
	if err != nil || proof.Signed || proof.TimeStamped || p.stored(b, sink.SignatureFile) {
		t.Errorf("%+v, %v, and there is a signature: %t", proof, err, p.stored(b, sink.SignatureFile))
	}
}

// Without a key, or without a time stamp that is required, there is a wait and no receipt.
func TestWaitsToSign(t *testing.T) {
	tsa := signaturetest.New(t, nil)
	tsa.Fail(signaturetest.Fault{Status: http.StatusServiceUnavailable})
	broken := &signature.Maker{Key: func() (*signature.Signer, error) { return nil, errors.New("it holds no private key in PEM") }}
	for _, c := range []struct {
		name      string
		by        *signature.Maker
		want, why string
	}{
		{"no key", nil, contract.WaitCredential, "set CONSUMER_SIGNING_KEY_FILE"},
		{"a broken key", broken, contract.WaitCredential, "CONSUMER_SIGNING_KEY_FILE: it holds no private key"},
		{"no answer", stamped(t, newSigner(t), tsa, false), contract.WaitTimestamp, "status 503; CONSUMER_TSA_REQUIRED=false lets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := toSign(t)
			b := p.by(c.by, nil)
			_, err := p.attempt(b)
			var waits *action.WaitError
			if !errors.As(err, &waits) || waits.Waiting.For != c.want || !strings.Contains(waits.Waiting.Detail, c.why) || waits.Waiting.Since.IsZero() {
				t.Errorf("got %v", err)
			}
			if p.stored(b, sink.SignatureFile) || p.stored(b, sink.ReceiptFile) {
				t.Error("something is stored")
			}
		})
	}
	t.Run("a time stamp is optional", func(t *testing.T) {
		p, key := toSign(t), newSigner(t)
		proof, err := p.attempt(p.by(stamped(t, key, tsa, true), nil))
		if err != nil || !proof.Signed || proof.TimeStamped {
			t.Fatalf("%+v, %v", proof, err)
		}
		if _, says := p.check(key); says.Predicate.Timestamp != "optional" {
			t.Errorf("the receipt says %s", says.Predicate.Timestamp)
		}
	})
	t.Run("the look before another attempt", func(t *testing.T) {
		p := toSign(t)
		for _, c := range []struct {
			by    *signature.Maker
			waits bool
		}{{nil, false}, {with(newSigner(t)), false}, {stamped(t, newSigner(t), tsa, true), false}, {stamped(t, newSigner(t), tsa, false), true}} {
			err := p.by(c.by, nil).AuthorityAnswers(t.Context())
			var waits *action.WaitError
			if errors.As(err, &waits) != c.waits || (err != nil) != c.waits {
				t.Errorf("got %v, want a wait: %t", err, c.waits)
			}
		}
		tsa.Fail(signaturetest.Fault{})
		must(t, p.by(stamped(t, newSigner(t), tsa, false), nil).AuthorityAnswers(t.Context()))
	})
	t.Run("this process stops", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		stopping := errors.New("stopping")
		cancel(stopping)
		tsa.Fail(signaturetest.Fault{Status: http.StatusServiceUnavailable})
		if err := toSign(t).by(stamped(t, newSigner(t), tsa, false), nil).AuthorityAnswers(ctx); !errors.Is(err, stopping) {
			t.Errorf("got %v", err)
		}
	})
}

// The signature of a bag that is to be kept is locked, too: as it is written, or by the attempt
// that finds it.
func TestSignatureIsLocked(t *testing.T) {
	p, key := toSign(t), newSigner(t)
	p.bucket = p.server.Bucket(t, sinktest.BucketOptions{Versioned: true, Locked: true})
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	p.says.Scope.RetainUntil = &until
	p.swap("evidence/request.json", `"resource":"default"`, `"resource":"default","retain_until":"`+until.Format(time.RFC3339)+`"`)
	p.swap("data/export.json", `"resource":"default"`, `"resource":"default","retain_until":"`+until.Format(time.RFC3339)+`"`)
	p.says.Request = sink.HexSHA256([]byte(p.files["evidence/request.json"]))
	keep := func(b bag.Bags) bag.Bags {
		b.Command.Data.RetainUntil, b.LockMode = &until, sink.Governance
		return b
	}
	if _, err := p.attempt(keep(p.by(with(key), diesBefore(t, sink.ReceiptFile)))); err == nil {
		t.Fatal("there is a receipt")
	}
	proof, err := p.attempt(keep(p.by(with(newSigner(t)), nil)))
	if err != nil || !proof.Signed {
		t.Fatalf("%+v, %v", proof, err)
	}
	if _, says := p.check(key); says.Predicate.Retention == nil || says.Predicate.Retention.Lapsed {
		t.Errorf("the receipt says %+v", says.Predicate.Retention)
	}
	b := p.by(nil, nil)
	for _, path := range []sink.Path{sink.SignatureFile, sink.ReceiptFile, sink.ManifestFile} {
		if err := b.Store.Remove(t.Context(), b.Layout.Key(sink.ExportBag, path)); err == nil || !p.stored(b, path) {
			t.Errorf("%s is not locked: %v", path, err)
		}
	}
}
