package sink_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestOpenAcrossBrokenConnections(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	content := noise(5, 3<<20)
	if _, err := w.store.Put(t.Context(), "k", sink.Bytes(content, "")); err != nil {
		t.Fatal(err)
	}
	t.Run("taken up again", func(t *testing.T) {
		store, faults := w.faulty(t, sinktest.Fault{Op: "GetObject", Effect: sinktest.Cut, Times: 6})
		got, err := store.ReadAll(t.Context(), "k", 4<<20)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read %d bytes, error %v", len(got), err)
		}
		if n := faults.Calls("GetObject"); n != 7 {
			t.Errorf("%d requests", n)
		}
	})
	t.Run("given up", func(t *testing.T) {
		store, _ := w.faulty(t, sinktest.Fault{Op: "GetObject", Effect: sinktest.Cut}, sinktest.Fault{Op: "GetObject", Nth: 2, Status: 500, Times: -1})
		if _, err := store.ReadAll(t.Context(), "k", 4<<20); !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("replaced meanwhile", func(t *testing.T) {
		store, _ := w.faulty(t, sinktest.Fault{Op: "GetObject", Effect: sinktest.Cut})
		if err := w.store.Replace(t.Context(), "r", sink.Bytes(content, "")); err != nil {
			t.Fatal(err)
		}
		body, _, err := store.Open(t.Context(), "r")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = body.Close() }()
		if err := w.store.Replace(t.Context(), "r", sink.Bytes(noise(6, 3<<20), "")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, body); err == nil {
			t.Error("two contents were read as one")
		}
	})
	t.Run("too large", func(t *testing.T) {
		if _, err := w.store.ReadAll(t.Context(), "k", 1<<20); err == nil || errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	})
}
