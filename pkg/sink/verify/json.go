package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// statement decodes a file of the product's own into where, once it has the form that the product
// writes.
func statement[T any](v *verifier, f *file, where **T) {
	b := f.all()
	if b == nil {
		return
	}
	into := new(T)
	err := checkMembers(b, true)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		v.problem(f.name, "it is not what it should be: %v", err)
		return
	}
	var head struct{ V int }
	if err := json.Unmarshal(b, &head); err != nil || head.V != bagfile.Version {
		v.problem(f.name, "it has version %d, only %d is known", head.V, bagfile.Version)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	*where = into
}

// errPiece says that a value within a streamed file is larger than any that the product writes.
var errPiece = errors.New("a value of more than 1 MiB")

// errStream says that a whole file is larger.
var errStream = fmt.Errorf("it is larger than %d bytes", maxStream)

// stream reads a large JSON file piece by piece, in bounded memory.
type stream struct {
	dec  *json.Decoder
	in   io.Reader
	left int64 // bytes that may be read before the next piece is complete
	all  int64 // bytes that may be read in all
}

func newStream(in io.Reader) *stream {
	s := &stream{in: in, all: maxStream}
	s.dec = json.NewDecoder(s)
	s.dec.UseNumber()
	return s
}

// Read implements io.Reader for the decoder.
func (s *stream) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, errPiece
	}
	if s.all <= 0 {
		return 0, errStream
	}
	n, err := s.in.Read(p[:min(int64(len(p)), s.left, s.all)])
	s.left -= int64(n)
	s.all -= int64(n)
	return n, err
}

func (s *stream) token() (json.Token, error) {
	s.left = maxPiece
	return s.dec.Token()
}

// value reads the next value.
func (s *stream) value(into any) error {
	s.left = maxPiece
	return s.dec.Decode(into)
}

// own reads the next value, an object of the product's own, as statement reads a file.
func (s *stream) own(into any) error {
	var raw json.RawMessage
	err := s.value(&raw)
	if err == nil {
		err = checkMembers(raw, true)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// begin reads the beginning of an object or a list.
func (s *stream) begin(want json.Delim) error {
	token, err := s.token()
	if err == nil && token != want {
		err = fmt.Errorf("something else where %s is expected", quote(want.String()))
	}
	return err
}

// object reads an object; member reads the value of each member. No member may be there twice, or
// have a name in another letter case.
func (s *stream) object(member func(name string) error) error {
	if err := s.begin('{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for s.more() {
		token, err := s.token()
		if err != nil {
			return err
		}
		name, _ := token.(string)
		if seen[name] || folded(name) != name || len(seen) > maxDepth {
			return fmt.Errorf("the member %s is there twice, in another letter case, or one of too many", quote(name))
		}
		seen[name] = true
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := s.token()
	return err
}

// list reads a list; element reads each element.
func (s *stream) list(element func() error) error {
	if err := s.begin('['); err != nil {
		return err
	}
	for s.more() {
		if err := element(); err != nil {
			return err
		}
	}
	_, err := s.token()
	return err
}

// more reports whether the object or list goes on.
func (s *stream) more() bool {
	s.left = maxPiece
	return s.dec.More()
}

// end returns an error when something follows the value.
func (s *stream) end() error {
	if _, err := s.token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// same reports whether two JSON texts say the same.
func same(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return json.Valid(a)
	}
	x, errX := canonical(a)
	y, errY := canonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
