package cvtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGateway(t *testing.T) {
	s := start(t, Options{Token: "entra-token"})
	made := s.AddProject(tinySpec())
	p := "projects/" + made.ID.String()
	root := strings.TrimSuffix(s.URL(), "/base")
	with := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Training-Key")
			if name != "" {
				r.Header.Set(name, value)
			}
		}
	}
	for _, c := range []struct {
		name, method, target string
		edit                 func(*http.Request)
		want                 string
	}{
		{"no key", "GET", p, with("", ""), "401 401"},
		{"wrong key", "GET", p, with("Training-Key", "wrong"), "401 401"},
		{"key in other letters", "GET", p, with("training-key", s.Key()), "200 "},
		{"token", "GET", p, with("Authorization", "Bearer entra-token"), "200 "},
		{"wrong token", "GET", p, with("Authorization", "Bearer other"), "401 401"},
		{"path in other letters", "GET", root + "/BASE/CustomVision/V3.3/Training/Projects/" + strings.ToUpper(made.ID.String()), with("Training-Key", s.Key()), "200 "},
		{"wrong base path", "GET", root + apiPath + "/projects", with("Training-Key", s.Key()), "404 404"},
		{"wrong version", "GET", s.URL() + "/customvision/v3.2/training/projects", with("Training-Key", s.Key()), "404 404"},
		{"version of the official SDK", "GET", s.URL() + "/customvision/v3.4-preview/training/" + p, with("Training-Key", s.Key()), "200 "},
		{"unknown route", "GET", p + "/nothing", with("Training-Key", s.Key()), "404 404"},
		{"not an id", "GET", "projects/nothing", with("Training-Key", s.Key()), "404 404"},
		{"unknown method", "PUT", p, with("Training-Key", s.Key()), "404 404"},
		{"training", "POST", p + "/train", with("Training-Key", s.Key()), "501 501"},
	} {
		r := send(t, s, c.method, c.target, "", c.edit)
		if got := fmt.Sprintf("%d %s", r.status, r.code()); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if r.status != 200 && !bytes.Contains(r.body, []byte(`"error"`)) {
			t.Errorf("%s: %s", c.name, r.body)
		}
		if r.header.Get("apim-request-id") == "" {
			t.Errorf("%s: no request id", c.name)
		}
	}
	s.SetKey("rotated")
	if r := send(t, s, "GET", p, ""); r.status != 200 {
		t.Errorf("rotated key: %d", r.status)
	}

	// Everything that is not reading is refused, and counted.
	s.ResetCalls()
	n := 0
	for _, rt := range routes {
		if rt.handle != nil {
			continue
		}
		n++
		path := strings.NewReplacer("{projectId}", made.ID.String(), "{iterationId}", made.Iterations[0].String(), "{imageId}", made.Images[0].String(), "{tagId}", made.Tags[0].String()).Replace(rt.path)
		if r := send(t, s, rt.method, path, ""); r.status != 501 || s.Count(rt.operation) != 1 {
			t.Errorf("%s: %d, counted %d", rt.operation, r.status, s.Count(rt.operation))
		}
	}
	if got := len(s.Calls()); got != n {
		t.Errorf("%d calls, want %d", got, n)
	}
	if got := len(s.DestructiveCalls()); got != n-4 {
		t.Errorf("%d destructive calls of %d", got, n)
	}
}

func TestRateLimit(t *testing.T) {
	c := newClock()
	s := start(t, Options{Now: c.Now, RPS: 10})
	made := s.AddProject(ProjectSpec{Images: 1, ImageBytes: Tiny})
	link := get[[]listed](t, s, "projects/"+made.ID.String()+"/images")[0].OriginalImageURI
	burst := func(n int) (passed int) {
		for range n {
			r := send(t, s, "GET", "domains", "")
			if r.status == 200 {
				passed++
			} else if r.status != 429 || r.header.Get("Retry-After") != "1" || !bytes.Contains(r.body, []byte("Please retry after 1 second")) {
				t.Fatalf("%d %v %s", r.status, r.header, r.body)
			}
		}
		return passed
	}
	if n := burst(15); n != 9 {
		t.Errorf("%d of the first 15 passed", n)
	}
	for range 15 {
		if r := send(t, s, "GET", link, "", func(r *http.Request) { r.Header.Del("Training-Key") }); r.status != 200 {
			t.Fatalf("a blob was limited: %d", r.status)
		}
	}
	c.Advance(500 * time.Millisecond)
	if n := burst(15); n != 5 {
		t.Errorf("%d passed after half a second", n)
	}
	c.Advance(time.Hour)
	if n := burst(15); n != 10 {
		t.Errorf("%d passed after an hour", n)
	}
}

func TestJSON(t *testing.T) {
	s := start(t, Options{})
	s.Sample()
	r := send(t, s, "GET", "projects", "")
	if !bytes.Contains(r.body, []byte("[\r\n  {\r\n    \"id\"")) || bytes.Contains(r.body, []byte(`\u0026`)) {
		t.Errorf("%.100s", r.body)
	}
	for v, want := range map[float32]string{1: "1.0", 0: "0.0", 0.9999999: "0.9999999", 1.1920929e-07: "1.1920929E-07", 0.25: "0.25"} {
		if b, err := number(v).MarshalJSON(); err != nil || string(b) != want {
			t.Errorf("%v: %s, want %s", v, b, want)
		}
	}
}

// TestHandler mounts the server in another one; links follow the request's host.
func TestHandler(t *testing.T) {
	s := New(Options{Seed: 2})
	made := s.AddProject(tinySpec())
	outer := httptest.NewTLSServer(s)
	defer outer.Close()
	client := outer.Client()
	req, err := http.NewRequestWithContext(t.Context(), "GET", outer.URL+apiPath+"/projects/"+made.ID.String()+"/images", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Training-Key", s.Key())
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var images []listed
	err = json.NewDecoder(resp.Body).Decode(&images)
	_ = resp.Body.Close()
	if err != nil || !strings.HasPrefix(images[0].OriginalImageURI, outer.URL+blobPath) {
		t.Fatalf("link %s, %v", images[0].OriginalImageURI, err)
	}
	if s.URL() != "" || New(Options{BlobBase: "https://blobs.example/"}).BlobURL() != "https://blobs.example" {
		t.Error("addresses")
	}
}
