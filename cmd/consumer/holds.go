package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

type holdsCmd struct {
	Ls  holdsLsCmd  `cmd:"" default:"withargs" help:"List the projects under a legal hold."`
	Add holdsAddCmd `cmd:"" help:"Put projects under a legal hold: deletes that touch them are refused."`
	Rm  holdsRmCmd  `cmd:"" help:"Lift legal holds."`
}

type holdsLsCmd struct {
	Access access `embed:""`
}

// Run lists the holds.
func (c holdsLsCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	holds, err := q.Holds(p.ctx)
	if err != nil {
		return err
	}
	if c.Access.json() {
		return printJSON(p.stdout, holds)
	}
	t := newTable(p.stdout)
	fmt.Fprintln(t, "PROJECT\tSINCE\tNOTE")
	for _, h := range holds {
		fmt.Fprintf(t, "%s\t%s\t%s\n", h.Project, h.Since.Format(time.DateTime), oneLine(h.Note))
	}
	return t.Flush()
}

type holdsAddCmd struct {
	Project []uuid.UUID `arg:"" name:"id" help:"Ids of the projects."`
	Note    string      `name:"note" placeholder:"TEXT" help:"Why the projects are held; no personal data."`
	Access  access      `embed:""`
}

// Run puts projects under a hold.
func (c holdsAddCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	for _, project := range c.Project {
		if err := q.PutHold(p.ctx, project.String(), []byte(c.Note)); err != nil {
			return err
		}
		if err := c.Access.say(p, project, true); err != nil {
			return err
		}
	}
	return nil
}

type holdsRmCmd struct {
	Project []uuid.UUID `arg:"" name:"id" help:"Ids of the projects."`
	Access  access      `embed:""`
}

// Run lifts holds.
func (c holdsRmCmd) Run(p *program) error {
	q, closeAll, err := c.Access.open(p)
	if err != nil {
		return err
	}
	defer closeAll()
	for _, project := range c.Project {
		held, err := q.Held(p.ctx, project.String())
		if err != nil {
			return err
		}
		if !held {
			return fmt.Errorf("%w: there is no hold on %s", errRefused, project)
		}
		if err := q.RemoveHold(p.ctx, project.String()); err != nil {
			return err
		}
		if err := c.Access.say(p, project, false); err != nil {
			return err
		}
	}
	return nil
}

// say prints whether a project is held now.
func (a access) say(p *program, project uuid.UUID, held bool) error {
	if a.json() {
		return printJSON(p.stdout, map[string]any{"project": project, "held": held})
	}
	text := map[bool]string{true: "held", false: "not held any more"}[held]
	_, err := fmt.Fprintf(p.stdout, "%s is %s\n", project, text)
	return err
}
