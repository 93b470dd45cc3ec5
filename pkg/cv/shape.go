package cv

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// checkShape looks through a JSON value, which is well-formed, for what makes it unusable whatever
// it means: text that is not UTF-8, an object that has a member twice (decoding ignores letter
// case, and takes the last one), too much in it. left is how many values may be in it, and then in
// those that follow.
func checkShape(raw []byte, left *int) error {
	if !utf8.Valid(raw) {
		return unusable("the answer is not UTF-8")
	}
	s := shape{rest: raw, left: left}
	s.names = s.room[:0]
	return s.value(1, false)
}

// metadata is the member whose own members have names of the customer's.
var (
	metadata   = []byte("metadata")
	ofMetadata = markOf(metadata)
)

// shape walks through a JSON value.
type shape struct {
	rest  []byte
	left  *int
	names [][]byte // of the objects around, outermost first
	room  [16][]byte
}

// value walks over the next value. free says that its members are the customer's own, whose letter
// case counts.
func (s *shape) value(depth int, free bool) error {
	if s.skip(); s.rest[0] == '{' {
		*s.left -= objectValues - 1
	}
	switch *s.left--; {
	case *s.left < 0:
		return tooLarge("an answer of more values than there is room for")
	case depth > maxDepth:
		return tooLarge("an answer of more than %d values in each other", maxDepth)
	}
	switch s.rest[0] {
	case '{':
		return s.object(depth, free)
	case '[':
		for s.take(); s.skip() != ']'; s.comma() {
			if err := s.value(depth+1, free); err != nil {
				return err
			}
		}
		s.take()
	case '"':
		s.text()
	default:
		s.rest = s.rest[jsonscan.Value(s.rest, 0):]
	}
	return nil
}

func (s *shape) object(depth int, free bool) error {
	before := len(s.names)
	var had uint64 // marks of the names so far
	for s.take(); s.skip() != '}'; s.comma() {
		name := s.name()
		mark := markOf(name)
		if had&mark != 0 && slices.ContainsFunc(s.names[before:], func(other []byte) bool {
			return bytes.Equal(name, other) || !free && bytes.EqualFold(name, other)
		}) {
			return unusable("the answer has an object with the member %.40q twice", name)
		}
		had |= mark
		if s.names = append(s.names, name); len(s.names)-before > maxMembers {
			return tooLarge("an answer with an object of more than %d members", maxMembers)
		}
		s.skip()
		s.take() // the colon
		if err := s.value(depth+1, free || mark == ofMetadata && bytes.EqualFold(name, metadata)); err != nil {
			return err
		}
	}
	s.take()
	s.names = s.names[:before]
	return nil
}

// markOf is one bit, of 64, of an ASCII name, whatever its letter case, and all bits of another one:
// names without a common bit are not the same.
func markOf(name []byte) uint64 {
	sum := uint(len(name))
	for _, c := range name {
		if c >= utf8.RuneSelf {
			return 1<<64 - 1
		}
		sum = sum*31 + uint(c|0x20)
	}
	return 1 << (sum % 64)
}

// skip skips blanks, and gives what comes then.
func (s *shape) skip() byte {
	s.rest = s.rest[jsonscan.Blanks(s.rest, 0):]
	return s.rest[0]
}

func (s *shape) take() { s.rest = s.rest[1:] }

func (s *shape) comma() {
	if s.skip() == ',' {
		s.take()
	}
}

// text is the next string, as it stands there.
func (s *shape) text() []byte {
	end := jsonscan.String(s.rest, 0)
	text := s.rest[:end]
	s.rest = s.rest[end:]
	return text
}

// name is the next string, decoded.
func (s *shape) name() []byte {
	text := s.text()
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1]
	}
	var name string
	_ = json.Unmarshal(text, &name) // it is well-formed
	return []byte(name)
}
