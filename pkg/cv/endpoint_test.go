package cv

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
			client, err := New(srv.URL+c.suffix, TrainingKey("k"), Options{MaxAttempts: 1})
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

func TestNewEndpoints(t *testing.T) {
	for endpoint, want := range map[string]struct{ endpoint, host, url string }{
		"https://westus2.api.cognitive.microsoft.com":                                  {"https://westus2.api.cognitive.microsoft.com", "westus2.api.cognitive.microsoft.com", "https://westus2.api.cognitive.microsoft.com/customvision/v3.3/training/projects"},
		"https://westus2.api.cognitive.microsoft.com/":                                 {"https://westus2.api.cognitive.microsoft.com", "westus2.api.cognitive.microsoft.com", "https://westus2.api.cognitive.microsoft.com/customvision/v3.3/training/projects"},
		" HTTPS://Name.CognitiveServices.Azure.com:443// ":                             {"https://name.cognitiveservices.azure.com:443", "name.cognitiveservices.azure.com", "https://name.cognitiveservices.azure.com:443/customvision/v3.3/training/projects"},
		"http://127.0.0.1:8080/cv":                                                     {"http://127.0.0.1:8080/cv", "127.0.0.1:8080", "http://127.0.0.1:8080/cv/customvision/v3.3/training/projects"},
		"http://[::1]:8080/cv/":                                                        {"http://[::1]:8080/cv", "[::1]:8080", "http://[::1]:8080/cv/customvision/v3.3/training/projects"},
		"https://h.example/a%2Fb/":                                                     {"https://h.example/a%2Fb", "h.example", "https://h.example/a%2Fb/customvision/v3.3/training/projects"},
		"https://h.example/CustomVision/v3.3/Training/":                                {"https://h.example", "h.example", "https://h.example/customvision/v3.3/training/projects"},
		"https://h.example/base/customvision/v3.3/training":                            {"https://h.example/base", "h.example", "https://h.example/base/customvision/v3.3/training/projects"},
		"https://h.example/base//":                                                     {"https://h.example/base", "h.example", "https://h.example/base/customvision/v3.3/training/projects"},
		"http://h.example:80":                                                          {"http://h.example:80", "h.example", "http://h.example:80/customvision/v3.3/training/projects"},
		"https://virginia.api.cognitive.microsoft.us/customvision/v3.3/training/":      {"https://virginia.api.cognitive.microsoft.us", "virginia.api.cognitive.microsoft.us", "https://virginia.api.cognitive.microsoft.us/customvision/v3.3/training/projects"},
		"https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/////":      {"https://a-b.cognitiveservices.azure.com", "a-b.cognitiveservices.azure.com", "https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/projects"},
		"https://apim.example/vision/eu/customvision/v3.3/training?x=1&y=2#":           {},
		"https://apim.example/vision/eu/customvision/v3.2/training":                    {},
		"https://a-b.cognitiveservices.azure.com/customvision":                         {"https://a-b.cognitiveservices.azure.com", "a-b.cognitiveservices.azure.com", "https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/projects"},
		"https://a-b.cognitiveservices.azure.com/CustomVision//":                       {"https://a-b.cognitiveservices.azure.com", "a-b.cognitiveservices.azure.com", "https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/projects"},
		"https://apim.example/vision/customvision/":                                    {"https://apim.example/vision", "apim.example", "https://apim.example/vision/customvision/v3.3/training/projects"},
		"https://a-b.cognitiveservices.azure.com/customvision/v3.3":                    {},
		"https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/projects":  {},
		"https://a-b.cognitiveservices.azure.com/vision/v3.2":                          {},
		"https://www.customvision.ai/projects":                                         {},
		"https://user:secret@h.example/":                                               {},
		"https://h.example/#frag":                                                      {},
		"https://h.example/?code=secret":                                               {},
		"h.example":                                                                    {},
		"localhost:8080":                                                               {},
		"https:///path":                                                                {},
		"https://h.example:99999/":                                                     {},
		"ftp://h.example":                                                              {},
		"":                                                                             {},
		"https://h.example/%zz?sig=secret":                                             {},
		"https://h example/?sig=secret":                                                {},
		"https://name.cognitiveservices.azure.com\nhttps://other.example/?code=secret": {},
	} {
		t.Run(endpoint, func(t *testing.T) {
			c, err := New(endpoint, TrainingKey(testKey), Options{})
			if want.endpoint == "" {
				if err == nil || !strings.HasPrefix(err.Error(), "training endpoint: ") || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Endpoint().String(); got != want.endpoint {
				t.Errorf("endpoint %s", got)
			}
			if got := c.Host(); got != want.host {
				t.Errorf("host %s", got)
			}
			req, err := c.request(t.Context(), call{op: "GetProjects", method: http.MethodGet, path: "projects"})
			if err != nil || req.URL.String() != want.url {
				t.Errorf("url %s (%v)", req.URL, err)
			}
		})
	}
}

// Only a custom sub-domain is a host of one account alone.
func TestOwnHost(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"https://faces.cognitiveservices.azure.com/":            true,
		"https://FACES.cognitiveservices.azure.com:443":         true,
		"https://faces.cognitiveservices.azure.us/":             true,
		"https://faces.cognitiveservices.azure.cn/":             true,
		"https://westeurope.api.cognitive.microsoft.com/":       false,
		"https://cognitiveservices.azure.com/":                  false,
		"https://cognitiveservices.azure.com.example/":          false,
		"https://evilcognitiveservices.azure.com/":              false,
		"https://faces.cognitiveservices.azure.com.evil.org/":   false,
		"http://127.0.0.1:8080/":                                false,
		"https://vision.internal/faces.cognitiveservices.azure": false,
	} {
		c, err := New(endpoint, TrainingKey(testKey), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.OwnHost(); got != want {
			t.Errorf("%s: %t", endpoint, got)
		}
	}
}

func TestEndpointIsACopy(t *testing.T) {
	c, err := New("https://h.example/", TrainingKey(testKey), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c.Endpoint().Host = "evil.example"
	if c.Host() != "h.example" {
		t.Error(c.Host())
	}
}
