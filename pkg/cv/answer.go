package cv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// readJSON reads a JSON answer into v. What is no such answer may be one the next time.
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
		return noAnswer("answer of %d bytes is no whole JSON", len(body))
	}
	if string(bytes.TrimSpace(body)) == "null" {
		return noAnswer("the answer is null")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return noAnswer("decode answer: %w", err)
	}
	return nil
}

// noAnswer says why a 2xx answer is none: what it does not say must not be taken for "nothing
// there".
func noAnswer(format string, args ...any) error {
	return &kinded{ErrUnavailable, fmt.Errorf(format, args...)}
}

// get makes a call that answers one thing.
func get[T any](ctx context.Context, c *Client, k call) (T, error) {
	return ask(ctx, c, k, whole[T])
}

// list makes a call that answers a list.
func list[T any](ctx context.Context, c *Client, k call) ([]T, error) {
	return ask(ctx, c, k, eachWhole[T])
}

// ask makes a call that answers JSON, and again when the answer is none: check says what is wrong
// with one.
func ask[A any](ctx context.Context, c *Client, k call, check func(A) error) (answer A, err error) {
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

// whole checks that a thing has the members without which it is none.
func whole[T any](v T) error {
	if v, ok := any(v).(interface{ lacks() string }); ok {
		if name := v.lacks(); name != "" {
			return noAnswer("decode answer: there is no %s in it", name)
		}
	}
	return nil
}

// eachWhole checks every thing of a list.
func eachWhole[T any](items []T) error {
	for _, item := range items {
		if err := whole(item); err != nil {
			return err
		}
	}
	return nil
}

// lacksID names the id as what is lacking, where that is not there.
func lacksID(id uuid.UUID) string {
	if id == uuid.Nil {
		return "id"
	}
	return ""
}

// count makes a call that answers a bare number.
func (c *Client) count(ctx context.Context, k call) (int, error) {
	k.method = http.MethodGet
	return ask(ctx, c, k, func(n int) error {
		if n < 0 {
			return noAnswer("a count of %d", n)
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
