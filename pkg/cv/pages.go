package cv

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/google/uuid"
)

const (
	// MaxPage is how many items the service lists at once, and how many image ids a call may name.
	MaxPage = 256
	// PageStride is how far skip moves from page to page: pages overlap by one item, which must be
	// the same one on both.
	PageStride = MaxPage - 1
)

// ErrUnstable says that a listing moved while it was read: its pages do not fit together, or the
// count says otherwise. What was read is not complete; reading it again may help.
var ErrUnstable = errors.New("the listing changed while it was read")

// Pages is how many listing calls n items take: ceil((n-1)/PageStride), one for a single item, 0
// for no items.
func Pages(n int) int {
	switch {
	case n <= 0:
		return 0
	case n == 1:
		return 1
	}
	return (n-2)/PageStride + 1
}

// Fetch reads one page of a listing: take items, leaving out the first skip.
type Fetch[T Identified] func(ctx context.Context, skip, take int) ([]T, error)

// EachPage reads a listing once from its start, page after page, and yields each page without the
// item it shares with the page before. It stops with ErrUnstable when that item is not the same
// one, an item comes twice, or more items come than MaxCount: then items appeared, vanished or
// changed places (equal timestamps have no fixed order), and the caller reads it again. It stops at
// the first other error too. The ids of the listing are kept while it is read, 16 bytes each.
func EachPage[T Identified](ctx context.Context, fetch Fetch[T]) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		seen := make(map[uuid.UUID]struct{})
		var last uuid.UUID
		for skip := 0; ; skip += PageStride {
			if skip > MaxCount {
				yield(nil, fmt.Errorf("more than %d items are listed: %w", MaxCount, ErrUnstable))
				return
			}
			page, err := fetch(ctx, skip, MaxPage)
			if err != nil {
				yield(nil, err)
				return
			}
			whole := len(page) >= MaxPage
			if skip > 0 {
				if len(page) == 0 || page[0].Identity() != last {
					yield(nil, fmt.Errorf("page at %d does not begin with the last item of the page before: %w", skip, ErrUnstable))
					return
				}
				page = page[1:]
			}
			for _, item := range page {
				id := item.Identity()
				if _, twice := seen[id]; twice {
					yield(nil, fmt.Errorf("%s is listed twice: %w", id, ErrUnstable))
					return
				}
				seen[id] = struct{}{}
				last = id
			}
			if len(page) > 0 && !yield(page, nil) {
				return
			}
			if !whole {
				return
			}
		}
	}
}
