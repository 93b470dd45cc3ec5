package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// checkMembers returns an error unless b is one JSON value in which no object has a member twice,
// in whatever letter case: programs differ in which of them they read. All names of the product
// (own) are in lower case, but for one of in-toto; those within metadata are the customer's.
func checkMembers(b []byte, own bool) error {
	err := checkValid(b, own)
	if (err == nil || errors.Is(err, errMalformed)) && !json.Valid(b) {
		return fmt.Errorf("not valid JSON: %w", json.Unmarshal(b, new(json.RawMessage)))
	}
	return err
}

// checkValid is checkMembers of what is known to be one JSON value.
func checkValid(b []byte, own bool) error { return checkNoted(b, own, nil) }

// checkNoted is checkMembers that tells note of members. Where it returns nil, b is one JSON value.
func checkNoted(b []byte, own bool, note noter) error {
	w := walk{rest: b, own: own, left: maxValues, names: make([][]byte, 0, 16), note: note}
	err := w.value(1, false)
	if err == nil && (w.skip() != 0 || len(w.rest) > 0) {
		return errMalformed
	}
	return err
}

// errMalformed says that a walk met what is no JSON.
var errMalformed = errors.New("not valid JSON")

// walk goes through JSON, and stops where that is none. It makes nothing of it, so that a line
// costs little.
type walk struct {
	rest  []byte
	own   bool
	left  int      // values there is room for
	names [][]byte // of the objects around, outermost first, without their letter case
	note  noter    // nil: nothing is noted
}

// noter is told of the members of a value (depth 1), and before each of these of its own members
// (depth 2).
type noter func(depth int, name member, value []byte)

// value walks over the next value. foreign says that the names in it are the customer's own.
func (w *walk) value(depth int, foreign bool) error {
	switch w.skip() {
	case '{':
		w.left -= objectValues
		return w.object(depth, foreign)
	case '[':
		return w.inside(depth, ']', func() error { return w.value(depth+1, foreign) })
	}
	end := jsonscan.Value(w.rest, 0)
	if end < 0 {
		return errMalformed
	}
	w.rest = w.rest[end:]
	return w.count()
}

// few is how many names are compared with each other. More are sorted.
const few = 64

// object walks through an object, and checks its names.
func (w *walk) object(depth int, foreign bool) error {
	var (
		before = len(w.names)
		marks  uint64 // of the names so far: names without a common bit are not the same
		twice  *member
		cased  *member
	)
	err := w.inside(depth, '}', func() error {
		name, ok := w.name(foreign)
		if !ok || w.skip() != ':' {
			return errMalformed
		}
		mark := markOf(name.folded)
		names := w.names[before:]
		if marks&mark != 0 && twice == nil && len(names) < few && slices.ContainsFunc(names, func(other []byte) bool { return bytes.Equal(other, name.folded) }) {
			twice = &member{name.text, nil}
		}
		if w.own && cased == nil && !bytes.Equal(name.text, name.folded) && string(name.text) != "predicateType" {
			cased = &member{name.text, nil}
		}
		marks |= mark
		w.names, w.rest = append(w.names, name.folded), w.rest[1:]
		customers := string(name.text) == "image_metadata" || !w.own && string(name.text) == "metadata"
		begin := jsonscan.Blanks(w.rest, 0)
		value := w.rest[begin:]
		if err := w.value(depth+1, foreign || customers); err != nil || w.note == nil || depth > 2 {
			return err
		}
		w.note(depth, name, value[:len(value)-len(w.rest)])
		return nil
	})
	if err != nil {
		return err
	}
	names := w.names[before:]
	w.names = w.names[:before]
	if len(names) > few && twice == nil {
		slices.SortFunc(names, bytes.Compare)
		for i, name := range names {
			if i > 0 && bytes.Equal(name, names[i-1]) {
				twice = &member{name, nil}
			}
		}
	}
	switch {
	case twice != nil:
		return fmt.Errorf("the member %s is there twice", quote(string(twice.text)))
	case cased != nil:
		return fmt.Errorf("the member %s is in another letter case", quote(string(cased.text)))
	}
	return nil
}

// markOf is one bit of 64, chosen by a text.
func markOf(text []byte) uint64 {
	sum := uint(len(text))
	for _, c := range text {
		sum = sum*31 + uint(c)
	}
	return 1 << (sum % 64)
}

// inside walks through an object or a list, whose end is a value, too.
func (w *walk) inside(depth int, end byte, element func() error) error {
	if err := w.count(); err != nil {
		return err
	}
	if depth > maxDepth {
		return errors.New("it is nested too deeply")
	}
	w.rest = w.rest[1:]
	for w.skip() != end {
		if err := element(); err != nil {
			return err
		}
		switch w.skip() {
		case ',':
			if w.rest = w.rest[1:]; w.skip() == end {
				return errMalformed
			}
		case end:
		default:
			return errMalformed
		}
	}
	w.rest = w.rest[1:]
	return w.count()
}

func (w *walk) count() error {
	if w.left--; w.left < 0 {
		return errors.New("it has more values than there is room for")
	}
	return nil
}

// skip skips blanks, and gives what comes then; 0 at the end.
func (w *walk) skip() byte {
	if w.rest = w.rest[jsonscan.Blanks(w.rest, 0):]; len(w.rest) == 0 {
		return 0
	}
	return w.rest[0]
}

// member is the name of a member as it reads, and without its letter case.
type member struct{ text, folded []byte }

// name is the next string, decoded. ok reports whether there is one.
func (w *walk) name(foreign bool) (m member, ok bool) {
	if w.skip() != '"' {
		return m, false
	}
	end := jsonscan.String(w.rest, 0)
	if end < 0 {
		return m, false
	}
	quoted := w.rest[:end]
	w.rest = w.rest[end:]
	if plain := quoted[1 : end-1]; readsAsItStands(plain) {
		if !foreign && slices.ContainsFunc(plain, func(c byte) bool { return 'A' <= c && c <= 'Z' }) {
			return member{plain, bytes.ToLower(plain)}, true
		}
		return member{plain, plain}, true
	}
	var text string
	if json.Unmarshal(quoted, &text) != nil {
		return m, false
	}
	if foreign {
		return member{[]byte(text), []byte(text)}, true
	}
	return member{[]byte(text), []byte(folded(text))}, true
}

// readsAsItStands reports whether a name is ASCII without escapes, as most are.
func readsAsItStands(name []byte) bool {
	return !slices.ContainsFunc(name, func(c byte) bool { return c >= utf8.RuneSelf || c == '\\' })
}

// folded is a member's name without its letter case, as package encoding/json compares names: it
// takes the long s for an s, too, and the sign of the kelvin for a k.
func folded(name string) string { return strings.ToLower(strings.ToUpper(name)) }
