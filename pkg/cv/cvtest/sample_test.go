package cvtest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/uuid"
)

func TestDeterministic(t *testing.T) {
	a, b := New(Options{Seed: 3, BlobBase: "http://x"}), New(Options{Seed: 3, BlobBase: "http://x"})
	c := New(Options{Seed: 4, BlobBase: "http://x"})
	for _, s := range []*Server{a, b, c} {
		s.AddProject(tinySpec())
		s.AddProject(ProjectSpec{Kind: Detection, Tags: []string{"can", "box"}, Images: 10, Iterations: []IterationSpec{{}}, Predictions: 2})
	}
	if !reflect.DeepEqual(a.Snapshot(), b.Snapshot()) {
		t.Error("two servers built alike differ")
	}
	if a.Snapshot().Projects[0].ID == c.Snapshot().Projects[0].ID {
		t.Error("another seed gives the same ids")
	}
	if a.Key() != b.Key() || a.Key() == c.Key() {
		t.Error("keys do not follow the seed")
	}
}

// TestSample holds the demonstration account to what it promises to show.
func TestSample(t *testing.T) {
	s := start(t, Options{})
	made := s.Sample()
	kinds := map[string]bool{}
	var dropped, resized, same, regions, metadata, untagged, published, untrainedOnes int
	exports := map[string]int{}
	for _, p := range s.Snapshot().Projects {
		var project struct {
			Settings struct{ ClassificationType, DomainID string }
		}
		if err := json.Unmarshal(p.Project, &project); err != nil {
			t.Fatal(err)
		}
		kinds[project.Settings.ClassificationType] = true
		workspace := map[uuid.UUID]bool{}
		for _, img := range p.Workspace.Images {
			workspace[img.ID] = true
			var x listed
			if err := json.Unmarshal(img.JSON, &x); err != nil {
				t.Fatal(err)
			}
			if x.OriginalImageURI == x.ResizedImageURI {
				same++
			} else {
				resized++
			}
			regions += len(x.Regions)
			metadata += len(x.Metadata)
			if len(x.Tags) == 0 {
				untagged++
			}
		}
		for _, it := range p.Iterations {
			for _, img := range it.Images {
				if !workspace[img.ID] {
					dropped++
				}
			}
			if it.Performance == nil {
				untrainedOnes++
			}
			if bytes.Contains(it.Iteration, []byte("publishName")) {
				published++
			}
			for _, e := range it.Exports {
				exports[e.Status]++
				if (e.Status == StatusDone) != (e.Bytes > 0) {
					t.Errorf("export %s of %d bytes", e.Status, e.Bytes)
				}
			}
		}
	}
	if len(made) != 5 || !kinds["Multiclass"] || !kinds["Multilabel"] || !kinds[""] {
		t.Errorf("%d projects, kinds %v", len(made), kinds)
	}
	for what, n := range map[string]int{
		"images only in iterations": dropped, "resized": resized, "not resized": same, "regions": regions, "metadata": metadata, "untagged": untagged,
		"published": published, "untrained": untrainedOnes, "Done": exports[StatusDone], "Failed": exports[StatusFailed],
	} {
		if n == 0 {
			t.Errorf("the sample has nothing of: %s", what)
		}
	}
}
