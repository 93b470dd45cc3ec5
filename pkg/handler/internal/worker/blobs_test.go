package worker

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/internal/share"
)

// What a download reserves is what its buffer takes, and all of it is given back. A buffer is used
// again only when the store has the whole of it: what a request that was refused, or given up,
// still sends must not change under it.
func TestBuffersThatMayBeReadAreNotUsedAgain(t *testing.T) {
	const length, size = 100 << 10, 112 << 10
	for _, sent := range []bool{false, true} {
		w := &Worker{memory: share.NewPool(maxInMemory, 1), uploads: share.NewPool(maxInMemory, 1)}
		w.Buffer = maxInMemory
		d := &download{a: &attempt{w: w}, ctx: t.Context()}
		for range 2 { // a try that fails, and the next one
			to, err := d.begin(length)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := to.Write(make([]byte, length)); err != nil {
				t.Fatal(err)
			}
		}
		if d.memory.Len() != length || d.held != size || w.memory.TryAcquire("", maxInMemory-size+1) {
			t.Fatalf("it has %d bytes, and reserved %d", d.memory.Len(), d.held)
		}
		used := d.memory
		d.sent = sent
		d.close()
		if !w.memory.TryAcquire("", maxInMemory) {
			t.Error("not all that was reserved is given back")
		}
		if again := w.buffers.Take(size); again == used && !sent {
			t.Error("a buffer is used again that a request may still read")
		} else if again.Len() != 0 || again.Cap() < length {
			t.Errorf("a buffer of %d bytes has room for %d", again.Len(), again.Cap())
		}
	}
}
