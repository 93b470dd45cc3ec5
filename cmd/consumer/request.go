package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// requestFlags say how a command is published and waited for.
type requestFlags struct {
	ID      string        `name:"id" placeholder:"ID" help:"Id of the command, which also names the bundle; default: a random one. The same id and data again returns the earlier result; the same id and other data is refused."`
	NoWait  bool          `name:"no-wait" help:"Publish, print the id, and exit."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Output  string        `name:"output" short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text, or json: the terminal event; default ${default}."`
	Sign    signFlags     `embed:"" group:"Signed commands:"`
	NATS    natsSettings  `embed:"" group:"NATS:"`
}

// order is the order that is to be published, but for its data.
func (c requestFlags) order(p *program, action contract.Action) (natsConfig, order, error) {
	bad := p.env.unknown()
	conf := p.nats(c.NATS, &bad)
	o := order{action: action, id: c.ID, header: p.env.traceContext()}
	if o.id == "" {
		o.id = uuid.NewString()
	}
	if err := bad.err(); err != nil {
		return conf, o, err
	}
	var err error
	o.signer, err = c.Sign.signer(p)
	return conf, o, err
}

// run publishes an order and, unless NoWait is set, waits for its end and prints that.
func (c requestFlags) run(p *program, conf natsConfig, o order) error {
	if c.NoWait {
		return o.publishOnly(p, conf, c.Output == "json")
	}
	event, err := c.wait(p, conf, o)
	if err != nil {
		return err
	}
	return printEnd(p, event, c.Output == "json")
}

// completed is the error of a command that did not complete.
func completed(e contract.Event) error {
	if e.Data.Status != contract.StatusCompleted {
		return fmt.Errorf("%w: %s", errCommandFailed, describeEvent(e))
	}
	return nil
}

// wait publishes an order, shows its progress, and returns its terminal event.
func (c requestFlags) wait(p *program, conf natsConfig, o order) (contract.Event, error) {
	ctx := p.ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout, errTimeout)
		defer cancel()
	}
	shown := newProgress(p.stderr)
	event, err := request(ctx, conf, o, shown.show)
	shown.end()
	return event, err
}

var errTimeout = errors.New("not ended within --timeout")

// order is a command to be published.
type order struct {
	action contract.Action
	id     string
	data   []byte              // JSON
	header map[string][]string // beside the id
	signer *signer             // nil: it is published as it is
}

// message is the order as it is published, and signed.
func (o order) message(prefix string) (contract.Message, error) {
	m := contract.Message{
		Subject: prefix + ".commands." + string(o.action),
		Header:  map[string][]string{contract.HeaderMsgID: {o.id}},
		Body:    o.data,
	}
	maps.Copy(m.Header, o.header)
	if o.signer == nil {
		return m, nil
	}
	return m, o.signer.add(m, trust.Signature)
}

// key names the order among all commands.
func (o order) key() string { return contract.Key(o.action, o.id) }

// publishOnly publishes the order and prints its id.
func (o order) publishOnly(p *program, c natsConfig, asJSON bool) error {
	nc, q, err := openRequester(p.ctx, c)
	if err != nil {
		return err
	}
	defer nc.Close()
	at, err := o.publish(p.ctx, q)
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(p.stdout, map[string]any{"id": o.id, "seq": at.seq, "stream": at.stream})
	}
	fmt.Fprintf(p.stderr, "published as message %d; to wait for its answer: %s\n", at.seq, c.watching(o.key(), at.seq))
	_, err = fmt.Fprintln(p.stdout, o.id)
	return err
}

// request publishes an order, passes each event to seen, and returns the terminal one, whatever its
// status. An error means that the order could not be published, or its end not be awaited.
func request(ctx context.Context, c natsConfig, o order, seen func(contract.Event)) (contract.Event, error) {
	nc, q, err := openRequester(ctx, c)
	if err != nil {
		return contract.Event{}, err
	}
	defer nc.Close()
	at, err := o.publish(ctx, q)
	if err != nil {
		return contract.Event{}, err
	}
	e, err := await(ctx, q, o.key(), at, seen)
	if err != nil && ctx.Err() != nil {
		return e, fmt.Errorf("%w; command %s goes on; to wait for it again: %s", context.Cause(ctx), o.id, c.watching(o.key(), at.seq))
	}
	return e, err
}

// watching is the command line that waits for the answer to a message.
func (c natsConfig) watching(key string, seq uint64) string {
	return strings.TrimSpace(fmt.Sprintf("consumer jobs watch %s --seq %d %s", key, seq, c.Flags))
}

// place is where an order was stored.
type place struct {
	stream string // when that stream was made: the sequence counts in no other
	seq    uint64
}

// publish publishes an order and gives its place.
func (o order) publish(ctx context.Context, q *natsq.Queue) (place, error) {
	before, err := q.CommandStream(ctx)
	if err != nil {
		return place{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	m, err := o.message(q.Prefix())
	if err != nil {
		return place{}, err
	}
	seq, err := q.PublishCommand(ctx, m)
	if errors.Is(err, natsq.ErrTooLarge) {
		return place{}, fmt.Errorf("%w: publish the command: %w; or name less in one command", errUsage, err)
	}
	if err != nil {
		return place{}, fmt.Errorf("%w: publish the command: %w", errUnreachable, err)
	}
	p := place{stream: before, seq: seq}
	return p, p.checkStream(ctx, q)
}

// checkStream fails when the place's stream was deleted and made again: what was published is lost
// with it.
func (p place) checkStream(ctx context.Context, q *natsq.Queue) error {
	now, err := q.CommandStream(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errUnreachable, err)
	case now != p.stream:
		return fmt.Errorf("%w: the stream of commands was deleted and made again, and the command may be lost with it: publish it again", errUnreachable)
	}
	return nil
}

// is reports whether an event is about the message at this place.
func (p place) is(e contract.Event) bool {
	return e.Data.Seq == p.seq && string(e.Data.Stream) == p.stream
}

// answerCheckInterval is how often await makes sure that its message can still be answered.
const answerCheckInterval = 5 * time.Second

// await waits for the answer to the message that was published at a place under a key: the event
// that has this place, under the key or, when the message was refused because its id is taken,
// under "seq-<sequence>". An event of another message with the same id answers nothing, unless this
// message is told to be a duplicate of it.
func await(ctx context.Context, q *natsq.Queue, key string, at place, seen func(contract.Event)) (contract.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own, err := q.WatchEvents(ctx, key)
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	bySeq, err := q.WatchEvents(ctx, contract.SeqID(at.seq))
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	var end *contract.Event // of the command with this id, whichever message brought it
	duplicate := false      // its end is this message's, too
	look := time.NewTicker(answerCheckInterval)
	defer look.Stop()
	for !duplicate || end == nil {
		select {
		case e, ok := <-own:
			switch {
			case !ok:
				return contract.Event{}, watchEnded(ctx)
			case !e.Data.Status.Terminal():
				seen(e)
			case at.is(e):
				return e, nil
			default:
				end = &e
			}
		case e, ok := <-bySeq:
			switch {
			case !ok:
				return contract.Event{}, watchEnded(ctx)
			case !at.is(e): // of an earlier stream
			case e.Data.Status == contract.StatusDuplicate:
				seen(e)
				duplicate = true
			case e.Data.Status.Terminal():
				return e, nil
			}
		case <-look.C:
			if duplicate {
				continue
			}
			if err := at.answerable(ctx, q, key); err != nil {
				return contract.Event{}, err
			}
		}
	}
	return *end, nil
}

// answerable fails when nothing can answer the message at this place any more: it has left the
// queue, and has no answer. It was lost with its stream, or removed by hand.
func (p place) answerable(ctx context.Context, q *natsq.Queue, key string) error {
	queued, err := q.Queued(ctx, p.stream, p.seq)
	if queued || err != nil {
		return err
	}
	for _, key := range []string{key, contract.SeqID(p.seq)} {
		switch e, err := q.Answer(ctx, key); {
		case err == nil && p.is(e):
			return nil
		case err != nil && !errors.Is(err, contract.ErrNoMessage):
			return err
		}
	}
	if err := p.checkStream(ctx, q); err != nil {
		return err
	}
	return fmt.Errorf("%w: message %d is not in the queue, and %s has no answer to it: it was removed by hand, its traces were forgotten, or it was never a message of %s (see consumer jobs show %s)",
		errRefused, p.seq, key, key, key)
}

// watchEnded is the reason why a watch of events ended.
func watchEnded(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: the connection to NATS was closed", errUnreachable)
}
