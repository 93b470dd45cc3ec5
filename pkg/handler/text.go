package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// A download that succeeds need not bring what was asked for: a proxy's sign-in page, an error in
// JSON or nothing at all come with status 200, too. Pictures and models are never text. What is
// text is asked for again with a fresh link; if it stays so, it is kept as it came, and is an
// exception.

// Codes of what is text in place of a picture or a model.
const (
	codeNotImage = "not_an_image"
	codeNotModel = "not_a_model"
)

// fetchBlob downloads a file into d. Where text comes it downloads the file once more, with a fresh
// link.
func (a *attempt) fetchBlob(ctx context.Context, link cv.Link, limit int64, d *download) error {
	for refreshed := false; ; refreshed = true {
		if _, err := a.client.Fetch(ctx, link, limit, d.begin); err != nil {
			return err //nolint:wrapcheck // the client says what it fetched
		}
		head, err := d.head()
		if err != nil {
			return err
		}
		if refreshed || link.Refresh == nil || sink.TextType(head) == "" {
			return nil
		}
		if link.URI, err = link.Refresh(ctx); err != nil {
			return fmt.Errorf("ask for a fresh link: %w", err)
		}
	}
}

// stored is a blob as the store holds it, and what is wrong with it: nil when it is no text.
type stored struct {
	sink.Object
	blame *Blame
}

// put stores what was downloaded under stem and the extension that its content asks for. What is
// text is given the code; of text that holds a signed link nothing is stored, since no bag may hold
// one.
func (a *attempt) put(ctx context.Context, d *download, stem sink.Path, meta map[string]string, code string) (stored, error) {
	body, ext, err := d.body()
	if err != nil {
		return stored{}, err
	}
	head, err := d.head()
	if err != nil {
		return stored{}, err
	}
	blame := blameText(head, code)
	if blame != nil {
		signed, err := sink.HoldsSignature(body.R)
		if err != nil {
			return stored{}, fmt.Errorf("look for signed links: %w", err)
		}
		if signed {
			blame.Message += "; it holds a signed link, so it is not kept"
			return stored{blame: blame}, nil
		}
	}
	body.Meta = meta
	o, err := a.w.Store.Put(ctx, a.layout.Key(sink.ExportBag, stem+sink.Path("."+ext)), body)
	if err != nil {
		return stored{}, fmt.Errorf("store a blob: %w", err)
	}
	if o.Adopted && o.SHA256 != body.SHA256 {
		blame, err = blameStored(ctx, a.w.Store, o.Key, code)
	}
	return stored{o, blame}, err
}

// blameStored is what is wrong with the content of a stored blob.
func blameStored(ctx context.Context, store *sink.Store, key sink.Key, code string) (*Blame, error) {
	if path.Ext(string(key)) != ".bin" {
		return nil, nil // its content was recognized when it was stored
	}
	body, _, err := store.Open(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", key, err)
	}
	defer body.Close()
	head, err := headOf(body)
	if err != nil {
		return nil, fmt.Errorf("look into %s: %w", key, err)
	}
	return blameText(head, code), nil
}

// blameText is what is wrong with content that begins so; nil when it is no text.
func blameText(head []byte, code string) *Blame {
	kind := sink.TextType(head)
	switch {
	case kind == "":
		return nil
	case len(head) == 0:
		kind = "nothing"
	}
	what := "a picture"
	if code == codeNotModel {
		what = "a model"
	}
	return &Blame{Code: code, Message: fmt.Sprintf("%s came in place of %s, with a fresh link too", kind, what)}
}

// headOf reads as much as the format of a blob is told from.
func headOf(r io.Reader) ([]byte, error) {
	head := make([]byte, headBytes)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err //nolint:wrapcheck // callers say what they read
	}
	return head[:n], nil
}
