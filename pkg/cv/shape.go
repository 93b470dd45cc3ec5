package cv

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
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
	return s.value(1, false)
}

// shape walks through a JSON value.
type shape struct {
	rest  []byte
	left  *int
	names [][]byte // of the objects around, outermost first
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
		s.rest = s.rest[scalarLength(s.rest):]
	}
	return nil
}

func (s *shape) object(depth int, free bool) error {
	before := len(s.names)
	for s.take(); s.skip() != '}'; s.comma() {
		name := s.name()
		for _, other := range s.names[before:] {
			if bytes.Equal(name, other) || !free && bytes.EqualFold(name, other) {
				return unusable("the answer has an object with the member %.40q twice", name)
			}
		}
		if s.names = append(s.names, name); len(s.names)-before > maxMembers {
			return tooLarge("an answer with an object of more than %d members", maxMembers)
		}
		s.skip()
		s.take() // the colon
		if err := s.value(depth+1, free || bytes.EqualFold(name, []byte("metadata"))); err != nil {
			return err
		}
	}
	s.take()
	s.names = s.names[:before]
	return nil
}

// skip skips blanks, and gives what comes then.
func (s *shape) skip() byte {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
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
	end := 1
	for ; s.rest[end] != '"'; end++ {
		if s.rest[end] == '\\' {
			end++
		}
	}
	text := s.rest[:end+1]
	s.rest = s.rest[end+1:]
	return text
}

// name is the next string, decoded.
func (s *shape) name() []byte {
	text := s.text()
	if !bytes.ContainsRune(text, '\\') {
		return text[1 : len(text)-1]
	}
	var name string
	_ = json.Unmarshal(text, &name) // it is well-formed
	return []byte(name)
}

// scalarLength is how long the number or word is that text begins with.
func scalarLength(text []byte) int {
	if end := bytes.IndexAny(text, ",]} \t\r\n"); end >= 0 {
		return end
	}
	return len(text)
}
