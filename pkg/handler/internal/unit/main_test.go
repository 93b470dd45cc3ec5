package unit_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

func TestMain(m *testing.M) {
	var known []goleak.Option
	for _, function := range sinktest.LibraryGoroutines() {
		known = append(known, goleak.IgnoreAnyFunction(function))
	}
	goleak.VerifyTestMain(m, known...)
}
