package contract

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
)

// Strict decoding, with every limit and the canonical form; to be compared with reading the same
// JSON into any value.
func BenchmarkDecodeCommand(b *testing.B) {
	ids := make([]uuid.UUID, 1000)
	for i := range ids {
		ids[i] = uuid.New()
	}
	body, err := json.Marshal(map[string]any{"project_ids": ids[:1], "image_ids": ids, "reference": "case 17"})
	if err != nil {
		b.Fatal(err)
	}
	m := message("export", map[string][]string{HeaderMsgID: {"req-1"}}, string(body))
	ratio.Report(b, func() {
		if _, err := DecodeCommand("cv", m); err != nil {
			b.Fatal(err)
		}
	}, func() {
		var any map[string]any
		if err := json.Unmarshal(body, &any); err != nil {
			b.Fatal(err)
		}
	})
}
