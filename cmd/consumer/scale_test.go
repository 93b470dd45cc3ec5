package main

import (
	"bufio"
	"flag"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// scaleImages is what the service allows in a project when `make scale` says so, as `make test`
// does. Where all tests are run, a twentieth has to do.
var scaleImages = flag.Int("images", 5_000, "images that TestScale exports, 3000 at least")

// mostMemory is what an export may take, whatever the project's size, in bytes.
const mostMemory = 112 << 20

// A project as large as the service lets one grow is exported with the fewest calls possible and in
// bounded memory. The consumer is a process of its own, as it is shipped, so that the memory is its
// own.
func TestScale(t *testing.T) {
	program := built(t)
	keepInMemory(t, 4<<30)
	f := newFixture(t, cvtest.Options{Seed: 3, Compact: true})
	const (
		old, dropped = 2_000, 300 // images that an iteration holds, and those of them that only it does
		untagged     = 700
		predictions  = 300
	)
	tagged := *scaleImages - untagged - dropped // in the workspace
	p := f.vision.AddProject(cvtest.ProjectSpec{
		Images: old, ImageBytes: cvtest.Tiny, Predictions: predictions, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: dropped}},
	})
	for range untagged {
		f.vision.AddImage(p.ID, cvtest.ImageSpec{ImageBytes: cvtest.Tiny})
	}
	f.vision.AddImages(p.ID, tagged-(old-dropped), cvtest.Tiny)

	r := program.with(f.environment()...).start(t)
	r.await(t)
	begun := time.Now()
	e := f.orderData(t, "big", `{"all_projects":true}`, 10*time.Minute)
	if e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeComplete || e.Data.Counts.Images != int64(*scaleImages) {
		t.Fatalf("%s, %+v\n%s", describeEvent(e), e.Data.Counts, tail(r.log.String()))
	}
	if _, most := r.memory(t); most > mostMemory {
		t.Errorf("the consumer took %d MiB of memory, more than %d", most>>20, mostMemory>>20)
	} else {
		t.Logf("%d images in %s, %d MiB of memory at most", *scaleImages, time.Since(begun).Round(time.Second), most>>20)
	}
	r.stop(t)

	// pages is how many calls list n items: 256 a page, of which one is the last of the page
	// before: ceil((n-1)/255). An empty listing is asked for, too.
	pages := func(n int) int {
		if n < 2 {
			return 1
		}
		return (n - 1 + 254) / 255
	}
	ceil := func(n, by int) int { return (n + by - 1) / by }
	const (
		iterations = 1 // all trained
		scopes     = 1 + iterations
		evaluated  = old / 4 // images that an iteration has performances of
	)
	want := map[string]int{
		"GetProjects": 1, "GetProject": 1, "GetIterations": 1, "GetTags": scopes,
		"GetTaggedImageCount": 2 * scopes, "GetUntaggedImageCount": 2 * scopes, // before and after
		"GetTaggedImages": pages(tagged) + pages(old), "GetUntaggedImages": pages(untagged) + pages(0),
		"GetImages": pages(tagged + untagged), "GetImageCount": 2, // the witness
		"GetImagesByIds":          ceil(dropped, 256),
		"GetIterationPerformance": iterations, "GetImagePerformanceCount": 2 * iterations, "GetImagePerformances": pages(evaluated),
		"GetExports": iterations, "QueryPredictions": scopes * ceil(predictions, 128),
	}
	got := map[string]int{}
	for _, c := range f.vision.Calls() {
		if c.Operation != "GetDomains" { // that is /readyz, once a minute
			got[c.Operation]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("calls\n got %v\nwant %v", got, want)
	}
	// The image that two pages share is fetched with the first of them.
	if downloads := f.vision.BlobCount(); downloads != *scaleImages+predictions {
		t.Errorf("%d downloads of %d images and %d predictions", downloads, *scaleImages, predictions)
	}
	if listed := f.manifest(t, "big", "/images/"); listed != *scaleImages {
		t.Errorf("the manifest lists %d images", listed)
	}
}

// keepInMemory puts temporary files where no disk is, if there is room for so many bytes: a hundred
// thousand files take longer to remove than to write.
func keepInMemory(t testing.TB, room uint64) {
	t.Helper()
	const memory = "/dev/shm"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err == nil && uint64(fs.Bavail)*uint64(fs.Bsize) > room { //nolint:gosec,unconvert // the types differ from system to system
		t.Setenv("TMPDIR", memory)
	}
}

// manifest counts the lines of a bundle's manifest whose path holds what.
func (f *fixture) manifest(t testing.TB, id, what string) int {
	t.Helper()
	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket})
	body, _, err := store.Open(t.Context(), sink.Key(id+"/export/manifest-sha256.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	n := 0
	lines := bufio.NewScanner(body)
	for lines.Scan() {
		if strings.Contains(lines.Text(), what) {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// environment is the fixture's settings as `consumer run` reads them.
func (f *fixture) environment() []string {
	return []string{
		"NATS_URL=" + f.nats.URL(), "AWS_ENDPOINT_URL_S3=" + f.store.Endpoint, "AWS_REGION=" + f.store.Region,
		"AWS_ACCESS_KEY_ID=" + f.store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + f.store.SecretKey,
		"VISION_TRAINING_ENDPOINT=" + f.vision.URL(), "VISION_TRAINING_KEY=" + f.vision.Key(),
		"CONSUMER_BLOB_HOSTS=" + strings.Join(f.config.BlobHosts, ","), "CONSUMER_MAX_RPS=1000",
		"CONSUMER_BUCKET=" + f.config.Bucket, "CONSUMER_HTTP_ADDR=127.0.0.1:0",
	}
}
