package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"slices"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// noProject is the project of files that are of no project.
var noProject = uuid.Nil

func newHash() hash.Hash { return sha256.New() }

func canonical(raw json.RawMessage) ([]byte, error) { return sink.CanonicalJSON(raw) }

// ids is a set of ids: added in any order, then sorted once, and only looked into afterwards.
type ids []uuid.UUID

func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }

// sorted sorts a list of ids and gives its distinct ones, and one that was there twice: the zero id
// when there is none.
func sorted(list ids) (set ids, twice uuid.UUID) {
	slices.SortFunc(list, compareIDs)
	for i := 1; i < len(list); i++ {
		if list[i] == list[i-1] {
			twice = list[i]
		}
	}
	return slices.Compact(list), twice
}

// has reports whether a set has an id.
func (s ids) has(id uuid.UUID) bool {
	_, ok := slices.BinarySearchFunc(s, id, compareIDs)
	return ok
}

// union is what either of two sets has.
func union(a, b ids) ids {
	if len(a) == 0 {
		return b
	}
	missing := 0
	for _, id := range b {
		if !a.has(id) {
			missing++
		}
	}
	if missing == 0 {
		return a
	}
	out, _ := sorted(append(slices.Clone(a), b...))
	return out
}

// without names an id that the set has and b lacks; the zero id when there is none.
func (s ids) without(b ids) uuid.UUID {
	for _, id := range s {
		if !b.has(id) {
			return id
		}
	}
	return uuid.Nil
}

// nameKey stands for a text in a set of ids.
func nameKey(name string) uuid.UUID {
	sum := sha256.Sum256([]byte(name))
	return uuid.UUID(sum[:16])
}
