package sink_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestMultipart(t *testing.T) {
	content := noise(7, 12<<20)
	body := func() sink.Body { return sink.Bytes(content, "application/zip") }
	for _, tc := range []struct {
		name   string
		faults []sinktest.Fault
	}{
		{"plain", nil},
		{"faults everywhere", []sinktest.Fault{
			{Op: "CreateMultipartUpload", Status: 503},
			{Op: "UploadPart", Effect: sinktest.Cut},
			{Op: "UploadPart", Status: 500, Nth: 3},
			{Op: "UploadPart", Effect: sinktest.Reset, After: true, Nth: 4},
			{Op: "CompleteMultipartUpload", Status: 503},
		}},
		{"answer to complete lost", []sinktest.Fault{{Op: "CompleteMultipartUpload", Effect: sinktest.Reset, After: true}}},
		{"complete meets another write", []sinktest.Fault{{Op: "CompleteMultipartUpload", Status: 409, Times: 5}}},
		{"upload aborted by another process", []sinktest.Fault{{Op: "UploadPart", Nth: 2, Status: 404, Code: "NoSuchUpload"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{Versioned: true})
			store, _ := w.faulty(t, tc.faults...)
			got, err := store.Put(t.Context(), "m.zip", body())
			if err != nil {
				t.Fatal(err)
			}
			if got.SHA256 != body().SHA256 || got.Bytes != 12<<20 {
				t.Errorf("got %+v", got)
			}
			head, err := w.store.Head(t.Context(), "m.zip")
			if err != nil || head.SHA256 != "" || head.ContentType != "application/zip" {
				t.Errorf("head %+v, %v: the digest of a multipart object is not in its head", head, err)
			}
			read, err := w.store.ReadAll(t.Context(), "m.zip", 20<<20)
			if err != nil || !bytes.Equal(read, content) {
				t.Errorf("read %d bytes, error %v", len(read), err)
			}
			if left := w.left(t, ""); left != "m.zip" {
				t.Errorf("the bucket keeps %q", left)
			}
			again, err := w.store.Put(t.Context(), "m.zip", sink.Bytes(noise(8, 7<<20), ""))
			if err != nil || !again.Adopted || again.SHA256 != body().SHA256 || again.Bytes != 12<<20 {
				t.Errorf("second writer got %+v, %v", again, err)
			}
		})
	}
}

func TestMultipartLosesTheRace(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	winner := sink.Bytes(noise(9, 7<<20), "")
	faults := sinktest.NewFaults(nil)
	raced := false
	faults.OnRequest = func(op, _ string, before bool) error {
		if op == "CompleteMultipartUpload" && before && !raced {
			raced = true
			_, err := w.store.Put(context.Background(), "m", winner)
			return err
		}
		return nil
	}
	store := sink.NewStore(w.server.FaultyClient(faults), w.options())
	got, err := store.Put(t.Context(), "m", sink.Bytes(noise(10, 8<<20), ""))
	if err != nil || !got.Adopted || got.SHA256 != winner.SHA256 {
		t.Errorf("got %+v, %v", got, err)
	}
	if left := w.left(t, ""); left != "m" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestMultipartThatFailsIsAborted(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	store, faults := w.faulty(t, sinktest.Fault{Op: "UploadPart", Nth: 2, Status: 500, Times: -1})
	if _, err := store.Put(t.Context(), "m", sink.Bytes(noise(11, 8<<20), "")); !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if left := w.left(t, ""); left != "" || faults.Calls("AbortMultipartUpload") == 0 {
		t.Errorf("the bucket keeps %q", left)
	}
	// Also when its context ends.
	ctx, cancel := context.WithCancel(t.Context())
	hook := sinktest.NewFaults(nil)
	hook.OnRequest = func(op, _ string, before bool) error {
		if op == "UploadPart" && !before {
			cancel()
		}
		return nil
	}
	store = sink.NewStore(w.server.FaultyClient(hook), w.options())
	if _, err := store.Put(ctx, "m", sink.Bytes(noise(11, 8<<20), "")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
	wrong := sink.Bytes(noise(12, 8<<20), "")
	wrong.SHA256 = strings.Repeat("0", 64)
	if _, err := w.store.Put(t.Context(), "m", wrong); err == nil {
		t.Error("a body that does not match its digest was stored")
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestPartBytes(t *testing.T) {
	const mib = 1 << 20
	store := sink.NewStore(s3.New(s3.Options{}), sink.StoreOptions{Bucket: "bucket", PartBytes: 8 * mib})
	for _, tc := range []struct{ size, want int64 }{
		{100 * mib, 8 * mib}, {80_000 * mib, 8 * mib}, {80_000*mib + 1, 9 * mib}, {5 << 40, 525 * mib},
	} {
		got := store.PartBytes(tc.size)
		if got != tc.want || (tc.size+got-1)/got > 10_000 {
			t.Errorf("object of %d bytes: parts of %d, want %d", tc.size, got, tc.want)
		}
	}
}

// zeros is a large body that is nowhere in memory.
type zeros struct{ size, off int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := min(int64(len(p)), z.size-z.off)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.off += n
	return int(n), nil
}

func (z *zeros) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += z.off
	case io.SeekEnd:
		offset += z.size
	}
	z.off = offset
	return offset, nil
}

// TestMultipartHoldsNoPart uploads to a server that keeps nothing, and counts what is allocated on
// the way.
func TestMultipartHoldsNoPart(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	store, faults := w.faulty(t,
		sinktest.Fault{Op: "UploadPart", Effect: sinktest.Lie, Times: -1},
		sinktest.Fault{Op: "CompleteMultipartUpload", Effect: sinktest.Lie},
	)
	const size = 100 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := store.Put(t.Context(), "m", sink.Body{R: &zeros{size: size}})
	runtime.ReadMemStats(&after)
	if err != nil || got.Bytes != size {
		t.Fatalf("got %+v, %v", got, err)
	}
	if n := faults.Calls("UploadPart"); n != 20 {
		t.Errorf("%d parts", n)
	}
	if total := after.TotalAlloc - before.TotalAlloc; total > 16<<20 {
		t.Errorf("%d MiB were allocated in all for an object of %d MiB", total>>20, size>>20)
	}
}
