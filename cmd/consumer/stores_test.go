package main

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
)

var eachQuirk = flag.Bool("quirks", false, "TestRunOnStoresThatRefuse has each quirk of a store alone, too")

// keepsOnly demands that the store has nothing but bundles at these places: they verify at the
// test's end.
func (f *fixture) keepsOnly(t *testing.T, places ...string) {
	t.Helper()
	kept, err := sinktest.Versions(t.Context(), f.store.Client(), f.config.Bucket, "")
	if err != nil {
		t.Fatal(err)
	}
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
			sinktest.RefusesUploads, sinktest.RefusesLists, sinktest.ExactUploadLists, sinktest.NoConfirmations) {
			runs[string(quirk)] = []sinktest.Quirk{quirk}
		}
	}
	for name, quirks := range runs {
		t.Run(name, func(t *testing.T) {
			f, _ := newGatewayFixture(t, quirks...)
			r := f.start(t)
			r.await("all is well", isReady)
			if len(quirks) > 1 {
				r.await("what is done instead is said", func(_ int, body readiness) bool { return len(body.Dependencies["storage"].Notes) == 4 })
			}
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
			r.end()
			f.keepsOnly(t, "exp/export/", "del/export/", "del/delete/")
		})
	}
}
