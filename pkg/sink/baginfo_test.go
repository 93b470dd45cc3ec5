package sink_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestBagInfoIsSafe(t *testing.T) {
	long := strings.TrimSpace(strings.Repeat("a long story of many words, ", 20))
	fields := []sink.Field{
		{"Reference", "case 7\r\nPayload-Oxum: 0.0\n evil: yes\x00\u2028end"},
		{"Empty", ""},
		{"Description", long},
		{"Word", strings.Repeat("w", 300)},
		{"Accents", "  données\t\xff "},
	}
	want := []sink.Field{
		{"Reference", "case 7 Payload-Oxum: 0.0 evil: yes end"},
		{"Empty", ""},
		{"Description", long},
		{"Word", strings.Repeat("w", 300)},
		{"Accents", "données \uFFFD"},
		{"Payload-Oxum", "1.1"},
	}
	w := newWorld(t, sinktest.BucketOptions{})
	bag, err := sink.NewBag(w.store, testRoot, t.TempDir())
	must(t, err)
	defer func() { _ = bag.Close() }()
	_, err = bag.Put(t.Context(), sink.ExportFile, sink.Bytes([]byte("x"), ""))
	must(t, err)
	_, err = bag.Seal(t.Context(), fields)
	must(t, err)
	text, err := w.store.ReadAll(t.Context(), testRoot+"bag-info.txt", 1<<20)
	must(t, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		if len(line) > 79 && !strings.Contains(line, "www") {
			t.Errorf("a line of %d: %s", len(line), line)
		}
	}
	got, err := sink.ParseBagInfo(text)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v\nfrom\n%s", got, err, text)
	}
}
