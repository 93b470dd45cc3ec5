package handler_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// check verifies the stored bundle, fetches it, and holds it against what the service has.
func (w *world) check(t *testing.T, id string) {
	t.Helper()
	ctx := t.Context()
	layout, err := sink.NewLayout("", id)
	if err != nil {
		t.Fatal(err)
	}
	report, err := sink.Verify(ctx, sink.StoreSource(w.store, layout.Bag(sink.ExportBag)), sink.VerifyOptions{})
	if err != nil || report.Result != sink.OK {
		t.Fatalf("verify: %v %v %v", report.Result, report.Problems, err)
	}
	dir := t.TempDir()
	if err := sinktest.Fetch(ctx, w.s3.Client(), w.bucket, "", dir); err != nil {
		t.Fatalf("fetch: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, id, ".work")); err == nil {
		t.Error("working objects are left behind")
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("sig=")) {
			t.Errorf("%s holds a signed link", path)
		}
		return err
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	for _, p := range w.api.Snapshot().Projects {
		folder := filepath.Join(dir, id, "export", "data", "projects", p.ID.String())
		checkImages(t, filepath.Join(folder, "images.jsonl"), "image", p.Workspace.Images)
		checkImages(t, filepath.Join(folder, "predictions.jsonl"), "prediction", p.Predictions)
		for _, it := range p.Iterations {
			checkImages(t, filepath.Join(folder, "iterations", it.ID.String(), "images.jsonl"), "image", it.Images)
			sameJSON(t, filepath.Join(folder, "iterations", it.ID.String(), "iteration.json"), it.Iteration)
		}
		sameJSON(t, filepath.Join(folder, "project.json"), p.Project)
	}
}

func sameJSON(t *testing.T, path string, want json.RawMessage) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Errorf("read: %v", err)
		return
	}
	if got, want := normal(t, b), normal(t, want); got != want {
		t.Errorf("%s\n got %s\nwant %s", filepath.Base(path), got, want)
	}
}

func normal(t *testing.T, raw []byte) string {
	t.Helper()
	stripped, err := cv.StripQueries(raw)
	if err != nil {
		t.Fatalf("strip: %v", err)
	}
	canonical, err := sink.CanonicalJSON(stripped)
	if err != nil {
		t.Fatalf("canonical JSON: %v", err)
	}
	return string(canonical)
}

func checkImages(t *testing.T, path, field string, want []cvtest.ItemState) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	defer f.Close()
	got := map[string]map[string]json.RawMessage{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line map[string]json.RawMessage
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var thing struct{ ID string }
		if err := json.Unmarshal(line[field], &thing); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		got[thing.ID] = line
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d lines, the service has %d", path, len(got), len(want))
	}
	for _, item := range want {
		line, ok := got[item.ID.String()]
		if !ok {
			t.Errorf("%s: %s is missing", path, item.ID)
			continue
		}
		if digest := strings.Trim(string(line["sha256"]), `"`); digest != item.SHA256 {
			t.Errorf("%s: %s has sha256 %s, the service's blob %s", path, item.ID, digest, item.SHA256)
		}
		if got, want := normal(t, line[field]), normal(t, item.JSON); got != want {
			t.Errorf("%s: %s\n got %s\nwant %s", path, item.ID, got, want)
		}
	}
}

func TestExportEqualsTheServicesTruth(t *testing.T) {
	for _, c := range []struct {
		name   string
		o      cvtest.Options
		faults float64
	}{
		{name: "absolute links"},
		{name: "relative links of a protected resource", o: cvtest.Options{VNet: true}},
		{name: "links that expire after two seconds", o: cvtest.Options{LinkTTL: 2 * time.Second}},
		{name: "recorded shapes", o: cvtest.Options{Recorded: true, Compact: true}},
		{name: "a tenth of all calls and downloads fail", faults: 0.1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Seed = 7
			w := newWorld(t, worldOptions{api: c.o})
			w.start(t, replicaOptions{})
			w.api.Sample()
			if c.faults > 0 {
				w.api.FaultRate(c.faults, 11)
			}
			e := w.run(t, "all-1", `{"all_projects":true}`)
			if e.Status != handler.StatusCompleted || e.Outcome != handler.OutcomeComplete {
				t.Fatalf("ended %s %s: %v", e.Status, e.Outcome, e.Error)
			}
			w.check(t, "all-1")
			if leaks := w.api.Leaks(); len(leaks) > 0 {
				t.Errorf("credentials were sent to the blob host: %v", leaks)
			}
			if calls := w.api.DestructiveCalls(); len(calls) > 0 {
				t.Errorf("an export changed the service: %v", calls)
			}
		})
	}
}

func TestExportOfNothing(t *testing.T) {
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 1}})
	w.start(t, replicaOptions{})
	e := w.run(t, "none-1", `{"all_projects":true}`)
	if e.Status != handler.StatusCompleted || e.Outcome != handler.OutcomeNothingFound || e.Bundle == nil {
		t.Fatalf("ended %s %s with bundle %v: %v", e.Status, e.Outcome, e.Bundle, e.Error)
	}
	w.check(t, "none-1")
}
