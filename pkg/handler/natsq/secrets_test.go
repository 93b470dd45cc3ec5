package natsq

import (
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// All processes get the same secret, whichever asks first; one that was deleted by hand is not
// silently created again.
func TestSecret(t *testing.T) {
	server := natstest.New(t)
	ctx := deadline(t)
	open := func() *Queue { return must[*Queue](t)(Open(ctx, server.Dial(t), options(t))) }
	queues := []*Queue{open(), open(), open()}
	got := make([]string, len(queues))
	var asking sync.WaitGroup
	for i, q := range queues {
		asking.Go(func() {
			var err error
			if got[i], err = q.Secret(ctx, "deployment"); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	if len(got[0]) != 26 || got[1] != got[0] || got[2] != got[0] {
		t.Errorf("the secrets are %q", got)
	}
	if again := must[string](t)(open().Secret(ctx, "deployment")); again != got[0] {
		t.Errorf("a later process gets %q, the first ones got %q", again, got[0])
	}
	if other := must[string](t)(queues[0].Secret(ctx, "digest")); other == got[0] {
		t.Error("two names have one secret")
	}
	kv := must[jetstream.KeyValue](t)(jetStream(t, server.Dial(t)).KeyValue(ctx, "CV_SECRETS"))
	ok(t, kv.Delete(ctx, "deployment"))
	if _, err := open().Secret(ctx, "deployment"); err == nil || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("after the deletion: %v", err)
	}
}
