package sinktest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestServerStartsAgain(t *testing.T) {
	before, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	dir := t.TempDir()
	var addr string
	for i := range 3 {
		s, err := sinktest.StartWith(sinktest.Options{Dir: dir, Addr: addr, AccessKey: "me", SecretKey: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		addr = s.Endpoint[len("http://"):] // the next one takes the same port
		if s.WorkDir() != before {
			t.Errorf("WorkDir is %s, want %s", s.WorkDir(), before)
		}
		for range 2 { // making a bucket twice is no error
			if err := s.CreateBucket(ctx, "kept", sinktest.BucketOptions{Versioned: true}); err != nil {
				t.Fatalf("start %d: %v", i, err)
			}
		}
		list, err := s.Client().ListBuckets(ctx, &s3.ListBucketsInput{})
		if err != nil || len(list.Buckets) != 1 {
			t.Fatalf("start %d: buckets %v, error %v", i, list, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("second Close: %v", err)
		}
		if after, _ := os.Getwd(); after != before {
			t.Fatalf("working directory is %s, want %s", after, before)
		}
	}
}

// TestLongListings: a listing of several pages has each object once, in order, also where another
// one goes on beside it, and where a page is asked for again.
func TestLongListings(t *testing.T) {
	dir := t.TempDir()
	s, err := sinktest.Start(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.CreateBucket(t.Context(), "many", sinktest.BucketOptions{}); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i := range 2500 {
		want = append(want, fmt.Sprintf("all/%d/%04d", i/500, i))
		name := filepath.Join(dir, "buckets", "many", filepath.FromSlash(want[i]))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("x"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	api := s.Client()
	page := func(token *string) ([]string, *string) {
		t.Helper()
		out, err := api.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("many"), Prefix: aws.String("all/"), ContinuationToken: token})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, o := range out.Contents {
			if aws.ToInt64(o.Size) != 1 {
				t.Errorf("%s has %d bytes", *o.Key, aws.ToInt64(o.Size))
			}
			keys = append(keys, *o.Key)
		}
		if aws.ToBool(out.IsTruncated) != (out.NextContinuationToken != nil) {
			t.Error("a page does not say how the listing goes on")
		}
		return keys, out.NextContinuationToken
	}
	var first, second []string
	var tokens [2]*string
	for i := 0; i == 0 || tokens[0] != nil; i++ {
		keys, next := page(tokens[0])
		first = append(first, keys...)
		if again, _ := page(tokens[0]); !slices.Equal(again, keys) {
			t.Errorf("page %d is another one when it is asked for again", i)
		}
		keys, tokens[1] = page(tokens[1])
		second = append(second, keys...)
		tokens[0] = next
	}
	if !slices.Equal(first, want) || !slices.Equal(second, want) || tokens[1] != nil {
		t.Errorf("listings of %d and %d objects, not %d each, or not in order", len(first), len(second), len(want))
	}
}

func TestMain(m *testing.M) {
	var known []goleak.Option
	for _, function := range sinktest.LibraryGoroutines() {
		known = append(known, goleak.IgnoreAnyFunction(function))
	}
	goleak.VerifyTestMain(m, known...)
}

func TestServerNeedsAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sinktest.Start(file); err == nil {
		_ = s.Close()
		t.Fatal("a server started in a file")
	}
}
