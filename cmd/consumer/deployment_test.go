package main

import (
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
)

// TestPrefixOfAnotherDeployment starts a second deployment on the bucket of a first one: it takes
// no work, and says what to set, until it has a prefix of its own or is set to take the other's
// over.
func TestPrefixOfAnotherDeployment(t *testing.T) {
	t.Parallel()
	first := newFixture(t, cvtest.Options{})
	begin := func(f *fixture, what string) {
		t.Helper()
		r := f.start(t)
		r.await(what, isReady)
		r.end()
	}
	begin(first, "ready where nothing is marked")
	begin(first, "ready where its own mark is")

	second := newFixture(t, cvtest.Options{})
	second.config.Bucket, second.config.WorkBucket = first.config.Bucket, first.config.Bucket
	r := second.start(t)
	r.await("red", func(code int, body readiness) bool {
		reason := body.Dependencies[delivery.DependencyStorage].Reason
		return code == 503 && strings.Contains(reason, "CONSUMER_PREFIX") && strings.Contains(reason, "CONSUMER_ADOPT_PREFIX=true")
	})
	r.end()
	select {
	case <-r.serving:
		t.Error("it takes work")
	default:
	}

	second.config.Prefix = "second/"
	begin(second, "ready with a prefix of its own")
	second.config.Prefix, second.config.AdoptPrefix = "", true
	begin(second, "ready when set to take the prefix over")
	r = first.start(t)
	r.await("red where the other took over", func(code int, body readiness) bool {
		return code == 503 && strings.Contains(body.Dependencies[delivery.DependencyStorage].Reason, "another deployment")
	})
	r.end()
}
