package handler_test

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/cv"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// noFiles is what a process gets that has too many files open.
func noFiles() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)}
}

// lacksFiles is the way to a server while this process has no file for another connection.
type lacksFiles struct {
	next   http.RoundTripper
	lack   *atomic.Bool
	method string
}

func (l lacksFiles) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.lack.Load() && req.Method == l.method {
		return nil, noFiles()
	}
	return l.next.RoundTrip(req) //nolint:wrapcheck // handed through
}

// TestOurShortageIsTheOperatorsProblem: what this machine lacks (room in the temporary folder,
// files, memory) is neither the item's fault nor the command's: both wait, without an attempt, and
// end complete once the operator has helped.
func TestOurShortageIsTheOperatorsProblem(t *testing.T) {
	t.Parallel()
	const big = 9 << 20 // goes through the temporary folder
	for _, c := range []struct {
		name   string
		action contract.Action
		data   string
		says   string
		begin  func(t *testing.T, w *world, p *replicaOptions, dir string, lack *atomic.Bool)
		help   func(t *testing.T, dir string, lack *atomic.Bool)
	}{
		{
			name: "no temporary folder for an export", action: contract.ActionExport, data: everything, says: "TMPDIR",
			begin: func(_ *testing.T, _ *world, p *replicaOptions, dir string, _ *atomic.Bool) {
				p.configure = func(c *handler.Config) { c.MaxAttempts, c.SpoolDir = 1, dir }
			},
			help: func(t *testing.T, dir string, _ *atomic.Bool) { makeDir(t, dir) },
		},
		{
			name: "no temporary folder for a delete", action: contract.ActionDelete, data: everything, says: "TMPDIR",
			begin: func(_ *testing.T, w *world, p *replicaOptions, dir string, _ *atomic.Bool) {
				w.api.AddProject(cvtest.ProjectSpec{Name: "many", Images: 2000, ImageBytes: 16}) // a small plan needs no file
				p.configure = func(c *handler.Config) { c.MaxAttempts, c.SpoolDir = 1, dir }
			},
			help: func(t *testing.T, dir string, _ *atomic.Bool) { makeDir(t, dir) },
		},
		{
			name: "no files for downloads", action: contract.ActionExport, data: everything, says: "too many open files",
			begin: func(t *testing.T, w *world, p *replicaOptions, _ string, lack *atomic.Bool) {
				transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if lack.Load() {
						return nil, noFiles()
					}
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}}
				t.Cleanup(transport.CloseIdleConnections)
				w.api.OnCall(func(operation string, _ int) {
					if operation == "GetTaggedImages" {
						lack.CompareAndSwap(false, true)
						w.api.OnCall(nil)
					}
				})
				p.configure = func(c *handler.Config) {
					client, err := cv.New(w.api.URL(), cv.TrainingKey(w.api.Key()), cv.Options{
						MaxRPS: 10000, BlobHosts: []string{"127.0.0.1"}, MaxAttempts: 2, Transport: transport,
						Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
					})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(client.CloseIdleConnections)
					c.MaxAttempts, c.Resources = 1, map[string]*cv.Client{contract.DefaultResource: client}
				}
			},
			help: func(_ *testing.T, _ string, lack *atomic.Bool) { lack.Store(false) },
		},
		{
			name: "no files for storage", action: contract.ActionExport, data: everything, says: "too many open files",
			begin: func(t *testing.T, _ *world, p *replicaOptions, _ string, lack *atomic.Bool) {
				lack.Store(true)
				p.faults = sinktest.NewFaults(lacksFiles{sinktest.Shared(t).Transport(), lack, http.MethodPut})
				p.configure = attempts(1)
			},
			help: func(_ *testing.T, _ string, lack *atomic.Bool) { lack.Store(false) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}})
			w.api.AddProject(cvtest.ProjectSpec{Name: "few", Images: 2, ImageBytes: big, Tags: []string{"a"}})
			p := replicaOptions{commands: 1, units: 2}
			dir, lack := filepath.Join(t.TempDir(), "tmp"), &atomic.Bool{}
			c.begin(t, w, &p, dir, lack)
			r := w.start(t, p)
			h := w.publish(t, c.action, "it", c.data)
			job := w.await(t, "it", "waiting", func(j contract.Job) bool { return j.Waiting != nil || j.State.Terminal() })
			if job.State.Terminal() || job.Waiting.For != contract.WaitStorage || job.Attempt != 0 {
				t.Fatalf("%s %s, waiting %+v after %d attempts: %v", job.State, job.Outcome, job.Waiting, job.Attempt, job.Error)
			}
			if !strings.Contains(job.Waiting.Detail, c.says) {
				t.Errorf("it says %q, not %q", job.Waiting.Detail, c.says)
			}
			if reason := r.health.Problems()[delivery.DependencyHost].Reason; !strings.Contains(reason, c.says) {
				t.Errorf("the problem is not said: %v", r.health.Problems())
			}
			c.help(t, dir, lack)
			if e := w.wait(t, h); e.Outcome != contract.OutcomeComplete || e.Attempt != 1 {
				t.Errorf("ended %s %s in attempt %d: %v", e.Status, e.Outcome, e.Attempt, e.Error)
			}
			w.bag(t, "it", map[contract.Action]sink.BagKind{contract.ActionExport: sink.ExportBag, contract.ActionDelete: sink.DeleteBag}[c.action])
		})
	}
}

func makeDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}
