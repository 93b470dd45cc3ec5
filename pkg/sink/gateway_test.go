package sink_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// behind is a store on the same bucket, behind a gateway with quirks whose faults must all be hit.
func (w *world) behind(t *testing.T, quirks []sinktest.Quirk, faults ...sinktest.Fault) *sink.Store {
	t.Helper()
	f := sinktest.NewFaults(w.server.Gateway(t, quirks...))
	f.Add(faults...)
	t.Cleanup(func() { f.Check(t) })
	return sink.NewStore(w.server.FaultyClient(f), w.options())
}

// TestWhatAStoreDoesNotSay: a length that is missing is not 0. What has to be known is read.
func TestWhatAStoreDoesNotSay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		quirks []sinktest.Quirk
	}{
		{"lengths", sinktest.WithoutLengths()},
		{"lengths and checksums", append(sinktest.WithoutLengths(), sinktest.NoChecksums)},
		{"lengths, and where content ends", append(sinktest.WithoutLengths(), sinktest.EndsByClosing)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			store := w.behind(t, tc.quirks)
			ctx := t.Context()
			for key, content := range map[sink.Key][]byte{"a/empty.bin": {}, "a/one.bin": {1}, "a/small.bin": noise(1, 300_000), "a/parts.bin": noise(2, 7<<20)} {
				body := sink.Bytes(content, "image/png")
				for _, adopted := range []bool{false, true} {
					if got, err := store.Put(ctx, key, body); err != nil || got.Adopted != adopted || got.Bytes != body.Size || got.SHA256 != body.SHA256 {
						t.Errorf("%s: put gives %+v, %v", key, got, err)
					}
				}
				if got, err := store.Head(ctx, key); err != nil || got.Bytes != -1 && got.Bytes != 0 || got.Bytes == 0 && len(content) > 0 {
					t.Errorf("%s: head gives %+v, %v", key, got, err)
				}
				if got, err := store.Describe(ctx, key); err != nil || got.Bytes != body.Size || got.SHA256 != body.SHA256 {
					t.Errorf("%s: describe gives %+v, %v", key, got, err)
				}
				for range 2 { // up to its size, and one less
					got, err := store.ReadAll(ctx, key, body.Size)
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("%s: read %d bytes, %v", key, len(got), err)
					}
				}
				if len(content) > 0 {
					if got, err := store.ReadAll(ctx, key, body.Size-1); err == nil || errors.Is(err, sink.ErrUnavailable) {
						t.Errorf("%s: read %d bytes of too many, %v", key, len(got), err)
					}
				}
				if got, found, err := store.Find(ctx, sink.Key(bytes.TrimSuffix([]byte(key), []byte(".bin")))); err != nil || !found || got.Bytes != body.Size || got.SHA256 != body.SHA256 {
					t.Errorf("%s: found %+v, %v, %v", key, got, found, err)
				}
			}
			for o, err := range store.List(ctx, "a/") {
				if err != nil || o.Bytes != -1 {
					t.Errorf("listed %+v, %v", o, err)
				}
			}
			for range 2 { // the second adopts all of the first
				if _, err := writeBag(ctx, store, t.TempDir()); err != nil {
					t.Fatal(err)
				}
			}
			verifyOK(t, verify.Stored(w.store, testRoot))
			verifyOK(t, verify.Stored(store, testRoot))
			// A payload object that is not what was listed is seen, too.
			for _, content := range [][]byte{{}, noise(3, 1<<20)} {
				if err := w.store.Replace(ctx, testRoot+"data/x.bin", sink.Bytes(content, "")); err != nil {
					t.Fatal(err)
				}
				bag, err := sink.NewBag(store, testRoot, t.TempDir())
				must(t, err)
				must(t, bag.Add("data/x.bin", digest("hello"), 5))
				if _, err := bag.Seal(ctx, nil); err == nil {
					t.Errorf("an object of %d bytes was taken for one of 5", len(content))
				}
				must(t, bag.Close())
			}
		})
	}
}

// TestOpenWithoutLengths breaks connections although the store did not say how much was to come:
// what is read is whole, or it is an error.
func TestOpenWithoutLengths(t *testing.T) {
	content := noise(5, 3<<20)
	cut := func(n int, effect sinktest.Effect) []sinktest.Fault {
		return []sinktest.Fault{{Op: "GetObject", Effect: effect, Times: n}}
	}
	for _, tc := range []struct {
		name   string
		quirks []sinktest.Quirk
		faults []sinktest.Fault
		whole  bool
	}{
		{"taken up again", sinktest.WithoutLengths()[:1], cut(6, sinktest.Cut), true},
		{"given up", sinktest.WithoutLengths()[:1], append(cut(1, sinktest.Cut), sinktest.Fault{Op: "GetObject", Nth: 2, Status: 500, Times: -1}), false},
		{"never ends", sinktest.WithoutLengths()[:1], cut(-1, sinktest.Cut), false},
		{"closed, as if it were the end", []sinktest.Quirk{sinktest.NoLengthOnGet, sinktest.EndsByClosing}, cut(3, sinktest.End), true},
		{"closed, and no answer after that", []sinktest.Quirk{sinktest.NoLengthOnGet, sinktest.EndsByClosing},
			append(cut(1, sinktest.End), sinktest.Fault{Op: "GetObject", Nth: 2, Status: 500, Times: -1}), false},
		{"which object the rest is of is not known", []sinktest.Quirk{sinktest.NoLengthOnGet, sinktest.NoETags}, cut(1, sinktest.Cut), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			if _, err := w.store.Put(t.Context(), "k", sink.Bytes(content, "")); err != nil {
				t.Fatal(err)
			}
			store := w.behind(t, tc.quirks, tc.faults...)
			body, _, err := store.Open(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			_ = body.Close()
			if tc.whole && (err != nil || !bytes.Equal(got, content)) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
			if !tc.whole && (!errors.Is(err, sink.ErrUnavailable) || errors.Is(err, io.EOF)) {
				t.Errorf("read %d bytes of a body that broke off: %v", len(got), err)
			}
		})
	}
}

// roundTrip is a function as a transport.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestStalledBody: a body that stops coming is asked for again, and given up in the end.
func TestStalledBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		api, err := sink.Client(t.Context(), sink.Options{
			Region: "us-east-1", Endpoint: "http://store.example", PathStyle: true, Credentials: aws.AnonymousCredentials{},
			Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				asked++
				from, to := io.Pipe()
				context.AfterFunc(req.Context(), func() { _ = to.CloseWithError(context.Cause(req.Context())) })
				return &http.Response{StatusCode: http.StatusOK, ContentLength: 10, Header: http.Header{"Etag": {"e"}, "Content-Length": {"10"}}, Body: from, Request: req}, nil
			}),
		})
		must(t, err)
		_, err = sink.NewStore(api, sink.StoreOptions{Bucket: "b"}).ReadAll(t.Context(), "k", 100)
		if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "nothing came for 30s") || asked != 5 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

// TestVerifyOfBrokenBodies: a file that cannot be read to its end makes a verification
// inconclusive, whatever it is that breaks.
func TestVerifyOfBrokenBodies(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	_, err := writeBag(t.Context(), w.store, t.TempDir())
	must(t, err)
	for _, quirks := range [][]sinktest.Quirk{nil, {sinktest.NoLengthOnGet}, {sinktest.NoLengthOnGet, sinktest.EndsByClosing}} {
		for _, name := range []string{"evidence/ledger.jsonl", "evidence/inventory.json", "data/export.json", "manifest-sha256.txt", "receipt.json", string(sink.ProjectPath(project, "images.jsonl"))} {
			for _, effect := range []sinktest.Effect{sinktest.Cut, sinktest.End} {
				if effect == sinktest.End && len(quirks) < 2 {
					continue // an end that is said cannot look good
				}
				store := w.behind(t, quirks, sinktest.Fault{Op: "GetObject", Key: string(testRoot) + name, Effect: effect, Times: -1})
				report, err := verify.Bag(t.Context(), verify.Stored(store, testRoot), verify.Options{})
				if report.Result != verify.Inconclusive || err == nil {
					t.Errorf("%v, %s of %s: %s, %v, %v", quirks, effect, name, report.Result, report.Problems, err)
				}
			}
		}
	}
}

// TestListingsThatDoNotSay: where a store does not say whether there is more, it is asked, and
// where it does not say where that begins, the listing fails.
func TestListingsThatDoNotSay(t *testing.T) {
	for _, tc := range []struct {
		name   string
		quirks []sinktest.Quirk
		fails  bool
	}{
		{name: "all is said"},
		{name: "not whether there is more", quirks: []sinktest.Quirk{sinktest.NoTruncated}},
		{name: "not where it goes on", quirks: []sinktest.Quirk{sinktest.NoMarkers}, fails: true},
		{name: "neither", quirks: []sinktest.Quirk{sinktest.NoTruncated, sinktest.NoMarkers}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{Versioned: true})
			keys := []sink.Key{"x/a", "x/b/1", "x/b/2", "x/c/3", "x/d", "x/e/4", "x/f/5", "x/g"}
			for _, key := range keys {
				must(t, w.store.Replace(t.Context(), key, sink.Bytes([]byte(key), "")))
			}
			store := sink.NewStore(w.server.FaultyClient(sinktest.NewFaults(w.server.Gateway(t, tc.quirks...)), sinktest.SmallPages), w.options())
			var listed []sink.Key
			var err error
			for o, listErr := range store.List(t.Context(), "x/") {
				if err = listErr; err == nil {
					listed = append(listed, o.Key)
				}
			}
			if tc.fails != errors.Is(err, sink.ErrUnavailable) || !tc.fails && (err != nil || !slices.Equal(listed, keys)) {
				t.Errorf("listed %q, %v", listed, err)
			}
			var folders []string
			err = nil
			for name, listErr := range store.Folders(t.Context(), "x/") {
				if err = listErr; err == nil {
					folders = append(folders, name)
				}
			}
			if tc.fails != errors.Is(err, sink.ErrUnavailable) || !tc.fails && (err != nil || !slices.Equal(folders, []string{"b", "c", "e", "f"})) {
				t.Errorf("folders are %q, %v", folders, err)
			}
			for _, key := range []string{"x/u1", "x/u2", "x/u3", "x/u4", "x/u5"} {
				_, err := w.server.Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &w.bucket, Key: &key})
				must(t, err)
			}
			_, err = store.RemoveAll(t.Context(), "x/")
			if left := w.left(t, ""); tc.fails != errors.Is(err, sink.ErrUnavailable) || !tc.fails && (err != nil || left != "") {
				t.Errorf("removing gives %v, and there is left\n%s", err, left)
			}
		})
	}
}
