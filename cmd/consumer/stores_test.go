package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

var (
	eachQuirk  = flag.Bool("quirks", false, "TestRunOnStoresThatRefuse has each quirk of a store alone, too")
	storesPath = flag.String("stores", "", "folder with the programs of other stores (make stores), for TestRunOnOtherStores")
)

// Stores that refuse what they do not know are found out at start, and named in /readyz, which is
// green. An export, and a delete that exports first, end as elsewhere, verify, and leave nothing.
// Each quirk has its own run with -quirks; the one that is always run has all that combine.
func TestRunOnStoresThatRefuse(t *testing.T) {
	all := []sinktest.Quirk{
		sinktest.RefusesChecksums, sinktest.RefusesConditions, sinktest.WantsContentMD5, sinktest.ChangesEncoding,
		sinktest.NoLengthOnGet, sinktest.NoLengthOnHead, sinktest.NoUploadLists,
	}
	runs := map[string][]sinktest.Quirk{"all together": all}
	if *eachQuirk {
		for _, quirk := range append(all, sinktest.DeniesConditions, sinktest.RefusesBatches, sinktest.ZeroLengthOnHead,
			sinktest.RefusesUploads, sinktest.RefusesLists, sinktest.ExactUploadLists, sinktest.NoConfirmations,
			sinktest.RefusesTags, sinktest.NoEmptyLists) {
			runs[string(quirk)] = []sinktest.Quirk{quirk}
		}
	}
	for name, quirks := range runs {
		t.Run(name, func(t *testing.T) {
			f, _ := newGatewayFixture(t, quirks...)
			notes := f.exportsAndDeletes(t)
			if len(quirks) > 1 && len(notes) != 4 {
				t.Errorf("/readyz says %q", notes)
			}
			f.keepsOnly(t, "exp/export/", "del/export/", "del/delete/")
		})
	}
}

// exportsAndDeletes runs a service that exports the account, and deletes it after another export,
// and verifies all three bundles. It gives what /readyz says of the store.
func (f *fixture) exportsAndDeletes(t *testing.T) (notes []string) {
	t.Helper()
	r := f.start(t)
	defer r.end()
	r.await("all is well", func(code int, body readiness) bool {
		notes = body.Dependencies["storage"].Notes
		return isReady(code, body)
	})
	if e := f.order(t, "exp"); e.Data.Outcome != contract.OutcomeComplete {
		t.Fatalf("%s\n%s", describeEvent(e), f.log)
	}
	if code, out, errs := f.command(t, "delete", "--all-projects", "--export-first", "--unpublish", "--yes", "--id", "del", "-o", "json"); code != exitDone {
		t.Fatalf("exit %d: %s%s\n%s", code, out, errs, f.log)
	}
	for _, place := range []string{"exp/export/", "del/export/", "del/delete/"} {
		if code, v, errs := f.verifyJSON(t, "s3://"+f.config.Bucket+"/"+place); code != exitDone || v.Result != verify.OK {
			t.Errorf("%s: exit %d, %+v\n%s", place, code, v, errs)
		}
	}
	return notes
}

// keepsOnly demands that the store has nothing but bundles at these places: they verify at the
// test's end.
func (f *fixture) keepsOnly(t *testing.T, places ...string) {
	t.Helper()
	kept, err := sinktest.Versions(t.Context(), f.store.Client(), f.config.Bucket, "")
	if err != nil {
		t.Fatal(err)
	}
	onlyBelow(t, kept, places...)
}

// onlyBelow demands that keys are those of bundles at places, and the mark of the prefix.
func onlyBelow(t *testing.T, kept []string, places ...string) {
	t.Helper()
	found := map[string]bool{}
	for _, key := range kept {
		i := slices.IndexFunc(places, func(place string) bool { return strings.HasPrefix(key, place) && !strings.Contains(key, " ") })
		switch {
		case i >= 0:
			found[places[i]] = true
		case key != deploymentKey:
			t.Errorf("%s is left behind", key)
		}
	}
	if len(found) != len(places) {
		t.Errorf("of bundles at %q there are %v", places, found)
	}
}

// otherStore is an S3 server of others, as a program.
type otherStore struct {
	program string
	args    func(dir string, port func() string) []string // the first port asked for is the one of S3
	env     []string
	version []string
	key     string // access key
	secret  string
}

var otherStores = map[string]otherStore{
	"MinIO": {
		program: "minio", version: []string{"--version"}, key: "tester", secret: "tester-secret",
		env: []string{"MINIO_ROOT_USER=tester", "MINIO_ROOT_PASSWORD=tester-secret"},
		args: func(dir string, port func() string) []string {
			return []string{"server", "--quiet", "--address", "127.0.0.1:" + port(), dir}
		},
	},
	"SeaweedFS": {
		program: "weed", version: []string{"version"}, key: "tester", secret: "tester-secret",
		args: func(dir string, port func() string) []string {
			conf := filepath.Join(dir, "s3.json")
			_ = os.WriteFile(conf, []byte(`{"identities":[{"name":"tester","credentials":[{"accessKey":"tester","secretKey":"tester-secret"}],"actions":["Admin","Read","Write","List","Tagging"]}]}`), 0o600)
			args := []string{"server", "-s3", "-s3.port=" + port(), "-s3.config=" + conf, "-dir=" + dir, "-ip=127.0.0.1", "-master.volumeSizeLimitMB=64"}
			for _, part := range []string{"s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"} {
				args = append(args, "-"+part+"="+port())
			}
			return args
		},
	},
	"rclone serve s3": {
		program: "rclone", version: []string{"version"}, key: "tester", secret: "tester-secret",
		args: func(dir string, port func() string) []string {
			return []string{"serve", "s3", "--config", filepath.Join(dir, "none"), "--auth-key", "tester,tester-secret", "--addr", "127.0.0.1:" + port(), filepath.Join(dir, "buckets")}
		},
	},
	"s3rver": {
		program: "s3rver", version: []string{"--version"}, key: "S3RVER", secret: "S3RVER",
		args: func(dir string, port func() string) []string {
			return []string{"--silent", "--directory", dir, "--address", "127.0.0.1", "--port", port()}
		},
	},
}

// The stores of others that can be installed here do all that is asked of one. make stores installs
// them; without -stores there are none to run.
func TestRunOnOtherStores(t *testing.T) {
	for name, store := range otherStores {
		program := filepath.Join(*storesPath, store.program)
		if _, err := os.Stat(program); *storesPath == "" || errors.Is(err, os.ErrNotExist) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			version, err := exec.CommandContext(t.Context(), program, store.version...).CombinedOutput()
			first, _, _ := strings.Cut(string(version), "\n")
			t.Logf("%s, %v", first, err)
			endpoint := store.start(t, program)
			f := newFixture(t, cvtest.Options{Seed: 1})
			f.vision.Sample()
			f.spoiled = true // what is verified at a test's end is the test server's
			f.config.S3 = storeConfig{Region: "us-east-1", Endpoint: endpoint, KeyID: secretOf(store.key), Secret: secretOf(store.secret), PathStyle: true}
			f.config.Bucket = "bundles"
			f.config.WorkBucket = f.config.Bucket
			api, err := s3Client(t.Context(), f.config.S3, nil)
			if err != nil {
				t.Fatal(err)
			}
			makeBucket(t, api, f.config.Bucket)
			bucket := sink.NewStore(api, sink.StoreOptions{Bucket: f.config.Bucket})
			large(t, bucket)
			for _, note := range f.exportsAndDeletes(t) {
				t.Logf("note: %s", note)
			}
			var kept []string
			for o, err := range bucket.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				kept = append(kept, string(o.Key))
			}
			onlyBelow(t, kept, "exp/export/", "del/export/", "del/delete/")
		})
	}
}

// large has a store take and give back a large object, adopt it, and keep nothing of one whose
// process was killed.
func large(t *testing.T, bucket *sink.Store) {
	t.Helper()
	ctx := t.Context()
	if err := bucket.Probe(ctx, ".probe"); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 80<<16) // 80 MiB: in parts, where the store lists uploads
	for _, adopted := range []bool{false, true} {
		o, err := bucket.Put(ctx, "large/one.bin", sink.Body{R: bytes.NewReader(content)})
		if err != nil || o.Adopted != adopted || o.Bytes != int64(len(content)) || o.SHA256 != sink.Bytes(content, "").SHA256 {
			t.Fatalf("put gives %+v, %v", o, err)
		}
	}
	got, err := bucket.ReadAll(ctx, "large/one.bin", int64(len(content)))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := bucket.RemoveAll(ctx, "large/"); err != nil {
		t.Error(err)
	}
}

// makeBucket makes a bucket once the store answers.
func makeBucket(t *testing.T, api *s3.Client, bucket string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := api.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the store makes no bucket: %v", err)
		case <-again.C:
		}
	}
}

// freePort is a loopback port that is free now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// start starts the store, which is killed at the test's end, and gives its endpoint.
func (s otherStore) start(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "buckets"), 0o700); err != nil {
		t.Fatal(err)
	}
	first := ""
	args := s.args(dir, func() string {
		port := freePort(t)
		if first == "" {
			first = port
		}
		return port
	})
	ctx, stop := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, program, args...)
	command.Dir, command.Env = dir, append(os.Environ(), s.env...)
	var out lockedBuffer
	command.Stdout, command.Stderr = &out, &out
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = command.Wait()
		if t.Failed() {
			said := out.String()
			t.Logf("the end of what the store says:\n%s", said[max(0, len(said)-4000):])
		}
	})
	return "http://127.0.0.1:" + first
}
