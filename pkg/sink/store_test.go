package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestIgnoredConditions(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	ignoring := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	must(t, ignoring.Probe(t.Context(), "probe"))
	if notes := ignoring.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "conditional writes") {
		t.Errorf("notes are %q", notes)
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
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
