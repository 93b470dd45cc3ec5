package verify_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// crowd is a golden bag with more images in the workspace. Its receipt is of the golden bag.
func crowd(t testing.TB, images int) memory {
	t.Helper()
	m := maps.Clone(load(t, "two-tags"))
	record, _, _ := strings.Cut(m[project+"images.jsonl"], "\n")
	content := m[picture]
	var records, manifest strings.Builder
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
	return m
}

// What one image costs in the check before a receipt: its record is read, its picture is not.
func BenchmarkStatements(b *testing.B) {
	const images = 1000
	m := crowd(b, images)
	b.SetBytes(int64(len(m[project+"images.jsonl"])))
	for b.Loop() {
		report, err := verify.Statements(b.Context(), m, verify.Options{})
		if err != nil || report.Result != verify.Failed {
			b.Fatal(report.Result, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/images, "µs/image")
}

// weighed is a bag that weighs the heap once its records are read, when most is known of it.
type weighed struct {
	memory
	heap *uint64
}

// Open implements verify.Source.
func (w weighed) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, err := w.memory.Open(ctx, name)
	if name != project+"images.jsonl" || err != nil {
		return body, err
	}
	return io.NopCloser(io.MultiReader(body, weigher{w.heap})), nil
}

// weigher is an empty reader that notes how much the heap holds.
type weigher struct{ heap *uint64 }

// Read implements io.Reader.
func (w weigher) Read([]byte) (int, error) {
	*w.heap = held()
	return 0, io.EOF
}

// held is how much the heap holds.
func held() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMemoryOfImages: of each image a hash of its file's name, a size, most of a digest and an id
// are kept, and no more.
func TestMemoryOfImages(t *testing.T) {
	weigh := func(images int) int64 {
		w := weighed{memory: crowd(t, images), heap: new(uint64)}
		before := held()
		report, err := verify.Statements(t.Context(), w, verify.Options{})
		must(t, err)
		if report.Files < images || strings.Contains(fmt.Sprint(report.Problems), "line ") {
			t.Errorf("%d files, %v", report.Files, report.Problems)
		}
		grew := int64(*w.heap) - int64(before)
		runtime.KeepAlive(w)
		return grew
	}
	const few, many, most = 1000, 6000, 88
	if each := (weigh(many) - weigh(few)) / (many - few); each > most {
		t.Errorf("%d bytes for each image", each)
	}
}
