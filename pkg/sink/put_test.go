package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestPutKeepsWhatWasGiven(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	for _, tc := range []struct {
		name    string
		content []byte
	}{
		{"empty", nil},
		{"small", []byte("hello\n")},
		{"binary", noise(1, 300_000)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			key := sink.Key("put/" + tc.name + ".bin")
			body := sink.Bytes(tc.content, "image/jpeg")
			body.Meta = map[string]string{"source": "original"}
			put, err := w.store.Put(ctx, key, body)
			if err != nil {
				t.Fatal(err)
			}
			if put.Adopted || put.SHA256 != body.SHA256 || put.Bytes != int64(len(tc.content)) {
				t.Errorf("put gives %+v", put)
			}
			head, err := w.store.Head(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if head.SHA256 != body.SHA256 || head.Bytes != body.Size || head.ContentType != "image/jpeg" || head.Meta["source"] != "original" || len(head.Meta) != 1 {
				t.Errorf("head gives %+v", head)
			}
			got, err := w.store.ReadAll(ctx, key, 1<<20)
			if err != nil || !bytes.Equal(got, tc.content) {
				t.Errorf("read %d bytes, error %v", len(got), err)
			}
			// What other tools see: the checksum that the store itself keeps, and the metadata.
			raw, err := w.server.Client().HeadObject(ctx, &s3.HeadObjectInput{Bucket: &w.bucket, Key: (*string)(&key), ChecksumMode: types.ChecksumModeEnabled})
			if err != nil {
				t.Fatal(err)
			}
			if raw.ChecksumSHA256 == nil || raw.Metadata["sha256"] != body.SHA256 {
				t.Errorf("checksum %v, metadata %v", raw.ChecksumSHA256, raw.Metadata)
			}
		})
	}
}

func TestPutComputesWhatABodyDoesNotSay(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	content := noise(2, 1000)
	r := bytes.NewReader(content)
	_, _ = io.CopyN(io.Discard, r, 10) // its position does not matter
	got, err := w.store.Put(t.Context(), "a", sink.Body{R: r})
	if err != nil {
		t.Fatal(err)
	}
	if want := sink.Bytes(content, ""); got.SHA256 != want.SHA256 || got.Bytes != 1000 || got.ContentType != "application/octet-stream" {
		t.Errorf("got %+v", got)
	}
	if _, err := w.store.Put(t.Context(), "b", sink.Body{R: r, SHA256: "nonsense"}); err == nil {
		t.Error("a digest that is none was taken")
	}
}

func TestFirstWriterWins(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	first, second := sink.Bytes([]byte("first"), "text/plain"), sink.Bytes([]byte("the second"), "text/html")
	if _, err := w.store.Put(ctx, "k", first); err != nil {
		t.Fatal(err)
	}
	got, err := w.store.Put(ctx, "k", second)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Adopted || got.SHA256 != first.SHA256 || got.Bytes != first.Size || got.ContentType != "text/plain" {
		t.Errorf("adopted %+v", got)
	}
	if err := w.store.Replace(ctx, "k", second); err != nil {
		t.Fatal(err)
	}
	if b, err := w.store.ReadAll(ctx, "k", 100); string(b) != "the second" || err != nil {
		t.Errorf("after Replace: %q, %v", b, err)
	}
}

func TestManyWritersOneWins(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	type result struct {
		object sink.Object
		err    error
	}
	results := make(chan result)
	const writers = 16
	for i := range writers {
		go func() {
			object, err := w.store.Put(context.Background(), "k", sink.Bytes(fmt.Appendf(nil, "writer %d", i), ""))
			results <- result{object, err}
		}()
	}
	wrote, digests := 0, map[string]bool{}
	for range writers {
		r := <-results
		if r.err != nil {
			t.Fatal(r.err)
		}
		if !r.object.Adopted {
			wrote++
		}
		digests[r.object.SHA256] = true
	}
	if wrote != 1 || len(digests) != 1 {
		t.Errorf("%d writers wrote, %d digests were given", wrote, len(digests))
	}
	if left := w.left(t, ""); left != "k" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestAdoptWithoutMetadataReads(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	content := noise(3, 100_000)
	for name, meta := range map[string]map[string]string{
		"none":  nil,
		"wrong": {"sha256": strings.Repeat("0", 64)}, // the store's own checksum contradicts it
		"odd":   {"sha256": "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			key := "foreign-" + name
			in := &s3.PutObjectInput{Bucket: &w.bucket, Key: &key, Body: bytes.NewReader(content), Metadata: meta}
			if name == "wrong" {
				in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
			}
			if _, err := w.server.Client().PutObject(ctx, in); err != nil {
				t.Fatal(err)
			}
			got, err := w.store.Put(ctx, sink.Key(key), sink.Bytes([]byte("mine"), ""))
			if err != nil {
				t.Fatal(err)
			}
			if want := sink.Bytes(content, "").SHA256; !got.Adopted || got.SHA256 != want || got.Bytes != 100_000 {
				t.Errorf("adopted %+v, want SHA-256 %s", got, want)
			}
		})
	}
}

func TestPutThroughFaults(t *testing.T) {
	for _, tc := range []struct {
		name    string
		fault   sinktest.Fault
		adopted bool
	}{
		{"slow down", sinktest.Fault{Op: "PutObject", Status: 503}, false},
		{"bare 503", sinktest.Fault{Op: "PutObject", Status: 503, Code: " "}, false},
		{"bare 429", sinktest.Fault{Op: "PutObject", Status: 429}, false},
		{"three in a row", sinktest.Fault{Op: "PutObject", Status: 500, Times: 3}, false},
		{"conflict", sinktest.Fault{Op: "PutObject", Status: 409, Times: 2}, false},
		{"reset", sinktest.Fault{Op: "PutObject", Effect: sinktest.Reset}, false},
		{"cut upload", sinktest.Fault{Op: "PutObject", Effect: sinktest.Cut}, false},
		{"lost answer", sinktest.Fault{Op: "PutObject", Effect: sinktest.Reset, After: true}, true},
		{"500 after it was stored", sinktest.Fault{Op: "PutObject", Status: 500, After: true}, true},
		{"taken, then gone", sinktest.Fault{Op: "PutObject", Status: 412}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			store, _ := w.faulty(t, tc.fault)
			body := sink.Bytes(noise(4, 50_000), "image/png")
			got, err := store.Put(t.Context(), "k", body)
			if err != nil {
				t.Fatal(err)
			}
			if got.SHA256 != body.SHA256 || got.Adopted != tc.adopted {
				t.Errorf("got %+v", got)
			}
			if b, err := w.store.ReadAll(t.Context(), "k", 1<<20); err != nil || len(b) != 50_000 {
				t.Errorf("stored %d bytes, error %v", len(b), err)
			}
		})
	}
}

func TestWrongChecksumIsRefused(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	body := sink.Bytes([]byte("these bytes"), "")
	body.SHA256 = sink.Bytes([]byte("other bytes"), "").SHA256
	if _, err := w.store.Put(t.Context(), "k", body); err == nil {
		t.Fatal("a body that does not match its digest was stored")
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestEncryptionNotKept(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	o := w.options()
	o.SSE = "AES256" // this server ignores it
	if _, err := sink.NewStore(w.server.Client(), o).Put(t.Context(), "k", sink.Bytes([]byte("x"), "")); !errors.Is(err, sink.ErrNotKept) {
		t.Errorf("got %v", err)
	}
}
