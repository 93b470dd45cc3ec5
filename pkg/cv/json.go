package cv

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Identified is an object that has an id of its own, such as an image.
type Identified interface{ Identity() uuid.UUID }

// decodeModel decodes a JSON object into a typed view and keeps the JSON itself. A field of an
// unexpected type is left zero: what it was stands in raw, and one odd field must not keep a
// thousand images from being exported. null leaves everything as it is: doJSON retries an answer
// whose objects lack members they must have.
func decodeModel(b []byte, view any, raw *json.RawMessage) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	if bytes.HasPrefix(b, []byte("null")) {
		return nil
	}
	if len(b) == 0 || b[0] != '{' {
		return errors.New("not a JSON object")
	}
	if json.Unmarshal(b, view) != nil {
		// Decoding may have stopped at the odd field: each of the others is given its own chance.
		var members map[string]json.RawMessage
		if err := json.Unmarshal(b, &members); err != nil {
			return err
		}
		for name, value := range members {
			if one, err := json.Marshal(map[string]json.RawMessage{name: value}); err == nil {
				_ = json.Unmarshal(one, view)
			}
		}
	}
	*raw = bytes.Clone(b)
	return nil
}

// member is the value of a JSON object's member, nil when it is not there. Letter case is ignored,
// as in decoding.
func member(object json.RawMessage, name string) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	for n, value := range members {
		if strings.EqualFold(n, name) {
			return value
		}
	}
	return nil
}

// StripQueries gives a JSON value as received, on one line and without insignificant blanks, except
// that the query and fragment of every URI are removed: those are the string values of members
// named …Uri or …Url, and all other strings that are an absolute http or https URI with a query.
// Key order, duplicate keys, escapes and the text of numbers stay as they are. It errs when raw is
// not JSON.
func StripQueries(raw json.RawMessage) (json.RawMessage, error) {
	if !json.Valid(raw) {
		return nil, errors.New("strip queries: not valid JSON")
	}
	s := stripper{in: raw, out: make([]byte, 0, len(raw))}
	s.value(false)
	return s.out, nil
}

// stripper copies valid JSON token by token.
type stripper struct {
	in  []byte
	pos int
	out []byte
}

// value copies the next value; uri says that it belongs to a member whose strings are URIs.
// Validity bounds the depth.
func (s *stripper) value(uri bool) {
	switch s.peek() {
	case '{':
		s.take()
		for s.peek() != '}' {
			key := s.str()
			s.out = append(s.out, key...)
			s.peek()
			s.take() // :
			s.value(isURIName(key))
			if s.peek() == ',' {
				s.take()
			}
		}
		s.take()
	case '[':
		s.take()
		for s.peek() != ']' {
			s.value(uri)
			if s.peek() == ',' {
				s.take()
			}
		}
		s.take()
	case '"':
		text := s.str()
		if cut := queryStart(text, uri); cut >= 0 {
			s.out = append(append(s.out, text[:cut]...), '"')
			return
		}
		s.out = append(s.out, text...)
	default: // number, true, false, null
		start := s.pos
		for s.pos < len(s.in) && !strings.ContainsRune(",]} \t\r\n", rune(s.in[s.pos])) {
			s.pos++
		}
		s.out = append(s.out, s.in[start:s.pos]...)
	}
}

// peek skips blanks and gives the next byte, or 0 at the end.
func (s *stripper) peek() byte {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return s.in[s.pos]
		}
	}
	return 0
}

func (s *stripper) take() {
	s.out = append(s.out, s.in[s.pos])
	s.pos++
}

// str consumes a string with its quotes.
func (s *stripper) str() []byte {
	start := s.pos
	for s.pos++; s.in[s.pos] != '"'; s.pos++ {
		if s.in[s.pos] == '\\' {
			s.pos++
		}
	}
	s.pos++
	return s.in[start:s.pos]
}

// isURIName reports whether a quoted member name is that of a URI.
func isURIName(quoted []byte) bool {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(quoted, &plain) != nil {
			return false
		}
		name = []byte(plain)
	}
	if len(name) < 3 {
		return false
	}
	switch string(name[len(name)-3:]) {
	case "Uri", "Url", "URI", "URL":
		return true
	case "uri", "url":
		return len(name) == 3
	}
	return false
}

// queryStart is where the query or fragment begins in a quoted string that is a URI, or -1 when
// nothing is to be removed. It walks the text as received, escapes included, so that what stays is
// byte for byte what was there.
func queryStart(quoted []byte, uri bool) int {
	if !uri && !looksAbsolute(quoted) {
		return -1
	}
	for i := 1; i < len(quoted)-1; {
		r, size := unescape(quoted[i:])
		switch {
		case r == '?':
			return i
		case r == '#' && uri:
			return i
		case r == '#': // free text with a link that has a fragment, and no query before it
			return -1
		}
		i += size
	}
	return -1
}

// looksAbsolute reports whether a quoted string begins like an http or https URI, blanks before it
// aside.
func looksAbsolute(quoted []byte) bool {
	var head [8]byte
	n := 0
	for i := 1; i < len(quoted)-1 && n < len(head); {
		r, size := unescape(quoted[i:])
		i += size
		if n == 0 && (r == ' ' || r == '\t' || r == '\r' || r == '\n') {
			continue
		}
		if r >= utf8.RuneSelf {
			return false
		}
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		head[n] = byte(r)
		n++
	}
	text := string(head[:n])
	return strings.HasPrefix(text, "http://") || text == "https://"
}

// unescape reads one character of valid JSON text at b and gives the number of bytes it takes. For
// characters beyond ASCII it only has to give something that is not ASCII.
func unescape(b []byte) (rune, int) {
	switch {
	case b[0] != '\\':
		return rune(b[0]), 1
	case b[1] != 'u':
		switch b[1] {
		case 't', 'n', 'r':
			return ' ', 2
		case 'b', 'f':
			return utf8.RuneError, 2
		}
		return rune(b[1]), 2 // quote, backslash, slash
	}
	var r rune
	for _, h := range b[2:6] {
		switch {
		case h <= '9':
			r = r<<4 | rune(h-'0')
		default:
			r = r<<4 | rune(h|0x20-'a'+10)
		}
	}
	return r, 6
}
