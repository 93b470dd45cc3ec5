package handler_test

import (
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// TestStoreThatDoesNotSay has stores that leave things out of their answers, above all how long an
// object is: exports and deletes end as they do elsewhere, and what they leave verifies, through
// that store and as a folder.
func TestStoreThatDoesNotSay(t *testing.T) {
	t.Parallel()
	for n, c := range []struct {
		name      string
		quirks    []sinktest.Quirk
		lookFirst bool
	}{
		{name: "a length on GET", quirks: []sinktest.Quirk{sinktest.NoLengthOnGet}},
		{name: "a length on HEAD", quirks: []sinktest.Quirk{sinktest.NoLengthOnHead}},
		{name: "sizes in listings", quirks: []sinktest.Quirk{sinktest.NoSizes}},
		{name: "any length", quirks: sinktest.WithoutLengths()},
		{name: "any length, and looks first", quirks: sinktest.WithoutLengths(), lookFirst: true},
		{name: "any length, nor where content ends", quirks: append(sinktest.WithoutLengths(), sinktest.EndsByClosing)},
		{name: "any length, ETag, checksum or end of a listing", quirks: append(sinktest.WithoutLengths(), sinktest.NoETags, sinktest.NoChecksums, sinktest.NoTruncated)},
	} {
		if leftOut(n) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{
				api: cvtest.Options{Seed: 6}, quirks: c.quirks, bucket: sinktest.BucketOptions{Versioned: true},
				store: sink.StoreOptions{MultipartAbove: 64 << 10}, // the model
			})
			smallProject(w.api)
			before := w.api.Snapshot()
			held := w.truthOf(t, before, selection{})
			faults := sinktest.NewFaults(w.gate) // answers that are lost make objects be adopted
			faults.Add(
				sinktest.Fault{Op: "PutObject", Key: "exp-1/*/images/*", Effect: sinktest.Reset, After: true},
				sinktest.Fault{Op: "PutObject", Key: "exp-1/*/iterations.json", Effect: sinktest.Reset, After: true},
				sinktest.Fault{Op: "CompleteMultipartUpload", Key: "exp-1/*", Effect: sinktest.Reset, After: true},
			)
			r := w.start(t, replicaOptions{faults: faults, configure: func(o *handler.Config) {
				noWait(o)
				o.MaxAttempts = 1
				if c.lookFirst {
					o.Store.LookFirst()
				}
			}})
			e := w.run(t, "exp-1", `{"all_projects":true}`)
			if e.Status != contract.StatusCompleted || e.Outcome != contract.OutcomeComplete {
				t.Fatalf("the export ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.checkTruth(t, w.bag(t, "exp-1", sink.ExportBag), e, held)
			d := w.delete(t, "del-1", `{"all_projects":true,"export_first":true}`)
			if d.Status != contract.StatusCompleted || d.Outcome != contract.OutcomeComplete {
				t.Fatalf("the delete ended %s %s: %v", d.Status, d.Outcome, d.Error)
			}
			r.stop()
			faults.Check(t)
			w.checkState(t, before, func(s *cvtest.State) { s.Projects = nil })
			bags := w.bags(t, "del-1", sink.ExportBag, sink.DeleteBag)
			checkProof(t, bags[sink.DeleteBag], d, before, w.api.Snapshot())
			checkPayload(t, bags[sink.ExportBag], held)

			quirky := sink.NewStore(w.s3.FaultyClient(sinktest.NewFaults(w.gate)), sink.StoreOptions{Bucket: w.bucket})
			for _, root := range []sink.Key{"exp-1/export/", "del-1/export/", "del-1/delete/"} {
				plain, err := verify.Bag(t.Context(), verify.Stored(w.store, root), verify.Options{})
				if err != nil || plain.Result != verify.OK {
					t.Fatalf("%s: %s %v %v", root, plain.Result, plain.Problems, err)
				}
				report, err := verify.Bag(t.Context(), verify.Stored(quirky, root), verify.Options{})
				if err != nil || report.Result != verify.OK || report.Files != plain.Files || report.Bytes != plain.Bytes {
					t.Errorf("%s: %s, %d files, %d bytes: %v %v", root, report.Result, report.Files, report.Bytes, report.Problems, err)
				}
			}
		})
	}
}
