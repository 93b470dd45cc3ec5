package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	Missing  string          `json:"missing,omitempty"`   // what of the message was not kept
}

func letterOf(d contract.DeadLetter) letter {
	return letter{ID: d.Key(), Given: d.GivenID, Action: d.Action, Code: d.Error.Code, Error: d.Error.Message, Attempts: d.Attempts, Time: d.Time.UTC()}
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
	t := newTable(p.stdout)
	fmt.Fprintln(t, "ID\tACTION\tCODE\tATTEMPTS\tTIME\tERROR")
	for _, l := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.Action, l.Code, l.Attempts, l.Time.Format(time.DateTime), oneLine(l.Error))
	}
	return t.Flush()
}

type deadShowCmd struct {
	ID      string `arg:"" name:"id" help:"Id of the dead command, as dead ls lists it."`
	Payload bool   `name:"payload" help:"Also show the message's body; it may hold personal data. Characters that are not printable are escaped."`
	Raw     bool   `name:"raw" help:"Write the message's body as it was published, byte for byte, and nothing else. Only to a file or a pipe."`
	Access  access `embed:""`
}

// Run shows one dead letter.
func (c deadShowCmd) Run(p *program) error {
	if c.Raw {
		if c.Payload || c.Access.json() {
			return fmt.Errorf("%w: --raw writes the body and nothing else: leave out --payload and -o", errUsage)
		}
		if err := notForTerminals(p.raw, "--raw"); err != nil {
			return err
		}
	}
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	d, err := findDead(p.ctx, q, c.ID)
	if err != nil {
		return err
	}
	if c.Raw {
		_, err := p.raw.Write(d.Message.Body)
		return err
	}
	l := letterOf(d)
	l.Missing = d.Missing
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
	t := newTable(p.stdout)
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
	row("missing", l.Missing)
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
	if err := checkKey(id); err != nil {
		return contract.DeadLetter{}, err
	}
	d, err := q.DeadLetter(ctx, id)
	if errors.Is(err, contract.ErrNoMessage) {
		return d, fmt.Errorf("%w: there is no dead letter %s", errRefused, id)
	}
	return d, err
}

type deadRmCmd struct {
	ID     []string `arg:"" name:"id" help:"Ids of the dead commands, as dead ls lists them."`
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
