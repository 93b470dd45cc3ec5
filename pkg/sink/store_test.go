package sink_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestConditional(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	if honored, err := w.store.Conditional(t.Context(), "probe"); err != nil || !honored {
		t.Errorf("real store: %v, %v", honored, err)
	}
	ignoring := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	if honored, err := ignoring.Conditional(t.Context(), "probe"); err != nil || honored {
		t.Errorf("store that ignores conditions: %v, %v", honored, err)
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
	store, _ := w.faulty(t, sinktest.Fault{Op: "PutObject", Status: 403})
	if _, err := store.Conditional(t.Context(), "probe"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("got %v", err)
	}
}

func TestUnconditionalStoreLooksFirst(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	store := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	store.LookFirst()
	for i, want := range []bool{false, true} {
		got, err := store.Put(t.Context(), "k", sink.Bytes(fmt.Appendf(nil, "%d", i), ""))
		if err != nil || got.Adopted != want {
			t.Errorf("put %d: %+v, %v", i, got, err)
		}
	}
	if left := w.left(t, ""); left != "k" {
		t.Errorf("the bucket keeps %q", left)
	}
}
