package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
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
func checkValid(b []byte, own bool) error {
	w := walk{rest: b, own: own, left: maxValues, names: make([]member, 0, 16)}
	return w.value(1, false)
}

// errMalformed says that a walk met what is no JSON.
var errMalformed = errors.New("not valid JSON")

// walk goes through JSON, and stops where that is none. It makes nothing of it, so that a line
// costs little.
type walk struct {
	rest  []byte
	own   bool
	left  int      // values there is room for
	names []member // of the objects around, outermost first
}

// member is the name of a member as it reads, and without its letter case.
type member struct{ text, folded []byte }

// value walks over the next value. foreign says that the names in it are the customer's own.
func (w *walk) value(depth int, foreign bool) error {
	switch w.skip() {
	case '{':
		w.left -= objectValues
		return w.object(depth, foreign)
	case '[':
		return w.inside(depth, ']', func() error { return w.value(depth+1, foreign) })
	case '"':
		if w.text() == nil {
			return errMalformed
		}
	default:
		end := bytes.IndexAny(w.rest, ",]} \t\r\n")
		if end < 0 {
			end = len(w.rest)
		}
		if end == 0 {
			return errMalformed
		}
		w.rest = w.rest[end:]
	}
	return w.count()
}

// object walks through an object, and checks its names.
func (w *walk) object(depth int, foreign bool) error {
	before := len(w.names)
	err := w.inside(depth, '}', func() error {
		name, ok := w.name(foreign)
		if !ok || w.skip() != ':' {
			return errMalformed
		}
		w.names, w.rest = append(w.names, name), w.rest[1:]
		customers := string(name.text) == "image_metadata" || !w.own && string(name.text) == "metadata"
		return w.value(depth+1, foreign || customers)
	})
	if err != nil {
		return err
	}
	names := w.names[before:]
	w.names = w.names[:before]
	slices.SortFunc(names, func(a, b member) int { return bytes.Compare(a.folded, b.folded) })
	for i, name := range names {
		if i > 0 && bytes.Equal(name.folded, names[i-1].folded) {
			return fmt.Errorf("the member %s is there twice", quote(string(name.text)))
		}
	}
	for _, name := range names {
		if w.own && !bytes.Equal(name.text, name.folded) && string(name.text) != "predicateType" {
			return fmt.Errorf("the member %s is in another letter case", quote(string(name.text)))
		}
	}
	return nil
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
			w.rest = w.rest[1:]
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
	for i, c := range w.rest {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			w.rest = w.rest[i:]
			return c
		}
	}
	w.rest = nil
	return 0
}

// text is the next string as it stands there, with its quotes; nil when it has no end.
func (w *walk) text() []byte {
	for end := 1; end < len(w.rest); end++ {
		switch w.rest[end] {
		case '\\':
			end++
		case '"':
			text := w.rest[:end+1]
			w.rest = w.rest[end+1:]
			return text
		}
	}
	return nil
}

// name is the next string, decoded. ok reports whether there is one.
func (w *walk) name(foreign bool) (m member, ok bool) {
	if w.skip() != '"' {
		return m, false
	}
	quoted := w.text()
	if quoted == nil {
		return m, false
	}
	if plain := quoted[1 : len(quoted)-1]; readsAsItStands(plain) {
		if !foreign && bytes.ContainsFunc(plain, unicode.IsUpper) {
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
