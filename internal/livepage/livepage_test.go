package livepage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// served is a page whose snapshots a test makes.
type served struct {
	*Page
	url     string
	show    chan Snapshot
	readers atomic.Int32 // that were started
}

func serve(t *testing.T, token func() (string, error), changes ...func(*http.Server)) *served {
	t.Helper()
	s := &served{show: make(chan Snapshot)}
	s.Page = New(Options{Token: token, Log: zerolog.Nop(), Watch: func(ctx context.Context, show func(Snapshot)) {
		s.readers.Add(1)
		for {
			select {
			case next := <-s.show:
				show(next)
			case <-ctx.Done():
				return
			}
		}
	}})
	mux := http.NewServeMux()
	s.Routes(mux)
	server := httptest.NewUnstartedServer(mux)
	for _, change := range changes {
		change(server.Config)
	}
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(s.Close)
	s.url = server.URL
	return s
}

func (s *served) get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) > 0 {
		req.Header.Set("Authorization", header[0])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

const hostile = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\u202e\x1b]0;x\a"

// sample is a snapshot with text of others in every place.
func sample() Snapshot {
	var b Board
	b.Put(Job{Key: "export-1", Action: "export", State: "running", Phase: "read" + hostile, Attempt: 1, Done: 3, Total: 12, Bytes: 5 << 20, Created: now, Updated: now})
	b.Put(Job{Key: "export-1", Action: "export", State: "running", Phase: "read" + hostile, Attempt: 1, Done: 8, Total: 12, Bytes: 9 << 20, Created: now, Updated: now.Add(2 * time.Second)})
	b.Put(Job{Key: "delete-1", Action: "delete", State: "accepted", WaitingFor: "credential", Detail: hostile, WaitingSince: now, Created: now, Updated: now})
	b.Put(Job{Key: strings.Repeat("long-", 24), Action: "export", State: "failed", Ended: true, Code: "exhausted", Message: hostile, Created: now, Updated: now})
	b.Put(Job{Key: "export-0", Action: "export", State: "completed", Ended: true, Outcome: "complete", Bytes: 1 << 30, Created: now, Updated: now.Add(-time.Hour)})
	b.Put(Job{Key: "too-old", Action: "export", State: "completed", Ended: true, Outcome: "complete", Created: now, Updated: now.Add(-25 * time.Hour)})
	s := Snapshot{
		At: now, Version: "v1", Queue: &Queue{Commands: 2, Units: 7, Dead: 1, Oldest: 90 * time.Second}, Rates: []Rate{{"Downloads", 7.5, false}, {"Downloaded", 3 << 20, true}},
		Dependencies: []Dependency{{Name: "nats", OK: true, Notes: []string{hostile}}, {Name: "storage", Reason: hostile, Since: now}},
	}
	b.Show(&s)
	return s
}

// The page shows what the snapshot has, escaped, and only what its policy allows.
func TestPage(t *testing.T) {
	s := serve(t, nil)
	go func() { s.show <- sample() }()
	for _, path := range []string{"/", "/live.css", "/live.js"} {
		resp := s.get(t, path)
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", path, resp.Status, err)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
		} {
			if got := resp.Header.Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if path != "/" {
			continue
		}
		text := string(body)
		for _, want := range []string{
			"export-1", "8 of 12 items, 9.0 MiB, 2.5/s, 2.0 MiB/s", `value="66"`, "credential", "exhausted", "Dead letters", "7.5/s", "3.0 MiB/s", "1 min", "2 jobs have not ended, 1 of them waits.", "Not ready",
			`<meta http-equiv="refresh" content="5">`, "&lt;script&gt;",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		for _, bad := range []string{"<script>", "<img", "onerror=alert(2)>", "\u202e", "\x1b", "too-old", " style="} {
			if strings.Contains(text, bad) {
				t.Errorf("the page has %q", bad)
			}
		}
	}
	if resp := s.get(t, "/elsewhere"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("another address: %s", resp.Status)
	}
}

// Many viewers are read for once, and each is sent all parts at first, then those that changed, for
// longer than the server gives to other answers.
func TestViewers(t *testing.T) {
	s := serve(t, nil, func(server *http.Server) {
		server.ReadHeaderTimeout = time.Minute
		server.ReadTimeout, server.WriteTimeout = minInterval*4/5, minInterval*4/5
	})
	first := sample()
	var all []*bufio.Reader
	for range 3 {
		resp := s.get(t, "/live")
		if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
			t.Fatalf("%s, %q", resp.Status, kind)
		}
		all = append(all, bufio.NewReader(resp.Body))
	}
	s.show <- first
	expect := func(want ...string) {
		t.Helper()
		for _, r := range all {
			message := map[string]string{}
			for len(message) == 0 {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatal(err)
				}
				if data, ok := strings.CutPrefix(line, "data: "); ok {
					if err := json.Unmarshal([]byte(data), &message); err != nil {
						t.Fatalf("%q: %v", data, err)
					}
				}
			}
			for _, name := range want {
				if message[name] == "" {
					t.Errorf("%s is not sent", name)
				}
			}
			if len(message) != len(want) {
				t.Errorf("%d parts are sent, not %q", len(message), want)
			}
		}
	}
	expect(parts...)
	s.show <- first
	second := first
	second.Queue = &Queue{Commands: 3}
	s.show <- second
	expect("queue")
	s.show <- first
	expect("queue")
	if n := s.readers.Load(); n != 1 {
		t.Errorf("%d readers", n)
	}
	s.Close()
	for _, r := range all {
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("an answer does not end well: %v", err)
		}
	}
}

// There are not more viewers than the server has room for, and each that leaves makes room.
func TestTooManyViewers(t *testing.T) {
	s := serve(t, nil)
	var leaves []func()
	for range MaxViewers {
		leave, ok := s.admit()
		if !ok {
			t.Fatal("a viewer is refused")
		}
		leaves = append(leaves, leave)
	}
	if resp := s.get(t, "/live"); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s", resp.Status)
	}
	leaves[0]()
	if resp := s.get(t, "/live"); resp.StatusCode != http.StatusOK {
		t.Errorf("one of many: %s", resp.Status)
	}
}

func TestToken(t *testing.T) {
	const token = "a-token-of-the-page"
	unreadable := errors.New("unreadable")
	for _, tt := range []struct {
		name, authorization string
		err                 error
		want                int
	}{
		{name: "none", want: 401},
		{name: "bearer", authorization: "Bearer " + token, want: 200},
		{name: "bearer in lower case", authorization: "bearer " + token, want: 200},
		{name: "password", authorization: "Basic YW55OmEtdG9rZW4tb2YtdGhlLXBhZ2U=", want: 200},
		{name: "user", authorization: "Basic YS10b2tlbi1vZi10aGUtcGFnZTphbnk=", want: 401},
		{name: "another", authorization: "Bearer " + token + "x", want: 401},
		{name: "nothing", authorization: "Bearer ", want: 401},
		{name: "another scheme", authorization: "Digest " + token, want: 401},
		{name: "a file that is gone", authorization: "Bearer ", err: unreadable, want: 503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func() (string, error) { return token, tt.err })
			for _, path := range []string{"/live", "/live.js", "/live.css"} {
				resp := s.get(t, path, tt.authorization)
				if resp.StatusCode != tt.want || (resp.Header.Get("WWW-Authenticate") != "") != (tt.want == 401) {
					t.Errorf("%s: %s", path, resp.Status)
				}
			}
		})
	}
}

// The board is bounded, whatever is put there, and says so.
func TestBoardIsBounded(t *testing.T) {
	var b Board
	for n := range 3 * maxUnended {
		b.Put(Job{Key: fmt.Sprint("active-", n), Attempt: 1, Created: now.Add(time.Duration(n)), Updated: now})
		b.Put(Job{Key: fmt.Sprint("ended-", n), Ended: true, Updated: now.Add(time.Duration(n))})
	}
	if n := len(b.jobs); n > maxUnended+maxEnded {
		t.Errorf("%d jobs are kept", n)
	}
	s := Snapshot{At: now}
	b.Show(&s)
	if !s.AtLeast || len(s.Active) != showActive || len(s.Ended) != showEnded || s.Active[0].Key != "active-0" || s.Ended[0].Key != fmt.Sprint("ended-", 3*maxUnended-1) {
		t.Errorf("at least %t: %d active, %d ended, from %s and %s", s.AtLeast, len(s.Active), len(s.Ended), s.Active[0].Key, s.Ended[0].Key)
	}
	b.Remove("active-0")
	b.Show(&s)
	if s.Active[0].Key != "active-1" {
		t.Errorf("a job that was removed is shown, or others are not: %s", s.Active[0].Key)
	}
}
