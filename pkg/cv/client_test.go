package cv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func TestNewEndpoints(t *testing.T) {
	for endpoint, want := range map[string]struct{ endpoint, host, url string }{
		"https://westus2.api.cognitive.microsoft.com":                             {"https://westus2.api.cognitive.microsoft.com", "westus2.api.cognitive.microsoft.com", "https://westus2.api.cognitive.microsoft.com/customvision/v3.3/training/projects"},
		"https://westus2.api.cognitive.microsoft.com/":                            {"https://westus2.api.cognitive.microsoft.com", "westus2.api.cognitive.microsoft.com", "https://westus2.api.cognitive.microsoft.com/customvision/v3.3/training/projects"},
		" HTTPS://Name.CognitiveServices.Azure.com:443// ":                        {"https://name.cognitiveservices.azure.com:443", "name.cognitiveservices.azure.com", "https://name.cognitiveservices.azure.com:443/customvision/v3.3/training/projects"},
		"http://127.0.0.1:8080/cv":                                                {"http://127.0.0.1:8080/cv", "127.0.0.1:8080", "http://127.0.0.1:8080/cv/customvision/v3.3/training/projects"},
		"http://[::1]:8080/cv/":                                                   {"http://[::1]:8080/cv", "[::1]:8080", "http://[::1]:8080/cv/customvision/v3.3/training/projects"},
		"https://h.example/a%2Fb/":                                                {"https://h.example/a%2Fb", "h.example", "https://h.example/a%2Fb/customvision/v3.3/training/projects"},
		"https://h.example/CustomVision/v3.3/Training/":                           {"https://h.example", "h.example", "https://h.example/customvision/v3.3/training/projects"},
		"https://h.example/base/customvision/v3.3/training":                       {"https://h.example/base", "h.example", "https://h.example/base/customvision/v3.3/training/projects"},
		"https://h.example/base//":                                                {"https://h.example/base", "h.example", "https://h.example/base/customvision/v3.3/training/projects"},
		"http://h.example:80":                                                     {"http://h.example:80", "h.example", "http://h.example:80/customvision/v3.3/training/projects"},
		"https://virginia.api.cognitive.microsoft.us/customvision/v3.3/training/": {"https://virginia.api.cognitive.microsoft.us", "virginia.api.cognitive.microsoft.us", "https://virginia.api.cognitive.microsoft.us/customvision/v3.3/training/projects"},
		"https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/////": {"https://a-b.cognitiveservices.azure.com", "a-b.cognitiveservices.azure.com", "https://a-b.cognitiveservices.azure.com/customvision/v3.3/training/projects"},
		"https://apim.example/vision/eu/customvision/v3.3/training?x=1&y=2#":      {},
		"https://apim.example/vision/eu/customvision/v3.2/training":               {},
		"https://user:secret@h.example/":                                          {},
		"https://h.example/#frag":                                                 {},
		"https://h.example/?code=secret":                                          {},
		"h.example":                                                               {},
		"localhost:8080":                                                          {},
		"https:///path":                                                           {},
		"https://h.example:99999/":                                                {},
		"ftp://h.example":                                                         {},
		"":                                                                        {},
		"https://h.example/%zz?sig=secret":                                        {},
		"https://h example/?sig=secret":                                           {},
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

func TestNewOptions(t *testing.T) {
	for want, f := range map[string]func(*Options){
		"-1 calls a second is no rate":               func(o *Options) { o.MaxRPS = -1 },
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

// TestSuccessThatIsNone: answers that say 2xx and are no answer.
func TestSuccessThatIsNone(t *testing.T) {
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		kind   error
		tries  int
		text   string
	}{
		"a login page": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			_, _ = rw.Write([]byte("<html>sign in</html>"))
		}, ErrMisconfigured, 1, "answer of type text/html, not JSON"},
		"empty":      {status(200, ""), ErrUnavailable, 5, "answer of 0 bytes is no whole JSON"},
		"no content": {status(204, ""), ErrUnavailable, 5, "answer of 0 bytes is no whole JSON"},
		"half of it": {status(200, `[{"id":"`), ErrUnavailable, 5, "answer of 8 bytes is no whole JSON"},
		"cut": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "100")
			answer(rw, 200, `[]`)
		}, ErrUnavailable, 5, "read answer: unexpected EOF"},
		"cut chunks": {func(rw http.ResponseWriter, _ *http.Request) {
			answer(rw, 200, `[`)
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}, ErrUnavailable, 5, "read answer: unexpected EOF"},
		"other JSON":  {status(200, `{"projects":[]}`), ErrUnavailable, 5, "decode answer"},
		"no objects":  {status(200, `["a"]`), ErrUnavailable, 5, "not a JSON object"},
		"no id":       {status(200, `[{"name":"x"}]`), ErrUnavailable, 5, "no id in it"},
		"null object": {status(200, `[null]`), ErrUnavailable, 5, "no id in it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.handle)
			_, err := w.GetProjects(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.text) {
				t.Fatalf("error %v", err)
			}
			for _, kind := range []error{ErrGone, ErrThrottled, ErrMisconfigured, ErrUnavailable} {
				if want := errors.Is(c.kind, kind); errors.Is(err, kind) != want {
					t.Errorf("%v is %v should be %v", err, kind, want)
				}
			}
			var e *Error
			if !errors.As(err, &e) || e.Op != "GetProjects" || e.Status/100 != 2 {
				t.Errorf("%+v", e)
			}
			if n := len(w.requests()); n != c.tries {
				t.Errorf("%d tries", n)
			}
		})
	}
}

func TestLenientModels(t *testing.T) {
	const odd = `{"id":"8A32EA60-1C53-43C3-8113-D0B1F470FBDB","created":17,"name":["x"],"settings":{"domainId":""},"lastModified":"yesterday","status":null,"extra":{"a":1}}`
	w := newWorld(t, status(200, odd))
	p, err := w.GetProject(t.Context(), idP)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != idP || p.Name != "" || !p.Created.IsZero() || string(p.Raw) != odd {
		t.Errorf("%+v", p)
	}
	// Names in another case, as older versions of the service write them.
	w = newWorld(t, status(200, "\ufeff"+`[{"Id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","Name":"Iteration 2","Status":"New","DomainId":null}]`))
	its, err := w.GetIterations(t.Context(), idP)
	if err != nil || len(its) != 1 || its[0].ID != idI || its[0].Name != "Iteration 2" || its[0].DomainID != uuid.Nil {
		t.Errorf("%+v %v", its, err)
	}
}

func TestRedirectsOfAPICallsAreNotFollowed(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	w := newWorld(t, status(302, "", "Location", other.URL+"/login?code=secret"))
	_, err := w.GetDomains(t.Context())
	if !errors.Is(err, ErrMisconfigured) || reached || len(w.requests()) != 1 {
		t.Errorf("%v, reached %v", err, reached)
	}
	if want := "GetDomains: 302: redirect to " + strings.TrimPrefix(other.URL, "http://"); !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
}

// TestExchangesAreAllTraced: net/http repeats a GET by itself when a kept connection breaks. That
// exchange would be in no ledger.
func TestExchangesAreAllTraced(t *testing.T) {
	w := newWorld(t, script(status(200, "1"), reset, status(200, "2"), reset, reset, status(200, "3")))
	var statuses []int
	ctx := WithTrace(t.Context(), Trace{After: func(c Call) { statuses = append(statuses, c.Status) }})
	for want := 1; want <= 3; want++ {
		if n, err := w.GetUntaggedImageCount(ctx, idP, uuid.Nil); n != want || err != nil {
			t.Fatal(n, err)
		}
	}
	if want := []int{200, 0, 200, 0, 0, 200}; !reflect.DeepEqual(statuses, want) || len(w.requests()) != len(want) {
		t.Errorf("traced %v, sent %d", statuses, len(w.requests()))
	}
}

func TestTimeoutOfATry(t *testing.T) {
	release := make(chan struct{})
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}
	t.Cleanup(func() { close(release) })
	for name, first := range map[string]http.HandlerFunc{
		"no answer": hang,
		"half a body": func(rw http.ResponseWriter, r *http.Request) {
			answer(rw, 200, "[")
			_ = http.NewResponseController(rw).Flush()
			hang(rw, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, script(first, status(200, "[]")))
			w.tryTimeout = 50 * time.Millisecond
			var tries []Call
			ctx := WithTrace(t.Context(), Trace{After: func(c Call) { tries = append(tries, c) }})
			if _, err := w.GetProjects(ctx); err != nil {
				t.Fatal(err)
			}
			if len(tries) != 2 || !errors.Is(tries[0].Err, ErrUnavailable) || errors.Is(tries[0].Err, context.DeadlineExceeded) || errors.Is(tries[0].Err, context.Canceled) {
				t.Errorf("%+v", tries)
			}
			if !strings.Contains(tries[0].Err.Error(), "no whole answer within 30s") {
				t.Error(tries[0].Err)
			}
		})
	}
}

func TestUnreachableEndpoints(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	noSuchHost := roundTrip(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.example", IsNotFound: true}}
	})
	for name, c := range map[string]struct {
		endpoint  string
		transport http.RoundTripper
		tries     int
	}{
		"nobody listens":      {closed.URL, nil, 5},
		"no such host":        {"https://nowhere.example", noSuchHost, 1},
		"unknown certificate": {secure.URL, nil, 1},
		"no TLS":              {"https" + strings.TrimPrefix(plain.URL, "http"), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			clock := &testClock{at: testStart}
			cl, err := New(c.endpoint, TrainingKey(testKey), Options{Now: clock.Now, Wait: clock.Wait, Transport: c.transport})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.CloseIdleConnections()
			tries := 0
			_, err = cl.GetDomains(WithTrace(t.Context(), Trace{After: func(c Call) {
				tries++
				if c.Status != 0 || c.Err == nil {
					t.Errorf("%+v", c)
				}
			}}))
			if !errors.Is(err, ErrMisconfigured) || errors.Is(err, ErrUnavailable) || tries != c.tries {
				t.Errorf("%v after %d tries", err, tries)
			}
		})
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

func ExampleNew() {
	c, err := New("https://example.cognitiveservices.azure.com/", TrainingKeyFile("/run/secrets/training-key"), Options{MaxRPS: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Host())
	// Output: example.cognitiveservices.azure.com
}
