package sink_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	var known []goleak.Option
	for _, function := range sinktest.LibraryGoroutines() {
		known = append(known, goleak.IgnoreAnyFunction(function))
	}
	goleak.VerifyTestMain(m, known...)
}

// world is a bucket of a test's own, and stores on it.
type world struct {
	server *sinktest.Server
	bucket string
	store  *sink.Store // without faults
}

func newWorld(t *testing.T, o sinktest.BucketOptions) *world {
	t.Helper()
	w := &world{server: sinktest.Shared(t)}
	w.bucket = w.server.Bucket(t, o)
	w.store = sink.NewStore(w.server.Client(), w.options())
	return w
}

func (w *world) options() sink.StoreOptions {
	return sink.StoreOptions{
		Bucket:         w.bucket,
		MultipartAbove: 6 << 20,
		PartBytes:      5 << 20,
		Log:            zerolog.Nop(),
		Wait:           func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
}

// faulty is a store on the same bucket whose requests meet the faults, all of which must be hit.
func (w *world) faulty(t *testing.T, faults ...sinktest.Fault) (*sink.Store, *sinktest.Faults) {
	t.Helper()
	f := sinktest.Script(t, faults...)
	return sink.NewStore(w.server.FaultyClient(f), w.options()), f
}

// left is everything the bucket keeps below a prefix, all versions included.
func (w *world) left(t *testing.T, prefix string) string {
	t.Helper()
	found, err := sinktest.Versions(t.Context(), w.server.Client(), w.bucket, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, "\n")
}

// noise is content that is the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = random.Read(b)
	return b
}
