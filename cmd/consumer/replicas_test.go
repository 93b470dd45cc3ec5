package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// exportOnce has whatever replicas run carry out an export of everything, and gives the calls, the
// downloads and the time it took.
func (f *fixture) exportOnce(t testing.TB, id string) (calls, downloads int, took time.Duration) {
	t.Helper()
	f.vision.ResetCalls()
	begun := time.Now()
	e := f.orderData(t, id, `{"all_projects":true}`, 5*time.Minute)
	if e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeComplete {
		t.Fatal(describeEvent(e))
	}
	took = time.Since(begun)
	for _, c := range f.vision.Calls() {
		if c.Operation != "GetDomains" { // that is /readyz
			calls++
		}
	}
	return calls, f.vision.BlobCount(), took
}

// What a replica that is killed had done is not done again: an export of 3000 images loses the
// units that were under way, and no more.
func TestKillCostsLittle(t *testing.T) {
	t.Parallel()
	const images = 3000
	f := newFixture(t, cvtest.Options{Seed: 4, Compact: true})
	f.vision.AddProject(cvtest.ProjectSpec{Images: images, ImageBytes: cvtest.Tiny, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 100}}})
	program := itself(t).with(f.environment()...)
	first, second := program.start(t), program.start(t)
	first.await(t)
	second.await(t)
	calls, downloads, _ := f.exportOnce(t, "undisturbed")

	killed := make(chan struct{})
	half := downloads / 2
	f.vision.ResetCalls()
	f.vision.OnCall(func(operation string, n int) {
		if operation == cvtest.OperationBlob && n == half {
			go func() {
				defer close(killed)
				first.kill()
			}()
		}
	})
	disturbedCalls, disturbedDownloads, _ := f.exportOnce(t, "disturbed")
	<-killed
	t.Logf("%d calls and %d downloads, with a replica killed half-way %d and %d", calls, downloads, disturbedCalls, disturbedDownloads)
	if disturbedCalls > calls+calls/10 || disturbedDownloads > downloads+downloads/10 {
		t.Errorf("%d calls and %d downloads, with a replica killed half-way %d and %d: more than a tenth more", calls, downloads, disturbedCalls, disturbedDownloads)
	}
	second.stop(t)
}

// Where downloads wait for the service and not for this machine, four replicas export nearly four
// times as fast as one. It is not a test: on a machine that others use too, or under the race
// detector, four replicas are held up by the processor.
func BenchmarkFourReplicas(b *testing.B) {
	f := newFixture(b, cvtest.Options{Seed: 4, Compact: true, BlobLatency: 50 * time.Millisecond})
	f.vision.AddProject(cvtest.ProjectSpec{Images: 8 * 255, ImageBytes: cvtest.Tiny}) // pages enough for an even share
	// So few downloads at once that the processor has little to do: 8 every 50 ms with four
	// replicas.
	program := itself(b).with(f.environment()...).with("CONSUMER_WORKERS=1", "CONSUMER_DOWNLOADS=2")
	for b.Loop() {
		var replicas []*replica
		measure := func(id string, n int) time.Duration {
			for len(replicas) < n {
				r := program.start(b)
				r.await(b)
				replicas = append(replicas, r)
			}
			_, _, took := f.exportOnce(b, id)
			return took
		}
		one, four := measure(uuid.NewString(), 1), measure(uuid.NewString(), 4)
		for _, r := range replicas {
			r.stop(b)
		}
		ratio := one.Seconds() / four.Seconds()
		b.ReportMetric(ratio, "times-as-fast")
		if ratio < 3.2 {
			b.Errorf("one replica took %s, four %s: %.1f times as fast, not 3.2", one, four, ratio)
		}
	}
}

// A whole export, with everything that makes it certain, takes this many times as long as a loop
// that fetches the same pictures and puts them into the same store, as many at once.
func BenchmarkExport(b *testing.B) {
	const images, atOnce = 1000, 8
	f := newFixture(b, cvtest.Options{Seed: 4, Compact: true})
	p := f.vision.AddProject(cvtest.ProjectSpec{Images: images, ImageBytes: 20_000})
	program := itself(b).with(f.environment()...).with(fmt.Sprintf("CONSUMER_DOWNLOADS=%d", atOnce))
	r := program.start(b)
	r.await(b)
	client, err := f.config.client(f.config.Resources[0], nil)
	if err != nil {
		b.Fatal(err)
	}
	api := f.store.Client()
	copyAll := func(id string) {
		var g errgroup.Group
		g.SetLimit(atOnce)
		for ids := range slices.Chunk(p.Images, cv.MaxPage) {
			list, err := client.GetImagesByIDs(b.Context(), p.ID, uuid.Nil, ids)
			if err != nil {
				b.Fatal(err)
			}
			for _, image := range list {
				g.Go(func() error {
					resp, err := http.Get(image.OriginalImageURI) //nolint:gosec,noctx // the simulator's
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					picture, err := io.ReadAll(resp.Body)
					if err != nil {
						return err
					}
					_, err = api.PutObject(b.Context(), &s3.PutObjectInput{Bucket: &f.config.Bucket, Key: aws.String(id + "/" + image.ID.String()), Body: bytes.NewReader(picture)})
					return err
				})
			}
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	ratio.Report(b, func() { f.exportOnce(b, uuid.NewString()) }, func() { copyAll(uuid.NewString()) })
	r.stop(b)
}
