package cv_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
)

// An endpoint without a path, as the Azure portal shows it without its slash, once gave a request
// line without a leading slash.
func TestEndpointWithAndWithoutPath(t *testing.T) {
	for _, c := range []struct{ name, suffix, want string }{
		{"no path", "", "/customvision/v3.3/training/domains"},
		{"slash", "/", "/customvision/v3.3/training/domains"},
		{"path", "/base", "/base/customvision/v3.3/training/domains"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.URL.Path
				w.Header().Set("Content-Type", "application/json")
				if _, err := w.Write([]byte("[]")); err != nil {
					t.Error(err)
				}
			}))
			defer srv.Close()
			client, err := cv.New(srv.URL+c.suffix, cv.TrainingKey("k"), cv.Options{MaxAttempts: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer client.CloseIdleConnections()
			if _, err := client.GetDomains(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("asked for %q, want %q", got, c.want)
			}
		})
	}
}
