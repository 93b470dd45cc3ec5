package handler_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/links"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// selection is what an export is to contain, in the test's own words.
type selection struct {
	projects   []uuid.UUID // nil: all
	iterations []uuid.UUID
	tags       []uuid.UUID
	images     []uuid.UUID
	metadata   []map[string]string
	categories []contract.Category // nil: all
	lost       []uuid.UUID         // things whose blobs cannot be had
	resized    []uuid.UUID         // images of which only the resized blob can be had
}

func (s selection) has(c contract.Category) bool {
	return len(s.categories) == 0 || slices.Contains(s.categories, c)
}

// images are those of a scope that the selection is after.
func (s selection) of(t *testing.T, scope cvtest.ScopeState) (out []cvtest.ItemState) {
	t.Helper()
	for _, item := range scope.Images {
		var image struct {
			Tags     []struct{ TagID uuid.UUID }
			Metadata map[string]string
		}
		unmarshal(t, item.JSON, &image)
		tagged := slices.ContainsFunc(image.Tags, func(tag struct{ TagID uuid.UUID }) bool { return slices.Contains(s.tags, tag.TagID) })
		meant := slices.ContainsFunc(s.metadata, func(pairs map[string]string) bool {
			for k, v := range pairs {
				if have, ok := image.Metadata[k]; !ok || have != v {
					return false
				}
			}
			return true
		})
		if s.tags != nil && !tagged || s.images != nil && !slices.Contains(s.images, item.ID) || s.metadata != nil && !meant {
			continue
		}
		out = append(out, item)
	}
	return out
}

// truth is the payload of a bag in a form that can be compared: JSON canonical, lists and lines
// sorted, blobs by their digests.
type truth struct {
	files  map[string]string
	counts contract.Counts // but for Bytes
}

// truthOf is what an export of a selection has to store under data/, besides export.json, when the
// service holds state.
func (w *world) truthOf(t *testing.T, state cvtest.State, s selection) truth {
	t.Helper()
	out := truth{files: map[string]string{}}
	for _, p := range state.Projects {
		if s.projects == nil || slices.Contains(s.projects, p.ID) {
			out.add(t, w, p, s)
		}
	}
	return out
}

func (o *truth) add(t *testing.T, w *world, p cvtest.ProjectState, s selection) {
	t.Helper()
	root := "projects/" + p.ID.String() + "/"
	set := func(name, content string) { o.files[root+name] = content }
	if s.has(contract.CategoryProjects) {
		set("project.json", normal(t, p.Project))
		o.counts.Projects++
	}
	var iterations []cvtest.IterationState
	var raws []json.RawMessage
	for _, it := range p.Iterations {
		if s.iterations == nil || slices.Contains(s.iterations, it.ID) {
			iterations = append(iterations, it)
			raws = append(raws, it.Iteration)
		}
	}
	if s.has(contract.CategoryIterations) {
		set("iterations.json", list(t, raws))
		o.counts.Iterations += int64(len(iterations))
	}
	var tags, images = map[uuid.UUID]bool{}, map[uuid.UUID]bool{}
	scope := func(folder string, scope cvtest.ScopeState) {
		if s.has(contract.CategoryTags) {
			var raws []json.RawMessage
			for _, raw := range scope.Tags {
				var tag struct{ ID uuid.UUID }
				unmarshal(t, raw, &tag)
				if s.tags == nil || slices.Contains(s.tags, tag.ID) {
					tags[tag.ID] = true
					raws = append(raws, raw)
				}
			}
			set(folder+"tags.json", list(t, raws))
		}
		if s.has(contract.CategoryImages) {
			var lines []json.RawMessage
			for _, item := range s.of(t, scope) {
				images[item.ID] = true
				lines = append(lines, o.blob(t, w, p, "image", item, s))
			}
			set(folder+"images.jsonl", list(t, lines))
		}
	}
	if s.iterations == nil {
		scope("", p.Workspace)
	}
	for _, it := range iterations {
		folder := "iterations/" + it.ID.String() + "/"
		scope(folder, it.ScopeState)
		if s.has(contract.CategoryIterations) {
			set(folder+"iteration.json", normal(t, it.Iteration))
		}
		if s.has(contract.CategoryPerformance) && string(it.Performance) != "null" && it.Performance != nil {
			set(folder+"performance.json", normal(t, it.Performance))
			set(folder+"image-performance.jsonl", list(t, it.ImagePerformances))
			o.counts.Performance++
		}
		if s.has(contract.CategoryExports) {
			var raws []json.RawMessage
			for _, e := range it.Exports {
				raws = append(raws, e.JSON)
				if e.Status == cvtest.StatusDone {
					name := e.Platform
					if e.Flavor != "" {
						name += "-" + e.Flavor
					}
					set(folder+"exports/"+name+".zip", "sha256 "+e.SHA256)
					o.counts.Exports++
				}
			}
			set(folder+"exports.json", list(t, raws))
		}
	}
	if s.has(contract.CategoryPredictions) {
		var lines []json.RawMessage
		for _, item := range p.Predictions {
			var of struct{ Iteration uuid.UUID }
			unmarshal(t, item.JSON, &of)
			if s.iterations == nil || slices.Contains(s.iterations, of.Iteration) {
				lines = append(lines, o.blob(t, w, p, "prediction", item, s))
			}
		}
		set("predictions.jsonl", list(t, lines))
		o.counts.Predictions += int64(len(lines))
	}
	o.counts.Tags += int64(len(tags))
	o.counts.Images += int64(len(images))
}

// blob notes the file of an image or prediction, and returns its line.
func (o *truth) blob(t *testing.T, w *world, p cvtest.ProjectState, what string, item cvtest.ItemState, s selection) json.RawMessage {
	t.Helper()
	line := map[string]any{what: json.RawMessage(normal(t, item.JSON))}
	if slices.Contains(s.lost, item.ID) {
		line["file"], line["error"] = nil, "…"
		return encode(t, line)
	}
	kind, source := cvtest.BlobOriginal, "original"
	if what == "prediction" {
		kind = cvtest.BlobPrediction
	}
	if slices.Contains(s.resized, item.ID) {
		kind, source = cvtest.BlobResized, "resized"
	}
	content := w.api.Blob(p.ID, kind, item.ID)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	if source == "original" && digest != item.SHA256 {
		t.Errorf("the simulator says that %s has SHA-256 %s, and gives %s", item.ID, item.SHA256, digest)
	}
	mediaType := http.DetectContentType(content)
	ext := map[string]string{"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/bmp": "bmp"}[mediaType]
	file := what + "s/" + item.ID.String() + "." + ext
	o.files["projects/"+p.ID.String()+"/"+file] = "sha256 " + digest
	line["file"], line["sha256"], line["bytes"], line["content_type"], line["source"] = file, digest, len(content), mediaType, source
	return encode(t, line)
}

// payload brings the files of a bag into the form of truth.
func payload(t *testing.T, files map[string][]byte) map[string]string {
	t.Helper()
	out := map[string]string{}
	for name, content := range files {
		name, ok := strings.CutPrefix(name, "data/")
		if !ok || name == "export.json" {
			continue
		}
		switch {
		case path.Ext(name) == ".jsonl":
			var lines []json.RawMessage
			for line := range bytes.Lines(content) {
				var fields map[string]json.RawMessage
				unmarshal(t, line, &fields)
				if fields["error"] != nil {
					fields["error"] = json.RawMessage(`"…"`)
				}
				lines = append(lines, encode(t, fields))
			}
			out[name] = list(t, lines)
		case path.Ext(name) != ".json":
			sum := sha256.Sum256(content)
			out[name] = "sha256 " + hex.EncodeToString(sum[:])
		case content[0] == '[':
			var items []json.RawMessage
			unmarshal(t, content, &items)
			out[name] = list(t, items)
		default:
			out[name] = normal(t, content)
		}
	}
	return out
}

// checkTruth holds a bag's payload, its own account of it and the event's against the truth.
// Nothing may be missing, and nothing more may be there.
func (w *world) checkTruth(t *testing.T, files map[string][]byte, e contract.EventData, want truth) {
	t.Helper()
	checkPayload(t, files, want)
	want.counts.Bytes = 0
	for name, content := range files {
		if strings.HasPrefix(name, "data/") && name != "data/export.json" {
			want.counts.Bytes += int64(len(content))
		}
	}
	var record struct {
		Outcome contract.Outcome
		Counts  contract.Counts
	}
	unmarshal(t, files["data/export.json"], &record)
	if record.Counts != want.counts || e.Counts != want.counts {
		t.Errorf("export.json counts %+v\nthe event %+v\nwant      %+v", record.Counts, e.Counts, want.counts)
	}
	if record.Outcome != e.Outcome {
		t.Errorf("export.json says %s, the event %s", record.Outcome, e.Outcome)
	}
	if e.Bundle == nil || e.Bundle.Objects != int64(len(files)) {
		t.Errorf("the event's bundle is %+v, the bag has %d objects", e.Bundle, len(files))
	}
	for name, content := range files {
		if bytes.Contains(content, []byte("sig=")) {
			t.Errorf("%s holds a signed link", name)
		}
	}
}

// normal is JSON without the queries of URIs, canonical.
func normal(t *testing.T, raw []byte) string {
	t.Helper()
	stripped, err := links.Cut(raw)
	if err != nil {
		t.Fatalf("strip: %v", err)
	}
	canonical, err := sink.CanonicalJSON(stripped)
	if err != nil {
		t.Fatalf("canonical JSON: %v", err)
	}
	return string(canonical)
}

// list is JSON values in an order of their own, one a line.
func list(t *testing.T, raws []json.RawMessage) string {
	t.Helper()
	lines := make([]string, 0, len(raws))
	for _, raw := range raws {
		lines = append(lines, normal(t, raw))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func unmarshal(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("decode %.200s: %v", raw, err)
	}
}

func encode(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// checkPayload holds the files of an export bag against what they should be.
func checkPayload(t *testing.T, files map[string][]byte, want truth) {
	t.Helper()
	got := payload(t, files)
	for _, name := range slices.Sorted(maps.Keys(want.files)) {
		have, ok := got[name]
		switch {
		case !ok:
			t.Errorf("the bag has no %s", name)
		case have != want.files[name]:
			t.Errorf("%s\n got %s\nwant %s", name, have, want.files[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want.files[name]; !ok {
			t.Errorf("the bag has %s, which was not asked for", name)
		}
	}
}
