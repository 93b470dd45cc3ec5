package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
)

// forgetful is a way to the store on which the metadata of objects gets lost.
type forgetful struct{ next http.RoundTripper }

func (f forgetful) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(req)
	if err == nil {
		for name := range resp.Header {
			if strings.HasPrefix(name, "X-Amz-Meta-") {
				delete(resp.Header, name)
			}
		}
	}
	return resp, err
}

// TestStoreWithoutMetadata: a store that does not keep metadata keeps no seals. /readyz says so,
// and no work is taken: else what is stored would be removed and stored again without end.
func TestStoreWithoutMetadata(t *testing.T) {
	t.Parallel()
	f := newFixture(t, cvtest.Options{Seed: 1})
	f.config.S3.Transport = forgetful{f.store.Transport()}
	r := f.start(t)
	r.await("storage is not ready", func(_ int, r readiness) bool {
		return strings.Contains(r.Dependencies["storage"].Reason, "x-amz-meta-")
	})
}
