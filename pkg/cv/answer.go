package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/cvconsumer/cvconsumer/internal/jsonscan"
)

// answerReader reads a JSON answer value by value, within its bounds.
type answerReader struct {
	bounds  bounds
	body    *boundedBody
	buffer  []byte
	at      int   // how far the buffer was looked at
	passed  int64 // bytes of the answer that are in the buffer no more
	follows bool  // a comma is to come before what is next
	failed  error // of reading, to be told once the buffer was looked at
	left    int   // values
	shape   shape // of the value that was read last
}

// answerBuffers are for answers, of which most are small. A larger one grows its own.
var answerBuffers = sync.Pool{New: func() any { return new([64 * kib]byte) }}

// readAnswer has read read a JSON answer.
func readAnswer[A any](resp *http.Response, b bounds, read func(*answerReader) (A, error)) (answer A, err error) {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return answer, &kinded{ErrMisconfigured, fmt.Errorf("answer of type %s, not JSON", mediaType)}
	}
	shared := answerBuffers.Get().(*[64 * kib]byte)
	defer answerBuffers.Put(shared)
	r := &answerReader{bounds: b, body: &boundedBody{body: resp.Body, bounds: b}, left: b.values, buffer: shared[:0]}
	r.body.allow(0)
	for len(r.buffer) < len(byteOrderMark) {
		if err := r.more(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return answer, r.broken(err)
		}
	}
	if bytes.HasPrefix(r.buffer, []byte(byteOrderMark)) {
		r.at = len(byteOrderMark)
	}
	return read(r)
}

const byteOrderMark = "\ufeff"

// more reads more of the answer into the buffer, and forgets what was looked at where that makes
// room.
func (r *answerReader) more() error {
	if len(r.buffer) == cap(r.buffer) {
		if rest := r.buffer[r.at:]; len(rest) <= cap(r.buffer)/2 {
			r.buffer = r.buffer[:copy(r.buffer, rest)]
			r.passed, r.at = r.passed+int64(r.at), 0
		} else {
			r.buffer = slices.Grow(r.buffer, len(r.buffer))
		}
	}
	if r.failed != nil {
		return r.failed
	}
	n, err := r.body.Read(r.buffer[len(r.buffer):cap(r.buffer)])
	if r.buffer = r.buffer[:len(r.buffer)+n]; n > 0 {
		r.failed, err = err, nil // first what came with it
	}
	return err
}

// broken is the error of an answer that could not be read, or is no JSON.
func (r *answerReader) broken(err error) error {
	switch {
	case errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, ErrUnavailable):
		return fmt.Errorf("read answer: %w", err)
	}
	return unusable("the answer is truncated or invalid JSON, within its first %d bytes", r.body.read)
}

// errSyntax says that an answer is no JSON.
var errSyntax = errors.New("invalid JSON")

// peek gives the next byte that is no blank.
func (r *answerReader) peek() (byte, error) {
	for {
		if r.at = jsonscan.Blanks(r.buffer, r.at); r.at < len(r.buffer) {
			return r.buffer[r.at], nil
		}
		if err := r.more(); err != nil {
			return 0, err
		}
	}
}

// raw reads the next value, whose end scan looks for; it stands until more is read.
func (r *answerReader) raw(scan func(r *answerReader) (end int)) (json.RawMessage, error) {
	_, err := r.next()
	for seen := 0; err == nil; seen = len(r.buffer) - r.at {
		for err == nil && len(r.buffer)-r.at < 2*seen { // so that a large one is looked at twice at most
			err = r.more()
		}
		switch end := scan(r); {
		case end == unshaped:
			return nil, errUnshaped
		case end == jsonscan.Invalid:
			return nil, errSyntax
		case end >= 0 && (end < len(r.buffer) || !isDigit(r.buffer[end-1]) || errors.Is(err, io.EOF)):
			value := r.buffer[r.at:end]
			r.at, r.follows = end, true
			return value, nil
		}
	}
	return nil, err
}

// errUnshaped says that a value was not read, since checkShape has something against it.
var errUnshaped = errors.New("unusable by its shape")

// anyEnd is the end of the next value.
func anyEnd(r *answerReader) int { return jsonscan.Value(r.buffer, r.at) }

// shapedEnd is the end of the next value, which is looked through as checkShape does.
func shapedEnd(r *answerReader) int {
	r.shape.begin(r.buffer, r.left)
	return r.shape.value(r.at, 1, false)
}

// isDigit reports whether a number that ends so may go on in what follows.
func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// next gives the next byte that is no blank, behind the comma that is to come.
func (r *answerReader) next() (byte, error) {
	c, err := r.peek()
	if err != nil || !r.follows {
		return c, err
	}
	if r.follows = false; c != ',' {
		return 0, errSyntax
	}
	r.at++
	return r.peek()
}

// value reads the next value; it stands until more is read, and so does r.shape.
func (r *answerReader) value() (json.RawMessage, error) {
	r.body.allow(r.passed + int64(r.at))
	raw, err := r.raw(shapedEnd)
	unshaped := errors.Is(err, errUnshaped)
	if unshaped { // unless it is no JSON, or too large, which counts first
		raw, err = r.raw(anyEnd)
	}
	switch {
	case err != nil:
		return nil, r.broken(err)
	case len(raw) > r.bounds.each:
		return nil, r.body.elementTooLarge()
	case unshaped:
		return nil, checkShape(raw, &r.left)
	}
	r.left = r.shape.left
	return raw, checkText(raw)
}

// name reads the name of the next member, as it stands there, and its colon.
func (r *answerReader) name() (string, error) {
	var name string
	c, err := r.next()
	if err == nil && c != '"' {
		err = errSyntax
	}
	if err == nil {
		var raw json.RawMessage
		if raw, err = r.raw(anyEnd); err == nil {
			err = json.Unmarshal(raw, &name)
		}
	}
	if err == nil {
		if c, err = r.peek(); err == nil && c != ':' {
			err = errSyntax
		}
	}
	if err != nil {
		return "", r.broken(err)
	}
	r.at++
	r.follows = false
	return name, nil
}

// open reads the beginning of an object or a list.
func (r *answerReader) open(bracket byte) error {
	c, err := r.peek()
	if err == nil && c == bracket {
		r.at++
		return nil
	}
	begins := err == nil && (c == '{' || c == '[')
	if err == nil && !begins {
		var raw json.RawMessage
		if raw, err = r.raw(anyEnd); err == nil && string(raw) == "null" {
			return unusable("the answer, or what must be in it, is null")
		}
	}
	if err != nil {
		return r.broken(err)
	}
	return unusable("the answer, or what must be in it, does not begin with %c", bracket)
}

// goesOn reports whether an object or a list has more in it. Where that cannot be read there is no
// end of it either.
func (r *answerReader) goesOn() bool {
	c, err := r.peek()
	return err == nil && c != ']' && c != '}'
}

// close reads the end of an object or a list.
func (r *answerReader) close(bracket byte) error {
	c, err := r.peek()
	if err == nil && c != bracket {
		err = errSyntax
	}
	if err != nil {
		return r.broken(err)
	}
	r.at++
	r.follows = true
	return nil
}

// end makes sure that nothing follows.
func (r *answerReader) end() error {
	r.body.allow(int64(r.bounds.whole))
	r.follows = false
	if _, err := r.peek(); err == nil {
		return unusable("something follows the answer")
	} else if !errors.Is(err, io.EOF) {
		return r.broken(err)
	}
	return nil
}

// decode reads the next value into v.
func decode[T any](r *answerReader) (v T, err error) {
	raw, err := r.value()
	if err != nil {
		return v, err
	}
	if string(raw) == "null" {
		return v, unusable("the answer, or what must be in it, is null")
	}
	switch own := any(&v).(type) {
	case interface {
		unmarshal(raw json.RawMessage, members []named) error
	}:
		err = own.unmarshal(raw, r.shape.members)
	case json.Unmarshaler:
		err = own.UnmarshalJSON(raw) // what was read is valid: it need not be looked through once more
	default:
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return v, unusable("decode answer: %w", err)
	}
	return v, checkComplete(v)
}

// elements reads a list, element by element.
func elements[T any](r *answerReader, check func(T) error) ([]T, error) {
	return elementsBy(r, decode[T], check)
}

// elementsBy reads a list whose elements decode reads.
func elementsBy[T any](r *answerReader, decode func(*answerReader) (T, error), check func(T) error) ([]T, error) {
	if err := r.open('['); err != nil {
		return nil, err
	}
	items := []T{}
	for r.goesOn() {
		if len(items) == r.bounds.elements {
			return nil, tooLarge("a list of more than %d elements", r.bounds.elements)
		}
		item, err := decode(r)
		if err != nil {
			return nil, err
		}
		if err := check(item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, r.close(']')
}

// get makes a call whose answer is one value.
func get[T any](ctx context.Context, c *Client, k call, check func(T) error) (T, error) {
	return ask(ctx, c, k, func(r *answerReader) (T, error) {
		v, err := decode[T](r)
		if err != nil {
			return v, err
		}
		return v, check(v)
	})
}

// list makes a call whose answer is a list.
func list[T any](ctx context.Context, c *Client, k call, check func(T) error) ([]T, error) {
	return ask(ctx, c, k, func(r *answerReader) ([]T, error) { return elements(r, check) })
}

// ask makes a call whose answer is JSON. It retries an unusable answer.
func ask[A any](ctx context.Context, c *Client, k call, read func(*answerReader) (A, error)) (answer A, err error) {
	err = c.do(ctx, k, func(resp *http.Response) error {
		a, err := readAnswer(resp, k.bounds(), func(r *answerReader) (A, error) {
			a, err := read(r)
			if err != nil {
				return a, err
			}
			return a, r.end()
		})
		if err == nil {
			answer = a
		}
		return err
	})
	return answer, err
}

// count makes a call whose answer is a bare number.
func (c *Client) count(ctx context.Context, k call) (int, error) {
	k.method = http.MethodGet
	n, err := get(ctx, c, k, func(n int64) error {
		switch {
		case n < 0:
			return unusable("a count of %d", n)
		case n > MaxCount:
			return tooLarge("a count of %d, at most %d", n, MaxCount)
		}
		return nil
	})
	return int(n), err
}

// delete makes a call that deletes and gives the status of the answer, whose body says nothing.
func (c *Client) delete(ctx context.Context, k call) (status int, err error) {
	k.method = http.MethodDelete
	err = c.do(ctx, k, func(resp *http.Response) error {
		status = resp.StatusCode
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBytes))
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		return nil
	})
	return status, err
}
