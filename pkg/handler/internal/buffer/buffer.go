// Package buffer has memory that blobs share, one after the other.
package buffer

import (
	"bytes"
	"math/bits"
	"sync"
)

// Least is the size of the smallest buffer, in bytes.
const Least = 4 << 10

// Pool has buffers that hold one blob each and are used again: allocated for every blob, they would
// be most of the garbage of an export. The zero value is ready.
type Pool struct{ bySize sync.Map } // of sizes: *sync.Pool

// Size is the size of a buffer for a blob of length bytes: there are four sizes between two
// powers of two, so that blobs of similar lengths share buffers, and at most a fifth stays unused.
func Size(length int64) int64 {
	if length <= Least {
		return Least
	}
	step := bits.Len64(uint64(length-1)) - 3
	return ((length-1)>>step + 1) << step
}

// Take gives an empty buffer of a size that Size gave.
func (b *Pool) Take(size int64) *bytes.Buffer {
	if used, ok := b.pool(size).Get().(*bytes.Buffer); ok {
		used.Reset()
		return used
	}
	return bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead)) // room to find the end in
}

// Give has a buffer used again, which nothing may read any more. A buffer that has grown, since
// more came than was announced, is left to the garbage collector.
func (b *Pool) Give(size int64, used *bytes.Buffer) {
	if int64(used.Cap()) == size+bytes.MinRead {
		b.pool(size).Put(used)
	}
}

func (b *Pool) pool(size int64) *sync.Pool {
	if p, ok := b.bySize.Load(size); ok {
		return p.(*sync.Pool) //nolint:forcetypeassert // see bySize
	}
	p, _ := b.bySize.LoadOrStore(size, new(sync.Pool))
	return p.(*sync.Pool) //nolint:forcetypeassert // see bySize
}
