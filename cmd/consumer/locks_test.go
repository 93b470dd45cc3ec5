package main

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// TestRunOnAStoreThatIgnoresLocks: a store that accepts a retention and does not keep it is found
// out at start. What asks for one is refused before anything is read or deleted, and what the store
// was tried with is removed, if not at once.
func TestRunOnAStoreThatIgnoresLocks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 1})
	project := f.tinyProject().String()
	f.config.Bucket = f.store.Bucket(t, sinktest.BucketOptions{Locked: true})
	gate := f.store.Gateway(t)
	gate.Faults.Add(sinktest.Fault{Op: "PutObjectRetention", Effect: sinktest.Lie, Times: -1})
	gate.Faults.Add(sinktest.Fault{Op: "DeleteObjects", Key: ".cvconsumer-probe-lock-*", Times: 2, Status: http.StatusForbidden}) // as while it is locked
	f.config.S3.Endpoint, f.config.S3.Transport = gate.Endpoint, nil
	r := f.start(t)
	r.await("the note", func(code int, body readiness) bool {
		return isReady(code, body) && slices.ContainsFunc(body.Dependencies["storage"].Notes, func(note string) bool { return strings.Contains(note, "does not keep a retention") })
	})
	data := `{"project_ids":["` + project + `"],"unpublish":true,"retain_until":"2061-01-02T03:04:05Z"}`
	e, err := request(t.Context(), f.config.NATS, order{action: contract.ActionDelete, id: "kept", data: []byte(data)}, func(contract.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if e.Data.Status != contract.StatusRefused || e.Data.Error.Code != contract.CodePreconditionFailed || !strings.HasPrefix(e.Data.Error.Message, "retain_until: ") {
		t.Errorf("%s", describeEvent(e))
	}
	r.await("what was tried is removed", func(int, readiness) bool {
		left, err := sinktest.Versions(t.Context(), f.store.Client(), f.config.Bucket, ".cvconsumer-probe")
		if err != nil {
			t.Fatal(err)
		}
		return len(left) == 0
	})
	r.end()
}

// TestRunRemovesWhatProbesLeft: a process that is killed while it probes the store leaves an object
// and an upload, which the next one removes.
func TestRunRemovesWhatProbesLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.Prefix = "p/"
	client, bucket := f.store.Client(), f.config.Bucket
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("p/.cvconsumer-probe-KILLED"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("p/.cvconsumer-probe")}); err != nil {
		t.Fatal(err)
	}
	r := f.start(t)
	r.await("what a killed process left is removed", func(int, readiness) bool {
		left, err := sinktest.Versions(t.Context(), client, bucket, "p/.cvconsumer-probe")
		if err != nil {
			t.Fatal(err)
		}
		uploads, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
		if err != nil {
			t.Fatal(err)
		}
		return len(left) == 0 && len(uploads.Uploads) == 0
	})
	r.end()
}
