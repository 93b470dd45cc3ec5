package cvtest

import (
	"bytes"
	"encoding/json"
	"testing"
)

// TestTruth compares what the API answers with the snapshot, field for field.
func TestTruth(t *testing.T) {
	for name, o := range map[string]Options{"default": {}, "recorded": {Recorded: true}, "vnet": {VNet: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			s.Sample()
			state := s.Snapshot()
			same := func(path string, want any) {
				t.Helper()
				r := send(t, s, "GET", path, "")
				text, err := json.Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				if got, want := compact(t, r.body), string(unescape(text)); got != want {
					t.Errorf("%s:\n got %.300s\nwant %.300s", path, got, want)
				}
			}
			for _, p := range state.Projects {
				path := "projects/" + p.ID.String()
				same(path, p.Project)
				scope := func(query string, sc ScopeState) {
					same(path+"/tags"+query, sc.Tags)
					sep := map[bool]string{true: "?", false: "&"}[query == ""]
					images := []json.RawMessage{}
					for _, img := range sc.Images {
						images = append(images, img.JSON)
					}
					same(path+"/images"+query+sep+"orderBy=Oldest&take=256", images)
				}
				scope("", p.Workspace)
				for _, it := range p.Iterations {
					i := path + "/iterations/" + it.ID.String()
					same(i, it.Iteration)
					scope("?iterationId="+it.ID.String(), it.ScopeState)
					if it.Performance != nil {
						same(i+"/performance?threshold=0.5&overlapThreshold=0.3", it.Performance)
						same(i+"/performance/images?take=256&orderBy=Oldest", it.ImagePerformances)
					}
					exports := []json.RawMessage{}
					for _, e := range it.Exports {
						exports = append(exports, e.JSON)
					}
					same(i+"/export", exports)
				}
			}
			if text, err := json.Marshal(state); err != nil || bytes.Contains(text, []byte("sig=")) {
				t.Errorf("the state holds a signature, or is not JSON: %v", err)
			}
		})
	}
}

// unescape takes back what encoding/json escapes for HTML.
func unescape(b []byte) []byte {
	for from, to := range map[string]string{`\u0026`: "&", `\u003c`: "<", `\u003e`: ">"} {
		b = bytes.ReplaceAll(b, []byte(from), []byte(to))
	}
	return b
}
