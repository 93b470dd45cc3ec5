package main

import (
	"os"
	"path/filepath"
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
	if err := os.Remove(f.spool); err != nil { // it is empty
		t.Fatal(err)
	}
	r.await("the folder is gone", isDown("host", "set TMPDIR"))
	r.end()
}
