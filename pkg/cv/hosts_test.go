package cv

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestHostsAllowed(t *testing.T) {
	c, err := New("https://Name.CognitiveServices.Azure.com/", TrainingKey(testKey), Options{BlobHosts: []string{
		"blobs.example", ".dots.example:9000", "*.Stars.example", " 10.1.2.3 ", "127.0.0.1:9000", "[::1]:9000", "fd00::1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]bool{
		"https://irisprodeu2training.blob.core.windows.net/i": true,
		"https://IRIS.BLOB.core.windows.net.:443/i":           true,
		"https://a.b.blob.core.usgovcloudapi.net/i":           true,
		"https://a.blob.core.chinacloudapi.cn/i":              true,
		"https://blob.core.windows.net/i":                     false,
		"https://a.blob.core.windows.net.example/i":           false,
		"https://name.cognitiveservices.azure.com/i":          true,
		"https://name.cognitiveservices.azure.com:444/i":      false,
		"https://x.name.cognitiveservices.azure.com/i":        false,
		"http://name.cognitiveservices.azure.com/i":           false,
		"http://name.cognitiveservices.azure.com:443/i":       false,
		"https://blobs.example/i":                             true,
		"http://blobs.example:81/i":                           true,
		"https://a.b.blobs.example/i":                         true,
		"https://notblobs.example/i":                          false,
		"https://blobs.example.evil/i":                        false,
		"http://dots.example:9000/i":                          true,
		"http://a.dots.example:9000/i":                        true,
		"http://dots.example/i":                               false,
		"https://a.stars.example/i":                           true,
		"http://10.1.2.3/i":                                   true,
		"http://10.1.2.4/i":                                   false,
		"http://127.0.0.1:9000/i":                             true,
		"http://127.0.0.1:9001/i":                             false,
		"http://[::1]:9000/i":                                 true,
		"http://[::1]:9001/i":                                 false,
		"http://[fd00::1]:1234/i":                             true,
		"http://[fd00::2]/i":                                  false,
	} {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.hosts.allow(u); (err == nil) != want || err != nil && !errors.Is(err, ErrHostNotAllowed) {
			t.Errorf("%s: %v", link, err)
		}
	}
}

// TestOwnHostHasAScheme: what an endpoint answers on one port in plain text is not what it answers
// there over TLS, and another server may answer for it.
func TestOwnHostHasAScheme(t *testing.T) {
	c, err := New("http://127.0.0.1:8080/", TrainingKey(testKey), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for link, want := range map[string]bool{"http://127.0.0.1:8080/i": true, "https://127.0.0.1:8080/i": false} {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.hosts.allow(u); (err == nil) != want {
			t.Errorf("%s: %v", link, err)
		}
	}
}

func TestAddressesThatLeadInside(t *testing.T) {
	for address, want := range map[string]bool{
		"20.60.1.1:443": true, "[2603:1030::1]:443": true, "[::ffff:20.60.1.1]:443": true,
		"127.0.0.1:443": false, "127.9.9.9:443": false, "10.0.0.1:443": false, "172.16.0.1:443": false, "172.32.0.1:443": true, "192.168.1.1:443": false,
		"169.254.169.254:80": false, "0.0.0.0:80": false, "0.1.2.3:80": false, "100.64.0.1:80": false, "168.63.129.16:80": false, "224.0.0.1:80": false, "255.255.255.255:80": false,
		"[::1]:443": false, "[::]:443": false, "[fe80::1]:443": false, "[fe80::1%eth0]:443": false, "[fd00::1]:443": false, "[ff02::1]:443": false,
		"[::ffff:127.0.0.1]:443": false, "[::ffff:169.254.169.254]:443": false, "[64:ff9b::7f00:1]:443": false, "[::ffff:0:7f00:1]:443": false, "[2002:7f00:1::]:443": false,
		"198.18.0.1:443": false, "240.0.0.1:443": false, "[::127.0.0.1]:443": false, "[::a00:1]:443": false, "[fec0::1]:443": false, "[2001:0:7f00:1::1]:443": false, "[2001:db8::1]:443": true,
		"nonsense": false, "host.example:443": false, "": false,
	} {
		if err := checkAddress(address); (err == nil) != want || err != nil && !errors.Is(err, ErrHostNotAllowed) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestNamesThatLeadInside: the name of a download host may resolve to anything, and to something
// else a moment later. What counts is the address that is dialled.
func TestNamesThatLeadInside(t *testing.T) {
	reached := 0
	inside := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		reached++
		blob("content")(rw, r)
	}))
	defer inside.Close()
	addr := netip.MustParseAddrPort(inside.Listener.Addr().String())
	link := fmt.Sprintf("http://localhost:%d/x?sig=secret", addr.Port())

	fetch := func(hosts []string, allowed bool, transport http.RoundTripper) error {
		t.Helper()
		clock := &testClock{at: testStart}
		c, err := New("https://h.example/", TrainingKey(testKey), Options{BlobHosts: hosts, Now: clock.Now, Wait: clock.Wait, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseIdleConnections()
		if !allowed { // as if the name itself were an allowed one, whose address now turns out to lead inside
			c.api, c.blob = c.hosts.transports(transport)
			c.hosts.listed = append(c.hosts.listed, hostRule{host: "localhost"})
		}
		_, err = c.Fetch(t.Context(), Link{URI: link}, 0, discard)
		return err
	}
	dialer := &net.Dialer{}
	for name, transport := range map[string]http.RoundTripper{
		"default": nil, "given": &http.Transport{}, "given with a dialler": &http.Transport{DialContext: dialer.DialContext},
	} {
		t.Run(name, func(t *testing.T) {
			reached = 0
			err := fetch([]string{"other.example"}, false, transport)
			if !errors.Is(err, ErrHostNotAllowed) || errors.Is(err, ErrUnavailable) || reached != 0 || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, reached %d", err, reached)
			}
			if err := fetch([]string{"localhost"}, true, transport); err != nil || reached != 1 {
				t.Errorf("listed: %v, reached %d", err, reached)
			}
			if err := fetch([]string{fmt.Sprintf("localhost:%d", addr.Port()+1)}, true, transport); !errors.Is(err, ErrHostNotAllowed) {
				t.Errorf("another port listed: %v", err)
			}
		})
	}
}

func TestFetchThroughAProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		blob("content")(rw, r)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(at)}
	c, err := New("https://h.example/", TrainingKey(testKey), Options{BlobHosts: []string{"blobs.example"}, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseIdleConnections()
	if n, err := c.Fetch(t.Context(), Link{URI: "http://blobs.example/x"}, 0, discard); n != 7 || err != nil || len(asked) != 1 || asked[0] != "http://blobs.example/x" {
		t.Error(n, err, asked)
	}
}

// TestKeyStaysAtTheEndpoint: whatever the service answers, the key is in no request but to the
// endpoint's host.
func TestKeyStaysAtTheEndpoint(t *testing.T) {
	var keys []string
	storage := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Training-Key")+r.Header.Get("Authorization"))
		blob("content")(rw, r)
	}))
	defer storage.Close()
	w := newWorld(t, status(302, "", "Location", storage.URL+"/x"), func(o *Options) { o.BlobHosts = []string{strings.TrimPrefix(storage.URL, "http://")} })
	if n, err := w.Fetch(t.Context(), Link{URI: storage.URL + "/y"}, 0, discard); n != 7 || err != nil {
		t.Error(n, err)
	}
	if n, err := w.Fetch(t.Context(), Link{URI: w.server.URL + "/z"}, 0, discard); n != 7 || err != nil {
		t.Error(n, err)
	}
	if _, err := w.Fetch(t.Context(), Link{Project: idP, URI: "i-1/i-2"}, 0, discard); !errors.Is(err, ErrMisconfigured) {
		t.Error(err)
	}
	if len(keys) != 2 || keys[0]+keys[1] != "" {
		t.Errorf("%q", keys)
	}
}
