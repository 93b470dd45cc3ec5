package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/internal/health"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testMonitor() *monitor {
	return newMonitor(health.New(func() time.Time { return epoch }), newMetrics(), zerolog.Nop())
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadiness(t *testing.T) {
	m := testMonitor()
	pages := m.routes()
	m.expect(delivery.DependencyNATS, delivery.DependencyStorage)
	ready := func(wantCode int, want map[string]string) {
		t.Helper()
		code, body := get(t, pages, "/readyz")
		var r readiness
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatal(err)
		}
		if code != wantCode || r.Ready != (code == http.StatusOK) {
			t.Errorf("status %d, want %d: %s", code, wantCode, body)
		}
		if len(r.Dependencies) != len(want) {
			t.Errorf("dependencies %s, want %v", body, want)
		}
		for name, reason := range want {
			d := r.Dependencies[name]
			if d.Reason != reason || d.OK != (reason == "") || (d.Since == nil) != d.OK {
				t.Errorf("%s is %+v, want reason %q", name, d, reason)
			}
		}
	}
	ready(503, map[string]string{"nats": "not checked yet", "storage": "not checked yet"})
	m.found("nats", nil)
	m.found("storage", errors.New("no such bucket <x>"))
	ready(503, map[string]string{"nats": "", "storage": "no such bucket <x>"})
	m.found("storage", nil)
	ready(200, map[string]string{"nats": "", "storage": ""})
	m.health.Fail("training:us", errors.New("401"))
	ready(503, map[string]string{"nats": "", "storage": "", "training:us": "401"})
	m.health.OK("training:us")
	m.stop()
	ready(503, map[string]string{"nats": "", "storage": ""})
	if code, body := get(t, pages, "/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _ := get(t, pages, "/elsewhere"); code != 404 {
		t.Errorf("an unknown page: %d", code)
	}
}

// TestNotes holds that a note is shown beside the state of a dependency, changes nothing of it, and
// is logged once.
func TestNotes(t *testing.T) {
	m := testMonitor()
	var log strings.Builder
	m.log = zerolog.New(&log)
	m.expect(delivery.DependencyNATS)
	m.found(delivery.DependencyNATS, nil)
	shows := func(want ...string) {
		t.Helper()
		code, _ := get(t, m.routes(), "/readyz")
		if d := m.readiness().Dependencies[delivery.DependencyNATS]; code != http.StatusOK || !slices.Equal(d.Notes, want) {
			t.Errorf("status %d with %v, want %v", code, d.Notes, want)
		}
	}
	m.note(delivery.DependencyNATS, "old")
	m.note(delivery.DependencyNATS, "old", "slow")
	shows("old", "slow")
	m.note(delivery.DependencyNATS)
	shows()
	if logged := log.String(); strings.Count(logged, "old") != 1 || strings.Count(logged, "slow") != 1 {
		t.Errorf("logged %s", logged)
	}
}

func TestMetricsPage(t *testing.T) {
	m := testMonitor()
	m.expect(delivery.DependencyNATS, delivery.DependencyStorage)
	m.found(delivery.DependencyNATS, nil)
	m.metrics.commands.with("export", "completed").Inc()
	_, body := get(t, m.routes(), "/metrics")
	for _, want := range []string{
		`cvconsumer_commands_total{action="export",status="completed"} 1`,
		`cvconsumer_commands_total{action="export",status="failed"} 0`,
		`cvconsumer_dependency_down{dependency="nats"} 0`,
		`cvconsumer_dependency_down{dependency="storage"} 1`,
		`cvconsumer_retries_total{side="blob"} 0`,
		`cvconsumer_build_info{`, `go_goroutines `, `process_resident_memory_bytes `,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
}

func TestWatchLooksAgain(t *testing.T) {
	m := testMonitor()
	m.expect("storage")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan error)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.watch(ctx, probe{"storage", time.Microsecond, time.Microsecond, func(context.Context) error { return <-answers }})
	}()
	answers <- errors.New("away")
	answers <- errors.New("still away") // asked again: the first answer is recorded
	answers <- nil
	answers <- nil // and the third
	if p := m.health.Problems(); len(p) != 0 {
		t.Errorf("still failing: %v", p)
	}
	cancel()
	close(answers)
	<-done
}

func TestTrainingTrafficIsCounted(t *testing.T) {
	m := newMetrics()
	status := http.StatusOK
	rt := m.countTraining("eu")(roundTripper(func(*http.Request) (*http.Response, error) {
		if status == 0 {
			return nil, errors.New("reset")
		}
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader("12345"))}, nil
	}))
	const base = "https://vision.example/base/customvision/v3.3/training/"
	const id = "0f3b2a77-3a57-4b8c-9a67-5c1c1df0a111"
	for _, c := range []struct {
		method, url string
		status      int
	}{
		{"GET", base + "projects", 200},
		{"GET", base + "projects/" + id + "/images/tagged?take=256", 200},
		{"GET", base + "projects/" + id + "/images/tagged?take=256", 429},
		{"GET", base + "projects/" + id + "/iterations/" + id + "/performance/images", 0},
		{"PUT", base + "projects/" + id, 404},
		{"GET", "https://store.blob.core.windows.net/i-1/o-2?sig=x", 200},
		{"GET", "https://store.blob.core.windows.net/i-1/o-2?sig=x", 503},
	} {
		status = c.status
		req := httptest.NewRequest(c.method, c.url, nil)
		resp, err := rt.RoundTrip(req)
		if err == nil {
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
	}
	mon := newMonitor(health.New(time.Now), m, zerolog.Nop())
	_, body := get(t, mon.routes(), "/metrics")
	for _, want := range []string{
		`cvconsumer_api_calls_total{operation="GetProjects",resource="eu",status="200"} 1`,
		`cvconsumer_api_calls_total{operation="GetTaggedImages",resource="eu",status="200"} 1`,
		`cvconsumer_api_calls_total{operation="GetTaggedImages",resource="eu",status="429"} 1`,
		`cvconsumer_api_calls_total{operation="GetImagePerformances",resource="eu",status="0"} 1`,
		`cvconsumer_api_calls_total{operation="other",resource="eu",status="404"} 1`,
		`cvconsumer_api_throttled_total{resource="eu"} 1`,
		`cvconsumer_api_call_duration_seconds_count{operation="GetTaggedImages",resource="eu"} 2`,
		`cvconsumer_blobs_total{resource="eu",status="200"} 1`,
		`cvconsumer_blobs_total{resource="eu",status="503"} 1`,
		`cvconsumer_blob_bytes_total{resource="eu"} 10`,
		`cvconsumer_retries_total{side="training"} 2`,
		`cvconsumer_retries_total{side="blob"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, "sig=") || strings.Contains(body, id) {
		t.Error("a link or an id is in the metrics")
	}
}
