package report_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/report"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// What the pages of images cost, with the requests that store them; to be compared with the
// requests that store the images, which are a part of what an export does with each.
func BenchmarkGallery(b *testing.B) {
	record := jsonOf(b, object{
		"id": id(1), "created": "2026-03-02T08:07:29.659868", "width": 1024, "height": 768, "resizedImageUri": "https://blobs.test/a/b", "originalImageUri": "https://blobs.test/a/c",
		"tags":     []object{{"tagId": id(2), "tagName": "bottle", "created": "2026-03-02T08:07:29"}, {"tagId": id(3), "tagName": "can", "created": "2026-03-02T08:07:29"}},
		"regions":  []object{{"regionId": id(4), "tagName": "bottle", "tagId": id(2), "left": .1, "top": .2, "width": .3, "height": .4}, {"regionId": id(5), "tagName": "can", "tagId": id(3), "left": .5, "top": .2, "width": .3, "height": .4}},
		"metadata": object{"site": "north", "subject": "person-1"},
	})
	server := sinktest.Shared(b)
	store := sink.NewStore(server.Client(), sink.StoreOptions{Bucket: server.Bucket(b, sinktest.BucketOptions{})})
	put := func(name string, body sink.Body) error {
		_, err := store.Put(b.Context(), sink.Key(uuid.NewString()+"/"+name), body)
		return err
	}
	const images = 400
	ratio.Report(b, func() {
		p := newSite(func(name string, page []byte) error { return put(name, sink.Bytes(page, "text/html")) }).Project(id(900), report.Documents{})
		for range images {
			if err := p.Image(bagfile.Workspace, id(1), record, blob("images/aa000000-0000-0000-0000-000000000001.jpg")); err != nil {
				b.Fatal(err)
			}
		}
		if err := p.End(bagfile.InventoryProject{}, nil); err != nil {
			b.Fatal(err)
		}
	}, func() {
		for i := range images {
			if err := put("image", sink.Bytes(fmt.Append(nil, i), "image/jpeg")); err != nil {
				b.Fatal(err)
			}
		}
	})
}
