package sink_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

var bucketKinds = map[string]sinktest.BucketOptions{
	"plain":     {},
	"versioned": {Versioned: true},
	"locked":    {Locked: true},
}

// litter leaves objects of two versions, an object hidden by a delete marker, and an unfinished
// upload below "x/", and neighbors.
func (w *world) litter(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	api := w.server.Client()
	for _, key := range []sink.Key{"x/a", "x/a.b", "x/c", "x/d/e", "xy", "x-"} {
		for i := range 2 {
			if err := w.store.Replace(ctx, key, sink.Bytes(fmt.Appendf(nil, "version %d", i), "")); err != nil {
				t.Fatal(err)
			}
		}
	}
	hidden := "x/c"
	if _, err := api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &w.bucket, Key: &hidden}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"x/big", "xy"} {
		if _, err := api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: &key}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveAllLeavesNothing(t *testing.T) {
	for name, kind := range bucketKinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			w.litter(t)
			outside := w.left(t, "xy") + w.left(t, "x-")
			n, err := w.store.RemoveAll(t.Context(), "x/")
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]int{"plain": 3}[name]; want == 0 && n != 8 || want != 0 && n != want {
				t.Errorf("removed %d", n)
			}
			if left := w.left(t, "x/"); left != "" {
				t.Errorf("the bucket keeps %q", left)
			}
			if now := w.left(t, "xy") + w.left(t, "x-"); now != outside {
				t.Errorf("the neighbors are %q, were %q", now, outside)
			}
			if n, err := w.store.RemoveAll(t.Context(), "x/"); n != 0 || err != nil {
				t.Errorf("again: %d, %v", n, err)
			}
			if _, err := w.store.RemoveAll(t.Context(), ""); err == nil {
				t.Error("an empty prefix was taken")
			}
		})
	}
}

// TestRemoveByName removes what a command's view of the store has stored by its names: one request
// removes it, and a listing shows that nothing is left. What others stored there goes too.
func TestRemoveByName(t *testing.T) {
	for name, kind := range bucketKinds {
		for _, foreign := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, something foreign %t", name, foreign), func(t *testing.T) {
				w := newWorld(t, kind)
				store, faults := w.faulty(t)
				mine := store.Sealed(sink.NewSealer([]byte("secret"), "req-1", "m"))
				for _, key := range []sink.Key{"x/a", "x/b/c", "y", "x/kept"} {
					if _, err := mine.Put(t.Context(), key, sink.Bytes([]byte(key), "")); err != nil {
						t.Fatal(err)
					}
				}
				want, listings := 2, 1
				if foreign {
					if err := w.store.Replace(t.Context(), "x/b/d", sink.Bytes(nil, "")); err != nil {
						t.Fatal(err)
					}
					want, listings = 3, 2
				}
				for range 2 { // nothing is removed again
					before := faults.Calls("ListObjectsV2")
					n, err := mine.RemoveObjects(t.Context(), "x/", "x/kept")
					if n != want || err != nil {
						t.Errorf("removed %d, not %d: %v", n, want, err)
					}
					if made := faults.Calls("ListObjectsV2") - before; name == "plain" && made != listings {
						t.Errorf("%d listings, not %d", made, listings)
					}
					want, listings = 0, 1
				}
				if left := w.left(t, "x/"); !strings.HasPrefix(left, "x/kept") || strings.Contains(left, "\n") {
					t.Errorf("the bucket keeps %q", left)
				}
				if left := w.left(t, "y"); left == "" {
					t.Error("what is beside it is gone")
				}
			})
		}
	}
}

func TestRemoveKeys(t *testing.T) {
	for name, kind := range bucketKinds {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, kind)
			w.litter(t)
			others := w.left(t, "x/a.b") + w.left(t, "x/d")
			if err := w.store.Remove(t.Context(), "x/a", "x/c", "x/nothing"); err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(w.left(t, "x/"), "\n") {
				if strings.HasPrefix(line, "x/a ") || line == "x/a" || strings.HasPrefix(line, "x/c") || strings.HasPrefix(line, "x/nothing") {
					t.Errorf("the bucket keeps %q", line)
				}
			}
			if now := w.left(t, "x/a.b") + w.left(t, "x/d"); now != others {
				t.Errorf("the others are %q, were %q", now, others)
			}
			if err := w.store.Remove(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRemoveManyInBatches(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	ctx := t.Context()
	const n = 1100
	for i := range n {
		if _, err := w.store.Put(ctx, sink.Key(fmt.Sprintf("many/%04d", i)), sink.Bytes(nil, "")); err != nil {
			t.Fatal(err)
		}
	}
	store, faults := w.faulty(t)
	if got, err := store.RemoveAll(ctx, "many/"); got != n || err != nil {
		t.Errorf("removed %d, %v", got, err)
	}
	if calls := faults.Calls("DeleteObjects"); calls != 2 {
		t.Errorf("%d batches", calls)
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestRemoveOnOddStores(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kind   sinktest.BucketOptions
		faults []sinktest.Fault
	}{
		{"knows no versioning", sinktest.BucketOptions{}, []sinktest.Fault{
			{Op: "GetBucketVersioning", Status: 501, Times: -1},
			{Op: "ListMultipartUploads", Status: 501},
		}},
		{"refuses lists of uploads later", sinktest.BucketOptions{}, []sinktest.Fault{{Op: "ListMultipartUploads", Status: 400, Code: "InvalidArgument", Times: -1}}},
		{"answers lists of uploads with 404", sinktest.BucketOptions{}, []sinktest.Fault{{Op: "ListMultipartUploads", Status: 404, Times: -1}}},
		{"knows no batches", sinktest.BucketOptions{}, []sinktest.Fault{{Op: "DeleteObjects", Status: 501}}},
		{"wants MD5 in batches", sinktest.BucketOptions{Versioned: true}, []sinktest.Fault{{Op: "DeleteObjects", Status: 400, Code: "MissingContentMD5"}}},
		{"may not ask for versioning, has it", sinktest.BucketOptions{Versioned: true}, []sinktest.Fault{{Op: "GetBucketVersioning", Status: 403, Times: -1}}},
		{"denies versioning, has it", sinktest.BucketOptions{Versioned: true}, []sinktest.Fault{{Op: "GetBucketVersioning", Status: 501, Times: -1}}},
		{"throttles", sinktest.BucketOptions{Versioned: true}, []sinktest.Fault{
			{Op: "DeleteObjects", Status: 503}, {Op: "ListObjectVersions", Status: 503}, {Op: "GetBucketVersioning", Effect: sinktest.Reset},
		}},
		{"loses answers", sinktest.BucketOptions{Versioned: true}, []sinktest.Fault{{Op: "DeleteObjects", Effect: sinktest.Reset, After: true}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.kind)
			for _, key := range []sink.Key{"x/a", "x/b"} {
				if err := w.store.Replace(t.Context(), key, sink.Bytes(nil, "")); err != nil {
					t.Fatal(err)
				}
			}
			store, _ := w.faulty(t, tc.faults...)
			if err := store.Remove(t.Context(), "x/b"); err != nil {
				t.Fatal(err)
			}
			if _, err := store.RemoveAll(t.Context(), "x/"); err != nil {
				t.Fatal(err)
			}
			if left := w.left(t, ""); left != "" {
				t.Errorf("the bucket keeps %q", left)
			}
		})
	}
}

// An unfinished upload that the store refuses to abort keeps nothing else from being removed; a
// missing bucket does.
func TestUploadsThatStay(t *testing.T) {
	for _, fault := range []sinktest.Fault{
		{Op: "AbortMultipartUpload", Status: 400, Code: "InvalidArgument", Times: -1},
		{Op: "AbortMultipartUpload", Status: 501, Times: -1},
		{Op: "AbortMultipartUpload", Status: 404, Times: -1},
		{Op: "AbortMultipartUpload", Status: 404, Code: "NoSuchUpload", Times: -1},
	} {
		w := newWorld(t, sinktest.BucketOptions{})
		w.litter(t)
		store, faults := w.faulty(t, fault)
		if _, err := store.RemoveAll(t.Context(), "x/"); err != nil {
			t.Errorf("%d %s: %v", fault.Status, fault.Code, err)
		}
		if left := w.left(t, "x/"); left != "x/big (upload)" {
			t.Errorf("%d %s: the bucket keeps %q", fault.Status, fault.Code, left)
		}
		if n := faults.Calls("AbortMultipartUpload"); n != 1 {
			t.Errorf("%d %s: asked %d times", fault.Status, fault.Code, n)
		}
	}
	w := newWorld(t, sinktest.BucketOptions{})
	store, _ := w.faulty(t, sinktest.Fault{Op: "ListMultipartUploads", Status: 404, Code: "NoSuchBucket"})
	if _, err := store.RemoveAll(t.Context(), "x/"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("without the bucket: %v", err)
	}
}

func TestRemoveOfLockedObjectFails(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Locked: true})
	ctx := t.Context()
	if _, err := w.store.Put(ctx, "x/a", sink.Bytes(nil, "")); err != nil {
		t.Fatal(err)
	}
	key := "x/a"
	if _, err := w.server.Client().PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
		Bucket: &w.bucket, Key: &key, LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn},
	}); err != nil {
		t.Fatal(err)
	}
	err := w.store.Remove(ctx, "x/a")
	if !errors.Is(err, sink.ErrMisconfigured) || !strings.Contains(err.Error(), "x/a") {
		t.Errorf("got %v", err)
	}
	if left := w.left(t, ""); left != "x/a" {
		t.Errorf("the bucket keeps %q", left)
	}
}
