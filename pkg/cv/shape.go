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
	if err := checkText(raw); err != nil {
		return err
	}
	s := shape{text: raw, left: *left}
	s.value(jsonscan.Blanks(raw, 0), 1, false)
	*left = s.left
	return s.err
}

// checkText is checkShape of the text alone.
func checkText(raw []byte) error {
	if !utf8.Valid(raw) {
		return unusable("the answer is not UTF-8")
	}
	return nil
}

// shape walks through a JSON value. Its methods take the offset of something, and give the end of
// it: jsonscan.Invalid and jsonscan.Short as package jsonscan does, or unshaped.
type shape struct {
	text    []byte
	left    int
	names   [][]byte // of the objects around, outermost first
	members []named  // of the outermost object
	err     error    // why it is unusable
}

// unshaped is the end of what is unusable though it is JSON so far.
const unshaped = -3

// named is a member of an object: its name, decoded, and its value as it stands there.
type named struct{ name, value []byte }

// begin begins with a text in which so many values may be.
func (s *shape) begin(text []byte, left int) {
	*s = shape{text: text, left: left, names: s.names[:0], members: s.members[:0]}
}

// value walks over a value. free says that its members are the customer's own, whose letter case
// counts.
func (s *shape) value(at, depth int, free bool) (end int) {
	if at >= len(s.text) {
		return jsonscan.Short
	}
	c := s.text[at]
	if c == '{' {
		s.left -= objectValues - 1
	}
	switch s.left--; {
	case s.left < 0:
		return s.unusable(tooLarge("an answer of more values than there is room for"))
	case depth > maxDepth:
		return s.unusable(tooLarge("an answer of more than %d values in each other", maxDepth))
	case c == '{':
		return s.object(at, depth, free)
	case c == '[':
		return s.list(at, depth, free)
	}
	return jsonscan.Value(s.text, at)
}

func (s *shape) unusable(err error) (end int) {
	s.err = err
	return unshaped
}

func (s *shape) list(at, depth int, free bool) (end int) {
	if at = jsonscan.Blanks(s.text, at+1); at < len(s.text) && s.text[at] == ']' {
		return at + 1
	}
	for {
		if at = s.value(at, depth+1, free); at < 0 {
			return at
		}
		var last bool
		if at, last = s.comma(at, ']'); at < 0 || last {
			return at
		}
	}
}

// comma goes past what follows an element: a comma, or the last bracket.
func (s *shape) comma(at int, bracket byte) (end int, last bool) {
	switch at = jsonscan.Blanks(s.text, at); {
	case at == len(s.text):
		return jsonscan.Short, false
	case s.text[at] == bracket:
		return at + 1, true
	case s.text[at] != ',':
		return jsonscan.Invalid, false
	}
	return jsonscan.Blanks(s.text, at+1), false
}

func (s *shape) object(at, depth int, free bool) (end int) {
	if at = jsonscan.Blanks(s.text, at+1); at < len(s.text) && s.text[at] == '}' {
		return at + 1
	}
	before := len(s.names)
	var had uint64 // marks of the names so far
	for {
		end, begin := jsonscan.Name(s.text, at)
		if begin < 0 {
			return begin
		}
		name := nameOf(s.text[at:end])
		mark := markOf(name)
		if had&mark != 0 && slices.ContainsFunc(s.names[before:], func(other []byte) bool {
			return bytes.Equal(name, other) || !free && bytes.EqualFold(name, other)
		}) {
			return s.unusable(unusable("the answer has an object with the member %.40q twice", name))
		}
		had |= mark
		if s.names = append(s.names, name); len(s.names)-before > maxMembers {
			return s.unusable(tooLarge("an answer with an object of more than %d members", maxMembers))
		}
		if at = s.value(begin, depth+1, free || mark == ofMetadata && bytes.EqualFold(name, metadata)); at < 0 {
			return at
		}
		if depth == 1 {
			s.members = append(s.members, named{name, s.text[begin:at]})
		}
		var last bool
		if at, last = s.comma(at, '}'); at < 0 || last {
			s.names = s.names[:before]
			return at
		}
	}
}

// metadata is the member whose own members have names of the customer's.
var (
	metadata   = []byte("metadata")
	ofMetadata = markOf(metadata)
)

// markOf is one bit, of 64, of an ASCII name, whatever its letter case, and all bits of another
// one: names without a common bit are not the same.
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

// nameOf is a string, decoded.
func nameOf(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var name string
	_ = json.Unmarshal(quoted, &name) // it is well-formed
	return []byte(name)
}
