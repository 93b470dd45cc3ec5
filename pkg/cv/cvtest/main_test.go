package cvtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that only the test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// start runs a server for the test's duration.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	if o.BasePath == "" {
		o.BasePath = "/base"
	}
	if o.Seed == 0 {
		o.Seed = 7
	}
	s := New(o).Start()
	t.Cleanup(s.Close)
	return s
}

// reply is what came back; err when the exchange failed.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (r reply) code() string {
	var e struct {
		Code  string `json:"code"`
		Error struct {
			Code string `json:"code"`
		} `json:"error"`
	}
	_ = json.Unmarshal(r.body, &e)
	return e.Code + e.Error.Code
}

// send makes one request, below the API's path unless target is absolute.
func send(t *testing.T, s *Server, method, target, body string, edit ...func(*http.Request)) reply {
	t.Helper()
	if !strings.HasPrefix(target, "http") {
		target = s.URL() + apiPath + "/" + target
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(target, s.URL()) && s.o.BasePath != "" {
		req.Header.Set("Training-Key", s.Key())
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, f := range edit {
		f(req)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: b, err: err}
}

// get reads JSON.
func get[T any](t *testing.T, s *Server, target string) T {
	t.Helper()
	r := send(t, s, "GET", target, "")
	var v T
	if r.err != nil || r.status != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v, %s", target, r.status, r.err, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	return v
}

// compact removes white space from JSON and queries from its URIs.
func compact(t *testing.T, b []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for {
		i := strings.Index(text, "?sv=")
		if i < 0 {
			return text
		}
		text = text[:i] + text[i+strings.IndexByte(text[i:], '"'):]
	}
}

// listed is what tests read of an image.
type listed struct {
	ID               uuid.UUID
	Created          string
	Width, Height    int
	ResizedImageURI  string
	ThumbnailURI     string
	OriginalImageURI string
	Tags             []struct{ TagID uuid.UUID }
	Regions          []struct{ RegionID, TagID uuid.UUID }
	Metadata         map[string]string
}

func idsOf(images []listed) []uuid.UUID {
	ids := []uuid.UUID{}
	for _, img := range images {
		ids = append(ids, img.ID)
	}
	return ids
}

func join(ids []uuid.UUID) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, ",")
}

func tinySpec() ProjectSpec {
	return ProjectSpec{Name: "small", Images: 30, Untagged: 6, ImageBytes: Tiny, Iterations: []IterationSpec{{Images: 20, DropFromWorkspace: 5}, {}}, Predictions: 9}
}
