package cv

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// most is the most memory that reading an answer of an operation may take, once: its bytes, what
// its values are decoded into, some buffers for one element, and what the HTTP client takes.
func most(b bounds) uint64 { return uint64(b.whole + 48*b.values + 8*b.each + 2*mib) }

// allocated is the memory that f allocated, all together.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// gzipped answers with a body that is written once, compressed.
func gzipped(t *testing.T, write func(w io.Writer)) http.HandlerFunc {
	t.Helper()
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	write(z)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Encoding", "gzip")
		_, _ = rw.Write(packed.Bytes())
	}
}

// repeated writes text many times over.
func repeated(head, text string, times int, tail string) func(io.Writer) {
	return func(w io.Writer) {
		_, _ = io.WriteString(w, head)
		block := strings.Repeat(text, 1024)
		for ; times >= 1024; times -= 1024 {
			_, _ = io.WriteString(w, block)
		}
		_, _ = io.WriteString(w, strings.Repeat(text, times)+tail)
	}
}

// TestBombs gives each operation answers that are small on the wire and large in memory. Each is no
// answer, names what it exceeds, and takes no more memory than its bounds say.
func TestBombs(t *testing.T) {
	const id = `"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"n","status":"New","platform":"p","precision":1,"recall":1`
	n := 8 * mib / 3
	bombs := map[string]func(io.Writer){
		"empty objects":         repeated(`[`, `{},`, n, `{}]`),
		"empty objects in one":  repeated(`{`+id+`,"regions":[`, `{},`, n, `{}]}`),
		"empty objects in many": repeated(`[`, `{`+id+`,"tags":[],"regions":[`+strings.Repeat(`{},`, 50_000)+`{}]},`, 50, `{`+id+`}]`),
		"predictions":           repeated(`{"token":{"continuation":null},"results":[`, `{},`, n, `{}]}`),
		"blanks":                repeated(``, ` `, 48*mib, `7`),
		"blanks in a list":      repeated(`[`, ` `, 48*mib, `]`),
		"text":                  repeated(`"`, `a`, 8*mib, `"`),
		"digits":                repeated(``, `1`, 8*mib, ``),
		"a large element":       repeated(`[{`+id+`,"description":"`, `a`, 8*mib, `"}]`),
		"a large object":        repeated(`{`+id+`,"description":"`, `a`, 8*mib, `"}`),
		"lists in lists":        repeated(``, `[`, 8*mib, ``),
		"members":               repeated(`{`+id+`,`, `"":[],`, n, `"z":1}`),
		"a large token":         repeated(`{"token":{"continuation":"`, `a`, 8*mib, `"},"results":[]}`),
		"numbers":               repeated(`[`, `7,`, n, `7]`),
	}
	for name, write := range bombs {
		handle := gzipped(t, write)
		for _, r := range readings() {
			if name != "empty objects" && !strings.Contains("GetProject GetIterationPerformance GetTags GetImages GetImageCount QueryPredictions", r.name) {
				continue // one operation of each kind
			}
			if strings.HasPrefix(name, "blanks") && r.name != "GetImages" && r.name != "GetTags" {
				continue // they take long under the race detector
			}
			t.Run(name+"/"+r.name, func(t *testing.T) {
				w := newWorld(t, handle, func(o *Options) { o.MaxAttempts = 1 })
				var err error
				got := allocated(func() { err = r.do(t.Context(), w.Client) })
				if !errors.Is(err, ErrUnavailable) {
					t.Errorf("error %v", err)
				}
				if limit := most(answerBounds[r.name]); got > limit {
					t.Errorf("%d MiB were allocated, at most %d", got/mib, limit/mib)
				}
			})
		}
	}
}

// TestBoundsNamed: what exceeds a bound is named, with its operation and the bound, and asked for
// again like every answer that is none.
func TestBoundsNamed(t *testing.T) {
	things := func(n int, more string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `%c{"id":"%s","name":"n","status":"New","platform":"p"%s}`, ",["[min(1, max(0, 1-i))], countedID(i), more)
		}
		return b.String() + "]"
	}
	big := `,"description":"` + strings.Repeat("a", 64*kib) + `"`
	for name, c := range map[string]struct {
		answer string
		do     func(context.Context, *Client) error
		text   string
	}{
		"count": {"200000000", func(ctx context.Context, c *Client) error {
			_, err := c.GetImageCount(ctx, idP, ImageQuery{})
			return err
		}, "GetImageCount: 200: a count of 200000000, at most 10000000"},
		"a page of more than were asked for": {things(8, ""), func(ctx context.Context, c *Client) error {
			_, err := c.GetImages(ctx, idP, ImageQuery{Take: 7})
			return err
		}, "GetImages: 200: a list of more than 7 elements"},
		"a page of more than a page": {things(257, ""), func(ctx context.Context, c *Client) error {
			_, err := c.GetUntaggedImages(ctx, idP, ImageQuery{})
			return err
		}, "GetUntaggedImages: 200: a list of more than 256 elements"},
		"performances": {things(3, ""), func(ctx context.Context, c *Client) error {
			_, err := c.GetImagePerformances(ctx, idP, idI, PageQuery{Take: 2})
			return err
		}, "GetImagePerformances: 200: a list of more than 2 elements"},
		"predictions": {`{"token":{"continuation":null},"results":` + things(3, "") + `}`, func(ctx context.Context, c *Client) error {
			_, err := c.QueryPredictions(ctx, idP, PredictionQueryToken{MaxCount: 2})
			return err
		}, "QueryPredictions: 200: a list of more than 2 elements"},
		"a long token": {`{"token":{"continuation":"` + strings.Repeat("a", 64*kib) + `"},"results":[]}`, func(ctx context.Context, c *Client) error {
			_, err := c.QueryPredictions(ctx, idP, PredictionQueryToken{MaxCount: 2})
			return err
		}, "QueryPredictions: 200: a token of 65555 bytes, at most 65536"},
		"images by ids": {`[{"id":"` + idA.String() + `"},{"id":"` + idA.String() + `"}]`, func(ctx context.Context, c *Client) error {
			_, err := c.GetImagesByIDs(ctx, idP, uuid.Nil, []uuid.UUID{idA})
			return err
		}, "GetImagesByIds: 200: a list of more than 1 elements"},
		"iterations": {things(1001, ""), func(ctx context.Context, c *Client) error {
			_, err := c.GetIterations(ctx, idP)
			return err
		}, "GetIterations: 200: a list of more than 1000 elements"},
		"a large project": {things(1, big), func(ctx context.Context, c *Client) error {
			_, err := c.GetProjects(ctx)
			return err
		}, "GetProjects: 200: an answer with an element of more than 65536 bytes"},
		"many large domains": {things(40, `,"d":"`+strings.Repeat("a", 15*kib)+`"`), func(ctx context.Context, c *Client) error {
			_, err := c.GetDomains(ctx)
			return err
		}, "GetDomains: 200: an answer of more than 262144 bytes decoded"},
		"depth": {`[{"a":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `}]`, func(ctx context.Context, c *Client) error {
			_, err := c.GetTags(ctx, idP, uuid.Nil)
			return err
		}, "GetTags: 200: an answer of more than 32 values in each other"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, status(200, c.answer))
			err := c.do(t.Context(), w.Client)
			if !errors.Is(err, ErrTooLarge) || !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %v", err)
			}
			if n := len(w.requests()); n != defaultMaxAttempts {
				t.Errorf("%d tries", n)
			}
		})
	}
}

// TestLargeAnswersFit: the largest answers that the service is known to give are within the bounds.
func TestLargeAnswersFit(t *testing.T) {
	id := idT.String()
	region := "\r\n      {\r\n        \"regionId\": \"" + id + "\",\r\n        \"tagName\": \"a tag with a long name, of forty characters\",\r\n" +
		"        \"created\": \"2020-11-06T16:53:19.8906382\",\r\n        \"tagId\": \"" + id + "\",\r\n        \"left\": 0.30318631,\r\n" +
		"        \"top\": 0.10318631,\r\n        \"width\": 0.20318631,\r\n        \"height\": 0.90318631\r\n      }"
	regions := strings.TrimSuffix(strings.Repeat(region+",", 300), ",")
	tags := strings.TrimSuffix(strings.Repeat(`{"tagId":"`+id+`","tagName":"n","created":"2020-11-06T16:53:19.8906382"},`, 100), ",")
	var images, projects strings.Builder
	for i := range MaxPage {
		fmt.Fprintf(&images, `%c{"id":"%s","tags":[%s],"regions":[%s]}`, ",["[min(1, max(0, 1-i))], countedID(i), tags, regions)
	}
	for i := range 100 {
		fmt.Fprintf(&projects, `%c{"id":"%s","name":"n","description":"%s"}`, ",["[min(1, max(0, 1-i))], countedID(i), strings.Repeat("d", 32*kib))
	}
	w := newWorld(t, script(status(200, images.String()+"]"), status(200, projects.String()+"]"), status(200, "10000000")))
	got, err := w.GetTaggedImages(t.Context(), idP, ImageQuery{})
	if err != nil || len(got) != MaxPage || len(got[255].Regions) != 300 {
		t.Errorf("%d images of %d bytes: %v", len(got), images.Len(), err)
	}
	if got, err := w.GetProjects(t.Context()); err != nil || len(got) != 100 {
		t.Errorf("%d projects: %v", len(got), err)
	}
	if n, err := w.GetImageCount(t.Context(), idP, ImageQuery{}); err != nil || n != MaxCount {
		t.Errorf("%d: %v", n, err)
	}
}

// TestEveryOperationIsBounded: no operation that reads is without bounds.
func TestEveryOperationIsBounded(t *testing.T) {
	for _, r := range readings() {
		if b := answerBounds[r.name]; b.each == 0 || b.whole < b.each || b.values == 0 {
			t.Errorf("%s: %+v", r.name, b)
		}
	}
}
