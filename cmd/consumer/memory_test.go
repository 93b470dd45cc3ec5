package main

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

// TestAnswersThatAreBombs has the service answer with many MiB of small objects that are few KB on
// the wire: to GetDomains, which /readyz asks for, and to calls of an export. They are exceptions,
// and the process keeps to the memory limit that the operator gave it.
func TestAnswersThatAreBombs(t *testing.T) {
	f := newFixture(t, cvtest.Options{Seed: 3})
	f.vision.AddProject(cvtest.ProjectSpec{Images: 3, ImageBytes: cvtest.Tiny})
	const size = 24 << 20
	for operation, bomb := range map[string]string{
		"GetDomains":       `[` + strings.Repeat(`{},`, size/3) + `{}]`,
		"GetTags":          `[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","name":"` + strings.Repeat(`a`, size) + `"}]`,
		"QueryPredictions": `{"results":[{"id":"18670f0e-9e74-4e6d-9790-7b4829b034b3","predictions":[` + strings.Repeat(`{},`, size/3) + `{}]}]}`,
	} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write([]byte(bomb)); err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		times := -1
		if operation == "GetDomains" {
			times = 2 // and then it is ready
		}
		f.vision.Fault(cvtest.Fault{Operation: operation, Times: times, Status: http.StatusOK, Body: packed.String(), Header: http.Header{"Content-Encoding": {"gzip"}}})
	}
	const memoryLimit = 64 << 20
	r := itself(t).with(f.environment()...).with("GOMEMLIMIT=64MiB", "CONSUMER_MAX_ATTEMPTS=1").start(t)
	r.await(t)
	e := f.orderData(t, "bombs", `{"all_projects":true,"categories":["tags","predictions"]}`, limit)
	if e.Data.Status != contract.StatusCompleted || e.Data.Outcome != contract.OutcomeExceptions || e.Data.Exceptions != 2 {
		t.Errorf("ended %s", describeEvent(e))
	}
	_, most := r.memory(t)
	if most > 4*memoryLimit { // the code itself is in it, and what the race detector needs
		t.Errorf("the consumer took %d MiB of memory", most>>20)
	}
	t.Logf("%d MiB of memory at most", most>>20)
	r.stop(t)
}
