package preflight

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// TestChecksNameEachMissingRight tries with the rights that docs/nats.md gives to the service, and
// without each of them. No stream has a message afterwards.
func TestChecksNameEachMissingRight(t *testing.T) {
	publish := []string{
		"cv.events.>", "cv.dead.>", "cv.work.>", "cv.ledger.*", "cv-over.*", "cv-signal.*", "$KV.CV_JOBS.>", "$KV.CV_SECRETS.>",
		"$JS.API.INFO", "$JS.API.STREAM.>", "$JS.API.CONSUMER.>", "$JS.ACK.>",
	}
	subscribe := []string{"_INBOX.>", "cv-over.*", "cv-signal.*"}
	without := func(all []string, i int) []string { return slices.Delete(slices.Clone(all), i, i+1) }
	user := func(name string, publish, subscribe []string) string {
		quoted := func(all []string) string { return `["` + strings.Join(all, `", "`) + `"]` }
		return fmt.Sprintf("{user: %q, password: x, permissions { publish { allow: %s }, subscribe { allow: %s } } }\n", name, quoted(publish), quoted(subscribe))
	}
	lacks := map[string]string{"service": "", "all": ""}
	users := "{user: all, password: x}\n" + user("service", publish, subscribe)
	for i, right := range publish {
		if right != "$JS.API.INFO" { // JetStream asks for it
			name := fmt.Sprint("publish-", i)
			users, lacks[name] = users+user(name, without(publish, i), subscribe), right
		}
	}
	for i, right := range subscribe {
		name := fmt.Sprint("subscribe-", i)
		users, lacks[name] = users+user(name, publish, without(subscribe, i)), right
	}
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string {
		return "jetstream {}\naccounts { CV { jetstream: enabled, users: [ " + users + " ] } }"
	}})
	dial := func(user string) *nats.Conn {
		nc, err := nats.Connect(server.URL(), nats.UserInfo(user, "x"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	all := dial("all")
	if _, err := natsq.Open(t.Context(), all, natsq.Options{Provision: true, Log: zerolog.Nop()}); err != nil {
		t.Fatal(err)
	}
	for name, right := range lacks {
		checks, err := New(dial(name), "cv", "")
		if err != nil {
			t.Fatal(err)
		}
		denied, err := checks.Denied(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		stem := strings.TrimRight(right, ">*")
		if named := func(err error) bool { return strings.Contains(err.Error(), stem) }; (right == "") != (len(denied) == 0) || right != "" && !slices.ContainsFunc(denied, named) {
			t.Errorf("without %q: %v", right, denied)
		}
	}

	checks, err := New(dial("service"), "cv", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := checks.JetStream(t.Context()); err != nil {
		t.Error(err)
	}
	if err := checks.Create(t.Context(), 1, 0); err != nil {
		t.Error(err)
	}
	if err := checks.Create(t.Context(), 3, 0); !errors.Is(err, natsq.ErrReplicas) {
		t.Errorf("three replicas on one server: %v", err)
	}
	js, err := jetstream.New(all)
	if err != nil {
		t.Fatal(err)
	}
	streams := js.ListStreams(t.Context())
	n := 0
	for s := range streams.Info() {
		if n++; s.State.LastSeq > 0 || strings.Contains(s.Config.Name, "DOCTOR") {
			t.Errorf("left behind in %s: %+v", s.Config.Name, s.State)
		}
	}
	if n != 8 {
		t.Errorf("%d streams", n)
	}
}
