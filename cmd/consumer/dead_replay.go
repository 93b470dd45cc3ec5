package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
)

type deadReplayCmd struct {
	ID      string        `arg:"" name:"id" help:"Id of the dead command, as dead ls lists it."`
	NewID   string        `name:"new-id" placeholder:"ID" help:"Id of the replay; default: the id that the dead command gave, followed by -r1, -r2, …: the first that neither a job, nor a message in the queue, nor a bundle has."`
	NoWait  bool          `name:"no-wait" help:"Publish, print the new id, and exit."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Save    string        `name:"save" placeholder:"FILE" help:"With --sign: write the signed replay of a delete to a new file for its approver (consumer approve FILE) instead of publishing it."`
	Sign    signFlags     `embed:"" group:"Signed commands:"`
	Access  access        `embed:""`

	S3     storeAccess `embed:"" group:"Storage, to find earlier replays whose traces were forgotten:"`
	Bucket string      `name:"bucket" var:"CONSUMER_BUCKET" placeholder:"NAME" group:"Storage, to find earlier replays whose traces were forgotten:" help:"Bucket for bundles; without it, only NATS is asked which ids are free."`
	Prefix string      `name:"prefix" var:"CONSUMER_PREFIX" placeholder:"TEXT" group:"Storage, to find earlier replays whose traces were forgotten:" help:"What all keys begin with, literally."`
}

// Help implements kong.HelpProvider.
func (deadReplayCmd) Help() string {
	return "The replay is a command of its own, with attempts of its own. Its job and events name the dead command as replay_of. The dead command keeps its terminal event, and its dead letter stays until you remove it. " +
		"With --sign, what is signed is shown, without values of metadata: any publisher may have written it."
}

// Run publishes a dead command again.
func (c deadReplayCmd) Run(p *program) error {
	bad := p.env.unknown()
	conf := p.nats(c.Access.NATS, &bad)
	if err := bad.err(); err != nil {
		return err
	}
	signer, err := c.Sign.signer(p)
	if err != nil {
		return err
	}
	o, err := c.order(p, conf, signer)
	if err != nil {
		return err
	}
	if c.Save != "" {
		if signer == nil || o.action != contract.ActionDelete {
			return fmt.Errorf("%w: --save is for deletes that are signed with --sign", errUsage)
		}
		return o.save(p, conf, c.Save, "")
	}
	if !c.NoWait {
		fmt.Fprintf(p.stderr, "replaying %s as %s\n", c.ID, o.id)
	}
	return requestFlags{NoWait: c.NoWait, Timeout: c.Timeout, Output: c.Access.Output}.run(p, conf, o)
}

// order makes the replay of a dead letter.
func (c deadReplayCmd) order(p *program, conf natsConfig, s *signer) (order, error) {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return order{}, err
	}
	defer closeAll()
	d, err := findDead(p.ctx, q, c.ID)
	if err != nil {
		return order{}, err
	}
	if d.Missing != "" {
		return order{}, fmt.Errorf("%w: the dead letter %s is not whole: %s; publish the command again from where it came, under a new id", errRefused, c.ID, d.Missing)
	}
	command, err := contract.DecodeCommand(q.Prefix(), d.Message)
	var refusal *contract.Refusal
	if errors.As(err, &refusal) {
		return order{}, fmt.Errorf("%w: %s was never a command: %s; correct it and publish it again", errRefused, c.ID, refusal.Message)
	}
	if err != nil {
		return order{}, err
	}
	if s == nil && wasSigned(d) {
		return order{}, fmt.Errorf("%w: the service demands signatures, and a signature is for one id: %s", errUsage, unsignedHint(&contract.Error{Code: contract.CodeUnsigned}))
	}
	if limit := command.Data.NotAfter; s != nil && limit != nil && limit.Before(time.Now()) { //nolint:forbidigo // the requester's clock
		command.Data.NotAfter = nil // the replay is signed for a time of its own
	}
	o := order{action: command.Action, id: c.NewID, data: command.Canonical(), header: map[string][]string{contract.HeaderReplayOf: {d.ID}}, signer: s}
	if o, err = o.bounded(); err != nil {
		return order{}, err
	}
	if command.Traceparent != "" {
		o.header["traceparent"] = []string{command.Traceparent}
	}
	if o.id == "" {
		if o.id, err = c.freeID(p, q, command); err != nil {
			return order{}, err
		}
	}
	if command.Source != "" { // a CloudEvent stays one, from the same source
		o.header["ce-specversion"], o.header["ce-id"], o.header["ce-source"] = []string{"1.0"}, []string{o.id}, []string{command.Source}
		o.header["ce-type"] = []string{fmt.Sprintf("cv.%s.requested", command.Action)}
	}
	if s != nil { // any publisher may have written what is in a dead letter
		fmt.Fprintf(plain{p.stderr}, "signing as %s, under the id %s, a %s that another published: %.2000s\n", s.key, o.id, command.Action, command.Data.String())
	}
	if !contract.ValidID(o.id) {
		return order{}, fmt.Errorf("%w: --new-id: %q is not an id: use 1 to 120 of A-Z a-z 0-9 _ -, not beginning with seq-", errUsage, o.id)
	}
	return o, validate(conf.Subjects, o)
}

// wasSigned reports whether a dead command was signed, or died because it was not.
func wasSigned(d contract.DeadLetter) bool {
	value, err := contract.OneHeader(d.Message, contract.HeaderSignature)
	return value != "" || err != nil || d.Error.Code == contract.CodeUnsigned
}

// freeID is the first id <given id>-r<n> that nothing has: no trace in NATS, no message in the
// queue, and, as far as the bucket is known, no bundle.
func (c deadReplayCmd) freeID(p *program, q *natsq.Queue, command contract.Command) (string, error) {
	queued, err := queuedKeys(p.ctx, q)
	if err != nil {
		return "", err
	}
	bundled, err := c.bundles(p)
	if err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		id := fmt.Sprintf("%s-r%d", command.ID, n)
		key := contract.Key(command.Action, id)
		if !contract.ValidID(id) {
			return "", fmt.Errorf("%w: %s is too long for an id: give one with --new-id", errUsage, id)
		}
		taken, err := q.HasTraces(p.ctx, key)
		if err == nil && !taken && !queued[key] && command.Action != contract.ActionCancel {
			taken, err = bundled(id)
		}
		switch {
		case err != nil:
			return "", fmt.Errorf("look for a free id: %w", err)
		case !taken && !queued[key]:
			return id, nil
		}
	}
}

// bundles returns a function that reports whether an id has a bundle; none has without a bucket.
func (c deadReplayCmd) bundles(p *program) (func(id string) (bool, error), error) {
	if c.Bucket == "" {
		return func(string) (bool, error) { return false, nil }, nil
	}
	api, access, err := c.S3.client(p.ctx, nil)
	if err != nil {
		return nil, err
	}
	store := sink.NewStore(api, sink.StoreOptions{Bucket: c.Bucket, Log: zerolog.Nop()})
	return func(id string) (bool, error) {
		layout, err := sink.NewLayout(c.Prefix, id)
		if err != nil {
			return false, fmt.Errorf("%w: --prefix: %w", errUsage, err)
		}
		for _, kind := range []sink.BagKind{sink.ExportBag, sink.DeleteBag} {
			_, err := store.Head(p.ctx, layout.Key(kind, sink.RequestFile))
			if !errors.Is(err, sink.ErrNotFound) {
				return err == nil, access.unreachable(err)
			}
		}
		return false, nil
	}, nil
}
