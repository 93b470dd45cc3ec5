package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
)

type planCmd struct {
	Selection selection    `embed:""`
	Unpublish bool         `name:"unpublish" help:"Plan for a delete that may unpublish published iterations."`
	Request   requestFlags `embed:""`
	S3        storeAccess  `embed:"" group:"Storage, to show the names of projects:"`
}

// Help implements kong.HelpProvider.
func (planCmd) Help() string {
	return "Changes nothing in Custom Vision, and stores the plan as a bundle. To approve the plan, use consumer delete --approved-plan DIGEST: it deletes exactly what the plan names, or nothing."
}

// Run publishes a dry run and prints its plan.
func (c planCmd) Run(p *program) error {
	conf, o, err := c.Request.order(p, contract.ActionDelete)
	if err != nil {
		return err
	}
	if c.Selection.Data != "" {
		if o.data, err = readData(p, c.Selection.Data); err == nil {
			o.data, err = dryRun(o.data)
		}
	} else {
		o.data, err = c.Selection.data(p, conf.Subjects, o, commandData{DryRun: true, Unpublish: c.Unpublish})
	}
	if err == nil {
		o, err = o.bounded()
	}
	if err != nil {
		return err
	}
	if c.Request.NoWait || c.Request.Output == "json" {
		return c.Request.run(p, conf, o)
	}
	event, err := c.Request.wait(p, conf, o)
	if err != nil {
		return err
	}
	if err := completed(event); err != nil {
		return err
	}
	c.S3.plan(p, event, o.data).print(p.stdout)
	again := append(withoutFlags(p.args[1:], "--id", "--timeout", "--output", "-o"), "--approved-plan", event.Data.Plan.SHA256)
	fmt.Fprintf(p.stdout, "\nto delete this:\n  %s\n", shellLine(append([]string{"consumer", "delete"}, again...)...))
	return nil
}

type deleteCmd struct {
	Selection     selection    `embed:""`
	Unpublish     bool         `name:"unpublish" help:"Allow the delete to unpublish published iterations; without it, a published iteration refuses the delete."`
	ExportFirst   bool         `name:"export-first" help:"Export the same selection, check the stored bundle, and only then delete."`
	ExportRetain  string       `name:"export-retain-until" placeholder:"TIME" help:"With --export-first: lock the bundle of the export until this time (RFC 3339)."`
	ApprovedPlan  string       `name:"approved-plan" placeholder:"DIGEST" help:"Delete only what the plan with this digest names, or nothing."`
	ExpectProject string       `name:"expect-project-name" placeholder:"NAME" help:"Refuse the delete if a project does not have this name."`
	ExpectImages  *int64       `name:"expect-max-images" placeholder:"N" help:"Refuse the delete if the selection has more images."`
	Yes           bool         `name:"yes" short:"y" help:"Do not ask. Required without a terminal to ask on."`
	Save          string       `name:"save" placeholder:"FILE" help:"With --sign: write the signed command to a new file for its approver (consumer approve FILE) instead of publishing it."`
	Command       string       `name:"command" placeholder:"FILE" help:"Publish the signed, and perhaps approved, command in this file as it is; replaces the flags that make a command." xor:"data"`
	Request       requestFlags `embed:""`
	S3            storeAccess  `embed:"" group:"Storage, to show the names of projects:"`
}

// Help implements kong.HelpProvider.
func (deleteCmd) Help() string {
	return "Without --yes it first makes a plan, shows it, and asks. Then it deletes exactly what it showed, or nothing. Exits 0 when the delete completed, 3 when it failed or was " +
		"refused, 5 when NATS is not reachable. Interrupting it does not stop a delete that is published."
}

// Run plans, asks, publishes the command and waits for its end.
func (c deleteCmd) Run(p *program) error {
	conf, o, err := c.Request.order(p, contract.ActionDelete)
	switch {
	case err != nil:
		return err
	case c.Command != "":
		return c.publishPrepared(p, conf)
	case c.Save != "" && o.signer == nil:
		return fmt.Errorf("%w: --save is for signed commands: use it with --sign", errUsage)
	}
	d := commandData{ApprovedPlan: c.ApprovedPlan, ExportFirst: c.ExportFirst, Unpublish: c.Unpublish}
	if c.ExpectProject != "" || c.ExpectImages != nil {
		d.Expect = &contract.Expect{ProjectName: c.ExpectProject, MaxImages: c.ExpectImages}
	}
	if d.ExportRetain, err = timeFlag("--export-retain-until", c.ExportRetain); err != nil {
		return err
	}
	if o.data, err = c.Selection.data(p, conf.Subjects, o, d); err == nil {
		o, err = o.bounded()
	}
	if err != nil {
		return err
	}
	plan := ""
	if !c.Yes {
		if !isTerminal(p.stdin) || c.Selection.Data == "-" {
			return fmt.Errorf("%w: there is no terminal to ask on: look at consumer plan, then use --yes (with --approved-plan, so that only what you saw is deleted)", errUsage)
		}
		if o.data, plan, err = c.approve(p, conf, o); err != nil {
			return err
		}
	}
	if c.Save == "" {
		return c.Request.run(p, conf, o)
	}
	return o.save(p, conf, c.Save, plan)
}

// publishPrepared publishes the command of a file.
func (c deleteCmd) publishPrepared(p *program, conf natsConfig) error {
	if !c.Selection.noFlags() || c.ApprovedPlan+c.ExpectProject+c.ExportRetain+c.Request.ID+c.Request.Sign.Seed+c.Save != "" || c.ExportFirst || c.Unpublish || c.ExpectImages != nil {
		return fmt.Errorf("%w: --command is the whole command: leave the other flags of the command out", errUsage)
	}
	f, err := loadPrepared(c.Command)
	if err != nil {
		return err
	}
	command, err := f.delete(c.Command, conf.Subjects)
	if err != nil {
		return err
	}
	return c.Request.run(p, conf, f.order(command))
}

var errNotApproved = fmt.Errorf("%w: not approved, so nothing was deleted", errCommandFailed)

// confirmed reads an answer, which must be yes. A signal is another one.
func confirmed(p *program) error {
	var answer string
	read := make(chan error, 1)
	go func() {
		var err error
		answer, err = bufio.NewReader(p.stdin).ReadString('\n')
		read <- err
	}()
	select {
	case <-p.ctx.Done():
		fmt.Fprintln(p.stderr) // the question ends
		return errNotApproved
	case err := <-read:
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the answer: %w", err)
		}
	}
	if strings.TrimSpace(answer) != "yes" {
		return errNotApproved
	}
	return nil
}

// approve shows the plan and asks for approval. It gives the data with the plan's digest, so that
// the delete removes exactly what was shown, and the id of the dry run.
func (c deleteCmd) approve(p *program, conf natsConfig, o order) (data []byte, id string, err error) {
	plan := order{action: contract.ActionDelete, id: uuid.NewString(), signer: o.signer}
	if plan.data, err = dryRun(o.data); err == nil {
		plan.data, err = withFields(plan.data, map[string]any{"retain_until": nil}) // it is of the delete's own bundle
	}
	if err != nil {
		return nil, "", err
	}
	event, err := c.Request.wait(p, conf, plan)
	if err != nil {
		return nil, "", err
	}
	if err := completed(event); err != nil {
		return nil, "", err
	}
	c.S3.plan(p, event, plan.data).print(plain{p.stderr})
	question := "This cannot be undone. Type yes to delete it: "
	if c.Save != "" {
		question = "Type yes to sign it for approval: "
	}
	fmt.Fprint(p.stderr, "\n"+question)
	if err := confirmed(p); err != nil {
		return nil, "", err
	}
	if c.ApprovedPlan != "" {
		return o.data, plan.id, nil
	}
	data, err = withFields(o.data, map[string]any{"approved_plan": event.Data.Plan.SHA256})
	return data, plan.id, err
}

// dryRun turns the data of a delete into that of a dry run.
func dryRun(data []byte) ([]byte, error) {
	return withFields(data, map[string]any{"dry_run": true, "approved_plan": nil, "export_first": nil, "export_retain_until": nil})
}

// decodeObject reads a command's data, as far as it goes into a value.
func decodeObject(data []byte, into any) error {
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: --data is not a JSON object of a command", errUsage) // not quoted: values are personal data
	}
	return nil
}

// withFields is a command's data with some fields set, and those whose value is nil left out.
func withFields(data []byte, fields map[string]any) ([]byte, error) {
	var d map[string]json.RawMessage
	if err := decodeObject(data, &d); err != nil {
		return nil, err
	}
	for name, value := range fields {
		if value == nil {
			delete(d, name)
			continue
		}
		b, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode the command: %w", err)
		}
		d[name] = b
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode the command: %w", err)
	}
	return b, nil
}
