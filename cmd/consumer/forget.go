package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/natsq"
)

type forgetCmd struct {
	ID     string `arg:"" name:"id" help:"Id of the command; cancel.ID for the cancel with that id."`
	Force  bool   `name:"force" help:"Forget it even if it has not ended, or is a signed delete that still counts. Published again, it starts over; objects that it stored may be left behind."`
	Access access `embed:""`
}

// Help implements kong.HelpProvider.
func (forgetCmd) Help() string {
	return "Removes job, events, dead letter, ledger and queued units of one id from NATS. The bundle stays: while it exists, the same command published again does no work. " +
		"Exits 3 when the command has not ended, when it is a signed delete whose not_after is not over, since a copy of its message could then be carried out again, and when there is nothing to forget."
}

// Run removes the traces of one id.
func (c forgetCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	if err := c.hasTraces(p, q); err != nil {
		return err
	}
	if !c.Force {
		if err := c.isOver(p, q); err != nil {
			return err
		}
	}
	if err := q.Forget(p.ctx, c.ID); err != nil {
		return err
	}
	if c.Access.json() {
		return printJSON(p.stdout, map[string]any{"id": c.ID, "forgotten": true})
	}
	_, err = fmt.Fprintf(p.stdout, "%s is forgotten\n", c.ID)
	return err
}

// hasTraces fails when there is nothing to forget.
func (c forgetCmd) hasTraces(p *program, q *natsq.Queue) error {
	if err := checkKey(c.ID); err != nil {
		return err
	}
	kept, err := q.HasTraces(p.ctx, c.ID)
	if kept || err != nil {
		return err
	}
	unknown, err := nothingKnown(p.ctx, q, c.ID)
	if err == nil && unknown == nil {
		err = fmt.Errorf("%w: there is nothing to forget of %s yet: its message is in the queue", errRefused, c.ID)
	} else if err == nil {
		err = fmt.Errorf("%w: %w", errRefused, unknown)
	}
	return err
}

// isOver fails when the command is under way, waits in the queue, or could come again: a copy of a
// signed delete would be carried out once its job is forgotten.
func (c forgetCmd) isOver(p *program, q *natsq.Queue) error {
	job, _, err := q.Job(p.ctx, c.ID)
	switch now := time.Now(); { //nolint:forbidigo // the operator's clock
	case errors.Is(err, contract.ErrNoJob):
	case err != nil:
		return err
	case !job.State.Terminal():
		return fmt.Errorf("%w: %s has not ended: it is %s (--force forgets it anyway)", errRefused, c.ID, job.State)
	case job.Command.CopyCounts(now):
		return fmt.Errorf("%w: %s is a signed delete that counts until %s: once it is forgotten, a copy of its message could be published again and carried out; forget it after that time (--force forgets it anyway)",
			errRefused, c.ID, job.Command.SignedUntil.UTC().Format(time.RFC3339))
	}
	queued, err := inQueue(p.ctx, q, c.ID)
	if err == nil && queued {
		err = fmt.Errorf("%w: %s is still in the queue (--force forgets it anyway)", errRefused, c.ID)
	}
	return err
}
