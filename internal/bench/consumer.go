package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/internal/bench/profile"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// consumer is a replica of the product, ready to take commands.
type consumer struct {
	*process
	base     string // of its pages
	profiles string
}

// pollEvery is how often a replica is asked whether it is ready, and a folder for its profiles.
const pollEvery = 5 * time.Millisecond

// startConsumer starts `consumer run` and waits until it is ready.
func (w *world) startConsumer(path string, settings map[string]string) (*consumer, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // bound and closed at once
	if err != nil {
		return nil, err
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	settings = maps.Clone(settings)
	settings["CONSUMER_HTTP_ADDR"] = addr
	settings["CONSUMER_MAX_RPS"] = "100000" // the simulator needs no sparing, and no other contender spares it
	c := &consumer{base: "http://" + addr}
	if w.profiles != "" {
		c.profiles = filepath.Join(w.profiles, fmt.Sprintf("run-%d", w.runs))
		settings[profile.Variable] = c.profiles
		if err := errors.Join(os.RemoveAll(c.profiles), os.MkdirAll(c.profiles, 0o755)); err != nil { // of an earlier benchmark
			return nil, err
		}
	}
	if c.process, err = start(w.ctx, settings, path, "run"); err != nil {
		return nil, err
	}
	if err := w.poll(c.ready); err != nil {
		return nil, c.failed(err)
	}
	return c, nil
}

// ready reports whether the replica says so.
func (c *consumer) ready() bool {
	resp, err := http.Get(c.base + "/readyz") //nolint:noctx // on loopback
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// poll waits for something that becomes true within a minute.
func (w *world) poll(done func() bool) error {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return errors.New("the consumer is not ready, or its profiles are not written, after a minute")
		case <-tick.C:
		}
	}
	return nil
}

// profile signals the replica to begin a profile, or to end it, and then waits until it is written.
func (w *world) profile(c *consumer, s os.Signal) error {
	if c.profiles == "" {
		return nil
	}
	if err := c.cmd.Process.Signal(s); err != nil {
		return err
	}
	if s != profile.End {
		return nil
	}
	return w.poll(func() bool {
		_, err := os.Stat(filepath.Join(c.profiles, profile.Done))
		return err == nil
	})
}

// requester publishes commands and hears of their ends.
type requester struct {
	nc     *nats.Conn
	events chan *nats.Msg
}

// maxEvents is room for the events of all commands that are under way at once.
const maxEvents = 64 << 10

func newRequester(url string) (*requester, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, err
	}
	r := &requester{nc: nc, events: make(chan *nats.Msg, maxEvents)}
	if _, err := nc.ChanSubscribe("cv.events.>", r.events); err != nil {
		return nil, err
	}
	return r, nc.Flush()
}

func (r *requester) close() { r.nc.Close() }

// publish publishes a command.
func (r *requester) publish(action contract.Action, id, data string) error {
	m := nats.NewMsg("cv.commands." + string(action))
	m.Header.Set(nats.MsgIdHdr, id)
	m.Data = []byte(data)
	return r.nc.PublishMsg(m)
}

// next waits for the end of a command, of whichever is first.
func (r *requester) next(ctx context.Context) (contract.EventData, error) {
	for {
		select {
		case m := <-r.events:
			var e contract.Event
			if err := json.Unmarshal(m.Data, &e); err != nil {
				return e.Data, fmt.Errorf("read an event: %w", err)
			}
			switch {
			case !e.Data.Status.Terminal():
			case e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeComplete:
				return e.Data, fmt.Errorf("the consumer says: %s", m.Data)
			default:
				return e.Data, nil
			}
		case <-ctx.Done():
			return contract.EventData{}, context.Cause(ctx)
		}
	}
}

// export has the replicas that run export everything.
func (w *world) export(r *requester) (contract.Counts, error) {
	if err := r.publish(contract.ActionExport, fmt.Sprintf("export-%d", w.runs), `{"all_projects":true}`); err != nil {
		return contract.Counts{}, err
	}
	e, err := r.next(w.ctx)
	return e.Counts, err
}

// runConsumer measures an export by a replica that is ready.
func (w *world) runConsumer(path string) (s sample, err error) {
	err = w.withNATS(func(settings map[string]string, _ *process) error {
		c, err := w.startConsumer(path, settings)
		if err != nil {
			return err
		}
		defer c.kill()
		r, err := newRequester(settings["NATS_URL"])
		if err != nil {
			return err
		}
		defer r.close()
		if err := w.profile(c, profile.Begin); err != nil {
			return err
		}
		s, err = c.measure(w.now, func() (int, int64, error) {
			counts, err := w.export(r)
			return int(counts.Images + counts.Exports), w.want, err // its own count is of all it wrote
		})
		return errors.Join(err, w.profile(c, profile.End), c.stop())
	})
	return s, err
}
