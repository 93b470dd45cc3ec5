package sink

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
)

// A manifest is collected on disk and digested as it grows; to be compared with digesting its
// bytes.
func BenchmarkManifest(b *testing.B) {
	const lines = 10_000
	project := uuid.New()
	var whole []byte
	manifest := make([]ManifestLine, 0, lines)
	for i := range lines {
		l := ManifestLine{SHA256: strings.Repeat("0123456789abcdef", 4), Path: ImageStem(project, uuid.New()) + ".jpg"}
		manifest = append(manifest, l)
		whole = AppendManifestLine(whole, manifest[i])
	}
	dir := b.TempDir()
	ratio.Report(b, func() {
		bag, err := NewBag(nil, "bench/", dir)
		if err != nil {
			b.Fatal(err)
		}
		for _, l := range manifest {
			if err := bag.Add(l.Path, l.SHA256, 1); err != nil {
				b.Fatal(err)
			}
		}
		if err := bag.Close(); err != nil {
			b.Fatal(err)
		}
	}, func() { sha256.Sum256(whole) })
}

// A ledger line is canonical JSON, checked and chained; to be compared with encoding and digesting
// it.
func BenchmarkLedgerChain(b *testing.B) {
	chain, err := NewChain(nil)
	if err != nil {
		b.Fatal(err)
	}
	line := LedgerLine{
		Time: time.Date(2031, 1, 2, 3, 4, 5, 6, time.UTC), Kind: LedgerCall, Operation: "GetTaggedImages",
		Target: "projects/" + uuid.NewString() + "/images/tagged", Status: 200, RequestID: uuid.NewString(), Attempt: 1,
	}
	ratio.Report(b, func() {
		if _, err := chain.Append(line); err != nil {
			b.Fatal(err)
		}
	}, func() {
		text, err := json.Marshal(line)
		if err != nil {
			b.Fatal(err)
		}
		sha256.Sum256(text)
	})
}

// Checking a ledger again; to be compared with digesting its bytes.
func BenchmarkVerifyLedger(b *testing.B) {
	chain, err := NewChain(nil)
	if err != nil {
		b.Fatal(err)
	}
	var whole []byte
	for i := range 10_000 {
		text, err := chain.Append(LedgerLine{Kind: LedgerCall, Operation: "GetTaggedImages", Target: fmt.Sprint("projects/", i), Status: 200, Attempt: 1})
		if err != nil {
			b.Fatal(err)
		}
		whole = append(whole, text...)
	}
	ratio.Report(b, func() {
		if _, err := VerifyLedger(bytes.NewReader(whole)); err != nil {
			b.Fatal(err)
		}
	}, func() { sha256.Sum256(whole) })
}
