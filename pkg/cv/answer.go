package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// readJSON reads a JSON answer into v. An answer that is not JSON of that shape is unusable: the
// call may succeed the next time.
func readJSON(resp *http.Response, v any) error {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if mediaType != "" && mediaType != "application/json" && !strings.HasSuffix(mediaType, "+json") {
		return &kinded{ErrMisconfigured, fmt.Errorf("answer of type %s, not JSON", mediaType)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	switch {
	case err != nil:
		return fmt.Errorf("read answer: %w", err)
	case len(body) > maxAnswerBytes:
		return fmt.Errorf("answer of more than %d bytes: %w", maxAnswerBytes, ErrTooLarge)
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if !json.Valid(body) {
		return unusable("answer of %d bytes is truncated or invalid JSON", len(body))
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return unusable("the answer is null")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return unusable("decode answer: %w", err)
	}
	return nil
}

// unusable is the error of a 2xx answer that does not say what it must. It is ErrUnavailable, since
// what is missing from an answer must not be taken for "nothing there".
func unusable(format string, args ...any) error {
	return &kinded{ErrUnavailable, fmt.Errorf(format, args...)}
}

// get makes a call whose answer is one object.
func get[T any](ctx context.Context, c *Client, k call) (T, error) {
	return doJSON(ctx, c, k, checkComplete[T])
}

// getThis is get for an object that is asked for by its id: one of another id is no answer.
func getThis[T Identified](ctx context.Context, c *Client, k call, id uuid.UUID) (T, error) {
	return doJSON(ctx, c, k, func(v T) error {
		if err := checkComplete(v); err != nil {
			return err
		}
		return checkAsked(v, id)
	})
}

// checkAsked checks that an object is one of those that were asked for.
func checkAsked[T Identified](v T, ids ...uuid.UUID) error {
	if !slices.Contains(ids, v.Identity()) {
		return unusable("the answer has %s, which was not asked for", v.Identity())
	}
	return nil
}

// list makes a call whose answer is a list of objects.
func list[T any](ctx context.Context, c *Client, k call) ([]T, error) {
	return doJSON(ctx, c, k, checkEach[T])
}

// doJSON makes a call whose answer is JSON. It retries an unusable answer; check returns the error
// of one that decodes but lacks something.
func doJSON[A any](ctx context.Context, c *Client, k call, check func(A) error) (answer A, err error) {
	err = c.do(ctx, k, func(resp *http.Response) error {
		var a A
		if err := readJSON(resp, &a); err != nil {
			return err
		}
		if err := check(a); err != nil {
			return err
		}
		answer = a
		return nil
	})
	return answer, err
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

// checkEach checks every object of a list.
func checkEach[T any](items []T) error {
	for _, item := range items {
		if err := checkComplete(item); err != nil {
			return err
		}
	}
	return nil
}

// count makes a call whose answer is a bare number.
func (c *Client) count(ctx context.Context, k call) (int, error) {
	k.method = http.MethodGet
	return doJSON(ctx, c, k, func(n int) error {
		if n < 0 {
			return unusable("a count of %d", n)
		}
		return nil
	})
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
