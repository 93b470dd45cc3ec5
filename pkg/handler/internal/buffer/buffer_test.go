package buffer_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/buffer"
)

func TestBufferSize(t *testing.T) {
	for _, tc := range []struct{ length, want int64 }{
		{0, buffer.Least}, {1, buffer.Least}, {buffer.Least, buffer.Least}, {buffer.Least + 1, 5 << 10},
		{100 << 10, 112 << 10}, {112 << 10, 112 << 10}, {112<<10 + 1, 128 << 10}, {128 << 10, 128 << 10}, {128<<10 + 1, 160 << 10},
		{8<<20 - 1, 8 << 20}, {8 << 20, 8 << 20},
	} {
		if got := buffer.Size(tc.length); got != tc.want {
			t.Errorf("%d for %d bytes, want %d", got, tc.length, tc.want)
		}
	}
}
