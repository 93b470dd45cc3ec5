package verify_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// What one image costs in the check before a receipt: its record is read, its picture is not.
func BenchmarkStatements(b *testing.B) {
	m := memory{}
	for name, content := range load(b, "two-tags") {
		m[name] = content
	}
	record, _, _ := strings.Cut(m[project+"images.jsonl"], "\n")
	content := m[picture]
	var records, manifest strings.Builder
	const images = 1000
	for range images {
		id := uuid.NewString()
		records.WriteString(strings.ReplaceAll(record, image, id) + "\n")
		name := strings.Replace(picture, image, id, 1)
		m[name] = content
		manifest.Write(sink.AppendManifestLine(nil, sink.ManifestLine{SHA256: digest(content), Path: sink.Path(name)}))
	}
	m[project+"images.jsonl"] = records.String()
	manifest.Write(sink.AppendManifestLine(nil, sink.ManifestLine{SHA256: digest(records.String()), Path: sink.Path(project + "images.jsonl")}))
	m["manifest-sha256.txt"] = manifest.String()
	b.SetBytes(int64(records.Len()))
	for b.Loop() {
		report, err := verify.Statements(b.Context(), m, verify.Options{})
		if err != nil || report.Result != verify.Failed {
			b.Fatal(report.Result, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/images, "µs/image")
}
