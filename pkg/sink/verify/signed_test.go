package verify_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature"
	"github.com/cvconsumer/cvconsumer/pkg/sink/signature/signaturetest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

const sigstore = "receipt.sigstore.json"

func newKey(t *testing.T) *signature.Signer {
	t.Helper()
	_, s, err := signature.Generate(signature.P256)
	must(t, err)
	return s
}

// sign signs a bag's receipt, which then says so.
func sign(t *testing.T, bag memory, by *signature.Signer, stamps signature.Policy) *signature.Bundle {
	t.Helper()
	says, err := sink.ParseReceipt([]byte(bag[receipt]))
	must(t, err)
	says.Sign(by.ID(), stamps)
	raw, err := says.Encode()
	must(t, err)
	bag[receipt] = string(raw)
	made, err := by.Sign(raw)
	must(t, err)
	put(t, bag, made)
	return made
}

// put stores a signature.
func put(t *testing.T, bag memory, made *signature.Bundle) {
	t.Helper()
	raw, err := made.Encode()
	must(t, err)
	bag[sigstore] = string(raw)
}

// A receipt of an older version, which says nothing of signatures, is unsigned.
func TestReceiptOfAnOlderVersion(t *testing.T) {
	bag := load(t, "two-tags")
	for _, member := range []string{`"signed":false,`, `"timestamp":"none",`} {
		if !strings.Contains(bag[receipt], member) {
			t.Fatalf("the receipt does not say %s", member)
		}
		bag[receipt] = strings.Replace(bag[receipt], member, "", 1)
	}
	report, err := verify.Bag(t.Context(), bag, verify.Options{})
	if err != nil || report.Result != verify.OK || report.Signature != verify.Unsigned {
		t.Errorf("%s, %s, %v, %v", report.Result, report.Signature, report.Problems, err)
	}
}

// What a signature has to be, with the right key, another one, and none.
func TestSignatures(t *testing.T) {
	key, other := newKey(t), newKey(t)
	tsa, err := signature.NewAuthority(signaturetest.New(t, nil).URL, time.Now)
	must(t, err)
	before := func() time.Time { return time.Date(2025, time.December, 1, 0, 0, 0, 0, time.UTC) }
	earlier, err := signature.NewAuthority(signaturetest.New(t, before).URL, before)
	must(t, err)
	stamped := func(b *signature.Bundle) {
		b.TimeStamp, err = tsa.Stamp(t.Context(), b.Signature)
		must(t, err)
	}
	for _, c := range []struct {
		name            string
		change          func(bag memory)
		withKey, noKey  string // a finding; empty: none
		signed, tsaSeen bool
	}{
		{"as it is", func(memory) {}, "", "", true, false},
		{"with a time stamp", func(bag memory) {
			b := sign(t, load(t, "two-tags"), key, signature.Required)
			bag[receipt] = string(b.Payload)
			stamped(b)
			put(t, bag, b)
		}, "", "", true, true},
		{"without the time stamp that is required", func(bag memory) {
			b := sign(t, load(t, "two-tags"), key, signature.Required)
			bag[receipt] = string(b.Payload)
			put(t, bag, b)
		}, "it has no time stamp", "it has no time stamp", true, false},
		{"with the time stamp of another signature", func(bag memory) {
			b, again := sign(t, load(t, "two-tags"), key, signature.Optional), sign(t, load(t, "two-tags"), key, signature.None)
			bag[receipt] = string(b.Payload)
			stamped(again)
			b.TimeStamp = again.TimeStamp
			put(t, bag, b)
		}, "its time stamp does not hold: it is over another signature", "its time stamp does not hold", true, false},
		{"with a time stamp of before its end", func(bag memory) {
			b := sign(t, load(t, "two-tags"), key, signature.Required)
			bag[receipt] = string(b.Payload)
			b.TimeStamp, err = earlier.Stamp(t.Context(), b.Signature)
			must(t, err)
			put(t, bag, b)
		}, "before the command ended", "before the command ended", true, true},
		{"missing", func(bag memory) { delete(bag, sigstore) }, "it is missing: the receipt says that it is signed", "it is missing", false, false},
		{"no JSON", func(bag memory) { bag[sigstore] = "x" }, "it is no Sigstore bundle", "it is no Sigstore bundle", false, false},
		{"a member twice", func(bag memory) { bag[sigstore] = strings.Replace(bag[sigstore], "{", `{"mediaType":"x",`, 1) }, "is there twice", "is there twice", false, false},
		{"of another receipt", func(bag memory) {
			again := load(t, "two-tags")
			again[receipt] = strings.Replace(again[receipt], "case 2026-17", "case 2026-18", 1)
			put(t, bag, sign(t, again, key, signature.None))
		}, "it is the signature of another receipt", "it is the signature of another receipt", false, false},
		{"by another key", func(bag memory) {
			b, err := other.Sign([]byte(bag[receipt]))
			must(t, err)
			put(t, bag, b)
		}, "it names the key ", "it names the key ", false, false},
		{"by another key that names the right one", func(bag memory) {
			b, err := other.Sign([]byte(bag[receipt]))
			must(t, err)
			b.KeyID = key.ID()
			put(t, bag, b)
		}, "none of the given keys made it", "", false, false},
		{"of a receipt of another key", func(bag memory) {
			says := load(t, "two-tags")
			sign(t, says, other, signature.None)
			b, err := key.Sign([]byte(says[receipt]))
			must(t, err)
			bag[receipt], b.KeyID = says[receipt], other.ID()
			put(t, bag, b)
		}, "the receipt names", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bag := load(t, "two-tags")
			sign(t, bag, key, signature.None)
			c.change(bag)
			check := func(want string, keys ...*signature.Key) verify.Report {
				report, err := verify.Bag(t.Context(), bag, verify.Options{Keys: keys})
				if err != nil || (report.Result == verify.OK) != (want == "") || want != "" && !strings.Contains(report.Findings(9), want) {
					t.Errorf("with %d keys: %s, want %q in %v, %v", len(keys), report.Result, want, report.Problems, err)
				}
				return report
			}
			if r := check(c.withKey, key.Key); (r.Signature == verify.Signed) != c.signed || c.signed && r.Signer != key.ID() || (r.TimeStamp != nil) != c.tsaSeen {
				t.Errorf("%s by %q, time stamp %v", r.Signature, r.Signer, r.TimeStamp)
			}
			if r := check(c.noKey); r.Signature == verify.Signed || r.Signer != "" {
				t.Errorf("without a key it is called %s", r.Signature)
			}
			if r, err := verify.Bag(t.Context(), bag, verify.Options{Keys: []*signature.Key{newKey(t).Key}}); err != nil || r.Result != verify.Failed || r.Signature == verify.Signed || r.Signature == verify.Unchecked {
				t.Errorf("with another key: %s, %s, %v", r.Result, r.Signature, err)
			}
		})
	}
}

// Another party may sign a receipt that is not signed.
func TestSignedAfterwards(t *testing.T) {
	bag, key := load(t, "two-tags"), newKey(t)
	b, err := key.Sign([]byte(bag[receipt]))
	must(t, err)
	put(t, bag, b)
	for want, keys := range map[verify.Signature][]*signature.Key{verify.Unchecked: nil, verify.Signed: {key.Key}} {
		report, err := verify.Bag(t.Context(), bag, verify.Options{Keys: keys})
		if err != nil || report.Result != verify.OK || report.Signature != want {
			t.Errorf("%s, %s, want %s: %v, %v", report.Result, report.Signature, want, report.Problems, err)
		}
	}
}
