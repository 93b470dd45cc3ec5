package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cvconsumer/cvconsumer/pkg/cv/cvtest"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natstest"
)

// flood publishes n messages of some size that are no commands, as fast as the server takes them:
// half of them with ids of their own. It publishes again what the server refuses because the queue
// is full.
func flood(t *testing.T, nc *nats.Conn, n, size int) {
	t.Helper()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(64))
	if err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), size)
	for i := 0; i < n; {
		var acks []jetstream.PubAckFuture
		for ; i < n && len(acks) < 64; i++ {
			m := &nats.Msg{Subject: "cv.commands.export", Header: nats.Header{"X-Padding": {strings.Repeat("h", 30_000)}}, Data: body}
			if i%2 == 0 {
				m.Header.Set(contract.HeaderMsgID, fmt.Sprint("flood-", i))
			}
			ack, err := js.PublishMsgAsync(m)
			if err != nil {
				t.Fatal(err)
			}
			acks = append(acks, ack)
		}
		for _, ack := range acks {
			select {
			case <-ack.Ok():
			case <-ack.Err():
				i-- // the queue is full
			case <-t.Context().Done():
				t.Fatal("the server does not answer")
			}
		}
	}
}

// TestFloodOfInvalidMessages has a requester publish messages of 500 KB that are no commands, as
// fast as the server takes them, into an account that has no room for them. The commands of others
// are carried out meanwhile and afterwards, their dead letters stay, and hardly anything is left of
// the flood.
func TestFloodOfInvalidMessages(t *testing.T) {
	t.Parallel()
	f := newFixtureOn(t, natstest.NewWith(t, natstest.Options{Addr: "127.0.0.1:0", Config: func() string {
		return `accounts { A { jetstream { max_file: 128MB }, users: [ {user: a, password: a} ] } }`
	}}), cvtest.Options{Seed: 1})
	f.config.NATS.User, f.config.NATS.Password = "a", secretOf("a")
	f.vision.Sample()
	r := f.start(t)
	r.await("all is well", isReady)
	if e := f.orderData(t, "refused", `{"all_projects":true,"resource":"elsewhere"}`, limit); e.Data.Status != contract.StatusRefused {
		t.Fatal(describeEvent(e))
	}

	nc, err := f.nats.Connect(nats.UserInfo("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	meanwhile := make(chan contract.Event, 1)
	go func() { meanwhile <- f.order(t, "meanwhile") }()
	flood(t, nc, 300, 500_000)
	if e := <-meanwhile; e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("a command meanwhile: %s", describeEvent(e))
	}
	if e := f.order(t, "afterwards"); e.Data.Outcome != contract.OutcomeComplete || e.Data.Attempt != 1 {
		t.Errorf("a command afterwards: %s", describeEvent(e))
	}
	r.await("all is well", isReady)
	r.end()

	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	account, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB are stored", account.Store/1e6)
	if account.Store > 40<<20 {
		t.Errorf("%d bytes are stored", account.Store)
	}
	dead, err := js.Stream(t.Context(), "CV_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.GetLastMsgForSubject(t.Context(), "cv.dead.export.refused"); err != nil {
		t.Errorf("the letter of a command: %v", err)
	}
}
