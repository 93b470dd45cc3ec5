package sinktest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

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
