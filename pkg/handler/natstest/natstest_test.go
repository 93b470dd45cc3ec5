package natstest

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerKeepsItsStoreOverARestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := New(t)
	nc := s.Dial(t)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("kept")); err != nil {
		t.Fatal(err)
	}
	back := nc.StatusChanged(nats.CONNECTED)
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
	<-back
	st, err := js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := st.GetMsg(ctx, 1); err != nil || string(m.Data) != "kept" {
		t.Fatalf("after the restart: %v, %v", m, err)
	}
}

func TestServerListens(t *testing.T) {
	s := NewWith(t, Options{Addr: "127.0.0.1:0"})
	first := s.URL()
	for range 2 {
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		closeAndWait(nc)
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if s.URL() != first {
			t.Fatalf("address changed from %s to %s", first, s.URL())
		}
	}
	if u := New(t).URL(); u != "" {
		t.Fatalf("a server that does not listen has the URL %s", u)
	}
}

func TestServerWithoutAddressListensOnNothing(t *testing.T) {
	s := New(t)
	if s.srv.Addr() != nil {
		t.Fatalf("listens on %v", s.srv.Addr())
	}
}

func TestClusterElectsAgain(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	start := time.Now()
	c := NewCluster(t)
	t.Logf("cluster ready after %s", time.Since(start))
	nc := c.Servers[0].Dial(t)
	use := func(conn *nats.Conn) jetstream.JetStream {
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		return js
	}
	js := use(nc)
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	publish := func() { // a message sent while there is no leader gets no answer at all
		t.Helper()
		for {
			try, stop := context.WithTimeout(ctx, time.Second)
			_, err := js.Publish(try, "s", nil)
			stop()
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	before := c.StreamLeader("S")
	if before == nil {
		t.Fatal("no leader")
	}
	if err := StepDownStream(ctx, nc, "S"); err != nil {
		t.Fatal(err)
	}
	t.Logf("stepped down after %s", time.Since(start))
	publish()
	after := c.StreamLeader("S")
	t.Logf("led by %s, then by %s after %s", before.Name(), after.Name(), time.Since(start))
	if after == before {
		t.Fatalf("still led by %s", after.Name())
	}
	for _, s := range c.Servers { // one that stays
		if s != after {
			js = use(s.Dial(t))
		}
	}
	after.Stop()
	publish()
	t.Logf("new leader after a kill after %s", time.Since(start))
	if err := after.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("all back after %s", time.Since(start))
}
