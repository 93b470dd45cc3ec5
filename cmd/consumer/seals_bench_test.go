package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/internal/ratio"
	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

// sealHeader is the header in which an object's seal is written and read.
const sealHeader = "X-Amz-Meta-Cv-Seal"

// sealed is what seals cost an export: how many are made or checked, and how many bytes are
// digested because an object is read that has one.
type sealed struct {
	seals, bytes atomic.Int64
}

// counted is a way to the store that counts the seals that pass.
func (s *sealed) counted(b *testing.B, endpoint string) string {
	b.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		b.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // the Host is signed, so it stays
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			if r.In.Header.Get(sealHeader) != "" {
				s.seals.Add(1)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Header.Get(sealHeader) != "" {
				s.seals.Add(1)
				if r.Request.Method == http.MethodGet {
					s.bytes.Add(max(r.ContentLength, 0))
				}
			}
			return nil
		},
	})
	b.Cleanup(proxy.Close)
	return proxy.URL
}

// What seals add to an export (making and checking them, digesting what is read) takes this part of
// its time. An export without seals cannot be had; so the seals of one are counted on their way to
// the store, and their work is done beside exports, on one processor, where workers have all of
// them. BenchmarkSeals (pkg/sink) has what the store takes for them.
func BenchmarkSealsOfAnExport(b *testing.B) {
	f := newFixture(b, cvtest.Options{Seed: 4, Compact: true})
	f.vision.AddProject(cvtest.ProjectSpec{Images: 1000, ImageBytes: 20_000, Iterations: []cvtest.IterationSpec{{}}})
	program := itself(b).with(f.environment()...)
	var cost sealed
	counting := program.with("AWS_ENDPOINT_URL_S3=" + cost.counted(b, f.store.Endpoint)).start(b)
	counting.await(b)
	f.exportOnce(b, uuid.NewString())
	counting.stop(b)
	if cost.seals.Load() < 1000 {
		b.Fatalf("%d seals were counted, and 1000 pictures have one each", cost.seals.Load())
	}
	b.Logf("%d seals, %d bytes read", cost.seals.Load(), cost.bytes.Load())

	r := program.start(b)
	r.await(b)
	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket}).Sealed(sink.NewSealer(make([]byte, sha256.Size), "cmd-1", "CV_COMMANDS 17"))
	key := strings.Repeat("k", 120) + strings.Repeat("0", 2*sha256.Size)
	read := bytes.Repeat([]byte("x"), 64<<10)
	ratio.Report(b, func() {
		for range cost.seals.Load() {
			store.SealText("object", key)
		}
		for left := cost.bytes.Load(); left > 0; left -= int64(len(read)) {
			sha256.Sum256(read)
		}
	}, func() { f.exportOnce(b, uuid.NewString()) })
	r.stop(b)
}

// The check of a bag's statements before its receipt takes this part of an export's time: most of
// what it reads the export still has, and the bag is on disk here.
func BenchmarkCheckBeforeTheReceipt(b *testing.B) {
	f := newFixture(b, cvtest.Options{Seed: 4, Compact: true})
	f.vision.AddProject(cvtest.ProjectSpec{Images: 1000, ImageBytes: 20_000, Iterations: []cvtest.IterationSpec{{}}})
	r := itself(b).with(f.environment()...).start(b)
	r.await(b)
	id, dir := uuid.NewString(), b.TempDir()
	f.exportOnce(b, id)
	store, root := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket}), id+"/export/"
	for o, err := range store.List(b.Context(), sink.Key(root)) {
		if err != nil {
			b.Fatal(err)
		}
		content, err := store.ReadAll(b.Context(), o.Key, 1<<30)
		name := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(string(o.Key), root)))
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, content, 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	ratio.Report(b, func() {
		report, err := verify.Statements(b.Context(), verify.Dir(dir), verify.Options{})
		if err != nil || report.Result != verify.OK {
			b.Fatalf("%s, %v: %s", report.Result, err, report.Findings(3))
		}
	}, func() { f.exportOnce(b, uuid.NewString()) })
	r.stop(b)
}
