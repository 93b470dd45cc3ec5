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

	"github.com/google/uuid"
)

// answerReader reads a JSON answer value by value, within its bounds.
type answerReader struct {
	bounds bounds
	body   *boundedBody
	d      *json.Decoder
	left   int // values
	raw    json.RawMessage
}

// newAnswerReader begins to read a JSON answer.
func newAnswerReader(resp *http.Response, b bounds) (*answerReader, error) {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return nil, &kinded{ErrMisconfigured, fmt.Errorf("answer of type %s, not JSON", mediaType)}
	}
	r := &answerReader{bounds: b, body: &boundedBody{body: resp.Body, bounds: b}, left: b.values}
	r.body.allow(0)
	head := make([]byte, len(byteOrderMark))
	n, err := io.ReadFull(r.body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, r.broken(err)
	}
	head = bytes.TrimPrefix(head[:n], []byte(byteOrderMark))
	r.d = json.NewDecoder(io.MultiReader(bytes.NewReader(head), r.body))
	return r, nil
}

const byteOrderMark = "\ufeff"

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

// value reads the next value; it stands until the next one is read.
func (r *answerReader) value() (json.RawMessage, error) {
	r.body.allow(r.d.InputOffset())
	if err := r.d.Decode(&r.raw); err != nil {
		return nil, r.broken(err)
	}
	if len(r.raw) > r.bounds.each {
		return nil, r.body.elementTooLarge()
	}
	return r.raw, checkShape(r.raw, &r.left)
}

// open reads the beginning of an object or a list.
func (r *answerReader) open(delim json.Delim) error {
	token, err := r.d.Token()
	switch {
	case err != nil:
		return r.broken(err)
	case token == nil:
		return unusable("the answer, or what must be in it, is null")
	case token != delim:
		return unusable("the answer, or what must be in it, does not begin with %s", delim)
	}
	return nil
}

// close reads the end of an object or a list.
func (r *answerReader) close() error {
	if _, err := r.d.Token(); err != nil {
		return r.broken(err)
	}
	return nil
}

// end makes sure that nothing follows.
func (r *answerReader) end() error {
	r.body.allow(int64(r.bounds.whole))
	if _, err := r.d.Token(); err == nil {
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
	if own, ok := any(&v).(json.Unmarshaler); ok {
		err = own.UnmarshalJSON(raw) // what was read is valid: it need not be looked through once more
	} else {
		err = json.Unmarshal(raw, &v)
	}
	if err != nil {
		return v, unusable("decode answer: %w", err)
	}
	return v, checkComplete(v)
}

// elements reads a list, element by element.
func elements[T any](r *answerReader, check func(T) error) ([]T, error) {
	if err := r.open('['); err != nil {
		return nil, err
	}
	items := []T{}
	for r.d.More() {
		if len(items) == r.bounds.elements {
			return nil, tooLarge("a list of more than %d elements", r.bounds.elements)
		}
		item, err := decode[T](r)
		if err != nil {
			return nil, err
		}
		if err := check(item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, r.close()
}

// unusable is the error of a 2xx answer that does not say what it must. It is ErrUnavailable, since
// what is missing from an answer must not be taken for "nothing there".
func unusable(format string, args ...any) error {
	return &kinded{ErrUnavailable, fmt.Errorf(format, args...)}
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
		r, err := newAnswerReader(resp, k.bounds())
		if err != nil {
			return err
		}
		a, err := read(r)
		if err != nil {
			return err
		}
		answer = a
		return r.end()
	})
	return answer, err
}

// anyOf is the check that every object passes.
func anyOf[T any](T) error { return nil }

// only is the check that objects of these ids pass: one that was not asked for is no answer.
func only[T Identified](ids ...uuid.UUID) func(T) error {
	return func(v T) error {
		if !slices.Contains(ids, v.Identity()) {
			return unusable("the answer has %s, which was not asked for", v.Identity())
		}
		return nil
	}
}

// of fails for something that says that it is of another project than the one asked about.
func of(asked, says uuid.UUID) error {
	if says != uuid.Nil && says != asked {
		return unusable("the answer has something of project %s, which was not asked for", says)
	}
	return nil
}

// distinct is a whole list with each thing once: two entries of one id are one thing.
func distinct[T Identified](items []T, err error) ([]T, error) {
	seen := make(map[uuid.UUID]struct{}, len(items))
	return slices.DeleteFunc(items, func(item T) bool {
		_, twice := seen[item.Identity()]
		seen[item.Identity()] = struct{}{}
		return twice
	}), err
}

// missingMember names a member that a decoded object must have and has not; it is empty when the
// object is complete. Every object that has an id needs it. An object that needs more than that has
// a method missing, which names what it lacks beside its id.
func missingMember(v any) string {
	if v, ok := v.(Identified); ok && v.Identity() == uuid.Nil {
		return "id"
	}
	if v, ok := v.(interface{ missing() string }); ok {
		return v.missing()
	}
	return ""
}

// checkComplete checks that an object has every member it must have.
func checkComplete[T any](v T) error {
	if name := missingMember(v); name != "" {
		return unusable("decode answer: there is no %s in it", name)
	}
	return nil
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
