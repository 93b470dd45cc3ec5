package sink_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// quirkyStores are stores that refuse, ignore or change something, and the words of the notes that
// Probe has to find.
var quirkyStores = []struct {
	name   string
	quirks []sinktest.Quirk
	notes  []string
	late   bool // what is lacking shows at the first request that wants it, too
}{
	{name: "knows all"},
	{name: "refuses checksums", quirks: []sinktest.Quirk{sinktest.RefusesChecksums}, notes: []string{"refuses checksum headers"}, late: true},
	{name: "ignores checksums", quirks: []sinktest.Quirk{sinktest.NoConfirmations}, notes: []string{"does not confirm checksums"}, late: true},
	{name: "answers conditions with 501", quirks: []sinktest.Quirk{sinktest.RefusesConditions}, notes: []string{"conditional writes"}, late: true},
	{name: "answers conditions with 400", quirks: []sinktest.Quirk{sinktest.DeniesConditions}, notes: []string{"conditional writes"}, late: true},
	{name: "wants Content-MD5", quirks: []sinktest.Quirk{sinktest.WantsContentMD5}},
	{name: "has no batches", quirks: []sinktest.Quirk{sinktest.RefusesBatches}, notes: []string{"one by one"}, late: true},
	{name: "changes Accept-Encoding", quirks: []sinktest.Quirk{sinktest.ChangesEncoding}},
	{name: "says no length on HEAD", quirks: []sinktest.Quirk{sinktest.NoLengthOnHead}, notes: []string{"how long an object is"}},
	{name: "says 0 bytes on HEAD", quirks: []sinktest.Quirk{sinktest.ZeroLengthOnHead}, notes: []string{"how long an object is"}},
	{name: "has no multipart uploads", quirks: []sinktest.Quirk{sinktest.RefusesUploads}, notes: []string{"unfinished uploads"}},
	{name: "answers NoSuchUpload to lists of uploads", quirks: []sinktest.Quirk{sinktest.NoUploadLists}, notes: []string{"unfinished uploads"}},
	{name: "answers NoSuchUpload where there is no upload", quirks: []sinktest.Quirk{sinktest.NoEmptyLists}, late: true},
	{name: "answers 501 to lists of uploads", quirks: []sinktest.Quirk{sinktest.RefusesLists}, notes: []string{"unfinished uploads"}},
	{name: "lists uploads by whole key", quirks: []sinktest.Quirk{sinktest.ExactUploadLists}, notes: []string{"unfinished uploads"}},
	{
		name: "lacks all that can be lacking", quirks: []sinktest.Quirk{
			sinktest.RefusesChecksums, sinktest.RefusesConditions, sinktest.RefusesBatches, sinktest.ChangesEncoding,
			sinktest.NoLengthOnGet, sinktest.NoLengthOnHead, sinktest.NoSizes, sinktest.RefusesLists,
		}, notes: []string{"refuses checksum headers", "conditional writes", "one by one", "how long", "unfinished uploads"},
	},
}

// smallParts is a store behind a gateway that sends in parts what has more than 64 KiB.
func (w *world) smallParts(t *testing.T, quirks ...sinktest.Quirk) *sink.Store {
	t.Helper()
	o := w.options()
	o.MultipartAbove = 64 << 10
	return sink.NewStore(w.server.FaultyClient(sinktest.NewFaults(w.server.Gateway(t, quirks...))), o)
}

// TestProbe: what a store lacks is found out by asking it, and no asking leaves anything.
func TestProbe(t *testing.T) {
	for _, tc := range quirkyStores {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{Versioned: true})
			store := w.smallParts(t, tc.quirks...)
			must(t, store.Probe(t.Context(), "pre/.probe"))
			other := store.InBucket(w.server.Bucket(t, sinktest.BucketOptions{}))
			for _, s := range []*sink.Store{store, other} {
				if notes := s.Notes(); !slices.EqualFunc(notes, inOrder(tc.notes), strings.Contains) {
					t.Errorf("notes are %q, expected ones with %q", notes, tc.notes)
				}
			}
			if left := w.left(t, ""); left != "" {
				t.Errorf("the bucket keeps\n%s", left)
			}
			if !tc.late { // those conform without having been asked
				conforms(t, w, store)
			}
		})
	}
}

// inOrder sorts what notes have to say as Notes does: by feature.
func inOrder(words []string) []string {
	order := []string{"conditional writes", "refuses checksum", "confirm", "how long", "one by one", "unfinished"}
	rank := func(word string) int {
		return slices.IndexFunc(order, func(o string) bool { return strings.Contains(word, o) || strings.Contains(o, word) })
	}
	return slices.SortedFunc(slices.Values(words), func(a, b string) int { return rank(a) - rank(b) })
}

// TestQuirksThatShowLater: a store that was not asked, or has changed since, is learnt from by the
// request that it refuses.
func TestQuirksThatShowLater(t *testing.T) {
	for _, tc := range quirkyStores {
		if !tc.late {
			continue
		}
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			store := w.smallParts(t, tc.quirks...)
			conforms(t, w, store)
			if notes := store.Notes(); !slices.EqualFunc(notes, tc.notes, strings.Contains) {
				t.Errorf("notes are %q, expected ones with %q", notes, tc.notes)
			}
		})
	}
}

// conforms has a store do all that is asked of it: the first writer wins, what is stored is
// described and read as it is, a bag verifies, and removing leaves nothing.
func conforms(t *testing.T, w *world, store *sink.Store) {
	t.Helper()
	ctx := t.Context()
	sealed := store.Sealed(sink.NewSealer([]byte("secret"), "req-1", "m"))
	for s, sizes := range map[*sink.Store][]int{store: {3000, 200_000}, sealed: {0, 200_001}} {
		for _, size := range sizes {
			key := sink.Key(fmt.Sprintf("a/%d.bin", size))
			first, second := sink.Bytes(noise(1, size), "image/png"), sink.Bytes(noise(2, size+1), "image/png")
			if got, err := s.Put(ctx, key, first); err != nil || got.Adopted || got.SHA256 != first.SHA256 {
				t.Fatalf("%s: put gives %+v, %v", key, got, err)
			}
			if got, err := s.Put(ctx, key, second); err != nil || !got.Adopted || got.Bytes != first.Size || got.SHA256 != first.SHA256 {
				t.Errorf("%s: the second put gives %+v, %v", key, got, err)
			}
			if got, err := s.Describe(ctx, key); err != nil || got.Bytes != first.Size || got.SHA256 != first.SHA256 {
				t.Errorf("%s: describe gives %+v, %v", key, got, err)
			}
			if got, err := s.ReadAll(ctx, key, first.Size); err != nil || !bytes.Equal(got, noise(1, size)) {
				t.Errorf("%s: read %d bytes, %v", key, len(got), err)
			}
		}
		if _, err := s.Head(ctx, "a/none"); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("head of nothing: %v", err)
		}
	}
	for range 2 { // the second adopts all of the first
		if _, err := writeBag(ctx, store, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
	verifyOK(t, verify.Stored(store, testRoot))
	for _, prefix := range []sink.Key{"a/", "pre/"} {
		if _, err := store.RemoveAll(ctx, prefix); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps\n%s", left)
	}
}

// TestTagsRefusedLater: a store that refuses tags only once bundles are written, perhaps with other
// things at the same time, is learnt from, too.
func TestTagsRefusedLater(t *testing.T) {
	for _, more := range [][]sinktest.Quirk{
		nil, {sinktest.RefusesChecksums}, {sinktest.RefusesConditions}, {sinktest.RefusesChecksums, sinktest.RefusesConditions},
	} {
		w := newWorld(t, sinktest.BucketOptions{})
		store := w.smallParts(t, append([]sinktest.Quirk{sinktest.RefusesTags}, more...)...)
		sealed := store.Sealed(sink.NewSealer([]byte("secret"), "req-1", "m"))
		for _, size := range []int{3000, 200_000} {
			key, body := sink.Key(fmt.Sprintf("req-1/export/data/%d.bin", size)), sink.Bytes(noise(1, size), "")
			if got, err := sealed.Put(t.Context(), key, body); err != nil || got.Adopted || got.SHA256 != body.SHA256 {
				t.Errorf("%v: put of %d bytes gives %+v, %v", more, size, got, err)
			}
		}
		if notes := store.Notes(); len(notes) != 1+len(more) || !strings.Contains(notes[len(notes)-1], "tags of objects") {
			t.Errorf("%v: notes are %q", more, notes)
		}
	}
}

// TestNoUnfinishedUploads: where a store does not list unfinished uploads as it should, none is
// begun: a process that is killed leaves none that cannot be found.
func TestNoUnfinishedUploads(t *testing.T) {
	for _, quirk := range []sinktest.Quirk{sinktest.NoUploadLists, sinktest.RefusesLists, sinktest.ExactUploadLists} {
		w := newWorld(t, sinktest.BucketOptions{})
		f := sinktest.NewFaults(w.server.Gateway(t, quirk))
		o := w.options()
		o.MultipartAbove = 64 << 10
		store := sink.NewStore(w.server.FaultyClient(f), o)
		must(t, store.Probe(t.Context(), ".probe"))
		probed := f.Calls("CreateMultipartUpload")
		// The process is killed while a large object is on its way.
		f.Add(sinktest.Fault{Op: "*", Effect: sinktest.Reset, Times: -1}, sinktest.Fault{Op: "PutObject", Effect: sinktest.Cut, Times: -1})
		if _, err := store.Put(t.Context(), "a/large.bin", sink.Bytes(noise(1, 200_000), "")); !errors.Is(err, sink.ErrUnavailable) {
			t.Errorf("%s: put gives %v", quirk, err)
		}
		f.Clear()
		if n := f.Calls("CreateMultipartUpload"); n != probed {
			t.Errorf("%s: %d uploads were begun", quirk, n-probed)
		}
		if left := w.left(t, ""); left != "" {
			t.Errorf("%s: the bucket keeps\n%s", quirk, left)
		}
	}
}

// TestReadBack: where a store does not confirm what it stored, content that was damaged on its way
// is removed and never adopted; what another writer put there is adopted.
func TestReadBack(t *testing.T) {
	for _, quirk := range []sinktest.Quirk{sinktest.RefusesChecksums, sinktest.NoConfirmations} {
		for _, size := range []int{3000, 200_000} {
			w := newWorld(t, sinktest.BucketOptions{Versioned: true})
			gateway := w.server.Gateway(t, quirk)
			f := gateway.Faults // of requests that are not refused
			o := w.options()
			o.MultipartAbove = 64 << 10
			plain := sink.NewStore(w.server.FaultyClient(sinktest.NewFaults(gateway)), o)
			sealer := sink.NewSealer([]byte("secret"), "req-1", "m")
			damaged := true
			f.OnRequest = func(op, key string, before bool) error {
				if before || !damaged || op != "PutObject" && op != "CompleteMultipartUpload" {
					return nil
				}
				return w.store.Replace(t.Context(), sink.Key(key), sink.Body{R: bytes.NewReader(noise(9, size)), Meta: map[string]string{"cv-seal": "x"}})
			}
			for _, store := range []*sink.Store{plain, plain.Sealed(sealer)} {
				body := sink.Bytes(noise(1, size), "")
				damaged = true
				if got, err := store.Put(t.Context(), "k", body); !errors.Is(err, sink.ErrUnavailable) {
					t.Errorf("%s: put of %d bytes that were damaged gives %+v, %v", quirk, size, got, err)
				}
				if left := w.left(t, ""); left != "" {
					t.Errorf("%s: the bucket keeps\n%s", quirk, left)
				}
				damaged = false
				if got, err := store.Put(t.Context(), "k", body); err != nil || got.SHA256 != body.SHA256 {
					t.Errorf("%s: put after that gives %+v, %v", quirk, got, err)
				}
				must(t, store.Remove(t.Context(), "k"))
			}
			f.OnRequest = func(op, key string, before bool) error {
				if before || op != "PutObject" && op != "CompleteMultipartUpload" {
					return nil
				}
				must(t, w.store.Remove(t.Context(), sink.Key(key)))
				_, err := w.store.Sealed(sealer).Put(t.Context(), sink.Key(key), sink.Bytes([]byte("theirs"), ""))
				return err
			}
			if got, err := plain.Sealed(sealer).Put(t.Context(), "k", sink.Bytes(noise(1, size), "")); err != nil || !got.Adopted || got.Bytes != 6 {
				t.Errorf("%s: put beside another writer gives %+v, %v", quirk, got, err)
			}
		}
	}
}

// TestPermanentRefusals: what a store refuses for itself, with whatever headers, stays refused, and
// nothing is learnt from it.
func TestPermanentRefusals(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	store, _ := w.faulty(t, sinktest.Fault{Op: "PutObject", Status: 400, Code: "EntityTooLarge", Times: -1})
	var e *sink.Error
	if _, err := store.Put(t.Context(), "k", sink.Bytes([]byte("x"), "")); !errors.As(err, &e) || e.Code != "EntityTooLarge" {
		t.Errorf("put gives %v", err)
	}
	if err := store.Probe(t.Context(), ".probe"); !errors.As(err, &e) || e.Code != "EntityTooLarge" {
		t.Errorf("probe gives %v", err)
	}
	if notes := store.Notes(); len(notes) > 0 {
		t.Errorf("learnt %q", notes)
	}
	store, _ = w.faulty(t, sinktest.Fault{Op: "PutObject", Status: 403, Times: -1})
	if err := store.Probe(t.Context(), ".probe"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("probe gives %v", err)
	}
}
