package cv

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"testing"

	"github.com/google/uuid"
)

func TestPages(t *testing.T) {
	for n, want := range map[int]int{-1: 0, 0: 0, 1: 1, 2: 1, 255: 1, 256: 1, 257: 2, 510: 2, 511: 2, 512: 3, 766: 3, 767: 4, 100_000: 393, MaxCount: 39216, math.MaxInt: (math.MaxInt-2)/255 + 1} {
		if got := Pages(n); got != want {
			t.Errorf("%d items: %d pages, want %d", n, got, want)
		}
	}
	for n := 2; n < 3000; n++ { // the pages reach the last item, and one less does not
		k := Pages(n)
		if reach := 1 + PageStride*k; reach < n || reach-PageStride >= n {
			t.Fatalf("%d items: %d pages", n, k)
		}
	}
}

// listing is a moving list of images: what it holds at each call.
type listing struct {
	at    func(call int) []uuid.UUID
	calls int
}

func (l *listing) fetch(_ context.Context, skip, take int) ([]Image, error) {
	ids := l.at(l.calls)
	l.calls++
	var page []Image
	for i := skip; i < min(skip+take, len(ids)); i++ {
		page = append(page, Image{ID: ids[i]})
	}
	return page, nil
}

func countTo(n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = countedID(i)
	}
	return ids
}

func without(ids []uuid.UUID, i int) []uuid.UUID {
	return append(append([]uuid.UUID(nil), ids[:i]...), ids[i+1:]...)
}

func swapped(ids []uuid.UUID, i, j int) []uuid.UUID {
	out := append([]uuid.UUID(nil), ids...)
	out[i], out[j] = out[j], out[i]
	return out
}

func TestEachPage(t *testing.T) {
	all := countTo(600)
	for name, c := range map[string]struct {
		at       func(call int) []uuid.UUID
		want     int
		calls    int
		unstable bool
	}{
		"empty":                       {func(int) []uuid.UUID { return nil }, 0, 1, false},
		"one":                         {func(int) []uuid.UUID { return all[:1] }, 1, 1, false},
		"not quite a page":            {func(int) []uuid.UUID { return all[:255] }, 255, 1, false},
		"a page":                      {func(int) []uuid.UUID { return all[:256] }, 256, 2, false},
		"a page and one":              {func(int) []uuid.UUID { return all[:257] }, 257, 2, false},
		"two pages":                   {func(int) []uuid.UUID { return all[:511] }, 511, 3, false},
		"three":                       {func(int) []uuid.UUID { return all }, 600, 3, false},
		"one is added meanwhile":      {func(n int) []uuid.UUID { return all[:500+n] }, 501, 2, false},
		"an earlier one vanishes":     {func(n int) []uuid.UUID { return all[min(n, 1):] }, 256, 2, true},
		"the shared one vanishes":     {func(n int) []uuid.UUID { return without(all, 599-n*344) }, 256, 2, true},
		"a later one vanishes":        {func(n int) []uuid.UUID { return without(all, 599-n) }, 599, 3, false},
		"all vanish":                  {func(n int) []uuid.UUID { return all[:600*(1-min(n, 1))] }, 256, 2, true},
		"equal times swap at the cut": {func(n int) []uuid.UUID { return swapped(all, 255, 255+n%2) }, 256, 2, true},
		"equal times swap unseen":     {func(n int) []uuid.UUID { return swapped(all, 3, 4+n) }, 600, 3, false},
		"one comes back later":        {func(n int) []uuid.UUID { return swapped(all, 3, 3+n*400) }, 256, 2, true},
		"one is there twice":          {func(int) []uuid.UUID { return append(all[:9:9], all[3]) }, 0, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := &listing{at: c.at}
			seen := map[uuid.UUID]bool{}
			var failure error
			for page, err := range EachPage(t.Context(), l.fetch) {
				if failure = err; err != nil {
					break
				}
				for _, image := range page {
					if seen[image.ID] {
						t.Fatalf("%s twice", image.ID)
					}
					seen[image.ID] = true
				}
			}
			if len(seen) != c.want || l.calls != c.calls || (failure != nil) != c.unstable || failure != nil && !errors.Is(failure, ErrUnstable) {
				t.Errorf("%d items in %d calls, %v", len(seen), l.calls, failure)
			}
		})
	}
}

func TestEachPageStops(t *testing.T) {
	broken := errors.New("broken")
	n := 0
	for page, err := range EachPage(t.Context(), func(_ context.Context, skip, take int) ([]Tag, error) {
		if n++; skip > 0 {
			return nil, broken
		}
		return make([]Tag, take)[:0:0], broken
	}) {
		if !errors.Is(err, broken) || page != nil {
			t.Error(page, err)
		}
	}
	l := &listing{at: func(int) []uuid.UUID { return countTo(600) }}
	for _, err := range EachPage(t.Context(), l.fetch) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if n != 1 || l.calls != 1 {
		t.Errorf("%d and %d calls", n, l.calls)
	}
}

// TestEachPageOfImages lists over the wire, as callers do.
func TestEachPageOfImages(t *testing.T) {
	const n = 700
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		skip, _ := strconv.Atoi(r.URL.Query().Get("skip"))
		take, _ := strconv.Atoi(r.URL.Query().Get("take"))
		answer(rw, 200, imagePage(skip, max(0, min(take, n-skip))))
	})
	images := 0
	for page, err := range EachPage(t.Context(), func(ctx context.Context, skip, take int) ([]Image, error) {
		return w.GetTaggedImages(ctx, idP, ImageQuery{Skip: skip, Take: take})
	}) {
		if err != nil {
			t.Fatal(err)
		}
		images += len(page)
	}
	if images != n || len(w.requests()) != Pages(n) {
		t.Error(images, len(w.requests()))
	}
}
