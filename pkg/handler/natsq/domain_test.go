package natsq

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/delivery"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// newLeaf starts a hub and a leaf node, each with a JetStream domain of its own, and returns the
// leaf.
func newLeaf(t *testing.T) (hub, leaf *natstest.Server) {
	t.Helper()
	free := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	addr := free.Addr().String()
	ok(t, free.Close())
	hub = natstest.NewWith(t, natstest.Options{Config: func() string {
		return fmt.Sprintf("server_name: hub\njetstream { domain: hub }\nleafnodes { listen: %q }", addr)
	}})
	leaf = natstest.NewWith(t, natstest.Options{Config: func() string {
		return fmt.Sprintf("server_name: leaf\njetstream { domain: leaf }\nleafnodes { remotes: [ {url: \"nats-leaf://%s\"} ] }", addr)
	}})
	return hub, leaf
}

// TestDomain works at a leaf node with the streams of the hub: it makes them there, stores and
// reads everything, and takes what is published at either.
func TestDomain(t *testing.T) {
	t.Parallel()
	ctx := deadline(t)
	hub, leaf := newLeaf(t)
	nc := leaf.Dial(t)
	q := must[*Queue](t)(Open(ctx, nc, options(t, func(o *Options) { o.Domain = "hub" })))
	for name := range jetStream(t, nc).StreamNames(ctx).Name() {
		t.Errorf("%s was created at the leaf", name)
	}
	atHub := must[*Queue](t)(Open(ctx, hub.Dial(t), options(t, func(o *Options) { o.Provision = false })))

	must[uint64](t)(q.PutJob(ctx, contract.Job{ID: "a", State: contract.StateRunning}, 0))
	_, _, err := atHub.Job(ctx, "a")
	ok(t, err)
	if secret := must[string](t)(q.Secret(ctx, "deployment")); secret != must[string](t)(atHub.Secret(ctx, "deployment")) {
		t.Error("two secrets")
	}
	ok(t, q.PutHold(ctx, "p", nil))
	if !must[bool](t)(atHub.Held(ctx, "p")) {
		t.Error("the hold is not at the hub")
	}
	must[uint64](t)(q.AppendLedger(ctx, "a", []byte("x"), 0))
	ok(t, q.PublishUnit(ctx, "a", 1, []byte("{}")))
	ok(t, q.PublishEvent(ctx, event("a", contract.StatusCompleted)))
	ok(t, q.PublishDead(ctx, contract.DeadLetter{ID: "a", Action: contract.ActionExport}))
	requester := must[*Queue](t)(OpenRequester(ctx, leaf.Dial(t, nats.CustomInboxPrefix("_INBOX_x")), options(t, func(o *Options) { o.Domain = "hub" })))
	receive(t, must[<-chan contract.Event](t)(requester.WatchEvents(ctx, "a")))

	taken := make(chan delivery.Delivery, 2)
	serveCommands(t, q, settleWith(delivery.Disposition{Verb: delivery.Ack}, taken))
	for _, from := range []*Queue{requester, atHub} {
		seq := must[uint64](t)(from.PublishCommand(ctx, command("b", "{}")))
		if d := receive(t, taken); d.Message.Seq != seq || d.Message.Stream == "" {
			t.Errorf("took %+v, not %d", d.Message, seq)
		}
		for must[bool](t)(from.Queued(context.WithoutCancel(ctx), must[string](t)(from.CommandStream(ctx)), seq)) {
			continue // until the acknowledgement has come to the hub
		}
	}
}
