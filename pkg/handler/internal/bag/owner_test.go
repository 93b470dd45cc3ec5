package bag_test

import (
	"context"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/internal/bag"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestOwn says whose working objects a command takes for its own: those that it sealed, for the
// same message and account, cut into units of the same version.
func TestOwn(t *testing.T) {
	s := sinktest.Shared(t)
	type life struct {
		key, message, account string
		units                 int
	}
	first := life{"key", "s1/7", "faces", 3}
	own := func(plain *sink.Store, l life) (removed bool) {
		t.Helper()
		layout, err := sink.NewLayout("", "del-1")
		must(t, err)
		store := plain.Sealed(sink.NewSealer([]byte(l.key), "del-1", l.message))
		b := bag.Bags{Store: store, Work: store, Layout: layout, Account: l.account, Command: contract.Command{ID: "del-1"}}
		must(t, b.Own(t.Context(), l.units, func(context.Context) error {
			removed = true
			return nil
		}))
		return removed
	}
	for _, c := range []struct {
		name  string
		later life
		owns  bool
	}{
		{"the next attempt", first, true},
		{"another message", life{"key", "s1/8", "faces", 3}, false},
		{"a stream that was made again", life{"key", "s2/7", "faces", 3}, false},
		{"another deployment", life{"other", "s1/7", "faces", 3}, false},
		{"another account", life{"key", "s1/7", "other", 3}, false},
		{"another version of units", life{"key", "s1/7", "faces", 4}, false},
	} {
		store := sink.NewStore(s.Client(), sink.StoreOptions{Bucket: s.Bucket(t, sinktest.BucketOptions{})})
		if !own(store, first) {
			t.Error("what was there before is taken for its own")
		}
		if own(store, c.later) == c.owns {
			t.Errorf("%s: owned %t", c.name, !c.owns)
		}
		if own(store, c.later) {
			t.Errorf("%s: what was marked just now is not owned", c.name)
		}
	}
}
