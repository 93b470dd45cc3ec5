package sinktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Quirk is something that a store, or a gateway before it, leaves out of its answers, refuses or
// changes.
type Quirk string

// Quirks of a Gateway that changes answers.
const (
	NoLengthOnGet  Quirk = "no length on GET"  // of an object's content: it comes in chunks
	NoLengthOnHead Quirk = "no length on HEAD" // of an object
	NoSizes        Quirk = "no sizes in listings"
	NoETags        Quirk = "no ETags"
	NoChecksums    Quirk = "no checksums"            // neither the store's own nor the metadata that holds one
	NoOwnChecksums Quirk = "no checksums of its own" // only the metadata that holds one
	NoLockOnHead   Quirk = "no retention on HEAD"
	NoTruncated    Quirk = "no IsTruncated in listings"
	NoMarkers      Quirk = "no place where a listing goes on"
	EndsByClosing  Quirk = "ends by closing" // with NoLengthOnGet: no chunks either, the end of the connection is the end of the content

	NoConfirmations  Quirk = "no checksums in answers to writes"          // stores that ignore checksum headers
	ZeroLengthOnHead Quirk = "says 0 bytes on HEAD"                       // gateways
	ExactUploadLists Quirk = "lists unfinished uploads by whole key only" // MinIO
	NoEmptyLists     Quirk = "NoSuchUpload where there is no upload"      // rclone serve s3
)

// checksumHeader is the SHA-256 of an object in requests and answers.
const checksumHeader = "X-Amz-Checksum-Sha256"

// SmallPages is an option of Client that has listings come two entries at a time.
func SmallPages(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Build.Add(middleware.BuildMiddlewareFunc("SmallPages", func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok && req.Method == http.MethodGet {
				q := req.URL.Query()
				if q.Has("list-type") || q.Has("versions") {
					q.Set("max-keys", "2")
					req.URL.RawQuery = q.Encode()
				}
				if q.Has("uploads") {
					q.Set("max-uploads", "2")
					req.URL.RawQuery = q.Encode()
				}
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
	})
}

// WithoutLengths are the quirks of a store that never says how long an object is.
func WithoutLengths() []Quirk { return []Quirk{NoLengthOnGet, NoLengthOnHead, NoSizes} }

// Gateway is an HTTP proxy before a Server, with quirks.
type Gateway struct {
	Endpoint string  // http://127.0.0.1:port
	Faults   *Faults // between it and the server

	quirks []Quirk
	next   *http.Transport
	server *http.Server
	mu     sync.Mutex
	hits   map[Quirk]int
}

// Gateway starts a proxy with quirks before the server. It is stopped at the test's end, which
// fails when a quirk was never met.
func (s *Server) Gateway(t TB, quirks ...Quirk) *Gateway {
	t.Helper()
	to, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatalf("parse the server's address: %v", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for the gateway: %v", err)
	}
	g := &Gateway{
		Endpoint: "http://" + l.Addr().String(), quirks: quirks, hits: map[Quirk]int{},
		next: &http.Transport{DisableKeepAlives: true, DisableCompression: true}, // the server waits for connections that are open
	}
	g.Faults = NewFaults(g.next)
	g.server = &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = to.Scheme, to.Host, r.In.Host // the host is signed
		},
		Transport:      gate{g, g.Faults},
		ModifyResponse: g.change,
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
	}}
	served := make(chan error, 1)
	go func() { served <- g.server.Serve(l) }()
	t.Cleanup(func() {
		_ = g.server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve the gateway: %v", err)
		}
		for _, q := range quirks {
			if g.hits[q] == 0 {
				t.Errorf("quirk not met: %s", q)
			}
		}
	})
	return g
}

// RoundTrip sends a request for the server through the gateway, so that a Gateway can stand below a
// client of the server, or below [Faults].
func (g *Gateway) RoundTrip(req *http.Request) (*http.Response, error) {
	to, err := url.Parse(g.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse the gateway's address: %w", err)
	}
	out := req.Clone(req.Context())
	if out.Host == "" {
		out.Host = req.URL.Host // it is signed
	}
	out.URL.Host = to.Host
	return g.next.RoundTrip(out)
}

// has reports whether a quirk changes an answer, and counts it.
func (g *Gateway) has(q Quirk) bool {
	if !slices.Contains(g.quirks, q) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hits[q]++
	return true
}

// Elements of listings that quirks take out.
var (
	uploadElement    = regexp.MustCompile(`(?s)<Upload>.*?</Upload>`)
	keyElement       = regexp.MustCompile(`<Key>([^<]*)</Key>`)
	sizeElement      = regexp.MustCompile(`<Size>[^<]*</Size>`)
	etagElement      = regexp.MustCompile(`<ETag>[^<]*</ETag>`)
	truncatedElement = regexp.MustCompile(`<IsTruncated>[^<]*</IsTruncated>`)
	markerElement    = regexp.MustCompile(`<Next[A-Za-z]+>[^<]*</Next[A-Za-z]+>`)
)

// change changes an answer as the quirks say.
func (g *Gateway) change(resp *http.Response) error {
	op, _, _, err := identify(resp.Request)
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode/100 != 2:
		return nil
	case op == "GetObject" || op == "HeadObject":
		g.changeObject(resp, op)
		return nil
	case (op == "PutObject" || op == "UploadPart") && g.has(NoConfirmations):
		resp.Header.Del(checksumHeader)
		return nil
	case op == "ListObjectsV2" || op == "ListObjectVersions" || op == "ListMultipartUploads":
		return g.changeListing(resp, op)
	}
	return nil
}

// changeObject changes the answer to a GetObject or HeadObject.
func (g *Gateway) changeObject(resp *http.Response, op string) {
	if op == "GetObject" && g.has(NoLengthOnGet) || op == "HeadObject" && g.has(NoLengthOnHead) {
		resp.Header.Del("Content-Length")
		resp.ContentLength = -1
		if op == "GetObject" && g.has(EndsByClosing) {
			resp.Header.Set("Connection", "close")
			resp.Header.Set("Transfer-Encoding", "identity") // has net/http send the bytes as they are
		}
	}
	if op == "HeadObject" && g.has(ZeroLengthOnHead) {
		resp.Header.Set("Content-Length", "0")
		resp.ContentLength = 0
	}
	if g.has(NoETags) {
		resp.Header.Del("Etag")
	}
	if op == "HeadObject" && g.has(NoLockOnHead) {
		resp.Header.Del("X-Amz-Object-Lock-Mode")
		resp.Header.Del("X-Amz-Object-Lock-Retain-Until-Date")
	}
	if g.has(NoChecksums) || g.has(NoOwnChecksums) {
		resp.Header.Del(checksumHeader)
		resp.Header.Del("X-Amz-Checksum-Type")
	}
	if g.has(NoChecksums) {
		resp.Header.Del("X-Amz-Meta-Sha256")
	}
}

// changeListing changes a listing.
func (g *Gateway) changeListing(resp *http.Response, op string) error {
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	for q, element := range map[Quirk]*regexp.Regexp{NoSizes: sizeElement, NoETags: etagElement, NoTruncated: truncatedElement, NoMarkers: markerElement} {
		if element.Match(b) && g.has(q) {
			b = element.ReplaceAll(b, nil)
		}
	}
	if uploadElement.Match(b) && g.has(ExactUploadLists) {
		b = onlyKey(b, resp.Request.URL.Query().Get("prefix"))
	}
	if op == "ListMultipartUploads" && !uploadElement.Match(b) && g.has(NoEmptyLists) {
		resp.StatusCode, resp.Status = http.StatusNotFound, "404 Not Found"
		b = []byte(errorBody("NoSuchUpload"))
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	resp.ContentLength = int64(len(b))
	resp.Header.Set("Content-Length", strconv.Itoa(len(b)))
	return nil
}

// onlyKey leaves the uploads of one key in a listing.
func onlyKey(listing []byte, key string) []byte {
	return uploadElement.ReplaceAllFunc(listing, func(upload []byte) []byte {
		if m := keyElement.FindSubmatch(upload); m != nil && string(m[1]) == key {
			return upload
		}
		return nil
	})
}
