package handler_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

// drips is the way to a service that sends some files a byte a second. Time passes by its clock.
type drips struct {
	next  http.RoundTripper
	of    string // occurs in their links
	ahead *atomic.Int64
	asked *atomic.Int64
}

func (d drips) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(req)
	if err == nil && strings.Contains(req.URL.Path, d.of) {
		d.asked.Add(1)
		resp.Body = drippingBody{resp.Body, d.ahead}
	}
	return resp, err //nolint:wrapcheck // handed through
}

type drippingBody struct {
	io.ReadCloser
	ahead *atomic.Int64
}

func (b drippingBody) Read(p []byte) (int, error) {
	b.ahead.Add(int64(time.Second))
	return b.ReadCloser.Read(p[:min(1, len(p))]) //nolint:wrapcheck // handed through
}

// TestSlowBlobs: a picture that comes a byte a second is asked for again with each attempt of its
// unit, and then is the export's exception, as one that cannot be had.
func TestSlowBlobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
	p := w.api.AddProject(cvtest.ProjectSpec{Name: "few", Untagged: 3})
	var ahead, asked atomic.Int64
	w.start(t, replicaOptions{commands: 1, units: 2, configure: func(c *handler.Config) {
		client, err := cv.New(w.api.URL(), cv.TrainingKey(w.api.Key()), cv.Options{
			MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"},
			Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
			Now:  func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
			Wrap: func(next http.RoundTripper) http.RoundTripper {
				return drips{next, strings.ReplaceAll(p.Images[0].String(), "-", ""), &ahead, &asked}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.CloseIdleConnections)
		c.MaxAttempts, c.Resources = 2, map[string]*cv.Client{contract.DefaultResource: client}
	}})
	e := w.run(t, "it", everything)
	if e.Outcome != contract.OutcomeExceptions || e.Exceptions != 1 || asked.Load() != 2 {
		t.Errorf("ended %s %s with %d exceptions after %d downloads: %v", e.Status, e.Outcome, e.Exceptions, asked.Load(), e.Error)
	}
	inventory := string(w.bag(t, "it", sink.ExportBag)["evidence/inventory.json"])
	if !strings.Contains(inventory, `"code":"too_slow"`) || !strings.Contains(inventory, p.Images[0].String()) {
		t.Errorf("the inventory says %s", inventory)
	}
}
