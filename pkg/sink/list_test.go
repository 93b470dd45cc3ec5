package sink_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestListAndFind(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	want := []sink.Key{"p/images/a.jpg", "p/images/ab.png", "p/images/b.jpg"}
	for _, key := range want {
		if _, err := w.store.Put(ctx, key, sink.Bytes([]byte(key), "")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.store.Put(ctx, "q", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	var got []sink.Key
	for object, err := range w.store.List(ctx, "p/") {
		if err != nil {
			t.Fatal(err)
		}
		if object.Bytes != int64(len(object.Key)) {
			t.Errorf("%s has %d bytes", object.Key, object.Bytes)
		}
		got = append(got, object.Key)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q", got)
	}
	found, ok, err := w.store.Find(ctx, "p/images/a")
	if err != nil || !ok || found.Key != "p/images/a.jpg" || found.SHA256 != sink.Bytes([]byte("p/images/a.jpg"), "").SHA256 {
		t.Errorf("found %+v, %v, %v", found, ok, err)
	}
	if _, ok, err := w.store.Find(ctx, "p/images"); ok || err != nil {
		t.Errorf("found a folder: %v, %v", ok, err)
	}
	store, _ := w.faulty(t, sinktest.Fault{Op: "ListObjectsV2", Status: 403})
	for _, err := range store.List(ctx, "") {
		if !errors.Is(err, sink.ErrMisconfigured) {
			t.Errorf("list gives %v", err)
		}
	}
}
