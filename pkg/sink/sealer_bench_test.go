package sink_test

import (
	"fmt"
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// What an export does to the store for a page of pictures (each is stored; a reading, a result and
// the mark of an attempt too; the result is read) takes this many times as long with seals as
// without. Downloads and calls, which seals do not touch, take the rest of an export's time.
func BenchmarkSeals(b *testing.B) {
	const pictures = 256
	server := sinktest.Shared(b)
	plain := sink.NewStore(server.Client(), sink.StoreOptions{Bucket: server.Bucket(b, sinktest.BucketOptions{})})
	picture, result := noise(1, 20_000), noise(2, 200_000)
	n := 0
	page := func(store *sink.Store) func() {
		return func() {
			n++
			put := func(name string, content []byte) sink.Key {
				key := sink.Key(fmt.Sprintf("%d/%s", n, name))
				if _, err := store.Put(b.Context(), key, sink.Bytes(content, "")); err != nil {
					b.Fatal(err)
				}
				return key
			}
			put("try", result[:100])
			put("reading", result)
			for i := range pictures {
				put(fmt.Sprint(i), picture)
			}
			if _, err := store.ReadAll(b.Context(), put("result", result), 1<<20); err != nil {
				b.Fatal(err)
			}
		}
	}
	ratio.Report(b, page(plain.Sealed(sealer())), page(plain))
}

// A seal is two digests of some hundred bytes: little beside the SHA-256 that each picture has
// anyway.
func BenchmarkSeal(b *testing.B) {
	picture := noise(1, 20_000)
	seal := sink.SealOf(sealer(), "cmd-1/export/data/projects/p/images/i.jpg", sink.Bytes(picture, ""))
	ratio.Report(b, func() { seal() }, func() { sink.Bytes(picture, "") })
}
