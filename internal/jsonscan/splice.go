package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Splicer encodes values that have JSON within. Package encoding/json would look that through
// again, and copy it twice. The zero value is ready.
type Splicer struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// Write encodes a value as a line, as an encoder does that escapes no HTML, and puts raw in the
// place of the null that stands there as its member of that name; of members within members with
// this name it is the first. Raw has to be JSON without blanks; null stays where it is empty.
func (s *Splicer) Write(w io.Writer, v any, name string, raw []byte) error {
	if s.enc == nil {
		s.enc = json.NewEncoder(&s.buf)
		s.enc.SetEscapeHTML(false)
	}
	s.buf.Reset()
	if err := s.enc.Encode(v); err != nil {
		return err //nolint:wrapcheck // callers say what they encode
	}
	before, after, ok := bytes.Cut(s.buf.Bytes(), []byte(`"`+name+`":null`))
	if !ok {
		return fmt.Errorf("no member %s is null", name)
	}
	if len(raw) == 0 {
		raw = []byte("null")
	}
	for _, part := range [][]byte{before, []byte(`"` + name + `":`), raw, after} {
		if _, err := w.Write(part); err != nil {
			return err //nolint:wrapcheck // the writer's own
		}
	}
	return nil
}

// List is the JSON of a list of values, which are JSON and copied as they stand.
func List(values []json.RawMessage) json.RawMessage {
	out := []byte{'['}
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']')
}
