package cv

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestNewOptions(t *testing.T) {
	for want, f := range map[string]func(*Options){
		"-1 calls a second is not a rate":            func(o *Options) { o.MaxRPS = -1 },
		"-2 attempts":                                func(o *Options) { o.MaxAttempts = -2 },
		`blob hosts: "a:b": no such port`:            func(o *Options) { o.BlobHosts = []string{"ok.example", "a:b"} },
		`blob hosts: "": "suffix" or "suffix:port"`:  func(o *Options) { o.BlobHosts = []string{""} },
		`blob hosts: "*.": "suffix" or "suffix:port`: func(o *Options) { o.BlobHosts = []string{"*."} },
		`blob hosts: "https://x": no such port`:      func(o *Options) { o.BlobHosts = []string{"https://x"} },
	} {
		var o Options
		f(&o)
		if _, err := New("https://h.example", TrainingKey(testKey), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := New("https://h.example", nil, Options{}); err == nil || !strings.Contains(err.Error(), "no credential") {
		t.Error(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWrapSeesAllRequests(t *testing.T) {
	var paths []string
	w := newWorld(t, status(200, "[]"), func(o *Options) {
		o.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				paths = append(paths, r.URL.Path)
				return next.RoundTrip(r)
			})
		}
	})
	if _, err := w.GetProjects(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Fetch(t.Context(), Link{URI: w.server.URL + "/blob"}, 0, discard); err != nil {
		t.Fatal(err)
	}
	if want := []string{testBase + apiPath + "/projects", "/blob"}; !reflect.DeepEqual(paths, want) {
		t.Error(paths)
	}
}

func ExampleNew() {
	c, err := New("https://example.cognitiveservices.azure.com/", TrainingKeyFile("/run/secrets/training-key"), Options{MaxRPS: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Host())
	// Output: example.cognitiveservices.azure.com
}
