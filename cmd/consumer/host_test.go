package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestRunWaitsForTheTemporaryFolder takes it away from a service and gives it back: /readyz says
// what is wrong and what helps, commands wait, and go on by themselves.
func TestRunWaitsForTheTemporaryFolder(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.vision.Sample()
	f.spool = filepath.Join(t.TempDir(), "tmp")
	r := f.start(t)
	r.await("there is no folder", isDown("host", "set TMPDIR"))
	ended := make(chan contract.Event)
	go func() { ended <- f.order(t, "one") }()
	if err := os.Mkdir(f.spool, 0o700); err != nil {
		t.Fatal(err)
	}
	if e := <-ended; e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("%s in attempt %d\n%s", describeEvent(e), e.Data.Attempt, f.log)
	}
	r.await("all is well", isReady)
	gone := f.spool + "-gone"
	if err := os.Rename(f.spool, gone); err != nil {
		t.Fatal(err)
	}
	r.await("the folder is gone", isDown("host", "set TMPDIR"))
	r.end()
	left, err := os.ReadDir(gone)
	if err != nil || len(left) > 1 || len(left) == 1 && !strings.HasPrefix(left[0].Name(), "cvconsumer-check-") { // a check may have been under way
		t.Errorf("%v are left, %v", left, err)
	}
}
