package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

type deadCmd struct {
	Ls     deadLsCmd     `cmd:"" default:"withargs" help:"List the dead letters: refused and failed commands, the latest first."`
	Show   deadShowCmd   `cmd:"" help:"Show one dead letter."`
	Replay deadReplayCmd `cmd:"" help:"Publish a dead command's data again, under a new id."`
	Rm     deadRmCmd     `cmd:"" help:"Remove dead letters."`
}

// letter is a dead letter as it is printed.
type letter struct {
	ID       string          `json:"id"`
	Given    string          `json:"given_id,omitempty"` // the id its message gave, where that was taken
	Action   contract.Action `json:"action"`
	Code     string          `json:"code"`
	Error    string          `json:"error"`
	Attempts int             `json:"attempts"`
	Time     time.Time       `json:"time"`

	// Of one that is shown.
	ReplayOf string          `json:"replay_of,omitempty"` // the dead command it repeated itself
	Data     *contract.Scope `json:"data,omitempty"`      // values of image metadata are redacted
	Payload  string          `json:"payload,omitempty"`   // as published
}

func letterOf(d contract.DeadLetter) letter {
	return letter{ID: d.ID, Given: d.GivenID, Action: d.Action, Code: d.Error.Code, Error: d.Error.Message, Attempts: d.Attempts, Time: d.Time.UTC()}
}

type deadLsCmd struct {
	Access access `embed:""`
}

// Run lists the dead letters.
func (c deadLsCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	all := []letter{}
	for d, err := range q.DeadLetters(p.ctx) {
		if err != nil {
			return fmt.Errorf("%w: %w", errUnreachable, err)
		}
		all = append(all, letterOf(d))
	}
	slices.SortStableFunc(all, func(a, b letter) int { return b.Time.Compare(a.Time) })
	if c.Access.json() {
		return printJSON(p.stdout, all)
	}
	t := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tACTION\tCODE\tATTEMPTS\tTIME\tERROR")
	for _, l := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.Action, l.Code, l.Attempts, l.Time.Format(time.DateTime), oneLine(l.Error))
	}
	return t.Flush()
}

type deadShowCmd struct {
	ID      string `arg:"" name:"id" help:"Id of the dead command."`
	Payload bool   `name:"payload" help:"Also show the message's body as it was published; it may hold personal data."`
	Access  access `embed:""`
}

// Run shows one dead letter.
func (c deadShowCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	d, err := findDead(p.ctx, q, c.ID)
	if err != nil {
		return err
	}
	l := letterOf(d)
	if command, err := contract.DecodeCommand(q.Prefix(), d.Message); err == nil {
		scope := contract.NewPseudonymizer(nil).Redact(command.Data)
		l.Data, l.ReplayOf = &scope, command.ReplayOf
	}
	if c.Payload {
		l.Payload = string(d.Message.Body)
	}
	if c.Access.json() {
		return printJSON(p.stdout, l)
	}
	t := tabwriter.NewWriter(p.stdout, 0, 4, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, value)
		}
	}
	row("id", l.ID)
	row("given id", l.Given)
	row("action", string(l.Action))
	row("error", l.Code+": "+oneLine(l.Error))
	row("attempts", fmt.Sprint(l.Attempts))
	row("time", l.Time.Format(time.RFC3339))
	row("replay of", l.ReplayOf)
	if err := t.Flush(); err != nil {
		return err
	}
	switch {
	case c.Payload:
		fmt.Fprintf(p.stdout, "\n%s\n", l.Payload)
	case l.Data != nil:
		fmt.Fprintln(p.stdout)
		return printJSON(p.stdout, l.Data)
	}
	return nil
}

// findDead reads a dead letter; one that does not exist is an errRefused that says so.
func findDead(ctx context.Context, q *natsq.Queue, id string) (contract.DeadLetter, error) {
	d, err := q.DeadLetter(ctx, id)
	if errors.Is(err, contract.ErrNoMessage) {
		return d, fmt.Errorf("%w: there is no dead letter %s", errRefused, id)
	}
	return d, err
}

type deadReplayCmd struct {
	ID      string        `arg:"" name:"id" help:"Id of the dead command."`
	NewID   string        `name:"new-id" placeholder:"ID" help:"Id of the replay; default: the id that the dead command gave, followed by -r1, -r2, …."`
	NoWait  bool          `name:"no-wait" help:"Publish, print the new id, and exit."`
	Timeout time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Access  access        `embed:""`
}

// Help implements kong.HelpProvider.
func (deadReplayCmd) Help() string {
	return "The replay is a command of its own, with attempts of its own. Its job and events name the dead command as replay_of. The dead command keeps its terminal event, and its dead letter stays until you remove it."
}

// Run publishes a dead command again.
func (c deadReplayCmd) Run(p *program) error {
	bad := p.env.unknown()
	conf := c.Access.NATS.config(&bad)
	if err := bad.err(); err != nil {
		return err
	}
	o, err := c.order(p, conf)
	if err != nil {
		return err
	}
	if !c.NoWait {
		fmt.Fprintf(p.stderr, "%s is replayed as %s\n", c.ID, o.id)
	}
	return requestFlags{NoWait: c.NoWait, Timeout: c.Timeout, Output: c.Access.Output}.run(p, conf, o)
}

// order makes the replay of a dead letter.
func (c deadReplayCmd) order(p *program, conf natsConfig) (order, error) {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return order{}, err
	}
	defer closeAll()
	d, err := findDead(p.ctx, q, c.ID)
	if err != nil {
		return order{}, err
	}
	if d.Message.Body == nil {
		return order{}, fmt.Errorf("%w: the dead letter %s has no payload any more: it was too large to be kept with its error", errRefused, c.ID)
	}
	command, err := contract.DecodeCommand(q.Prefix(), d.Message)
	var refusal *contract.Refusal
	if errors.As(err, &refusal) {
		return order{}, fmt.Errorf("%w: %s was never a command: %s; correct it and publish it again", errRefused, c.ID, refusal.Message)
	}
	if err != nil {
		return order{}, err
	}
	o := order{action: command.Action, id: c.NewID, data: command.Canonical(), header: map[string][]string{contract.HeaderReplayOf: {c.ID}}}
	if command.Traceparent != "" {
		o.header["traceparent"] = []string{command.Traceparent}
	}
	for n := 1; o.id == ""; n++ {
		id := fmt.Sprintf("%s-r%d", command.ID, n)
		job, _, err := q.Job(p.ctx, id)
		switch {
		case errors.Is(err, contract.ErrNoJob) && job.Cancel == nil:
			o.id = id
		case err != nil && !errors.Is(err, contract.ErrNoJob):
			return order{}, fmt.Errorf("look for a free id: %w", err)
		}
	}
	if command.Source != "" { // a CloudEvent stays one, from the same source
		o.header["ce-specversion"], o.header["ce-id"], o.header["ce-source"] = []string{"1.0"}, []string{o.id}, []string{command.Source}
		o.header["ce-type"] = []string{fmt.Sprintf("cv.%s.requested", command.Action)}
	}
	return o, validate(conf.Subjects, o)
}

type deadRmCmd struct {
	ID     []string `arg:"" name:"id" help:"Ids of the dead commands."`
	Access access   `embed:""`
}

// Run removes dead letters.
func (c deadRmCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	for _, id := range c.ID {
		if _, err := findDead(p.ctx, q, id); err != nil {
			return err
		}
		if err := q.RemoveDead(p.ctx, id); err != nil {
			return err
		}
		if c.Access.json() {
			err = printJSON(p.stdout, map[string]any{"id": id, "removed": true})
		} else {
			_, err = fmt.Fprintf(p.stdout, "%s removed\n", id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
