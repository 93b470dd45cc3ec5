package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// command runs a command line against the fixture's servers.
func (f *fixture) command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, []string{
		"NATS_URL=" + f.config.NATS.URL, "CONSUMER_BUCKET=" + f.config.Bucket,
		"AWS_ENDPOINT_URL_S3=" + f.config.S3.Endpoint, "AWS_REGION=" + f.config.S3.Region,
		"AWS_ACCESS_KEY_ID=" + f.config.S3.KeyID.value.Reveal(), "AWS_SECRET_ACCESS_KEY=" + f.config.S3.Secret.value.Reveal(),
	}, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// An export that may not remove what it stored ends all the same, says so in a metric and in its
// job, and gc removes it.
func TestGCRemovesWhatWasLeftBehind(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	faults := sinktest.NewFaults(f.config.S3.Transport)
	faults.Add(sinktest.Fault{Op: "DeleteObjects", Key: "bad/export/*", Times: -1, Status: http.StatusForbidden, Code: "AccessDenied"})
	f.config.S3.Transport = faults
	f.config.MaxAttempts = 1
	r := f.start(t)
	r.await("all is well", isReady)
	if e := f.order(t, "good"); e.Data.Status != contract.StatusCompleted {
		t.Fatalf("%s\n%s", describeEvent(e), f.log)
	}
	faults.Add(sinktest.Fault{Op: "PutObject", Key: "bad/export/*/predictions/*", Times: -1, Status: http.StatusInternalServerError})
	if e := f.order(t, "bad"); e.Data.Status != contract.StatusFailed {
		t.Fatalf("%s\n%s", describeEvent(e), f.log)
	}
	if got := r.metric(t, `cvconsumer_left_behind_total{action="export"}`); got != "1" {
		t.Errorf("the metric is %q", got)
	}
	if code, out, errs := f.command(t, "jobs"); code != exitDone || !strings.Contains(out, "left objects behind: consumer gc") {
		t.Errorf("jobs exits %d:\n%s%s", code, out, errs)
	}
	r.end()

	list := func(args ...string) []collected {
		t.Helper()
		code, out, errs := f.command(t, append([]string{"gc", "-o", "json"}, args...)...)
		var all []collected
		if err := json.Unmarshal([]byte(out), &all); err != nil || code != exitDone {
			t.Fatalf("gc exits %d: %v\n%s%s", code, err, out, errs)
		}
		return all
	}
	where := "s3://" + f.config.Bucket + "/bad/export/"
	for _, removed := range []bool{false, true} {
		var all []collected
		if removed {
			all = list()
		} else {
			all = list("--dry-run")
		}
		// The job says that it left something, so its working folder is looked at too.
		if len(all) != 1 || all[0].ID != "bad" || all[0].Removed != removed || all[0].Objects == 0 || all[0].Where[len(all[0].Where)-1] != where {
			t.Fatalf("removed %v: %+v", removed, all)
		}
	}
	if all := list(); len(all) != 0 {
		t.Errorf("there is still %+v", all)
	}
	store := sink.NewStore(f.store.Client(), sink.StoreOptions{Bucket: f.config.Bucket, Log: zerolog.Nop()})
	for o, err := range store.List(t.Context(), "bad/") {
		t.Errorf("left: %s, %v", o.Key, err)
	}
	if code, out, errs := f.command(t, "verify", "s3://"+f.config.Bucket+"/good/export/"); code != exitDone {
		t.Errorf("verify exits %d:\n%s%s", code, out, errs)
	}
}

// page reads one of the pages.
func (r *running) page(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(errors.New("read " + path))
	}
	return b.String()
}

// metric reads one value of /metrics.
func (r *running) metric(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(r.page(t, "/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
