package handler_test

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// golden is a bag that is kept byte for byte in testdata/bundles/<name>.
type golden struct {
	name    string
	spec    cvtest.ProjectSpec
	data    string
	outcome contract.Outcome
	want    selection // of an export
	delete  bool
}

func goldens() []golden {
	metadata := func(i int) map[string]string {
		return []map[string]string{{"subject": "Zoë Ångström"}, {"subject": `O'Neil "Sam"`, "site": "north"}, nil, {"subject": "x"}}[i%4]
	}
	return []golden{
		{
			name: "two-tags", data: `{"all_projects":true,"reference":"case 2026-17"}`, outcome: contract.OutcomeComplete,
			spec: cvtest.ProjectSpec{
				Name: "Two tags", Description: "Sun & rain <for the harbor>", Compact: true, Tags: []string{"sun", "rain"}, Images: 3, Untagged: 1,
				Iterations: []cvtest.IterationSpec{
					{DropFromWorkspace: 1, Exports: []cvtest.ExportSpec{{Platform: "TensorFlow", Flavor: "TensorFlowLite"}, {Platform: "CoreML", Status: cvtest.StatusFailed}}},
					{Published: true},
				},
				Predictions: 2, Metadata: metadata, ImageBytes: cvtest.Tiny,
			},
		},
		{
			name: "untrained", data: `{"all_projects":true}`, outcome: contract.OutcomeComplete,
			spec: cvtest.ProjectSpec{
				Name: "Untrained", Kind: cvtest.Multilabel, Tags: []string{"house", "tree"}, NegativeTag: "Negative", Images: 2,
				Iterations: []cvtest.IterationSpec{{Untrained: true}}, ImageBytes: cvtest.Tiny,
			},
		},
		{
			name: "detection", data: `{"all_projects":true}`, outcome: contract.OutcomeComplete,
			spec: cvtest.ProjectSpec{
				Name: "Detection", Kind: cvtest.Detection, Tags: []string{"bottle", "can"}, Images: 2, Untagged: 1,
				Iterations: []cvtest.IterationSpec{{}}, Predictions: 1, ImageBytes: cvtest.Tiny,
			},
		},
		{
			name: "nothing-found", data: `{"all_projects":true,"image_metadata":{"subject":"nobody we know"}}`, outcome: contract.OutcomeNothingFound,
			spec: cvtest.ProjectSpec{Name: "Visitors", Tags: []string{"visitor"}, Images: 2, Iterations: []cvtest.IterationSpec{{}}, Metadata: metadata, ImageBytes: cvtest.Tiny},
			want: selection{metadata: []map[string]string{{"subject": "nobody we know"}}, categories: []contract.Category{contract.CategoryImages}},
		},
		{
			name: "deleted", data: `{"all_projects":true,"unpublish":true,"reference":"case 2026-18"}`, outcome: contract.OutcomeComplete, delete: true,
			spec: cvtest.ProjectSpec{
				Name: `Visitors & <guests>`, Tags: []string{"visitor"}, Images: 2, Untagged: 1, Iterations: []cvtest.IterationSpec{{DropFromWorkspace: 1}, {Published: true}},
				Predictions: 1, Metadata: metadata, ImageBytes: cvtest.Tiny,
			},
		},
	}
}

// The bytes of whole bags, as they were once reviewed: whatever changes them is seen. Time stands
// still in them, one thing is done at a time, and what is random elsewhere is given.
func TestGoldenBags(t *testing.T) {
	t.Parallel()
	for _, g := range goldens() {
		t.Run(g.name, func(t *testing.T) {
			w := newWorld(t, worldOptions{
				api: cvtest.Options{Seed: 3}, name: "golden-" + g.name,
				now: func() time.Time { return time.Date(2026, time.November, 24, 9, 30, 0, 0, time.UTC) },
			})
			w.api.AddProject(g.spec)
			if _, err := w.conn.RequestWithContext(t.Context(), "$KV.CV_SECRETS."+contract.SecretDigest, []byte("SECRET")); err != nil {
				t.Fatal(err)
			}
			r := w.start(t, replicaOptions{commands: 1, units: 1, configure: func(o *handler.Config) {
				o.Downloads, o.Salt = 1, func() string { return "SALT" }
			}})
			run, kind := w.run, sink.ExportBag
			if g.delete {
				run, kind = w.delete, sink.DeleteBag
			}
			e := run(t, g.name, g.data)
			r.stop()
			if e.Status != contract.StatusCompleted || e.Outcome != g.outcome {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			got := w.bag(t, g.name, kind)
			if !g.delete {
				w.checkTruth(t, got, e, w.truthOf(t, w.api.Snapshot(), g.want))
			}
			dir := filepath.Join(w.s3.WorkDir(), "..", "..", "testdata", "bundles", g.name)
			if *update {
				writeTree(t, dir, got)
			}
			want := readTree(t, dir)
			for _, name := range slices.Sorted(maps.Keys(want)) {
				if !bytes.Equal(got[name], want[name]) {
					t.Errorf("%s differs from the golden file:\n got %s\nwant %s", name, got[name], want[name])
				}
			}
			for name := range got {
				if _, ok := want[name]; !ok {
					t.Errorf("there is no golden file for %s", name)
				}
			}
			report, err := verify.Bag(t.Context(), verify.Dir(dir), verify.Options{})
			if err != nil || report.Result != verify.OK {
				t.Errorf("verify the golden bag: %v %v %v", report.Result, report.Problems, err)
			}
		})
	}
}

// writeTree makes a folder hold these files and no others.
func writeTree(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
