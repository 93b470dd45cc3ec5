package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// PutPage is PutTag for a page for people. A page that this command stored before stays, even if
// its content differs: an earlier attempt made it from the same frozen results, perhaps with
// another version of the program, whose words differ. Seal removes pages that no attempt puts
// again. Until then it may be called by several goroutines at once.
func (b *Bag) PutPage(ctx context.Context, path Path, body Body) (Object, error) {
	object, err := b.PutTag(ctx, path, body)
	if !errors.Is(err, ErrMixed) {
		return object, err
	}
	object, err = b.store.Describe(ctx, b.root+Key(path))
	if err != nil {
		return Object{}, fmt.Errorf("store page %s: look at the one that is there: %w", path, err)
	}
	object.Adopted = true
	b.note(path, written{size: object.Bytes})
	b.list(path, object)
	return object, nil
}

// IsPage reports whether a path is that of a page for people below index.html.
func (p Path) IsPage() bool { return strings.HasPrefix(string(p), string(PagesFolder)) }
