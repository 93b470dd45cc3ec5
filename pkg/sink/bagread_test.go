package sink_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// A sealed bag tells its files, and reads them again: without a request what it wrote itself and
// is small, from the store what is large and what others stored.
func TestSealedBagIsReadAgain(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	store, faults := w.faulty(t)
	bag, err := sink.NewBag(store, testRoot, t.TempDir())
	must(t, err)
	t.Cleanup(func() { must(t, bag.Close()) })
	if _, err := bag.Open(t.Context(), "bagit.txt"); err == nil {
		t.Error("a bag that is not sealed was opened")
	}
	for _, err := range bag.Files() {
		if err == nil {
			t.Error("a bag that is not sealed was listed")
		}
	}

	picture, records := noise(1, 300), noise(2, 300<<10)
	name := sink.ImageStem(project, imageA) + ".jpg"
	stored, err := store.Put(t.Context(), testRoot+sink.Key(name), sink.Bytes(picture, "image/jpeg"))
	must(t, err)
	must(t, bag.Add(name, stored.SHA256, stored.Bytes))
	large := sink.ProjectPath(project, "images.jsonl")
	_, err = bag.Put(t.Context(), large, sink.Bytes(records, "application/jsonl"))
	must(t, err)
	_, err = bag.Put(t.Context(), sink.ExportFile, sink.Bytes([]byte("{}\n"), "application/json"))
	must(t, err)
	_, err = bag.PutTag(t.Context(), sink.RequestFile, sink.Bytes(nil, "application/json"))
	must(t, err)
	_, err = bag.Seal(t.Context(), testInfo)
	must(t, err)

	want := map[sink.Path]int64{}
	for o, err := range w.store.List(t.Context(), testRoot) {
		must(t, err)
		want[sink.Path(strings.TrimPrefix(string(o.Key), string(testRoot)))] = o.Bytes
	}
	got := map[sink.Path][]byte{}
	before := faults.Calls("")
	for file, err := range bag.Files() {
		must(t, err)
		body, err := bag.Open(t.Context(), file.Path)
		must(t, err)
		got[file.Path], err = io.ReadAll(body)
		must(t, err)
		must(t, body.Close())
		if size, ok := want[file.Path]; !ok || size != file.Bytes || size != int64(len(got[file.Path])) {
			t.Errorf("%s: %d bytes told, %d read, %d stored", file.Path, file.Bytes, len(got[file.Path]), size)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files told, %d stored", len(got), len(want))
	}
	if !bytes.Equal(got[name], picture) || !bytes.Equal(got[large], records) || string(got[sink.ExportFile]) != "{}\n" {
		t.Error("something else was read")
	}
	if n := faults.Calls("") - before; n != 2 {
		t.Errorf("%d requests, for one picture and one large file", n)
	}
}
