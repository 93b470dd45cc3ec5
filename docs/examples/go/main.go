// Publish is an example: it publishes one command, waits for the answer to exactly its message, and
// prints that event.
//
//	go run ./docs/examples/go export req-1 '{"all_projects":true}'
//
// It exits with 0 when the command completed or repeated an earlier message, and with 3 when it
// failed, was refused or was cancelled. The rights of a requester in docs/nats.md are enough.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: publish export|delete|cancel ID DATA")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	completed, err := publish(ctx, os.Args[1], os.Args[2], os.Args[3])
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "publish:", err)
		os.Exit(1)
	case !completed:
		os.Exit(3)
	}
}

// publish publishes a command, waits for its answer and reports whether that is a success.
func publish(ctx context.Context, action, id, data string) (bool, error) {
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL),
		nats.UserInfo(os.Getenv("NATS_USER"), os.Getenv("NATS_PASSWORD")),
		nats.CustomInboxPrefix(cmp.Or(os.Getenv("CONSUMER_NATS_INBOX_PREFIX"), "_INBOX")))
	if err != nil {
		return false, fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if domain := os.Getenv("CONSUMER_NATS_DOMAIN"); domain != "" {
		js, err = jetstream.NewWithDomain(nc, domain)
	}
	if err != nil {
		return false, fmt.Errorf("use JetStream: %w", err)
	}
	commands, err := js.Stream(ctx, "CV_COMMANDS")
	if err != nil {
		return false, fmt.Errorf("look up the queue: %w", err)
	}
	events, err := js.Stream(ctx, "CV_EVENTS")
	if err != nil {
		return false, fmt.Errorf("look up the events: %w", err)
	}

	ack, err := js.PublishMsg(ctx, &nats.Msg{Subject: "cv.commands." + action, Header: nats.Header{"Nats-Msg-Id": {id}}, Data: []byte(data)})
	if err != nil {
		return false, fmt.Errorf("publish: %w", err)
	}
	if ack.Duplicate {
		return false, errors.New("the same id was published less than 100 ms ago: publish again")
	}
	return wait(ctx, events, action, id, ack.Sequence, commands.CachedInfo().Created)
}

// wait reads the events under the id, and under the sequence of a message without an id of its own,
// until one answers the message.
func wait(ctx context.Context, events jetstream.Stream, action, id string, seq uint64, created time.Time) (bool, error) {
	subjects := []string{"cv.events." + action + "." + id + ".*", fmt.Sprintf("cv.events.%s.seq-%d.*", action, seq)}
	next := map[string]uint64{}
	for {
		for _, subject := range subjects {
			m, err := events.GetMsg(ctx, next[subject]+1, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				continue
			}
			if err != nil {
				return false, fmt.Errorf("read %s: %w", subject, err)
			}
			next[subject] = m.Sequence
			var event struct {
				Data struct {
					Seq    uint64    `json:"seq"`
					Stream time.Time `json:"stream"`
					Status string    `json:"status"`
				} `json:"data"`
			}
			if err := json.Unmarshal(m.Data, &event); err != nil {
				return false, fmt.Errorf("decode %s: %w", m.Subject, err)
			}
			if event.Data.Seq != seq || !event.Data.Stream.Equal(created) {
				continue // it answers another message
			}
			switch event.Data.Status {
			case "completed", "duplicate":
				fmt.Println(string(m.Data))
				return true, nil
			case "failed", "refused", "cancelled":
				fmt.Println(string(m.Data))
				return false, nil
			}
		}
		select {
		case <-ctx.Done():
			return false, errors.New("interrupted: the command goes on")
		case <-time.After(time.Second):
		}
	}
}
