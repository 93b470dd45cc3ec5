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
	f := sinktest.Script(t, sinktest.Fault{Op: "PutObject", Effect: sinktest.Reset, After: true}, sinktest.Fault{Op: "PutObject", Key: "l", Nth: 1, Status: 503})
	store := sink.NewStore(w.server.FaultyClient(f, sinktest.IgnoreConditions), w.options())
	store.LookFirst()
	for _, key := range []sink.Key{"k", "l"} { // an answer is lost, and a request refused for now
		for i, want := range []bool{key == "k", true} {
			got, err := store.Put(t.Context(), key, sink.Bytes(fmt.Appendf(nil, "%d", i), ""))
			if err != nil || got.Adopted != want || got.SHA256 != digest("0") {
				t.Errorf("put %d: %+v, %v", i, got, err)
			}
		}
	}
	if left := w.left(t, ""); left != "k\nl" { // one version of each
		t.Errorf("the bucket keeps %q", left)
	}
}
