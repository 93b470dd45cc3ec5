package natsq

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/natsconn"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

func TestConnect(t *testing.T) {
	ctx := deadline(t)
	server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", User: "ann", Password: "right"})
	t.Run("password that is repaired later", func(t *testing.T) {
		passwords := make(chan string, 100)
		for range 4 {
			passwords <- "wrong"
		}
		nc := must[*nats.Conn](t)(natsconn.Connect(ctx, natsconn.Options{URL: server.URL(), Name: "test", User: "ann", Log: options(t).Log, Password: func() (string, error) {
			select {
			case p := <-passwords:
				return p, nil
			default:
				return "right", nil
			}
		}}))
		defer nc.Close()
		must[*Queue](t)(Open(ctx, nc, options(t)))
		if len(passwords) > 0 {
			t.Fatalf("%d passwords were not tried", len(passwords))
		}
	})
	t.Run("token", func(t *testing.T) {
		server := natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string { return `authorization { token: "s3cret" }` }})
		connect := func(o natsconn.Options) error {
			o.URL, o.FailFast = server.URL(), true
			nc, err := natsconn.Connect(ctx, o)
			if err == nil {
				nc.Close()
			}
			return err
		}
		ok(t, connect(natsconn.Options{User: "s3cret"}))
		if err := connect(natsconn.Options{User: "wr0ng"}); err == nil || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("a wrong token: %v", err)
		}
		if err := connect(natsconn.Options{User: "s3cret", Password: func() (string, error) { return "", nil }}); err == nil {
			t.Error("a user with an empty password is taken for a token")
		}
	})
	t.Run("fails fast", func(t *testing.T) {
		if nc, err := natsconn.Connect(ctx, natsconn.Options{URL: server.URL(), FailFast: true}); err == nil {
			nc.Close()
			t.Fatal("connected without a password")
		}
		if nc, err := natsconn.Connect(ctx, natsconn.Options{URL: "nats://127.0.0.1:1", FailFast: true}); err == nil {
			nc.Close()
			t.Fatal("connected to no server")
		}
	})
	t.Run("options", func(t *testing.T) {
		for name, o := range map[string]natsconn.Options{
			"creds": {Creds: "/nonexistent/creds"}, "nkey": {NKey: "/nonexistent/nkey"}, "ca": {CA: "/nonexistent/ca"},
			"cert without key": {Cert: "c"}, "key without cert": {Key: "k"}, "cert": {Cert: "/nonexistent/c", Key: "/nonexistent/k"},
			"password without user": {Password: func() (string, error) { return "", nil }},
		} {
			o.URL, o.FailFast = server.URL(), true
			if nc, err := natsconn.Connect(ctx, o); err == nil {
				nc.Close()
				t.Errorf("%s: no error", name)
			}
		}
		_, err := natsconn.Connect(ctx, natsconn.Options{URL: "nats://ann:s3cret@%zz"})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("bad address: %v", err)
		}
	})
}
