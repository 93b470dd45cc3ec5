package sink_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

func TestErrorsHaveTheirKind(t *testing.T) {
	kinds := map[string]error{
		"not found": sink.ErrNotFound, "conflict": sink.ErrConflict, "throttled": sink.ErrThrottled,
		"unavailable": sink.ErrUnavailable, "misconfigured": sink.ErrMisconfigured, "not kept": sink.ErrNotKept,
	}
	for _, tc := range []struct {
		name  string
		fault sinktest.Fault
		want  string // "" is none of them
	}{
		{"throttled to the end", sinktest.Fault{Status: 503, Times: -1}, "throttled"},
		{"429 to the end", sinktest.Fault{Status: 429, Times: -1}, "throttled"},
		{"long Retry-After is not waited for", sinktest.Fault{Status: 503, RetryAfter: time.Hour}, "throttled"},
		{"500 to the end", sinktest.Fault{Status: 500, Times: -1}, "unavailable"},
		{"502 to the end", sinktest.Fault{Status: 502, Times: -1}, "unavailable"},
		{"409 to the end", sinktest.Fault{Status: 409, Times: -1}, "unavailable"},
		{"resets to the end", sinktest.Fault{Effect: sinktest.Reset, Times: -1}, "unavailable"},
		{"access denied", sinktest.Fault{Status: 403}, "misconfigured"},
		{"no bucket", sinktest.Fault{Status: 404, Code: "NoSuchBucket"}, "misconfigured"},
		{"a 404 of something else", sinktest.Fault{Status: 404, Code: " "}, "misconfigured"},
		{"disk full", sinktest.Fault{Status: 507, Code: "XMinioStorageFull", Times: -1}, "misconfigured"},
		{"too large", sinktest.Fault{Status: 400, Code: "EntityTooLarge"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, sinktest.BucketOptions{})
			tc.fault.Op = "PutObject"
			store, _ := w.faulty(t, tc.fault)
			_, err := store.Put(t.Context(), "the/key", sink.Bytes([]byte("x"), ""))
			if err == nil {
				t.Fatal("no error")
			}
			for name, kind := range kinds {
				if errors.Is(err, kind) != (name == tc.want) {
					t.Errorf("errors.Is(%v, %s) is %v", err, name, errors.Is(err, kind))
				}
			}
			var e *sink.Error
			if !errors.As(err, &e) || e.Op != "put object" || e.Key != "the/key" || e.RetryAfter != tc.fault.RetryAfter {
				t.Errorf("error is %#v", err)
			}
			if strings.Contains(err.Error(), w.server.SecretKey) || strings.Contains(err.Error(), "Signature") {
				t.Errorf("error tells a secret: %v", err)
			}
		})
	}
}

func TestErrorsOfRealRefusals(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{})
	ctx := t.Context()
	if _, err := w.store.Head(ctx, "nothing"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("Head of nothing: %v", err)
	}
	if _, _, err := w.store.Open(ctx, "nothing"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("Open of nothing: %v", err)
	}
	o := w.options()
	o.Bucket = "no-such-bucket"
	if _, err := sink.NewStore(w.server.Client(), o).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put into no bucket: %v", err)
	}
	settings := w.server.Settings(nil)
	settings.Endpoint, settings.MaxAttempts = "http://127.0.0.1:1", 2
	away, err := sink.Client(ctx, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.NewStore(away, w.options()).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put to nobody: %v", err)
	}
	wrong := w.server.Client(func(o *s3.Options) { o.Credentials = wrongKey{} })
	if _, err := sink.NewStore(wrong, w.options()).Put(ctx, "k", sink.Bytes(nil, "")); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("Put with a wrong key: %v", err)
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
		{"upload aborted by somebody", []sinktest.Fault{{Op: "UploadPart", Nth: 2, Status: 404, Code: "NoSuchUpload"}}},
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

func TestConditional(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	if honored, err := w.store.Conditional(t.Context(), "probe"); err != nil || !honored {
		t.Errorf("real store: %v, %v", honored, err)
	}
	ignoring := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	if honored, err := ignoring.Conditional(t.Context(), "probe"); err != nil || honored {
		t.Errorf("store that ignores conditions: %v, %v", honored, err)
	}
	if left := w.left(t, ""); left != "" {
		t.Errorf("the bucket keeps %q", left)
	}
	store, _ := w.faulty(t, sinktest.Fault{Op: "PutObject", Status: 403})
	if _, err := store.Conditional(t.Context(), "probe"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("got %v", err)
	}
}

func TestUnconditionalStoreLooksFirst(t *testing.T) {
	w := newWorld(t, sinktest.BucketOptions{Versioned: true})
	store := sink.NewStore(w.server.Client(sinktest.IgnoreConditions), w.options())
	store.LookFirst()
	for i, want := range []bool{false, true} {
		got, err := store.Put(t.Context(), "k", sink.Bytes(fmt.Appendf(nil, "%d", i), ""))
		if err != nil || got.Adopted != want {
			t.Errorf("put %d: %+v, %v", i, got, err)
		}
	}
	if left := w.left(t, ""); left != "k" {
		t.Errorf("the bucket keeps %q", left)
	}
}

func TestClientSettings(t *testing.T) {
	for name, unset := range map[string]string{"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": ""} {
		t.Setenv(name, unset)
	}
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	if _, err := sink.Client(t.Context(), sink.Options{}); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
	api, err := sink.Client(t.Context(), sink.Options{PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	if o := api.Options(); o.Region != "us-east-1" || !o.UsePathStyle || *o.BaseEndpoint != "http://127.0.0.1:9" {
		t.Errorf("options %+v", o)
	}
	t.Setenv("AWS_REGION", "eu-west-3")
	if api, err = sink.Client(t.Context(), sink.Options{}); err != nil || api.Options().Region != "eu-west-3" {
		t.Errorf("region of the environment: %v", err)
	}
	if _, err := sink.NewStore(api, sink.StoreOptions{Bucket: "b"}).Head(t.Context(), "k"); !errors.Is(err, sink.ErrMisconfigured) {
		t.Errorf("without credentials: %v", err)
	}
}

// wrongKey is a credential that no store knows.
type wrongKey struct{}

func (wrongKey) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "nobody", SecretAccessKey: "nothing"}, nil
}

func TestPartBytes(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct{ size, want int64 }{
		{100 * mib, 8 * mib}, {80_000 * mib, 8 * mib}, {80_000*mib + 1, 9 * mib}, {5 << 40, 525 * mib},
	} {
		got := sink.PartBytes(tc.size, 8*mib)
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
