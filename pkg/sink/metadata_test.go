package sink_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/sinktest"
)

// metadataProxy changes the metadata of objects on their way.
type metadataProxy struct {
	next http.RoundTripper
	read func(http.Header) // of answers; nil: nothing
}

func (m metadataProxy) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := m.next.RoundTrip(req)
	if err == nil && m.read != nil {
		m.read(resp.Header)
	}
	return resp, err
}

// eachMeta calls do with the name of each header of metadata.
func eachMeta(h http.Header, do func(name string)) {
	for name := range h.Clone() {
		if strings.HasPrefix(strings.ToLower(name), "x-amz-meta-") {
			do(name)
		}
	}
}

// TestKeepsMetadata: a store is found out that drops metadata, cuts it, or names it otherwise;
// letter case is no matter. Nothing is left of the look.
func TestKeepsMetadata(t *testing.T) {
	server := sinktest.Shared(t)
	for name, c := range map[string]struct {
		read func(http.Header)
		kept bool
	}{
		"as it is": {nil, true},
		"upper case": {func(h http.Header) {
			eachMeta(h, func(name string) {
				value := h.Get(name)
				h.Del(name)
				h[strings.ToUpper(name)] = []string{value}
			})
		}, true},
		"dropped": {func(h http.Header) { eachMeta(h, h.Del) }, false},
		"cut": {func(h http.Header) {
			eachMeta(h, func(name string) { h.Set(name, h.Get(name)[:min(len(h.Get(name)), 64)]) })
		}, false},
		"renamed": {func(h http.Header) {
			eachMeta(h, func(name string) {
				value := h.Get(name)
				h.Del(name)
				h.Set("X-Amz-Meta-"+strings.ReplaceAll(name[len("x-amz-meta-"):], "-", "_"), value)
			})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := server.Bucket(t, sinktest.BucketOptions{Versioned: true})
			api := server.FaultyClient(sinktest.NewFaults(metadataProxy{server.Transport(), c.read}))
			store := sink.NewStore(api, sink.StoreOptions{Bucket: bucket})
			kept, err := store.KeepsMetadata(t.Context(), "p/.probe-metadata")
			if err != nil || kept != c.kept {
				t.Errorf("kept %t, %v", kept, err)
			}
			for o, err := range store.List(t.Context(), "") {
				t.Errorf("left behind: %s, %v", o.Key, err)
			}
		})
	}
}
