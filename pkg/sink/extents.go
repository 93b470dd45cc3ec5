package sink

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// extent is the size of a file, known by the first half of its path's SHA-256: enough to
// distinguish the files of a bag.
type extent struct {
	path [16]byte
	size int64
}

// pathHash stands for a path.
func pathHash(path Path) [16]byte {
	sum := sha256.Sum256([]byte(path))
	return [16]byte(sum[:16])
}

// sizedLines yields the lines of the manifest, each with the size of its object.
func (b *Bag) sizedLines() iter.Seq2[sizedLine, error] {
	return func(yield func(sizedLine, error) bool) {
		sizes := b.sizes
		for l, err := range ManifestLines(b.manifest.ReadSeeker()) {
			size, n := binary.Uvarint(sizes)
			sizes = sizes[n:]
			if !yield(sizedLine{l, int64(size)}, err) || err != nil { //nolint:gosec // Add takes no negative one
				return
			}
		}
	}
}

// sizedLine is a line of the manifest with the size of its object.
type sizedLine struct {
	ManifestLine

	size int64
}

// sortPayload reads the manifest, and fails if it lists an object twice.
func (b *Bag) sortPayload() error {
	b.payload = make([]extent, 0, b.objects)
	for l, err := range b.sizedLines() {
		if err != nil {
			return err
		}
		b.payload = append(b.payload, extent{pathHash(l.Path), l.size})
	}
	slices.SortFunc(b.payload, func(x, y extent) int { return slices.Compare(x.path[:], y.path[:]) })
	for i := 1; i < len(b.payload); i++ {
		if b.payload[i].path == b.payload[i-1].path {
			return fmt.Errorf("payload is listed twice: %s", b.duplicate(b.payload[i].path))
		}
	}
	return nil
}

// duplicate finds the path of a hash in the manifest.
func (b *Bag) duplicate(hash [16]byte) Path {
	for l, err := range ManifestLines(b.manifest.ReadSeeker()) {
		if err == nil && pathHash(l.Path) == hash {
			return l.Path
		}
	}
	return "?"
}

// find is the index of a payload path, -1 when it is not listed. The payload is sorted.
func (b *Bag) find(path Path) int {
	i, ok := slices.BinarySearchFunc(b.payload, pathHash(path), func(e extent, h [16]byte) int { return slices.Compare(e.path[:], h[:]) })
	if !ok {
		return -1
	}
	return i
}

// bitset is a set of small numbers.
type bitset []uint64

func newBitset(n int) bitset { return make(bitset, (n+63)/64) }

func (s bitset) set(i int) { s[i/64] |= 1 << (i % 64) }

func (s bitset) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

func (s bitset) count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}
