package main

import "github.com/cvconsumer/cvconsumer/pkg/handler/contract"

type exportCmd struct {
	Selection selection    `embed:""`
	Request   requestFlags `embed:""`
}

// Help implements kong.HelpProvider.
func (exportCmd) Help() string {
	return "Exits 0 when the export completed, 3 when it failed or was refused, 5 when NATS is not reachable. Interrupting it does not stop the export."
}

// Run publishes the command and waits for its end.
func (c exportCmd) Run(p *program) error {
	conf, o, err := c.Request.order(p, contract.ActionExport)
	if err != nil {
		return err
	}
	if o.data, err = c.Selection.data(p, conf.Subjects, o, commandData{}); err != nil {
		return err
	}
	return c.Request.run(p, conf, o)
}
