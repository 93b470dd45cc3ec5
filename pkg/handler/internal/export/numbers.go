package export

import "iter"

// numbers is a set of units by number. It takes a bit for each number up to the greatest: objects
// under the names of a million units, which any writer to the bucket can place, take little memory.
type numbers struct{ bits []uint64 }

func (s *numbers) add(n int) {
	if missing := n/64 + 1 - len(s.bits); missing > 0 {
		s.bits = append(s.bits, make([]uint64, missing)...)
	}
	s.bits[n/64] |= 1 << (n % 64)
}

func (s *numbers) has(n int) bool {
	return n/64 < len(s.bits) && s.bits[n/64]&(1<<(n%64)) != 0
}

// all yields the numbers in order.
func (s *numbers) all() iter.Seq[int] {
	return func(yield func(int) bool) {
		for n := range len(s.bits) * 64 {
			if s.has(n) && !yield(n) {
				return
			}
		}
	}
}
