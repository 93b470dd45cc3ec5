package sinktest

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

const (
	// crowdPage is how many objects a page of the listing has: few, so that the pages that are in
	// memory at once weigh little beside a list of all objects.
	crowdPage = 250
	// crowdHeap is by how much the heap may grow after the first requests, however many objects
	// there are: a few pages of a listing, and what other goroutines of a test do meanwhile, but
	// not all keys. Tests give 8,000 objects keys of nearly 1,000 bytes.
	crowdHeap = 7 << 20
	// crowdWarm is how many requests go before the first measurement where there are many pages, so
	// that what is made once does not count.
	crowdWarm = 4
)

// Crowd stands for a store with very many objects, which it makes up: it lists them, page by page,
// knows none of them when one is asked for, and removes them in their order. It measures the heap.
type Crowd struct {
	Objects int

	name  func(i int) string
	mu    sync.Mutex
	calls map[string]int
	gone  int // the first ones
	seen  int // requests
	least uint64
	most  uint64
}

// NewCrowd makes a store of some objects, or of as many as CROWD in the environment says. name
// gives their keys, in key order.
func NewCrowd(t TB, objects int, name func(i int) string) *Crowd {
	t.Helper()
	c := &Crowd{Objects: objects, name: name, calls: map[string]int{}}
	if v := os.Getenv("CROWD"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("CROWD: %v", err)
		}
		c.Objects = n
	}
	return c
}

// Store is a store on the crowd.
func (c *Crowd) Store(t TB) *sink.Store {
	t.Helper()
	api, err := sink.Client(context.Background(), sink.Options{
		Endpoint: "http://crowd.example", PathStyle: true, Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""), Transport: c, MaxAttempts: 1,
	})
	if err != nil {
		t.Fatalf("make a client: %v", err)
	}
	return sink.NewStore(api, sink.StoreOptions{
		Bucket: "crowd", Log: zerolog.Nop(), SpoolDir: os.TempDir(),
		Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
}

// Left is how many objects there still are.
func (c *Crowd) Left() int { return c.Objects - c.gone }

// Check fails the test where the heap has grown with the number of objects, where there were more
// than three requests for each page of them, or more than few for objects one by one.
func (c *Crowd) Check(t TB, few int) {
	t.Helper()
	pages, single := 0, 0
	for op, n := range c.calls {
		switch op {
		case "HeadObject", "GetObject", "DeleteObject":
			single += n
		default:
			pages += n
		}
	}
	if most := 3*c.Objects/crowdPage + 10; pages > most {
		t.Errorf("%d objects took %v, more than %d requests", c.Objects, c.calls, most)
	}
	if single > few {
		t.Errorf("%d requests for objects one by one, more than %d: %v", single, few, c.calls)
	}
	if grown := int64(c.most - c.least); grown > crowdHeap { //nolint:gosec // most is not less
		t.Errorf("the heap grew by %d KiB while %d objects were listed", grown>>10, c.Objects)
	}
	t.Logf("%d objects: %v, the heap grew by %d KiB", c.Objects, c.calls, int64(c.most-c.least)>>10) //nolint:gosec // as above
}

// RoundTrip implements http.RoundTripper.
func (c *Crowd) RoundTrip(req *http.Request) (*http.Response, error) {
	op, _, req, err := identify(req)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.measure(c.calls[op])
	c.calls[op]++
	status, body := http.StatusOK, ""
	switch op {
	case "ListObjectsV2":
		body = c.page(req.URL.Query().Get("prefix"), req.URL.Query().Get("continuation-token"))
	case "DeleteObjects":
		named, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		c.gone += len(deleted(named))
		body = "<DeleteResult/>"
	case "GetBucketVersioning":
		body = "<VersioningConfiguration/>"
	case "ListMultipartUploads":
		body = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
	default:
		status, body = http.StatusNotFound, "<Error><Code>NoSuchKey</Code></Error>"
	}
	closeBody(req)
	return &http.Response{
		StatusCode: status, Status: strconv.Itoa(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/xml"}}, ContentLength: int64(len(body)),
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

// page is what a listing goes on with.
func (c *Crowd) page(prefix, token string) string {
	begin := c.gone
	if n, err := strconv.Atoi(token); err == nil {
		begin = max(begin, n)
	}
	end := min(begin+crowdPage, c.Objects)
	var b strings.Builder
	b.WriteString("<ListBucketResult>")
	for i := begin; i < end; i++ {
		key := c.name(i)
		if !strings.HasPrefix(key, prefix) {
			end = c.Objects // none is there
			break
		}
		b.WriteString("<Contents><Key>")
		_ = xml.EscapeText(&b, []byte(key))
		b.WriteString("</Key><Size>1</Size></Contents>")
	}
	fmt.Fprintf(&b, "<IsTruncated>%t</IsTruncated>", end < c.Objects)
	if end < c.Objects {
		fmt.Fprintf(&b, "<NextContinuationToken>%d</NextContinuationToken>", end)
	}
	b.WriteString("</ListBucketResult>")
	return b.String()
}

// measure takes note of the heap, at the first request and then now and then.
func (c *Crowd) measure(calls int) {
	c.seen++
	if every := max(1, c.Objects/crowdPage/10); c.seen <= min(crowdWarm, c.Objects/crowdPage-1) || calls%every != 0 {
		return
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if c.least == 0 {
		c.least = m.HeapAlloc
	}
	c.least, c.most = min(c.least, m.HeapAlloc), max(c.most, m.HeapAlloc)
}
