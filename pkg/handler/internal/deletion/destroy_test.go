package deletion

import (
	"errors"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// suspend is a time after the machine was suspended for some seconds: only its wall clock went on.
// It relies on how time.Time is laid out while it has a reading of the monotonic clock: the seconds
// of the wall clock are above 30 bits of nanoseconds.
func suspend(t *testing.T, at time.Time, seconds uint64) time.Time {
	t.Helper()
	later := at
	*(*uint64)(unsafe.Pointer(&later)) += seconds << 30
	if later.Sub(at) != 0 || later.Round(0).Sub(at.Round(0)) != time.Duration(seconds)*time.Second {
		t.Fatalf("%v is not %v %d seconds later by the wall clock alone", later, at, seconds)
	}
	return later
}

// TestIsFresh says for how long an intent is good.
func TestIsFresh(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		at   time.Time
		want bool
	}{
		"at once":                              {now, true},
		"just before it is too old":            {now.Add(intentFresh - 1), true},
		"too old":                              {now.Add(intentFresh), false},
		"after the machine was suspended":      {suspend(t, now, 60), false},
		"after a short suspension":             {suspend(t, now, 1), true},
		"a wall clock that was set back far":   {now.Round(0).Add(-time.Hour), false},
		"a wall clock that was set back a bit": {now.Round(0).Add(-time.Second), true},
	} {
		if got := isFresh(now, c.at); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestInBatches halves what the service calls too big, and does not try big ones again.
func TestInBatches(t *testing.T) {
	ids := make([]uuid.UUID, 10)
	for i := range ids {
		ids[i] = uuid.New()
	}
	tooBig, other := &cv.Error{Op: "DeleteImages", Status: 413}, errors.New("another error")
	for _, c := range []struct {
		name  string
		takes int // at once
		sizes []int
		err   error
	}{
		{"all", 8, []int{8, 2}, nil},
		{"half", 4, []int{8, 4, 4, 2}, nil},
		{"one at a time", 1, []int{8, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, nil},
		{"none", 0, []int{8, 4, 2, 1}, cv.ErrBatchTooBig},
		{"it fails", -1, []int{8}, other},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sizes []int
			var removed []uuid.UUID
			err := inBatches(ids, 8, func(batch []uuid.UUID) error {
				sizes = append(sizes, len(batch))
				switch {
				case c.takes < 0:
					return other
				case len(batch) > c.takes:
					return tooBig
				}
				removed = append(removed, batch...)
				return nil
			})
			if !errors.Is(err, c.err) || !slices.Equal(sizes, c.sizes) {
				t.Errorf("batches of %v: %v", sizes, err)
			}
			if err == nil && !slices.Equal(removed, ids) {
				t.Errorf("removed %d of %d", len(removed), len(ids))
			}
		})
	}
}
