package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// testAuthority is a certificate authority of its own, and the certificate of 127.0.0.1 that it
// signed.
type testAuthority struct {
	file   string // PEM file of the authority
	server tls.Certificate
}

func newTestAuthority(t testing.TB) testAuthority {
	t.Helper()
	sign := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			by = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of its own"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	root, rootKey := sign(authority, authority, nil)
	leaf, leafKey := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "server"}, NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, rootKey)
	a := testAuthority{file: filepath.Join(t.TempDir(), "ca.pem"), server: tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: leafKey}}
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// /readyz says why NATS cannot be used, and which setting cures it.
func TestReadyzSaysWhatIsWrongWithNATS(t *testing.T) {
	authority := newTestAuthority(t)
	others := newOtherServers(t)
	inConfig := func(text string, args ...any) natstest.Options {
		return natstest.Options{Addr: "127.0.0.1:0", Config: func() string { return fmt.Sprintf(text, args...) }}
	}
	withoutJetStream := func(o *server.Options) { o.JetStream = false }
	hubAddress := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}()
	for _, c := range []struct {
		name   string
		hub    *natstest.Options // what the server is a leaf node of
		server natstest.Options
		change func(*natsConfig)
		want   []string
	}{
		{
			name: "refused connection", change: func(c *natsConfig) { c.URL = "nats://127.0.0.1:1" },
			want: []string{"connection refused", "NATS_URL"},
		},
		{
			name: "another protocol", change: func(c *natsConfig) { c.URL = strings.Replace(others.greets, "http", "nats", 1) },
			want: []string{"does not speak NATS", "NATS_URL"},
		},
		{
			name: "a server that hangs up", change: func(c *natsConfig) { c.URL = strings.Replace(others.hangsUp, "http", "nats", 1) },
			want: []string{"does not speak NATS", "NATS_URL"},
		},
		{
			name: "unknown authority", server: natstest.Options{Addr: "127.0.0.1:0", Configure: func(o *server.Options) {
				o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{authority.server}}
			}},
			want: []string{"unknown authority", "NATS_CA"},
		},
		{
			name: "no certificate of ours", server: natstest.Options{Addr: "127.0.0.1:0", Configure: func(o *server.Options) {
				o.TLSConfig = &tls.Config{Certificates: []tls.Certificate{authority.server}, ClientAuth: tls.RequireAnyClientCert}
			}},
			change: func(c *natsConfig) { c.CA = authority.file },
			want:   []string{"demands a client certificate", "NATS_CERT", "NATS_KEY"},
		},
		{
			name: "wrong password", server: natstest.Options{Addr: "127.0.0.1:0", User: "service", Password: "right"},
			change: func(c *natsConfig) { c.User, c.Password = "service", secretOf("wrong") },
			want:   []string{"Authorization Violation", "NATS_USER", "NATS_PASSWORD"},
		},
		{
			name: "no JetStream", server: natstest.Options{Addr: "127.0.0.1:0", Configure: withoutJetStream},
			want: []string{"JetStream", "jetstream {}", "CONSUMER_NATS_DOMAIN"},
		},
		{
			name: "account without JetStream", server: inConfig("jetstream {}\naccounts { A { users: [ {user: a, password: a} ] } }"),
			change: func(c *natsConfig) { c.User, c.Password = "a", secretOf("a") },
			want:   []string{"JetStream not enabled for account", "NATS_USER"},
		},
		{
			name: "missing rights", server: inConfig(`jetstream {}
				accounts { A { jetstream: enabled, users: [ {user: a, password: a, permissions: {publish: ["cv.>", "$JS.API.INFO"], subscribe: ["_INBOX.>"]}} ] } }`),
			change: func(c *natsConfig) { c.User, c.Password = "a", secretOf("a") },
			want:   []string{`permission to publish on "$JS.API.STREAM.INFO.CV_COMMANDS"`, "docs/nats.md"},
		},
		{
			name: "no right to read secrets", server: inConfig(`jetstream {}
				accounts { A { jetstream: enabled, users: [ {user: a, password: a, permissions: {publish: {deny: ["$JS.API.STREAM.MSG.GET.KV_CV_SECRETS"]}}} ] } }`),
			change: func(c *natsConfig) { c.User, c.Password = "a", secretOf("a") },
			want:   []string{`permission to publish on "$JS.API.STREAM.MSG.GET.KV_CV_SECRETS"`, "docs/nats.md"},
		},
		{
			name: "too few streams", server: inConfig("jetstream {}\naccounts { A { jetstream { max_streams: 3 }, users: [ {user: a, password: a} ] } }"),
			change: func(c *natsConfig) { c.User, c.Password = "a", secretOf("a") },
			want:   []string{"maximum number of streams", "max_streams"},
		},
		{
			name: "too few consumers", server: inConfig("jetstream {}\naccounts { A { jetstream { max_consumers: 1 }, users: [ {user: a, password: a} ] } }"),
			change: func(c *natsConfig) { c.User, c.Password = "a", secretOf("a") },
			want:   []string{"maximum consumers limit", "max_consumers"},
		},
		{
			name: "leaf node without JetStream",
			hub: &natstest.Options{Config: func() string {
				return fmt.Sprintf("server_name: hub\njetstream { domain: hub }\nleafnodes { listen: %q }", hubAddress)
			}},
			server: natstest.Options{Addr: "127.0.0.1:0", Configure: withoutJetStream, Config: func() string {
				return fmt.Sprintf("server_name: leaf\nleafnodes { remotes: [ {url: \"nats-leaf://%s\"} ] }", hubAddress)
			}},
			change: func(c *natsConfig) { c.Domain = "elsewhere" },
			want:   []string{"elsewhere", "CONSUMER_NATS_DOMAIN"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.hub != nil {
				natstest.NewWith(t, *c.hub)
			}
			if c.server.Addr == "" {
				c.server.Addr = "127.0.0.1:0"
			}
			f := newFixtureOn(t, natstest.NewWith(t, c.server), cvtest.Options{Seed: 1})
			if c.change != nil {
				c.change(&f.config.NATS)
			}
			r := f.start(t)
			for _, want := range c.want {
				r.await(c.name+": "+want, isDown("nats", want))
			}
			r.end()
		})
	}
}

// The pages and the log are there before NATS is: a server that accepts connections and says
// nothing keeps neither away, nor what is known of it already.
func TestPagesComeBeforeNATS(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.NATS.URL, f.config.NATS.Timeout = "nats://"+silent.Addr().String(), limit
	r := f.start(t)
	r.await("all but NATS is there", isDown("nats", "connecting"))
	if log := f.log.String(); !strings.Contains(log, `"message":"started"`) {
		t.Errorf("the log is\n%s", log)
	}
	(<-accepted).Close()
	second := <-accepted
	r.await("the first attempt failed, and the second goes on", isDown("nats", "NATS_URL"))
	silent.Close()
	second.Close()
	r.end()
}

// overTLS is a server of TLS in front of the store.
func overTLS(t testing.TB, store *sinktest.Server, certificate tls.Certificate) string {
	t.Helper()
	to, err := url.Parse(store.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	gate := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport: store.Transport(),
	})
	gate.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	gate.Config.ErrorLog = nil
	gate.StartTLS()
	t.Cleanup(gate.Close)
	return gate.URL
}

// otherServers are endpoints, http://host:port, of servers that are neither S3 nor Custom Vision.
type otherServers struct {
	page    string // answers every request with a web page
	refuses string // answers 405 with a web page
	gateway string // answers 503 with a web page, as a proxy does before a dead server
	breaks  string // breaks off in the middle of every answer
	strange string // answers 400 with XML that is not S3's
	text    string // answers with text that no header declares
	greets  string // speaks first, as servers of SSH, mail and NATS do
	hangsUp string // closes every connection
}

func newOtherServers(t testing.TB) otherServers {
	t.Helper()
	web := func(status int, contentType, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	other := func(greeting string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					if strings.HasPrefix(greeting, "HTTP/") { // a server of HTTP waits for the request
						_, _ = conn.Read(make([]byte, 1<<10))
					}
					_, _ = io.WriteString(conn, greeting)
					_ = conn.(*net.TCPConn).CloseWrite()
					_, _ = io.Copy(io.Discard, conn) // the client is not reset while it writes
					_ = conn.Close()
				}()
			}
		}()
		return "http://" + l.Addr().String()
	}
	return otherServers{
		page: web(http.StatusOK, "text/html", "<html><body>Welcome</body></html>"), refuses: web(http.StatusMethodNotAllowed, "text/html", "<html><body>405</body></html>"),
		gateway: web(http.StatusServiceUnavailable, "text/html", "<html><body>503 no backend</body></html>"), breaks: other("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[{"),
		strange: web(http.StatusBadRequest, "application/xml", "<Problem/>"),
		text:    web(http.StatusOK, "", "welcome"), greets: other("220 mail.example ready\r\n"), hangsUp: other(""),
	}
}

// elsewhere is how AWS answers for a bucket of another region: nothing but a header to a HEAD.
func elsewhere(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusMovedPermanently, Header: http.Header{"X-Amz-Bucket-Region": {"eu-west-1"}}, Request: req,
		Body: io.NopCloser(strings.NewReader(map[bool]string{true: "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"}[req.Method == http.MethodGet])),
	}, nil
}

// A bucket that cannot be used is told with the variable to change and how.
func TestStorageProblemsNameTheirCure(t *testing.T) {
	store := sinktest.Shared(t)
	others := newOtherServers(t)
	authority := newTestAuthority(t)
	secure := overTLS(t, store, authority.server)
	good := storeConfig{Region: store.Region, Endpoint: store.Endpoint, KeyID: secretOf(store.AccessKey), Secret: secretOf(store.SecretKey), PathStyle: true}
	bucket := store.Bucket(t, sinktest.BucketOptions{})
	for _, c := range []struct {
		name   string
		change func(c *storeConfig, bucket *string)
		vars   map[string]string
		want   []string // nothing: it works
	}{
		{name: "all is well", change: func(*storeConfig, *string) {}},
		{name: "wrong region", change: func(c *storeConfig, _ *string) { c.Region = "eu-west-9" }, want: []string{"AWS_REGION=us-east-1"}},
		{name: "region of a redirect", change: func(c *storeConfig, _ *string) { c.Transport = roundTripper(elsewhere) }, want: []string{"AWS_REGION=eu-west-1"}},
		{name: "unknown key", change: func(c *storeConfig, _ *string) { c.KeyID = secretOf("nobody") }, want: []string{"access key", "AWS_ACCESS_KEY_ID"}},
		{name: "wrong secret", change: func(c *storeConfig, _ *string) { c.Secret = secretOf("wrong") }, want: []string{"SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"}},
		{name: "missing bucket", change: func(_ *storeConfig, b *string) { *b = "not-there" }, want: []string{"not-there", "NoSuchBucket", "CONSUMER_BUCKET"}},
		{name: "without TLS to a port with TLS", change: func(c *storeConfig, _ *string) { c.Endpoint = "http" + strings.TrimPrefix(secure, "https") }, want: []string{"AWS_ENDPOINT_URL_S3", "https://"}},
		{name: "with TLS to a port without", change: func(c *storeConfig, _ *string) { c.Endpoint = "https" + strings.TrimPrefix(store.Endpoint, "http") }, want: []string{"AWS_ENDPOINT_URL_S3", "does not speak TLS"}},
		{name: "unknown authority", change: func(c *storeConfig, _ *string) { c.Endpoint = secure }, want: []string{"unknown authority", "AWS_CA_BUNDLE"}},
		{name: "known authority", change: func(c *storeConfig, _ *string) { c.Endpoint = secure }, vars: map[string]string{"AWS_CA_BUNDLE": authority.file}},
		{name: "refused connection", change: func(c *storeConfig, _ *string) { c.Endpoint = "http://127.0.0.1:1" }, want: []string{"connection refused", "AWS_ENDPOINT_URL_S3"}},
		{name: "not S3", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("404 page not found")), Request: req}, nil
			})
		}, want: []string{"AWS_ENDPOINT_URL_S3", "not an answer of S3"}},
		{name: "a port of the store for people", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				body := "<Error><Code>InvalidArgument</Code><Message>S3 API Requests must be made to API port.</Message></Error>" // MinIO's console
				return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
			})
		}, want: []string{"API port", "is AWS_ENDPOINT_URL_S3 the endpoint of the S3 API"}},
		{name: "a path in the endpoint", change: func(c *storeConfig, _ *string) { c.Endpoint += "/ui" }, want: []string{"AWS_ENDPOINT_URL_S3"}},
		{name: "a web page", change: func(c *storeConfig, _ *string) { c.Endpoint = others.page }, want: []string{"AWS_ENDPOINT_URL_S3", "not an answer of S3"}},
		{name: "a web server that refuses the method", change: func(c *storeConfig, _ *string) { c.Endpoint = others.refuses }, want: []string{"405", "AWS_ENDPOINT_URL_S3", "not an answer of S3"}},
		{name: "a gateway before a dead store", change: func(c *storeConfig, _ *string) { c.Endpoint = others.gateway }, want: []string{"503", "AWS_ENDPOINT_URL_S3", "a proxy before it"}},
		{name: "a gateway that forbids", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("<html/>")), Request: req}, nil
			})
		}, want: []string{"403", "Least privileges", "AWS_ENDPOINT_URL_S3"}},
		{name: "a store that lacks it", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusNotImplemented, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("<html/>")), Request: req}, nil
			})
		}, want: []string{"501", "is AWS_ENDPOINT_URL_S3 the endpoint of the S3 API"}},
		{name: "a store that throttles", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				body := "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
				return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
			})
		}},
		{name: "another protocol", change: func(c *storeConfig, _ *string) { c.Endpoint = others.greets }, want: []string{"AWS_ENDPOINT_URL_S3", "does not speak HTTP"}},
		{name: "a server that hangs up", change: func(c *storeConfig, _ *string) { c.Endpoint = others.hangsUp }, want: []string{"AWS_ENDPOINT_URL_S3", "without an answer"}},
		{name: "bucket in the endpoint", change: func(c *storeConfig, b *string) { c.Endpoint += "/" + *b }, want: []string{"NoSuchKey", "leave the bucket out of AWS_ENDPOINT_URL_S3"}},
		{name: "HEAD alone is refused", change: func(c *storeConfig, _ *string) {
			c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodHead {
					return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
				}
				return store.Transport().RoundTrip(req)
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, value := range c.vars {
				t.Setenv(name, value)
			}
			access, name := good, bucket
			c.change(&access, &name)
			api, err := s3Client(t.Context(), access, nil)
			if err != nil {
				t.Fatal(err)
			}
			err = access.explain(checkBuckets(t.Context(), "", sink.NewStore(api, sink.StoreOptions{Bucket: name, Log: zerolog.Nop()})))
			if len(c.want) == 0 && err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("no %s in: %v", want, err)
				}
			}
		})
	}
}

// Without an endpoint the store is AWS, which is the other mistake that a host without an address
// may come from.
func TestUnknownHostOfAWS(t *testing.T) {
	err := storeConfig{Region: "nowhere-1"}.explain(&net.DNSError{Err: "no such host", Name: "b.s3.nowhere-1.amazonaws.com", IsNotFound: true})
	var done *cured
	if !errors.As(err, &done) || done.setting != "AWS_REGION" || !strings.Contains(done.cure, "AWS_ENDPOINT_URL_S3") {
		t.Errorf("%v", err)
	}
}

// Files that hold something else name their variable, and a port that speaks no WebSocket always
// has the same reason, which says nothing of the server's.
func TestFilesOfNATSNameTheirVariable(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0"})
	for name, c := range map[string]natsConfig{
		"NATS_CA":                  {CA: text},
		"NATS_CERT":                {Cert: text, Key: text},
		"NATS_NKEY":                {NKey: text},
		"does not speak WebSocket": {URL: strings.Replace(server.URL(), "nats://", "ws://", 1)},
	} {
		c.URL = cmp.Or(c.URL, server.URL())
		o := c.connection("test", zerolog.Nop())
		o.FailFast = true
		_, err := natsconn.Connect(t.Context(), o)
		if err = c.explain(err); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "server_id") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A server without room for streams is cured on the server, not by asking for more.
func TestStorageOfNATSIsCuredThere(t *testing.T) {
	err := natsConfig{}.explain(fmt.Errorf("%w: insufficient storage resources available (10047)", natsq.ErrMaxBytes))
	for _, want := range []string{"CONSUMER_STREAM_MAX_BYTES", "storage is short", "max_file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in: %v", want, err)
		}
	}
}

// A problem with NATS that keeps storage from being checked is not cured by the settings of
// storage.
func TestSecretsAreNotBlamedOnStorage(t *testing.T) {
	err := config{}.explain(delivery.DependencyStorage, &secretProblem{fmt.Errorf("read the secret: %w: %w", errProbeTimeout, natsq.ErrDenied)})
	if strings.Contains(err.Error(), "AWS_") || !strings.Contains(err.Error(), "docs/nats.md") {
		t.Errorf("says %v", err)
	}
}

// Each of two buckets has its own problem and its own cure.
func TestEachBucketHasItsCure(t *testing.T) {
	c := storeConfig{Region: "us-east-1", Endpoint: "http://store.example", KeyID: secretOf("a"), Secret: secretOf("b"), PathStyle: true}
	c.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		code, status := "AccessDenied", http.StatusForbidden
		if strings.HasPrefix(req.URL.Path, "/work") {
			code, status = "NoSuchBucket", http.StatusNotFound
		}
		return &http.Response{StatusCode: status, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader("<Error><Code>" + code + "</Code></Error>"))}, nil
	})
	api, err := s3Client(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: "bundles", Log: zerolog.Nop()})
	err = c.explain(checkBuckets(t.Context(), "", store, store.InBucket("work")))
	for _, want := range []string{"check bucket bundles: AccessDenied", "Least privileges", "check bucket work: NoSuchBucket", "create the bucket"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %s in: %v", want, err)
		}
	}
	if !errors.Is(err, sink.ErrMisconfigured) || strings.Contains(err.Error(), "\n") {
		t.Errorf("says %v", err)
	}
}

// A server that answers every request with the same text is found out as it gives that back.
func TestTextIsNoStore(t *testing.T) {
	c := storeConfig{Region: "us-east-1", Endpoint: newOtherServers(t).text, KeyID: secretOf("a"), Secret: secretOf("b"), PathStyle: true}
	api, err := s3Client(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = c.explain(checkMetadata(t.Context(), sink.NewStore(api, sink.StoreOptions{Bucket: "b", Log: zerolog.Nop()}), "k"))
	if err == nil || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL_S3") || !strings.Contains(err.Error(), "the endpoint of the S3 API") {
		t.Errorf("says %v", err)
	}
}

// Storage that dies, or hangs, while there is nothing to do is noticed by the probe in the time
// that docs/operators.md says.
func TestStorageThatDiesTurnsRedSoon(t *testing.T) {
	const soon = 15 * time.Second
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"refuses": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"is gone from behind its gateway": func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("<html/>")), Request: req}, nil
		},
		"hangs": func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dead := make(chan struct{})
				access := storeConfig{Region: "us-east-1", Endpoint: "http://store.example", PathStyle: true, KeyID: secretOf("a"), Secret: secretOf("b"),
					Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
						select {
						case <-dead:
							return answer(req)
						default:
							return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
						}
					})}
				api, err := s3Client(t.Context(), access, newMetrics())
				if err != nil {
					t.Fatal(err)
				}
				m := newMonitor(health.New(time.Now), newMetrics(), zerolog.Nop())
				m.expect(delivery.DependencyStorage)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				store := sink.NewStore(api, sink.StoreOptions{Bucket: "b", Log: zerolog.Nop()})
				work := store.InBucket("w")
				go m.watch(ctx, probe{delivery.DependencyStorage, defaultProbeIntervals.storage, defaultProbeIntervals.storageRetry, func(ctx context.Context) error {
					return checkBuckets(ctx, "", store, work)
				}})
				synctest.Wait()
				if !m.readiness().Ready {
					t.Fatalf("not ready at first: %+v", m.readiness())
				}
				close(dead)
				<-time.After(soon)
				synctest.Wait()
				if r := m.readiness(); r.Ready || r.Dependencies[delivery.DependencyStorage].Reason == "" {
					t.Errorf("%s after the store died: %+v", soon, r)
				}
			})
		})
	}
}

// What the tries of a check fail with is told while they are repeated, but turns nothing red that
// is available.
func TestTriesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make(chan int)
		client, err := cv.New("http://localhost", cv.TrainingKey("any"), cv.Options{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: <-answers, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader("[]")), Request: req}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		m := newMonitor(health.New(time.Now), newMetrics(), zerolog.Nop())
		m.expect("training:a")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go m.watch(ctx, m.trainingProbe("a", client, time.Minute))
		is := func(ready bool, reason string) {
			t.Helper()
			synctest.Wait()
			r := m.readiness()
			if r.Ready != ready || !strings.Contains(r.Dependencies["training:a"].Reason, reason) {
				t.Errorf("%+v, want %v and %q", r, ready, reason)
			}
		}
		is(false, "not checked yet")
		<-time.After(answerTimeout)
		is(false, "no answer within 5s")
		answers <- http.StatusBadGateway
		is(false, "502") // while the next try is waited for
		answers <- http.StatusOK
		is(true, "")
		<-time.After(30 * time.Second)
		is(true, "")
		answers <- http.StatusBadGateway // of the next check, a minute later
		is(true, "")                     // one try of the second check has failed
		close(answers)
	})
}

// While it takes long to find out what a store supports, that is told, and what it ends with.
func TestSlowStoreIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		access := storeConfig{Region: "us-east-1", Endpoint: "http://store.example", PathStyle: true, KeyID: secretOf("a"), Secret: secretOf("b"),
			Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodHead {
					return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
				}
				<-req.Context().Done()
				return nil, req.Context().Err()
			})}
		api, err := s3Client(t.Context(), access, newMetrics())
		if err != nil {
			t.Fatal(err)
		}
		s := &service{c: config{S3: access}, health: health.New(time.Now), metrics: newMetrics(), store: sink.NewStore(api, sink.StoreOptions{Bucket: "b", Log: zerolog.Nop()})}
		s.work, s.monitor = s.store, newMonitor(s.health, s.metrics, zerolog.Nop())
		s.monitor.expect(delivery.DependencyStorage)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.monitor.watch(ctx, probe{delivery.DependencyStorage, time.Minute, time.Minute, func(ctx context.Context) error { return s.checkStorage(ctx, nil) }})
		for _, told := range []struct {
			after time.Duration
			want  string
		}{{answerTimeout, "not known yet"}, {probeTimeout, "no answer within 20s"}} {
			<-time.After(told.after)
			synctest.Wait()
			if reason := s.monitor.readiness().Dependencies[delivery.DependencyStorage].Reason; !strings.Contains(reason, told.want) {
				t.Errorf("%s: %q, want %q", told.after, reason, told.want)
			}
		}
	})
}

// A bucket that locks every object is no place for working objects. The service says so, and leaves
// nothing in it that could not be removed; with a work bucket it works.
func TestBucketWithDefaultRetentionNeedsAWorkBucket(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	locked := f.store.Bucket(t, sinktest.BucketOptions{Locked: true})
	api := f.store.Client()
	if _, err := api.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{Bucket: &locked, ObjectLockConfiguration: &types.ObjectLockConfiguration{
		ObjectLockEnabled: types.ObjectLockEnabledEnabled,
		Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeGovernance, Days: aws.Int32(1)}},
	}}); err != nil {
		t.Fatal(err)
	}
	other := f.config.Bucket
	f.config.Bucket, f.config.WorkBucket = locked, locked
	r := f.start(t)
	r.await("the bucket locks", func(_ int, now readiness) bool {
		reason := now.Dependencies["storage"].Reason
		return strings.Contains(reason, "GOVERNANCE") && strings.Contains(reason, "CONSUMER_WORK_BUCKET")
	})
	r.end()
	left, err := api.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &locked})
	if err != nil || len(left.Versions)+len(left.DeleteMarkers) > 0 {
		t.Errorf("left behind: %v %v %v", left.Versions, left.DeleteMarkers, err)
	}
	f.config.WorkBucket = other
	r = f.start(t)
	r.await("with a work bucket", isReady)
	r.end()
}

// A store that lies about something else than encryption is not blamed on the settings of that.
func TestNotKeptNamesEncryptionOnlyForEncryption(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.S3.Transport = roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := f.store.Transport().RoundTrip(req)
		if err == nil && req.Method == http.MethodPut && resp.Header.Get("X-Amz-Checksum-Sha256") != "" {
			resp.Header.Set("X-Amz-Checksum-Sha256", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
		}
		return resp, err
	})
	r := f.start(t)
	var reason string
	r.await("another checksum is told", func(_ int, now readiness) bool {
		reason = now.Dependencies["storage"].Reason
		return strings.Contains(reason, "the store answered with SHA-256")
	})
	if strings.Contains(reason, "CONSUMER_SSE") {
		t.Errorf("readiness says %s", reason)
	}
	r.end()
}

// A server that hangs up before the request is written is told as one that does so after it.
func TestHangingUpIsToldInOneWay(t *testing.T) {
	for _, err := range []error{io.EOF, syscall.ECONNRESET, errors.New("http: server closed idle connection")} {
		told := cureConnection(&url.Error{Op: "Get", URL: "http://elsewhere.example", Err: err}, "THE_ENDPOINT", "")
		if !strings.Contains(told.Error(), "hangs up without an answer") || !strings.Contains(told.Error(), "THE_ENDPOINT") {
			t.Errorf("%v is told as %v", err, told)
		}
	}
}

// What the Training API answers to a wrong setting names that setting.
func TestTrainingProblemsNameTheirCure(t *testing.T) {
	vision := cvtest.New(cvtest.Options{Seed: 1}).Start()
	t.Cleanup(vision.Close)
	authority := newTestAuthority(t)
	others := newOtherServers(t)
	secure := httptest.NewUnstartedServer(vision)
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{authority.server}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for _, c := range []struct {
		name string
		r    resource
		want []string
	}{
		{"wrong key", resource{Endpoint: vision.URL(), Key: secretOf("wrong")}, []string{"401", "VISION_TRAINING_KEY"}},
		{"wrong key in a file", resource{Alias: "eu", InFile: true, Endpoint: vision.URL(), Key: secretOf("wrong")}, []string{"key_file of eu in CONSUMER_RESOURCES"}},
		{"nothing of Custom Vision", resource{Endpoint: vision.URL() + "/elsewhere", Key: secretOf(vision.Key())}, []string{"404", "VISION_TRAINING_ENDPOINT"}},
		{"unknown authority", resource{Endpoint: secure.URL, Key: secretOf(vision.Key())}, []string{"unknown authority", "SSL_CERT_FILE"}},
		{"with TLS to a port without", resource{Endpoint: "https" + strings.TrimPrefix(vision.URL(), "http"), Key: secretOf(vision.Key())}, []string{"does not speak TLS", "VISION_TRAINING_ENDPOINT"}},
		{"a web page", resource{Endpoint: others.page, Key: secretOf("any")}, []string{"text/html", "nothing of Custom Vision", "VISION_TRAINING_ENDPOINT"}},
		{"a web server that refuses the method", resource{Endpoint: others.refuses, Key: secretOf("any")}, []string{"405", "nothing of Custom Vision", "VISION_TRAINING_ENDPOINT"}},
		{"a gateway before a dead service", resource{Endpoint: others.gateway, Key: secretOf("any")}, []string{"503", "a proxy before it", "VISION_TRAINING_ENDPOINT"}},
		{"a server that breaks off", resource{Endpoint: others.breaks, Key: secretOf("any")}, []string{"unexpected EOF", "break off", "VISION_TRAINING_ENDPOINT"}},
		{"an API of others", resource{Endpoint: others.strange, Key: secretOf("any")}, []string{"400", "nothing of Custom Vision", "VISION_TRAINING_ENDPOINT"}},
		{"text", resource{Endpoint: others.text, Key: secretOf("any")}, []string{"JSON", "nothing of Custom Vision", "VISION_TRAINING_ENDPOINT"}},
		{"another protocol", resource{Endpoint: others.greets, Key: secretOf("any")}, []string{"does not speak HTTP", "VISION_TRAINING_ENDPOINT"}},
		{"a server that hangs up", resource{Alias: "eu", InFile: true, Endpoint: others.hangsUp, Key: secretOf("any")}, []string{"without an answer", "endpoint of eu in CONSUMER_RESOURCES"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			credential, err := c.r.credential()
			if err != nil {
				t.Fatal(err)
			}
			client, err := cv.New(c.r.Endpoint, credential, cv.Options{MaxAttempts: 1})
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.GetDomains(t.Context())
			err = c.r.explain(err)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("no %s in: %v", want, err)
				}
			}
		})
	}
}
