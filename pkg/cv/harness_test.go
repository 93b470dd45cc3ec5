package cv

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testBase = "/gate/way" // a base path before the API's own, which catches addresses joined wrongly
	testKey  = "0123456789abcdef0123456789abcdef"
)

var (
	testStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	idP       = uuid.MustParse("8a32ea60-1c53-43c3-8113-d0b1f470fbdb")
	idI       = uuid.MustParse("18670f0e-9e74-4e6d-9790-7b4829b034b3")
	idT       = uuid.MustParse("e3049fbe-e509-4ceb-95c6-f6427b972543")
	idT2      = uuid.MustParse("6b3a791c-d081-47dc-a55e-408f0dd2e509")
	idA       = uuid.MustParse("468e679e-ad7e-4707-9622-2d8d8ce71e2e")
	idB       = uuid.MustParse("9f859fc2-ccbd-4d2e-947c-35a4afd72861")
)

// testClock is a clock that waiting moves.
type testClock struct {
	mu    sync.Mutex
	at    time.Time
	waits []time.Duration
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *testClock) Wait(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.waits = append(c.waits, d)
	return nil
}

func (c *testClock) Waits() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]time.Duration(nil), c.waits...)
}

// world is a service and a client of it.
type world struct {
	*Client
	server *httptest.Server
	clock  *testClock
	mu     sync.Mutex
	seen   []*http.Request
}

// newWorld serves the API below testBase with a handler that gets paths below the API's own.
func newWorld(t *testing.T, handle http.HandlerFunc, change ...func(*Options)) *world {
	t.Helper()
	w := &world{clock: &testClock{at: testStart}}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.seen = append(w.seen, r.Clone(context.Background()))
		w.mu.Unlock()
		rest, ok := strings.CutPrefix(r.URL.Path, testBase+apiPath+"/")
		if ok {
			r.URL.Path = rest
		}
		rw.Header().Set("Date", testStart.Format(http.TimeFormat))
		handle(rw, r)
	}))
	o := Options{Now: w.clock.Now, Wait: w.clock.Wait, MaxRPS: 1e6}
	for _, f := range change {
		f(&o)
	}
	var err error
	if w.Client, err = New(w.server.URL+testBase, TrainingKey(testKey), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.CloseIdleConnections()
		w.server.Close()
	})
	return w
}

// requests are those the server got so far.
func (w *world) requests() []*http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen
}

// answer writes an API answer with a request id.
func answer(rw http.ResponseWriter, status int, body string) {
	rw.Header().Set("Apim-Request-Id", "8d716609-dcf1-42c4-8e96-9be0449aaffa")
	rw.Header().Set("Request-Id", "other")
	if body != "" {
		rw.Header().Set("Content-Type", "application/json; charset=utf-8")
	}
	rw.WriteHeader(status)
	_, _ = io.WriteString(rw, body)
}

// script answers one after the other, and the last for ever.
func script(steps ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		step := steps[0]
		if len(steps) > 1 {
			steps = steps[1:]
		}
		mu.Unlock()
		step(rw, r)
	}
}

func status(code int, body string, header ...string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			rw.Header().Set(header[i], header[i+1])
		}
		answer(rw, code, body)
	}
}

// brokenOff answers with a part of an error body.
func brokenOff(code int) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Content-Length", "100")
		rw.WriteHeader(code)
		_, _ = rw.Write([]byte(`{"code":"No`))
	}
}

// reset breaks the connection after the request was read.
func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// operation is one case of an area's table: what a method sends, and what it makes of the answer.
type operation struct {
	name   string
	do     func(context.Context, *Client) (any, error)
	method string
	path   string // below the base path
	query  string // as sent
	status int    // 0 is 200
	answer string
	want   any // nil: no value
	target string
}

// checkOperations runs an area's table.
func checkOperations(t *testing.T, table []operation) {
	t.Helper()
	for _, op := range table {
		t.Run(op.name, func(t *testing.T) {
			if op.status == 0 {
				op.status = http.StatusOK
			}
			w := newWorld(t, status(op.status, op.answer))
			var calls []Call
			ctx := WithTrace(t.Context(), Trace{After: func(c Call) { calls = append(calls, c) }})
			got, err := op.do(ctx, w.Client)
			if err != nil {
				t.Fatal(err)
			}
			requests := w.requests()
			if len(requests) != 1 {
				t.Fatalf("%d requests", len(requests))
			}
			r := requests[0]
			if r.Method != op.method || r.URL.Path != testBase+apiPath+"/"+op.path || r.URL.RawQuery != op.query {
				t.Errorf("sent %s %s ? %s\nwant %s %s ? %s", r.Method, r.URL.Path, r.URL.RawQuery, op.method, op.path, op.query)
			}
			for name, want := range map[string]string{"Accept": "application/json", "Training-Key": testKey, "User-Agent": "cvconsumer"} {
				if v := r.Header.Get(name); v != want {
					t.Errorf("header %s is %q, not %q", name, v, want)
				}
			}
			if op.method != http.MethodPost && (r.ContentLength != 0 || len(r.TransferEncoding) != 0) {
				t.Errorf("a body was sent: length %d, encoding %v", r.ContentLength, r.TransferEncoding)
			}
			if op.want != nil && !reflect.DeepEqual(got, op.want) {
				t.Errorf("got  %+v\nwant %+v", got, op.want)
			}
			want := Call{
				Time: testStart, Answered: testStart, Operation: strings.SplitN(op.name, " ", 2)[0], Target: op.target, Attempt: 1, Status: op.status,
				RequestID: "8d716609-dcf1-42c4-8e96-9be0449aaffa", Date: testStart, Credential: sha256.Sum256([]byte(testKey)),
			}
			if want.Target == "" {
				want.Target = op.path
			}
			if len(calls) != 1 || calls[0] != want {
				t.Errorf("traced %+v\nwant   %+v", calls, want)
			}
		})
	}
}

func at(t *testing.T, s string) Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		t.Fatal(err)
	}
	return Time{v.UTC()}
}

// imagePage is a page of n images as the service sends them, ids counted from first.
func imagePage(first, n int) string {
	var b strings.Builder
	b.WriteString("[")
	for i := range n {
		if i > 0 {
			b.WriteString(",")
		}
		id := countedID(first + i)
		plain := strings.ReplaceAll(id.String(), "-", "")
		link := func(kind string) string {
			return "https://irisprodeu2training.blob.core.windows.net/i-" + strings.ReplaceAll(idP.String(), "-", "") + "/" + kind + "-" + plain +
				"?sv=2017-04-17&sr=b&sig=c2VjcmV0c2VjcmV0c2VjcmV0%3D&se=2026-03-02T12%3A00%3A00Z&sp=r"
		}
		fmt.Fprintf(&b, `{"id":"%s","created":"2020-11-06T16:53:19.8773776","width":900,"height":1600,"resizedImageUri":"%s","thumbnailUri":"%s","originalImageUri":"%s",`+
			`"tags":[{"tagId":"%s","tagName":"Tag2","created":"2020-11-06T16:53:19.8906382"}],`+
			`"regions":[{"regionId":"%s","tagName":"Tag2","created":"2020-11-06T16:53:19.89","tagId":"%s","left":0.303186,"top":0.1,"width":1.1920929E-07,"height":0.5}]}`,
			id, link("i"), link("t"), link("o"), idT, id, idT)
	}
	b.WriteString("]")
	return b.String()
}

func countedID(n int) uuid.UUID {
	var id uuid.UUID
	id[0], id[13], id[14], id[15] = 1, byte(n>>16), byte(n>>8), byte(n)
	return id
}
