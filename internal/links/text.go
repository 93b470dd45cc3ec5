package links

import "bytes"

// signed follows a text character by character and knows whether the link that it is in is signed.
// A link begins with its scheme and ends at a blank, a control character, a quote or an angle
// bracket.
type signed struct {
	last  uint64 // the last eight characters, in lower case
	link  bool   // within a link
	query bool   // behind its first question mark
	sv    bool   // the query has sv=
	sig   bool   // the query has sig=
}

// remembered is how many of the last characters are known.
const remembered = 8

// beginsSoon reports whether a link is read, or may begin with the next two characters. Otherwise
// none begins before the next colon, and what comes more than remembered characters before that
// does not matter.
func (s *signed) beginsSoon() bool {
	return s.link || byte(s.last) == ':' || byte(s.last>>8) == ':'
}

// is reports whether the link read so far is signed.
func (s *signed) is() bool { return s.sv && s.sig }

// ends reports whether a character can be in no link.
func ends(r rune) bool {
	return r <= ' ' || r == '"' || r == '<' || r == '>' || r == 0x7f
}

// add reads one character that a link can have.
func (s *signed) add(r rune) {
	c := byte(0xff) // stands for everything beyond ASCII
	switch {
	case 'A' <= r && r <= 'Z':
		c = byte(r) + 'a' - 'A'
	case r < 0x80:
		c = byte(r)
	}
	s.last = s.last<<8 | uint64(c)
	switch {
	case s.query:
		s.sv = s.sv || s.parameter("sv=")
		s.sig = s.sig || s.parameter("sig=")
	case s.link:
		s.query = c == '?'
	default:
		s.link = s.endsWith("http://") || s.endsWith("https://")
	}
}

// endsWith reports whether the characters read so far end in text, of eight bytes at most.
func (s *signed) endsWith(text string) bool {
	for i := range len(text) {
		if byte(s.last>>(8*(len(text)-1-i))) != text[i] {
			return false
		}
	}
	return true
}

// parameter reports whether the characters read so far end in the name of a parameter and its
// equals sign: no letter or digit stands before it.
func (s *signed) parameter(name string) bool {
	if !s.endsWith(name) {
		return false
	}
	before := byte(s.last >> (8 * len(name)))
	return (before < 'a' || before > 'z') && (before < '0' || before > '9') && before != '_'
}

// InText reports whether a text holds a signed link.
func InText(text string) bool {
	var s Scanner
	_, _ = s.Write([]byte(text))
	return s.Found()
}

// Scanner is a writer that looks for a signed link in the text written to it. It reads JSON, where
// characters may be escaped, and any other text. Its zero value is ready.
type Scanner struct {
	state  signed
	escape []byte // an escape that is not complete yet
	off    int64  // of the next byte
	link   int64  // where the query begins
	at     int64  // one more than where a signed query was found, 0: nowhere
}

// Found reports whether there is a signed link.
func (s *Scanner) Found() bool { return s.at > 0 }

// At is the offset of the first signed link's query, -1 when there is none.
func (s *Scanner) At() int64 { return s.at - 1 }

// Write implements io.Writer. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	colon, escape := -1, -1 // the next ones, as far as they were looked for
	for i := 0; i < len(p) && s.at == 0; i++ {
		if len(s.escape) == 0 && !s.state.beginsSoon() {
			colon, escape = nextByte(p, i, colon, ':'), nextByte(p, i, escape, '\\')
			if far := min(colon, escape) - remembered; far > i {
				s.off += int64(far - i)
				i = far
			}
		}
		s.next(p[i])
		s.off++
	}
	return len(p), nil
}

// nextByte is where c is next in p from i on, its length when it is not there. Before i it was
// looked for, and found at last or not at all.
func nextByte(p []byte, i, last int, c byte) int {
	if last >= i {
		return last
	}
	if at := bytes.IndexByte(p[i:], c); at >= 0 {
		return i + at
	}
	return len(p)
}

// next reads one byte.
func (s *Scanner) next(b byte) {
	if len(s.escape) == 0 && b != '\\' {
		s.feed(rune(b))
		return
	}
	s.escape = append(s.escape, b)
	switch n := len(s.escape); {
	case n == 1, n < 6 && s.escape[1] == 'u' && (n == 2 || isHex(b)):
		return
	case n == 6 && isHex(b), n == 2:
		r, _ := unescape(s.escape)
		s.feed(r)
	default: // no JSON: what it is made of
		for _, c := range s.escape {
			s.feed(rune(c))
		}
	}
	s.escape = s.escape[:0]
}

// feed reads one character.
func (s *Scanner) feed(r rune) {
	if ends(r) {
		s.state = signed{}
		return
	}
	queried := s.state.query
	s.state.add(r)
	if s.state.query && !queried {
		s.link = s.off
	}
	if s.state.is() {
		s.at = s.link + 1
	}
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f'
}

// unescape reads one character of JSON text at b and gives the number of bytes that it takes. For
// characters beyond ASCII it gives some character beyond ASCII.
func unescape(b []byte) (rune, int) {
	switch {
	case b[0] != '\\':
		return rune(b[0]), 1
	case b[1] != 'u':
		switch b[1] {
		case 't', 'n', 'r', 'b', 'f':
			return ' ', 2
		}
		return rune(b[1]), 2 // quote, backslash, slash
	}
	var r rune
	for _, h := range b[2:6] {
		if h <= '9' {
			r = r<<4 | rune(h-'0')
		} else {
			r = r<<4 | rune(h|0x20-'a'+10)
		}
	}
	return r, 6
}
