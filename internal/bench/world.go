package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cvconsumer/cvconsumer/internal/bench/workload"
)

// world is the servers of a benchmark and what they hold.
type world struct {
	ctx      context.Context
	now      func() time.Time
	programs programs
	dir      string // of all data
	profiles string // folder for profiles of the consumer; "": none
	md5      bool   // blobs come with Content-MD5
	settings map[string]string
	store    *process
	vision   *process // of the case
	want     int64    // bytes that the case has to copy
	runs     int
	replicas int
}

// open starts the S3 server.
func (w *world) open() (err error) {
	w.settings = map[string]string{"HOME": w.dir, "TMPDIR": w.dir}
	w.store, err = w.serve("-kind", "s3", "-dir", filepath.Join(w.dir, "s3"))
	return err
}

// serve starts a server and takes over its settings.
func (w *world) serve(args ...string) (*process, error) {
	p, err := start(w.ctx, map[string]string{"HOME": w.dir, "TMPDIR": w.dir}, w.programs.server, args...)
	if err != nil {
		return nil, err
	}
	var settings map[string]string
	if err := p.ask(&settings, ""); err != nil {
		return nil, err
	}
	maps.Copy(w.settings, settings)
	return p, nil
}

// hold replaces the account by one that holds a case.
func (w *world) hold(c workload.Case, projects int, latency time.Duration) (err error) {
	if w.vision != nil {
		if err := w.vision.end(); err != nil {
			return err
		}
	}
	if w.vision, err = w.serve("-kind", "vision", "-case", c.Name, "-projects", strconv.Itoa(projects), "-blob-latency", latency.String(), "-md5="+strconv.FormatBool(w.md5)); err != nil {
		return err
	}
	w.want, err = strconv.ParseInt(w.settings["BENCH_BYTES"], 10, 64)
	delete(w.settings, "BENCH_BYTES")
	return err
}

// serversCPU is the processor time that the S3 server and the Training API have taken so far; 0
// where that cannot be read: it is only told.
func (w *world) serversCPU() (store, vision time.Duration) {
	store, _ = w.store.cpu()
	vision, _ = w.vision.cpu()
	return store, vision
}

// close ends the servers.
func (w *world) close() error {
	var errs []error
	for _, p := range []*process{w.vision, w.store} {
		if p != nil {
			errs = append(errs, p.end())
		}
	}
	return errors.Join(errs...)
}

// withBucket calls use with settings that lead to a bucket of its own, which is removed after that.
func (w *world) withBucket(use func(settings map[string]string) error) error {
	w.runs++
	bucket := fmt.Sprintf("run-%d", w.runs)
	settings := maps.Clone(w.settings)
	settings["CONSUMER_BUCKET"] = bucket
	var none any
	if err := w.store.ask(&none, "bucket "+bucket); err != nil {
		return err
	}
	return errors.Join(use(settings), w.store.ask(&none, "remove "+bucket))
}

// runTask measures a program that copies everything and ends.
func (w *world) runTask(path string, args ...string) (s sample, err error) {
	err = w.withBucket(func(settings map[string]string) error {
		p, err := start(w.ctx, settings, path, args...)
		if err != nil {
			return err
		}
		if _, err := p.line(); err != nil { // it is ready
			return err
		}
		s, err = measure(w.now, []*process{p}, func() (int, int64, error) {
			var done struct {
				Files int
				Bytes int64
			}
			err := p.ask(&done, "go")
			return done.Files, done.Bytes, err
		})
		return errors.Join(err, p.end())
	})
	return s, err
}

// withNATS calls use with settings that lead to a NATS server of its own as well.
func (w *world) withNATS(use func(settings map[string]string, nats *process) error) error {
	dir, err := os.MkdirTemp(w.dir, "nats-*")
	if err != nil {
		return err
	}
	nats, err := w.serve("-kind", "nats", "-dir", dir)
	if err != nil {
		return err
	}
	err = w.withBucket(func(settings map[string]string) error { return use(settings, nats) })
	return errors.Join(err, nats.end(), os.RemoveAll(dir))
}
