package unit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

const (
	// MetaSource is the object metadata that says which of its two links a blob came from.
	MetaSource = "source"
	// HeadBytes is how much of a blob its format is told from.
	HeadBytes = 512
)

// A download that succeeds need not bring what was asked for: a proxy's sign-in page, an error in
// JSON or nothing at all come with status 200, too. Pictures and models are never text. What is
// text is asked for again with a fresh link; if it stays so, it is kept as it came, and is an
// exception.

// CodeGone is the code of a blob to which the service gives no link any more.
const CodeGone = "gone"

// Codes of what is text in place of a picture or a model.
const (
	CodeNotImage = "not_an_image"
	CodeNotModel = "not_a_model"
)

// BlameStored is what is wrong with the content of a stored blob.
func BlameStored(ctx context.Context, store *sink.Store, key sink.Key, code string) (*bagfile.Blame, error) {
	if path.Ext(string(key)) != ".bin" {
		return nil, nil // its content was recognized when it was stored
	}
	body, _, err := store.Open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", key, err)
	}
	defer body.Close()
	head, err := HeadOf(body)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", key, err)
	}
	return BlameText(head, code), nil
}

// BlameText is what is wrong with content that begins so; nil when it is no text.
func BlameText(head []byte, code string) *bagfile.Blame {
	kind := sink.TextType(head)
	switch {
	case kind == "":
		return nil
	case len(head) == 0:
		kind = "nothing"
	}
	what := "a picture"
	if code == CodeNotModel {
		what = "a model"
	}
	return &bagfile.Blame{Code: code, Message: fmt.Sprintf("%s came in place of %s, with a fresh link too", kind, what)}
}

// HeadOf reads as much as the format of a blob is told from.
func HeadOf(r io.Reader) ([]byte, error) {
	head := make([]byte, HeadBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err //nolint:wrapcheck // callers say what they read
	}
	return head[:n], nil
}
