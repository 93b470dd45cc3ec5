package sink_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestStream writes objects as streams: there is the whole object or none, and no part is left.
func TestStream(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	content := noise(9, 11<<20) // two parts and a bit
	write := func(store *sink.Store, key sink.Key, content []byte) (sink.Object, error) {
		t.Helper()
		stream, err := store.Create(t.Context(), key, "application/zip", int64(len(content)))
		if err != nil {
			return sink.Object{}, err
		}
		for chunk := range slices.Chunk(content, 3<<20) {
			if _, err := stream.Write(chunk); err != nil {
				stream.Abort()
				return sink.Object{}, err
			}
		}
		return stream.Commit()
	}
	for _, c := range []struct {
		name    string
		content []byte
		faults  []sinktest.Fault
		err     error // nil: it is stored
	}{
		{"plain", content, nil, nil},
		{"empty", nil, nil, nil},
		{"faults everywhere", content, []sinktest.Fault{
			{Op: "CreateMultipartUpload", Status: 503},
			{Op: "UploadPart", Effect: sinktest.Cut},
			{Op: "UploadPart", Effect: sinktest.Reset, After: true, Nth: 2},
			{Op: "CompleteMultipartUpload", Status: 503},
		}, nil},
		{"answer to complete lost", content, []sinktest.Fault{{Op: "CompleteMultipartUpload", Effect: sinktest.Reset, After: true}}, nil},
		{"upload aborted by another process", content, []sinktest.Fault{{Op: "UploadPart", Nth: 2, Status: 404, Code: "NoSuchUpload"}}, sink.ErrConflict},
		{"never completed", content, []sinktest.Fault{{Op: "CompleteMultipartUpload", Status: 500, Times: -1}}, sink.ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, _ := w.faulty(t, c.faults...)
			key := sink.Key(c.name + ".zip")
			got, err := write(store, key, c.content)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("%v", err)
			}
			wanted := string(key)
			if c.err != nil {
				wanted = ""
			}
			if left := w.left(t, string(key)); left != wanted {
				t.Errorf("the bucket keeps %q", left)
			}
			if c.err != nil {
				return
			}
			read, err := w.store.ReadAll(t.Context(), key, 20<<20)
			if err != nil || !bytes.Equal(read, c.content) || got.Bytes != int64(len(c.content)) || got.SHA256 != sink.Bytes(c.content, "").SHA256 {
				t.Errorf("read %d bytes, %v; it says %+v", len(read), err, got)
			}
			if _, err := write(store, key, c.content); !errors.Is(err, sink.ErrConflict) {
				t.Errorf("over an object that is there: %v", err)
			}
		})
	}
	t.Run("another writer is faster", func(t *testing.T) {
		for key, theirs := range map[sink.Key][]byte{"same": []byte("x"), "other": []byte("y")} {
			stream, err := w.store.Create(t.Context(), key, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := w.store.Put(t.Context(), key, sink.Bytes(theirs, "")); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Commit(); (err == nil) != (key == "same") || err != nil && !errors.Is(err, sink.ErrConflict) {
				t.Errorf("%s: %v", key, err)
			}
		}
	})
}
