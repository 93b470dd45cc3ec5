package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

// requestFlags say how a command is published and waited for.
type requestFlags struct {
	ID      string        `name:"id" placeholder:"ID" help:"Id of the command, which also names the bundle; default: a random one. The same id and data again returns the earlier result."`
	NoWait  bool          `name:"no-wait" help:"Publish, print the id, and exit."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Output  string        `name:"output" short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text, or json: the terminal event; default ${default}."`
	NATS    natsSettings  `embed:"" group:"NATS:"`
}

// order is the order that is to be published, but for its data.
func (c requestFlags) order(p *program, action contract.Action) (natsConfig, order, error) {
	bad := p.env.unknown()
	conf := c.NATS.config(&bad)
	o := order{action: action, id: c.ID}
	if o.id == "" {
		o.id = uuid.NewString()
	}
	return conf, o, bad.err()
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
}

func (o order) message(prefix string) contract.Message {
	m := contract.Message{
		Subject: prefix + ".commands." + string(o.action),
		Header:  map[string][]string{contract.HeaderMsgID: {o.id}},
		Body:    o.data,
	}
	maps.Copy(m.Header, o.header)
	return m
}

// publishOnly publishes the order and prints its id.
func (o order) publishOnly(p *program, c natsConfig, asJSON bool) error {
	nc, q, err := openRequester(p.ctx, c)
	if err != nil {
		return err
	}
	defer nc.Close()
	seq, err := q.PublishCommand(p.ctx, o.message(c.Subjects))
	if err != nil {
		return fmt.Errorf("%w: publish the command: %w", errUnreachable, err)
	}
	if asJSON {
		return printJSON(p.stdout, map[string]any{"id": o.id, "seq": seq})
	}
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
	e, err := await(ctx, q, o, at, seen)
	if err != nil && ctx.Err() != nil {
		return e, fmt.Errorf("%w; command %s goes on", context.Cause(ctx), o.id)
	}
	return e, err
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
	seq, err := q.PublishCommand(ctx, o.message(q.Prefix()))
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

// is reports whether an event is about the message at this place. A service of an older version
// does not say which stream it means.
func (p place) is(e contract.Event) bool {
	return e.Data.Seq == p.seq && string(e.Data.Stream) == p.stream || e.Data.Stream == "" && contract.IsSeqID(e.Data.CommandID)
}

// await waits for the end of the order that was published at a place.
//
// The answer is under the order's own id, or, when the message was refused because that id is
// taken, under "seq-<sequence>". Under the own id may be the answer to an earlier message: it is
// this one's too when this one was settled without being refused.
func await(ctx context.Context, q *natsq.Queue, o order, at place, seen func(contract.Event)) (contract.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own, err := q.WatchEvents(ctx, o.id)
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	refused, err := q.WatchEvents(ctx, contract.SeqID(at.seq))
	if err != nil {
		return contract.Event{}, fmt.Errorf("watch events: %w", err)
	}
	var answer *contract.Event
	look := time.NewTimer(time.Hour)
	look.Stop() // started by a terminal event of another message
	pause := 5 * time.Millisecond
	for {
		select {
		case e, ok := <-own:
			if !ok {
				return contract.Event{}, watchEnded(ctx)
			}
			if e.Data.Action != o.action {
				continue
			}
			if !e.Data.Status.Terminal() {
				seen(e)
				continue
			}
			if at.is(e) {
				return e, nil
			}
			answer = &e
			look.Reset(0)
		case e, ok := <-refused:
			if !ok {
				return contract.Event{}, watchEnded(ctx)
			}
			if e.Data.Status.Terminal() && at.is(e) {
				return e, nil
			}
		case <-look.C:
			_, err := q.CommandIn(ctx, at.stream, at.seq)
			switch {
			case err == nil: // not settled yet
				look.Reset(pause)
				pause = min(2*pause, time.Second)
			case !errors.Is(err, contract.ErrNoMessage):
				return contract.Event{}, fmt.Errorf("ask for the command: %w", err)
			default:
				e, err := q.Event(ctx, o.action, contract.SeqID(at.seq), contract.StatusRefused)
				if err == nil && at.is(e) {
					return e, nil
				}
				if err != nil && !errors.Is(err, contract.ErrNoMessage) {
					return contract.Event{}, fmt.Errorf("ask for the event: %w", err)
				}
				return *answer, at.checkStream(ctx, q)
			}
		}
	}
}

// watchEnded is the reason why a watch of events ended.
func watchEnded(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: the connection to NATS was closed", errUnreachable)
}
