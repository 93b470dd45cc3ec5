package worker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/unit"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

// fetchBlob downloads a file into d, unless it is a model that the store has already. Where text
// comes it downloads the file once more, with a fresh link.
func (a *attempt) fetchBlob(ctx context.Context, link cv.Link, limit int64, d *download) error {
	for refreshed := false; ; refreshed = true {
		if _, err := a.client.Fetch(ctx, link, limit, d.begin); err != nil && !errors.Is(err, errStored) {
			return err //nolint:wrapcheck // the client says what it fetched
		}
		if d.upload != nil { // no text
			return nil
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
	blame *bagfile.Blame
}

// put stores what was downloaded under stem and the extension that its content asks for. What is
// text is given the code; of text that holds a signed link nothing is stored, since no bag may hold
// one.
func (a *attempt) put(ctx context.Context, d *download, stem sink.Path, meta map[string]string, code string) (stored, error) {
	if d.upload != nil {
		return d.upload.commit(ctx)
	}
	body, ext, err := d.body()
	if err != nil {
		return stored{}, err
	}
	head, err := d.head()
	if err != nil {
		return stored{}, err
	}
	blame := unit.BlameText(head, code)
	if blame != nil {
		var scan links.Scanner
		if _, err := io.Copy(&scan, body.R); err != nil {
			return stored{}, fmt.Errorf("look for signed links: %w", err)
		}
		if scan.Found() {
			blame.Message += "; it holds a signed link, so it is not kept"
			return stored{blame: blame}, nil
		}
	}
	body.Meta = meta
	path := stem + sink.Path("."+ext)
	key, store := a.layout.Key(sink.ExportBag, path), a.store
	if d.model != "" && a.unit.Streams() { // another attempt may have streamed it
		store = store.Sparing()
	}
	o, err := store.Put(ctx, key, body)
	if errors.Is(err, sink.ErrUnsealed) {
		found, lookErr := a.storedModel(ctx, path)
		if lookErr != nil {
			return stored{}, lookErr
		}
		if found != nil {
			return *found, nil
		}
		o, err = store.Put(ctx, key, body) // a stranger's object was removed
	}
	if err != nil {
		return stored{}, fmt.Errorf("store a blob: %w", err)
	}
	d.sent = !o.Adopted // a refused request may still be read from when its answer is there
	if o.Adopted && o.SHA256 != body.SHA256 {
		blame, err = unit.BlameStored(ctx, a.store, o.Key, code)
	}
	return stored{o, blame}, err
}
