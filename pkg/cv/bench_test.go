package cv

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/internal/ratio"
)

// Two sizes of the same thing each, so that a run tells by itself whether cost grows in proportion.

func benchmarkCut(b *testing.B, images int) {
	page := []byte(imagePage(0, images))
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := links.Cut(page); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCut_Images1(b *testing.B)   { benchmarkCut(b, 1) }
func BenchmarkCut_Images256(b *testing.B) { benchmarkCut(b, MaxPage) }

// BenchmarkCut compares it with only looking at the same bytes.
func BenchmarkCut(b *testing.B) {
	page := []byte(imagePage(0, MaxPage))
	ratio.Report(b, func() {
		if _, err := links.Cut(page); err != nil {
			b.Fatal(err)
		}
	}, func() {
		if !json.Valid(page) {
			b.Fatal("not valid")
		}
	})
}

func benchmarkDecode(b *testing.B, images int) {
	page := []byte(imagePage(0, images))
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		var list []Image
		if err := json.Unmarshal(page, &list); err != nil || len(list) != images {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeImages_Images1(b *testing.B)   { benchmarkDecode(b, 1) }
func BenchmarkDecodeImages_Images256(b *testing.B) { benchmarkDecode(b, MaxPage) }

// BenchmarkDecodeImages compares it with decoding without keeping the JSON.
func BenchmarkDecodeImages(b *testing.B) {
	type plain Image
	page := []byte(imagePage(0, MaxPage))
	ratio.Report(b, func() {
		var list []Image
		if err := json.Unmarshal(page, &list); err != nil || len(list) != MaxPage {
			b.Fatal(err)
		}
	}, func() {
		var list []plain
		if err := json.Unmarshal(page, &list); err != nil || len(list) != MaxPage {
			b.Fatal(err)
		}
	})
}

func BenchmarkClean(b *testing.B) {
	message := strings.Repeat("cannot read https://h.example/i/x?sv=1&sig=abc%3D; ", 20)
	for b.Loop() {
		if strings.Contains(clean(message), "sig=") {
			b.Fatal("a signature")
		}
	}
}
