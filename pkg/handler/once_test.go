package handler_test

import (
	"encoding/json"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// writes counts how often each blob was put into a store that does not know If-None-Match and keeps
// every version.
type writes struct {
	mu    sync.Mutex
	count map[string]int // by the name of the file without its extension
}

func (w *writes) note(op, key string, before bool) error {
	folder := path.Base(path.Dir(key))
	if op == "PutObject" && before && (folder == "images" || folder == "predictions") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.count[strings.TrimSuffix(path.Base(key), path.Ext(key))]++
	}
	return nil
}

// newWorldWithoutConditions is a world whose store ignores the conditions of writes, with a replica
// that relies on them.
func newWorldWithoutConditions(t *testing.T, api cvtest.Options) (*world, *writes) {
	t.Helper()
	w := newWorld(t, worldOptions{api: api, bucket: sinktest.BucketOptions{Versioned: true}})
	puts := &writes{count: map[string]int{}}
	faults := sinktest.NewFaults(nil)
	faults.OnRequest = puts.note
	w.start(t, replicaOptions{faults: faults, configure: func(o *handler.Config) {
		o.Store = sink.NewStore(w.s3.FaultyClient(faults, sinktest.IgnoreConditions), sink.StoreOptions{Bucket: w.bucket})
	}})
	return w, puts
}

// check holds the writes against the images and predictions there are: each was fetched and stored
// by one unit, once.
func (w *writes) check(t *testing.T, downloads int, ids ...uuid.UUID) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		if n := w.count[id.String()]; n != 1 {
			t.Errorf("the blob of %s was stored %d times", id, n)
			break
		}
	}
	if len(w.count) != len(ids) || downloads != len(ids) {
		t.Errorf("%d blobs were stored and %d downloaded, there are %d", len(w.count), downloads, len(ids))
	}
}

// TestEachBlobIsStoredOnce exports into a versioned bucket that takes whatever it is sent: a second
// writer is seen in it.
func TestEachBlobIsStoredOnce(t *testing.T) {
	t.Parallel()
	t.Run("of an image that two pages share", func(t *testing.T) {
		w, puts := newWorldWithoutConditions(t, cvtest.Options{Seed: 2})
		p := w.api.AddProject(cvtest.ProjectSpec{
			Images: 600, Untagged: 257, Predictions: 3, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 2}}, ImageBytes: cvtest.Tiny,
		})
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{}))
		puts.check(t, w.api.BlobCount(), append(p.Images, p.Predictions...)...)
	})
	t.Run("of a listing that is read again", func(t *testing.T) {
		w, puts := newWorldWithoutConditions(t, cvtest.Options{Seed: 2})
		p := w.api.AddProject(cvtest.ProjectSpec{Images: 300, Untagged: 2, ImageBytes: cvtest.Tiny})
		var added uuid.UUID
		want := w.truthOf(t, w.api.Snapshot(), selection{})
		w.api.OnCall(func(operation string, n int) {
			if operation == "GetTaggedImageCount" && n == 2 { // the one after the first reading
				added = w.api.AddImage(p.ID, cvtest.ImageSpec{Tags: p.Tags[:1], ImageBytes: cvtest.Tiny})
			}
		})
		files, e, _ := w.exceptions(t, `{"all_projects":true}`, 0)
		w.checkTruth(t, files, e, want.and(w.truthOf(t, w.api.Snapshot(), selection{}), p))
		puts.check(t, w.api.BlobCount(), append(p.Images, added)...)
	})
	t.Run("of an image that is in the listings of several tags", func(t *testing.T) {
		w, puts := newWorldWithoutConditions(t, cvtest.Options{Seed: 2})
		p := w.api.AddProject(cvtest.ProjectSpec{
			Kind: cvtest.Multilabel, Tags: strings.Fields("a b c d e f g h i j k l m n o p q r s t u v"), Images: 30, ImageBytes: cvtest.Tiny,
		})
		tags, err := json.Marshal(p.Tags)
		if err != nil {
			t.Fatal(err)
		}
		files, e, _ := w.exceptions(t, `{"project_ids":["`+p.ID.String()+`"],"tag_ids":`+string(tags)+`}`, 0)
		w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{
			tags: p.Tags, categories: []contract.Category{contract.CategoryTags, contract.CategoryImages},
		}))
		puts.check(t, w.api.BlobCount(), p.Images...)
	})
}

// TestPagesThatDoNotOverlap lets the second page of a listing begin with another image than the
// first one ends with, whenever it is read. That image is left to the page before, which does not
// have it; its blob is in the bag all the same.
func TestPagesThatDoNotOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 2}})
	w.start(t, replicaOptions{})
	p := w.api.AddProject(cvtest.ProjectSpec{Images: 300, ImageBytes: cvtest.Tiny})
	w.api.Fault(cvtest.Fault{Operation: "GetTaggedImages", Path: "skip=255", Times: -1, Rewrite: func(b []byte) []byte {
		var images []json.RawMessage
		unmarshal(t, b, &images)
		return encode(t, images[1:])
	}})
	files, e, inventory := w.exceptions(t, `{"all_projects":true}`, 1)
	if got := inventory.Projects[0].Unstable; len(got) != 1 {
		t.Errorf("unstable is %v", got)
	}
	w.checkTruth(t, files, e, w.truthOf(t, w.api.Snapshot(), selection{}))
	if n := w.api.BlobCount(); n != len(p.Images) {
		t.Errorf("%d downloads of %d images", n, len(p.Images))
	}
}
