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
	w.replicas++
	c := &consumer{base: "http://" + addr}
	if w.profiles != "" {
		c.profiles = filepath.Join(w.profiles, fmt.Sprintf("replica-%d", w.replicas))
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
	heard  int // events so far
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
			r.heard++
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
func (w *world) export(r *requester) (files int, bytes int64, err error) {
	if err := r.publish(contract.ActionExport, fmt.Sprintf("export-%d", w.runs), `{"all_projects":true}`); err != nil {
		return 0, 0, err
	}
	e, err := r.next(w.ctx)
	return int(e.Counts.Images + e.Counts.Exports), w.want, err // the event counts all bytes of the bundle
}

// withConsumers calls use with replicas that are ready, and with a requester.
func (w *world) withConsumers(path string, n int, more map[string]string, use func(replicas []*consumer, r *requester, nats *process) error) error {
	return w.withNATS(func(settings map[string]string, server *process) error {
		maps.Copy(settings, more)
		var replicas []*consumer
		for range n {
			c, err := w.startConsumer(path, settings)
			if err != nil {
				return err
			}
			defer c.kill()
			replicas = append(replicas, c)
		}
		r, err := newRequester(settings["NATS_URL"])
		if err != nil {
			return err
		}
		defer r.close()
		err = use(replicas, r, server)
		for _, c := range replicas {
			err = errors.Join(err, c.stop())
		}
		return err
	})
}

// measure is measure of replicas, with profiles.
func (w *world) measure(replicas []*consumer, work func() (int, int64, error)) (s sample, err error) {
	var all []*process
	for _, c := range replicas {
		all = append(all, c.process)
		if err := w.profile(c, profile.Begin); err != nil {
			return s, err
		}
	}
	s, err = measure(w.now, all, work)
	for _, c := range replicas {
		err = errors.Join(err, w.profile(c, profile.End))
	}
	return s, err
}

// runConsumers measures an export by replicas that are ready.
func (w *world) runConsumers(path string, n int, more map[string]string) (s sample, err error) {
	err = w.withConsumers(path, n, more, func(replicas []*consumer, r *requester, _ *process) error {
		s, err = w.measure(replicas, func() (int, int64, error) { return w.export(r) })
		return err
	})
	return s, err
}
