package handler_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// keptUntil is a time until which bags are locked in these tests, and later keptLonger.
var keptUntil, keptLonger = time.Date(2061, time.January, 2, 3, 4, 5, 0, time.UTC), time.Date(2071, time.January, 2, 3, 4, 5, 0, time.UTC)

// checkLocked fails unless every version below a prefix is locked so, and cannot be removed; it
// gives their number.
func (w *world) checkLocked(t *testing.T, prefix, mode string, until time.Time) int {
	t.Helper()
	api := w.s3.Client()
	page, err := api.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &w.bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range page.Versions {
		out, err := api.GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &w.bucket, Key: v.Key, VersionId: v.VersionId})
		if err != nil || string(out.Retention.Mode) != mode || !aws.ToTime(out.Retention.RetainUntilDate).Equal(until) {
			t.Errorf("%s is not locked as it should be: %+v, %v", *v.Key, out, err)
		}
		if _, err := api.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &w.bucket, Key: v.Key, VersionId: v.VersionId}); err == nil {
			t.Errorf("%s was deleted", *v.Key)
		}
	}
	return len(page.Versions)
}

// The bags of a command are locked as it asks, the one of export_first apart, and no version of
// them can be deleted. Event, receipt and certificate say so.
func TestRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{api: cvtest.Options{Seed: 3}, bucket: sinktest.BucketOptions{Locked: true}, store: sink.StoreOptions{MultipartAbove: 64 << 10}})
	smallProject(w.api)
	w.start(t, replicaOptions{configure: func(c *handler.Config) { c.LockMode = sink.Compliance }})
	e := w.delete(t, "del", `{"all_projects":true,"export_first":true,"retain_until":"2061-01-02T03:04:05Z","export_retain_until":"2071-01-02T04:04:05+01:00"}`)
	if e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	bags := w.bags(t, "del", sink.DeleteBag, sink.ExportBag)
	for kind, tc := range map[sink.BagKind]struct {
		ref   *contract.BundleRef
		until time.Time
	}{sink.DeleteBag: {e.Bundle, keptUntil}, sink.ExportBag: {e.ExportBundle, keptLonger}} {
		n := w.checkLocked(t, "del/"+string(kind)+"/", sink.Compliance, tc.until)
		if tc.ref == nil || tc.ref.RetainUntil == nil || !tc.ref.RetainUntil.Equal(tc.until) || int(tc.ref.Objects) != n {
			t.Errorf("%s: the event says %+v; %d objects are locked", kind, tc.ref, n)
		}
		receipt, err := sink.ParseReceipt(bags[kind]["receipt.json"])
		if err != nil {
			t.Fatal(err)
		}
		if says := receipt.Predicate.Retention; says == nil || says.Mode != sink.Compliance || !says.RetainUntil.Equal(tc.until) || says.Objects != n-1 || says.Lapsed {
			t.Errorf("%s: the receipt says %+v", kind, says)
		}
	}
	if !slices.ContainsFunc(e.Residuals, func(r contract.Residual) bool { return strings.Contains(r.Reason, "locked until 2071-01-02T03:04:05Z") }) {
		t.Errorf("no residual names the end of the export's retention: %v", e.Residuals)
	}
}

// A retention that cannot be kept is refused before anything is stored.
func TestRetentionRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{bucket: sinktest.BucketOptions{Versioned: true}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{})
	r.faults.Add(sinktest.Fault{Op: "GetObjectLockConfiguration", Status: http.StatusForbidden}) // the operator's problem
	for id, tc := range map[string]struct {
		action            contract.Action
		data, code, field string
	}{
		"export": {"export", `{"all_projects":true,"retain_until":"2061-01-02T03:04:05Z"}`, contract.CodePreconditionFailed, "retain_until"},
		"delete": {"delete", `{"all_projects":true,"export_first":true,"export_retain_until":"2061-01-02T03:04:05Z"}`, contract.CodePreconditionFailed, "export_retain_until"},
		"past":   {"export", `{"all_projects":true,"retain_until":"2011-01-02T03:04:05Z"}`, contract.CodeInvalidCommand, "retain_until"},
		"slip":   {"delete", `{"all_projects":true,"retain_until":"2161-01-02T03:04:05Z"}`, contract.CodeInvalidCommand, "retain_until"},
	} {
		e := w.wait(t, w.publish(t, tc.action, id, tc.data))
		if e.Status != contract.StatusRefused || e.Error.Code != tc.code || !strings.HasPrefix(e.Error.Message, tc.field+": ") {
			t.Errorf("%s ended %s: %v", id, e.Status, e.Error)
		}
		if stored := w.objects(t, id); len(stored) > 0 {
			t.Errorf("%s stored %v", id, stored)
		}
	}
	if calls := w.api.Calls(); len(calls) > 0 {
		t.Errorf("the service was asked: %v", calls)
	}
}

// A store that says it locked what it did not lock gets no receipt, and what was stored is removed.
// So it is when an export fails for another reason: nothing is locked before all was checked.
func TestRetentionNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{bucket: sinktest.BucketOptions{Locked: true}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 2, ImageBytes: cvtest.Tiny})
	r := w.start(t, replicaOptions{configure: func(c *handler.Config) { c.MaxAttempts = 1 }})
	for id, tc := range map[string]struct {
		fault sinktest.Fault
		want  string // in the error
	}{
		"ignores": {sinktest.Fault{Op: "PutObjectRetention", Effect: sinktest.Lie, Times: -1}, "lock the bundle until its retain_until"},
		"broken":  {sinktest.Fault{Op: "PutObject", Key: "broken/export/tagmanifest-sha256.txt", Status: http.StatusInternalServerError, Times: -1}, "tagmanifest-sha256.txt"},
	} {
		r.faults.Add(tc.fault)
		e := w.run(t, id, `{"all_projects":true,"retain_until":"2061-01-02T03:04:05Z"}`)
		r.faults.Clear()
		if e.Status != contract.StatusFailed || !strings.Contains(e.Error.Message, tc.want) {
			t.Errorf("%s ended %s: %v", id, e.Status, e.Error)
		}
		if left, err := sinktest.Versions(t.Context(), w.s3.Client(), w.bucket, id+"/"); err != nil || len(left) > 0 {
			t.Errorf("%s left %v, %v", id, left, err)
		}
		if job := w.job(t, id); job.LeftBehind != "" {
			t.Errorf("%s: the job says that %s was left", id, job.LeftBehind)
		}
	}
}

// A retention that is over when the bag is whole is said to be, and does not keep the command from
// ending.
func TestRetentionIsOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{bucket: sinktest.BucketOptions{Locked: true}})
	w.api.AddProject(cvtest.ProjectSpec{Images: 1, ImageBytes: cvtest.Tiny})
	late := make(chan struct{})
	w.api.OnCall(func(operation string, _ int) {
		select {
		case <-late:
		default:
			close(late)
		}
	})
	begun := time.Now()
	w.start(t, replicaOptions{now: func() time.Time {
		select {
		case <-late: // the export takes two hours
			return begun.Add(2 * time.Hour)
		default:
			return time.Now()
		}
	}})
	e := w.run(t, "slow", `{"all_projects":true,"retain_until":"`+begun.Add(90*time.Minute).UTC().Format(time.RFC3339)+`"}`)
	if e.Status != contract.StatusCompleted {
		t.Fatalf("ended %s: %v", e.Status, e.Error)
	}
	receipt, err := sink.ParseReceipt(w.bag(t, "slow", sink.ExportBag)["receipt.json"])
	if err != nil {
		t.Fatal(err)
	}
	if says := receipt.Predicate.Retention; says == nil || !says.Lapsed || says.Objects != 0 {
		t.Errorf("the receipt says %+v", says)
	}
	if _, err := w.store.RemoveAll(t.Context(), "slow/"); err != nil {
		t.Errorf("objects are locked: %v", err)
	}
}

// TestLockCutAtEveryEffect kills replicas while they lock a bag.
func TestLockCutAtEveryEffect(t *testing.T) {
	s := exportScenario()
	s.locked, s.data = true, `{"all_projects":true,"retain_until":"2061-01-02T03:04:05Z"}`
	s.since, s.until = "PutObjectRetention cut-1/export/", "PutJob running clean up"
	check := s.check
	s.check = func(t *testing.T, w *world, e contract.EventData, bags map[sink.BagKind]map[string][]byte) {
		t.Helper()
		check(t, w, e, bags)
		if n := w.checkLocked(t, cutID+"/export/", sink.Governance, keptUntil); n != len(bags[sink.ExportBag]) {
			t.Errorf("%d of %d objects are locked", n, len(bags[sink.ExportBag]))
		}
	}
	cuts(t, s)
}
