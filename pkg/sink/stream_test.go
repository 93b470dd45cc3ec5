package sink_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestStream writes objects as streams: there is the whole object or none, and no part is left.
func TestStream(t *testing.T) {
	for _, parts := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d parts at once", parts), func(t *testing.T) { testStream(t, parts) })
	}
}

func testStream(t *testing.T, parts int) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	content := noise(9, 11<<20) // two parts and a bit
	write := func(store *sink.Store, key sink.Key, content []byte) (sink.Object, error) {
		t.Helper()
		stream, err := store.Create(t.Context(), key, sink.StreamOptions{ContentType: "application/zip", Size: int64(len(content)), Parts: parts})
		if err != nil {
			return sink.Object{}, err
		}
		written := content[:min(len(content), 6<<20)]
		for chunk := range slices.Chunk(written, 3<<20) {
			if _, err := stream.Write(chunk); err != nil {
				stream.Abort()
				return sink.Object{}, err
			}
		}
		read := content[len(written):]
		n, err := stream.ReadFrom(bytes.NewReader(read))
		if err != nil {
			stream.Abort()
			return sink.Object{}, err
		}
		if n != int64(len(read)) {
			t.Errorf("%d bytes were read of %d", n, len(read))
		}
		finished, err := stream.Finish()
		if err == nil && (finished.Bytes != int64(len(content)) || finished.SHA256 != sink.Bytes(content, "").SHA256) {
			t.Errorf("before its upload is completed, the object is said to be %+v", finished)
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
			got.Key = key
			for what, other := range map[string]struct {
				o    sink.Object
				want bool
			}{
				"it":             {got, true},
				"another key":    {sink.Object{Key: "none", Bytes: got.Bytes, SHA256: got.SHA256}, false},
				"another size":   {sink.Object{Key: key, Bytes: got.Bytes + 1, SHA256: got.SHA256}, false},
				"another digest": {sink.Object{Key: key, Bytes: got.Bytes, SHA256: sink.Bytes([]byte("x"), "").SHA256}, false},
			} {
				if holds, err := store.Holds(t.Context(), other.o); holds != other.want || err != nil {
					t.Errorf("%s: %t, %v", what, holds, err)
				}
			}
		})
	}
	t.Run("another writer is faster", func(t *testing.T) {
		for key, theirs := range map[sink.Key][]byte{"same": []byte("x"), "other": []byte("y")} {
			stream, err := w.store.Create(t.Context(), key, sink.StreamOptions{Size: 1})
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
			if left := w.left(t, string(key)); left != string(key) {
				t.Errorf("the bucket keeps %q", left)
			}
		}
	})
}

// TestStreamReadBack has another writer replace an object that was streamed to a store which
// confirms no checksums: it stays.
func TestStreamReadBack(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	gate := w.server.Gateway(t, sinktest.NoConfirmations)
	f := sinktest.NewFaults(gate)
	var replaced bool
	f.OnRequest = func(op, _ string, before bool) error {
		if op == "CompleteMultipartUpload" && !before {
			replaced = true
			return w.store.Replace(t.Context(), "key", sink.Bytes([]byte("theirs"), ""))
		}
		return nil
	}
	store := sink.NewStore(w.server.FaultyClient(f), w.options()).Sealed(sealer())
	stream, err := store.Create(t.Context(), "key", sink.StreamOptions{Size: 4})
	must(t, err)
	_, err = stream.Write([]byte("ours"))
	must(t, err)
	if _, err := stream.Commit(); !errors.Is(err, sink.ErrConflict) || !replaced {
		t.Errorf("committed: %v", err)
	}
	if b, err := w.store.ReadAll(t.Context(), "key", 100); string(b) != "theirs" || err != nil {
		t.Errorf("there is %q, %v", b, err)
	}
}

// TestRetainStreamed locks the version of a streamed object that has the digest of the manifest,
// and no other one.
func TestRetainStreamed(t *testing.T) {
	for _, forged := range []bool{false, true} {
		w, store, _ := lockWorld(t, sinktest.BucketOptions{Locked: true})
		const path = "data/model.zip"
		content := noise(3, 4<<10)
		stream, err := store.Create(t.Context(), lockRoot+path, sink.StreamOptions{Size: int64(len(content))})
		must(t, err)
		_, err = stream.Write(content)
		must(t, err)
		o, err := stream.Commit()
		must(t, err)
		bag, err := sink.NewBag(store, lockRoot, t.TempDir())
		must(t, err)
		t.Cleanup(func() { must(t, bag.Close()) })
		must(t, bag.Add(path, o.SHA256, o.Bytes))
		_, err = bag.Seal(t.Context(), nil)
		must(t, err)
		if forged {
			body := sink.Bytes(noise(4, 4<<10), "")
			body.Meta = map[string]string{"sha256": o.SHA256}
			must(t, w.store.Replace(t.Context(), lockRoot+path, body))
		}
		if err := bag.Retain(t.Context(), lockedFor(time.Hour)); errors.Is(err, sink.ErrMixed) != forged || err != nil && !forged {
			t.Errorf("forged %t: %v", forged, err)
		}
		if lock := w.locks(t)[string(lockRoot+path)]; (lock.Mode == "") != forged {
			t.Errorf("forged %t: it is locked %s", forged, lock)
		}
	}
}

// TestSparing leaves an object without a seal where it is.
func TestSparing(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	must(t, w.store.Replace(t.Context(), "key", sink.Bytes([]byte("theirs"), "")))
	for _, size := range []int{4, 7 << 20} {
		_, err := w.store.Sealed(sealer()).Sparing().Put(t.Context(), "key", sink.Bytes(noise(1, size), ""))
		if !errors.Is(err, sink.ErrUnsealed) || !errors.Is(err, sink.ErrConflict) || errors.Is(err, sink.ErrNotFound) {
			t.Errorf("stored: %v", err)
		}
	}
	if b, err := w.store.ReadAll(t.Context(), "key", 100); string(b) != "theirs" || err != nil {
		t.Errorf("there is %q, %v", b, err)
	}
}
