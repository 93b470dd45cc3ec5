package sinktest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// recorder stands for a test that may fail.
type recorder struct {
	*testing.T
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// once is a client option: no retries.
func once(o *s3.Options) { o.RetryMaxAttempts, o.Retryer = 1, aws.NopRetryer{} }

func put(ctx context.Context, api *s3.Client, bucket, key, content string) error {
	_, err := api.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)})
	return err
}

func TestFaultNotHitFailsTheTest(t *testing.T) {
	s := sinktest.Shared(t)
	bucket := s.Bucket(t, sinktest.BucketOptions{})
	r := &recorder{T: t}
	f := sinktest.NewFaults(nil)
	f.Add(
		sinktest.Fault{Op: "PutObject", Key: "*/b", Status: 403},
		sinktest.Fault{Op: "PutObject", Key: "x/*", Nth: 2, Status: 500, Times: 2},
		sinktest.Fault{Op: "GetObject", Effect: sinktest.Hang},
	)
	api := s.FaultyClient(f, once)
	var got []string
	for _, key := range []string{"x/a", "x/b", "x/c", "x/d", "x/e"} {
		err := put(t.Context(), api, bucket, key, "content")
		var apiErr smithy.APIError
		if errors.As(err, &apiErr) {
			got = append(got, key+" "+apiErr.ErrorCode())
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"x/b AccessDenied", "x/c InternalError", "x/d InternalError"}; !slices.Equal(got, want) {
		t.Errorf("faults %q, want %q", got, want)
	}
	if f.Calls("PutObject") != 5 || f.Calls("") != 5 || f.Injected() != 3 {
		t.Errorf("%d puts, %d calls, %d faults", f.Calls("PutObject"), f.Calls(""), f.Injected())
	}
	f.Check(r)
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "hang before \"GetObject") {
		t.Errorf("failures %q", r.errors)
	}
}

func TestEffects(t *testing.T) {
	s := sinktest.Shared(t)
	plain := s.Client()
	for _, tc := range []struct {
		name   string
		fault  sinktest.Fault
		stored bool
		err    bool
	}{
		{"status before", sinktest.Fault{Status: 500}, false, true},
		{"status after", sinktest.Fault{Status: 500, After: true}, true, true},
		{"reset before", sinktest.Fault{Effect: sinktest.Reset}, false, true},
		{"reset after", sinktest.Fault{Effect: sinktest.Reset, After: true}, true, true},
		{"half of the body", sinktest.Fault{Effect: sinktest.Cut}, false, true},
		{"hang before", sinktest.Fault{Effect: sinktest.Hang}, false, true},
		{"hang after", sinktest.Fault{Effect: sinktest.Hang, After: true}, true, true},
		{"lie", sinktest.Fault{Effect: sinktest.Lie}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bucket := s.Bucket(t, sinktest.BucketOptions{})
			tc.fault.Op = "PutObject"
			f := sinktest.Script(t, tc.fault)
			ctx, giveUp := context.WithCancel(t.Context())
			defer giveUp()
			if tc.fault.Effect == sinktest.Hang { // the caller gives up when the request was carried out, or is about to be
				asked := make(chan struct{})
				f.OnRequest = func(_, _ string, before bool) error {
					if before {
						close(asked)
					}
					return nil
				}
				go func() {
					defer giveUp()
					<-asked
					for stored := 0; tc.stored && stored == 0 && ctx.Err() == nil; {
						left, err := sinktest.Versions(ctx, plain, bucket, "")
						if err != nil {
							t.Error(err)
							return
						}
						stored = len(left)
					}
				}()
			}
			if err := put(ctx, s.FaultyClient(f, once), bucket, "k", "content"); (err != nil) != tc.err {
				t.Errorf("error %v", err)
			}
			left, err := sinktest.Versions(t.Context(), plain, bucket, "")
			if err != nil || (len(left) == 1) != tc.stored {
				t.Errorf("stored %q, %v", left, err)
			}
		})
	}
}

func TestLies(t *testing.T) {
	s := sinktest.Shared(t)
	bucket := s.Bucket(t, sinktest.BucketOptions{})
	ctx := t.Context()
	for _, key := range []string{"a", "b"} {
		if err := put(ctx, s.Client(), bucket, key, "x"); err != nil {
			t.Fatal(err)
		}
	}
	f := sinktest.Script(t,
		sinktest.Fault{Op: "DeleteObjects", Key: "a", Effect: sinktest.Lie},
		sinktest.Fault{Op: "DeleteObject", Key: "b", Effect: sinktest.Lie},
		sinktest.Fault{Op: "CompleteMultipartUpload", Effect: sinktest.Lie},
		sinktest.Fault{Op: "UploadPart", Effect: sinktest.Lie},
		sinktest.Fault{Op: "AbortMultipartUpload", Effect: sinktest.Lie},
	)
	api := s.FaultyClient(f, once)
	out, err := api.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: aws.String("a")}, {Key: aws.String("b")}}}})
	if err != nil || len(out.Deleted) != 2 || len(out.Errors) != 0 {
		t.Errorf("deleted %+v, %v", out, err)
	}
	if _, err := api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("b")}); err != nil {
		t.Error(err)
	}
	upload, err := api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("m")})
	if err != nil {
		t.Fatal(err)
	}
	part, err := api.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: aws.String("m"), UploadId: upload.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	if err != nil || part.ETag == nil {
		t.Errorf("part %+v, %v", part, err)
	}
	if _, err := api.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &bucket, Key: aws.String("m"), UploadId: upload.UploadId}); err != nil {
		t.Error(err)
	}
	if _, err := api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: aws.String("m"), UploadId: upload.UploadId}); err != nil {
		t.Error(err)
	}
	left, err := sinktest.Versions(ctx, s.Client(), bucket, "")
	if err != nil || !slices.Equal(left, []string{"a", "b", "m (upload)"}) {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestCutAnswer(t *testing.T) {
	s := sinktest.Shared(t)
	bucket := s.Bucket(t, sinktest.BucketOptions{})
	content := strings.Repeat("x", 1000)
	if err := put(t.Context(), s.Client(), bucket, "k", content); err != nil {
		t.Fatal(err)
	}
	out, err := s.FaultyClient(sinktest.Script(t, sinktest.Fault{Op: "GetObject", Effect: sinktest.Cut}), once).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	if got, err := io.ReadAll(out.Body); len(got) != 500 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestOnRequestNamesEveryEffect(t *testing.T) {
	s := sinktest.Shared(t)
	bucket := s.Bucket(t, sinktest.BucketOptions{Versioned: true})
	ctx := t.Context()
	f := sinktest.NewFaults(nil)
	var seen []string
	f.OnRequest = func(op, key string, before bool) error {
		if before {
			seen = append(seen, strings.TrimSpace(op+" "+key))
		}
		return nil
	}
	api := s.FaultyClient(f, once)
	k, p := aws.String("f/k"), aws.String("f/")
	upload := new(string)
	calls := []func() error{
		func() error { return put(ctx, api, bucket, "f/k", "x") },
		func() error { _, err := api.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: k}); return err },
		func() error {
			out, err := api.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: k})
			if err == nil {
				err = out.Body.Close()
			}
			return err
		},
		func() error {
			_, err := api.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: p})
			return err
		},
		func() error {
			_, err := api.ListObjects(ctx, &s3.ListObjectsInput{Bucket: &bucket, Prefix: p})
			return err
		},
		func() error {
			_, err := api.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: p})
			return err
		},
		func() error {
			_, err := api.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &bucket, Prefix: p})
			return err
		},
		func() error {
			_, err := api.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &bucket})
			return err
		},
		func() error { _, err := api.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &bucket}); return err },
		func() error {
			out, err := api.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: k})
			if err == nil {
				*upload = *out.UploadId
			}
			return err
		},
		func() error {
			_, err := api.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: k, UploadId: upload, PartNumber: aws.Int32(1), Body: bytes.NewReader(nil)})
			return err
		},
		func() error {
			_, err := api.ListParts(ctx, &s3.ListPartsInput{Bucket: &bucket, Key: k, UploadId: upload})
			return err
		},
		func() error {
			_, err := api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &bucket, Key: k, UploadId: upload})
			return err
		},
		func() error {
			_, err := api.CopyObject(ctx, &s3.CopyObjectInput{Bucket: &bucket, Key: aws.String("f/c"), CopySource: aws.String(bucket + "/f/k")})
			return err
		},
		func() error {
			_, err := api.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: k}}}})
			return err
		},
		func() error {
			_, err := api.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: k})
			return err
		},
	}
	for i, call := range calls {
		if err := call(); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	}
	want := []string{
		"PutObject f/k", "HeadObject f/k", "GetObject f/k", "ListObjectsV2 f/", "ListObjects f/", "ListObjectVersions f/", "ListMultipartUploads f/",
		"GetBucketVersioning", "HeadBucket", "CreateMultipartUpload f/k", "UploadPart f/k", "ListParts f/k", "AbortMultipartUpload f/k", "CopyObject f/c",
		"DeleteObjects f/k", "DeleteObject f/k",
	}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q\nwant %q", seen, want)
	}
	died := errors.New("died")
	for _, before := range []bool{true, false} {
		f.OnRequest = func(_, _ string, b bool) error {
			if b == before {
				return died
			}
			return nil
		}
		key := fmt.Sprint("before-", before)
		if err := put(ctx, api, bucket, key, "x"); !errors.Is(err, died) {
			t.Errorf("got %v", err)
		}
		left, err := sinktest.Versions(ctx, s.Client(), bucket, key)
		if err != nil || (len(left) == 1) == before {
			t.Errorf("cut %s: left %q, %v", key, left, err)
		}
	}
}

func TestFaultRateIsRepeatable(t *testing.T) {
	run := func(seed uint64) (outcome string) {
		f := sinktest.NewFaults(roundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
		}))
		f.FaultRate(0.3, seed)
		for range 200 {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://s3/bucket/key", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := f.RoundTrip(req)
			if err != nil {
				outcome += "e"
				continue
			}
			_ = resp.Body.Close()
			outcome += string(rune('0' + resp.StatusCode/100))
		}
		return outcome
	}
	first := run(1)
	if first != run(1) {
		t.Error("the same seed gave other faults")
	}
	if first == run(2) {
		t.Error("another seed gave the same faults")
	}
	if n := 200 - strings.Count(first, "2"); n < 20 || n > 100 {
		t.Errorf("%d faults of 200", n)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return r(req) }

func TestFetch(t *testing.T) {
	s := sinktest.Shared(t)
	bucket := s.Bucket(t, sinktest.BucketOptions{})
	for _, key := range []string{"p/a", "p/b/c", "q"} {
		if err := put(t.Context(), s.Client(), bucket, key, key); err != nil {
			t.Fatal(err)
		}
	}
	if err := sinktest.Fetch(t.Context(), s.Client(), bucket, "p/", t.TempDir()); err != nil {
		t.Error(err)
	}
	if err := sinktest.Fetch(t.Context(), s.Client(), "nowhere", "p/", t.TempDir()); err == nil {
		t.Error("fetched from no bucket")
	}
}
