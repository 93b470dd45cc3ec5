// Package preflight tries what the service needs of NATS before it is needed, and leaves nothing
// there. What it publishes has ids of its own and asks for a stream that does not exist, so that no
// stream stores it.
package preflight

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/jsapi"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq/internal/names"
)

// flushTimeout bounds how long the server may leave a ping without an answer.
const flushTimeout = 5 * time.Second

// Checks is a connection of the service's user, and where its streams are.
type Checks struct {
	nc    *nats.Conn
	names names.Names
	api   *jsapi.Client
	id    string // of what is tried; no command has it
}

// New prepares checks. prefix is the first token of all subjects, domain that of JetStream where it
// is not the server's.
func New(nc *nats.Conn, prefix, domain string) (*Checks, error) {
	n, err := names.New(prefix)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong
	}
	api := jsapi.New(nc, jsapi.Options{Domain: domain, FailDenied: true, Log: zerolog.Nop()})
	return &Checks{nc: nc, names: n, api: api, id: "doctor-" + rand.Text()}, nil
}

// JetStream fails when no JetStream answers, or none that this user may use.
func (c *Checks) JetStream(ctx context.Context) error {
	_, err := c.api.AccountOnce(ctx, 0, 1)
	return err //nolint:wrapcheck // it says what was asked
}

// Denied gives an error for each right that the service needs and that its user lacks, and fails
// where that cannot be found out. The server judges a message by its subject before JetStream looks
// at it. Not tried is what has no harmless form: to remove messages from the service's streams.
func (c *Checks) Denied(ctx context.Context) (denied []error, err error) {
	for _, subject := range c.published() {
		if err := c.nc.PublishMsg(c.message(subject)); err != nil {
			return nil, fmt.Errorf("try to publish on %s: %w", subject, err)
		}
		refused, err := c.lastDenial(ctx, subject)
		if err != nil {
			return nil, err
		}
		if refused != nil {
			denied = append(denied, refused)
		}
	}
	for _, subject := range []string{c.names.OverSubject("*"), c.names.ResultSubject("*"), c.nc.NewInbox()} {
		sub, err := c.nc.SubscribeSync(subject)
		if err != nil {
			return nil, fmt.Errorf("try to subscribe to %s: %w", subject, err)
		}
		refused, err := c.lastDenial(ctx, subject)
		_ = sub.Unsubscribe()
		if err != nil {
			return nil, err
		}
		if refused != nil {
			denied = append(denied, refused)
		}
	}
	return denied, nil
}

// published are the subjects that the service publishes on, with the checks' id, and those of
// requests that change nothing because they are empty or about a consumer that does not exist.
func (c *Checks) published() []string {
	n := c.names
	return []string{
		n.EventSubject(contract.ActionExport, c.id, "preflight"), n.DeadLetterSubject(contract.ActionExport, c.id), n.UnitSubject(c.id, 0), n.LedgerSubject(c.id),
		c.api.PublishSubject(n.JobSubject(c.id)), c.api.PublishSubject(n.KeyPrefix(n.Secrets) + c.id),
		n.OverSubject(c.id), n.ResultSubject(c.id),
		c.api.Subject("STREAM.MSG.GET." + n.Commands), c.api.Subject("STREAM.MSG.DELETE." + n.Work),
		c.api.Subject("CONSUMER.INFO." + n.Work + "." + c.id), c.api.Subject("CONSUMER.MSG.NEXT." + n.Work + "." + c.id),
		"$JS.ACK." + n.Work + "." + c.id + ".1.1.1.1.0",
	}
}

// message is a message that no stream stores, since it says that it is for another one.
func (c *Checks) message(subject string) *nats.Msg {
	m := nats.NewMsg(subject)
	if !strings.HasPrefix(subject, "$JS.") || strings.Contains(subject, ".$KV.") {
		m.Header.Set(jetstream.ExpectedStreamHeader, c.id)
	}
	return m
}

// lastDenial is the server's denial of what was just sent about a subject; nil when it was none.
// The server says so before it answers a ping.
func (c *Checks) lastDenial(ctx context.Context, subject string) (*jsapi.DeniedError, error) {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := c.nc.FlushWithContext(ctx); err != nil {
		return nil, fmt.Errorf("ask the server what it denies: %w", err)
	}
	if denied := jsapi.AsDenied(c.nc.LastError()); denied != nil && denied.Subject == subject {
		return denied, nil
	}
	return nil, nil
}

// Create makes a stream of its own, as large and with as many replicas as those that the service
// would make, and removes it again. Errors: natsq.ErrMaxBytes, natsq.ErrDenied.
func (c *Checks) Create(ctx context.Context, replicas int, maxBytes int64) (err error) {
	name := strings.TrimSuffix(c.names.Commands, "COMMANDS") + "DOCTOR_" + c.id
	config := jetstream.StreamConfig{
		Name: name, Description: "consumer doctor tries whether it can make a stream; it may be deleted",
		Subjects: []string{c.names.Prefix + ".doctor." + c.id}, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		Replicas: replicas, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
	}
	if maxBytes > 0 {
		config.MaxBytes = maxBytes
	}
	var done struct{}
	defer func() {
		removed := c.api.APIRequestOnce(context.WithoutCancel(ctx), 2, "STREAM.DELETE."+name, nil, &done)
		if removed != nil && !jsapi.HasCode(removed, jsapi.CodeStreamNotFound) && err == nil {
			err = fmt.Errorf("remove the stream %s, which was made to try it: %w", name, removed)
		}
	}()
	err = c.api.APIRequestOnce(ctx, 2, "STREAM.CREATE."+name, config, &done)
	if jsapi.HasCode(err, jsapi.CodeMaxBytesRequired, jsapi.CodeStorageExceeded, jsapi.CodeStreamBytesExceeded) {
		err = fmt.Errorf("%w: %w", natsq.ErrMaxBytes, err)
	}
	if err != nil && !errors.Is(err, natsq.ErrDenied) {
		return fmt.Errorf("make a stream with %d replicas: %w", replicas, err)
	}
	return err
}

// Secret is what the service keeps under a name; empty when there is nothing. Unlike the service
// it makes no secret.
func (c *Checks) Secret(ctx context.Context, name string) (string, error) {
	m, err := c.api.ReadMessageOnce(ctx, 2, c.names.Secrets, jsapi.MessageQuery{Last: c.names.KeyPrefix(c.names.Secrets) + name})
	switch {
	case jsapi.HasCode(err, jsapi.CodeStreamNotFound):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("read the secret %s: %w", name, err)
	case m == nil:
		return "", nil
	}
	return string(m.Data), nil
}
