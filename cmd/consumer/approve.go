package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
)

type approveCmd struct {
	File     string        `arg:"" name:"file" help:"The signed delete, as consumer delete --sign SEED --save FILE writes it."`
	Seed     string        `name:"seed" required:"" placeholder:"FILE" help:"File with the approver's NKey seed."`
	Plan     string        `name:"plan" placeholder:"ID|WHERE" help:"The plan that the delete names: the id of its dry run, or the folder, .zip or s3://bucket/prefix/ of its bundle; default: the id in the file."`
	Audience string        `name:"audience" var:"CONSUMER_AUDIENCE" placeholder:"TEXT" help:"The service's CONSUMER_AUDIENCE; default: that in the file."`
	Save     string        `name:"save" placeholder:"FILE" help:"Write the approved command to a new file instead of publishing it; consumer delete --command FILE publishes it."`
	Yes      bool          `name:"yes" short:"y" help:"Do not ask. Required without a terminal to ask on."`
	NoWait   bool          `name:"no-wait" help:"Publish, print the id, and exit."`
	Timeout  time.Duration `name:"timeout" placeholder:"DURATION" help:"Stop waiting after this time; the command goes on."`
	Output   string        `name:"output" short:"o" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text, or json: the terminal event; default ${default}."`
	NATS     natsSettings  `embed:"" group:"NATS:"`
	S3       storeAccess   `embed:"" group:"Storage, for the plan's bundle:"`
}

// Help implements kong.HelpProvider.
func (approveCmd) Help() string {
	return "Shows what the delete removes and what stays: from the bundle of its plan, which is verified and must have the digest that the delete names. Asks, then approves and publishes " +
		"the delete, and waits for its end. The approver must be another person than the signer. Exits 4 when the plan's bundle does not verify, 3 when it is another plan or you did not approve."
}

// Run shows the plan of a signed delete, asks, approves and publishes it.
func (c approveCmd) Run(p *program) error {
	bad := p.env.unknown()
	conf := p.nats(c.NATS, &bad)
	if err := bad.err(); err != nil {
		return err
	}
	f, err := loadPrepared(c.File)
	if err != nil {
		return err
	}
	command, err := c.check(f, conf)
	if err != nil {
		return err
	}
	approver, err := newSigner(p, "--seed", c.Seed, f.Audience)
	if err != nil {
		return err
	}
	if trust.SameKey(approver.key, command.Signer) {
		return fmt.Errorf("%w: --seed: %s signed the command, and the approver must be another person", errUsage, approver.key)
	}
	says, err := c.plan(p, conf, f, command)
	if err != nil {
		return err
	}
	showApproval(plain{p.stderr}, f, command, says)
	if err := c.confirm(p); err != nil {
		return err
	}
	m := f.message()
	if err := approver.add(m, trust.Approval); err != nil {
		return err
	}
	f.Headers[trust.Approval.Header] = m.Header[trust.Approval.Header][0]
	if c.Save != "" {
		return f.save(c.Save)
	}
	return requestFlags{NoWait: c.NoWait, Timeout: c.Timeout, Output: c.Output}.run(p, conf, f.order(command))
}

// check reads the delete in the file, and says why it is none that can be approved.
func (c approveCmd) check(f prepared, conf natsConfig) (contract.Command, error) {
	command, err := f.delete(c.File, conf.Subjects)
	switch now := time.Now(); { //nolint:forbidigo // the approver's clock
	case err != nil:
		return command, err
	case c.Audience != "" && c.Audience != f.Audience:
		return command, fmt.Errorf("%w: %s is signed for another service than --audience ($CONSUMER_AUDIENCE) names", errUsage, c.File)
	case command.Data.DryRun:
		return command, fmt.Errorf("%w: %s is a dry run, which needs no approval", errUsage, c.File)
	case command.Data.ApprovedPlan == "":
		return command, fmt.Errorf("%w: %s names no plan (approved_plan): sign the delete again with --approved-plan", errUsage, c.File)
	case f.Plan != "" && !contract.ValidID(f.Plan) && c.Plan == "": // a place of the signer's choice would show what the signer likes
		return command, fmt.Errorf("%w: --plan: %s names a place for its plan, not the id of a dry run: name the id, or the bundle, yourself", errUsage, c.File)
	case command.Data.NotAfter == nil || !now.Before(*command.Data.NotAfter):
		return command, fmt.Errorf("%w: %s has no not_after, or one that is over: sign the delete again", errUsage, c.File)
	}
	return command, nil
}

// plan reads the bundle of the plan that the delete names, which must verify.
func (c approveCmd) plan(p *program, conf natsConfig, f prepared, command contract.Command) (says bagfile.Deletion, err error) {
	where := c.Plan
	if where == "" {
		where = f.Plan
	}
	receipt := ""
	switch {
	case where == "":
		return says, fmt.Errorf("%w: --plan: %s does not say which dry run made its plan: name its id, or its bundle", errUsage, c.File)
	case contract.ValidID(where):
		if where, receipt, err = plannedAt(p.ctx, conf, where); err != nil {
			return says, err
		}
	}
	if says, err = readPlan(p, c.S3, where, receipt); err != nil {
		return says, err
	}
	if says.PlanSHA256 != command.Data.ApprovedPlan {
		return says, fmt.Errorf("%w: the delete names the plan %s, and %s has the plan %s", errRefused, command.Data.ApprovedPlan, where, says.PlanSHA256)
	}
	return says, nil
}

// plannedAt is where the bundle of a dry run is, and the digest of its receipt, as its event says.
func plannedAt(ctx context.Context, conf natsConfig, id string) (where, receipt string, err error) {
	nc, q, err := openRequester(ctx, conf)
	if err != nil {
		return "", "", err
	}
	defer nc.Close()
	e, err := q.Answer(ctx, id)
	switch {
	case errors.Is(err, contract.ErrNoMessage):
		return "", "", fmt.Errorf("%w: --plan: there is no answer to %s in NATS: name the folder or s3:// of its bundle", errRefused, id)
	case err != nil:
		return "", "", err //nolint:wrapcheck // it says what it reads
	case e.Data.Outcome != contract.OutcomePlanned || e.Data.Bundle == nil:
		return "", "", fmt.Errorf("%w: --plan: %s made no plan: %s", errRefused, id, describeEvent(e))
	}
	return e.Data.Bundle.URI, e.Data.Bundle.ReceiptSHA256, nil
}

// showApproval shows what is to be approved.
func showApproval(w io.Writer, f prepared, c contract.Command, says bagfile.Deletion) {
	t := newTable(w)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, "  "+name+"\t"+format+"\n", args...) }
	fmt.Fprintln(t, "to be approved:")
	row("command", "%s, a delete for the service %q", c.ID, f.Audience)
	row("signed by", "%s", c.Signer)
	if c.Data.Reference != "" {
		row("reference", "%q", c.Data.Reference)
	}
	row("resource", "%s, at %s", c.Data.Resource, says.Endpoint)
	row("begins until", "%s", c.Data.NotAfter.UTC().Format(time.RFC3339))
	if c.Data.Unpublish {
		row("with it", "published iterations are unpublished")
	}
	if c.Data.ExportFirst {
		row("before it", "the selection is exported, and the bundle checked")
	}
	for _, kept := range []struct {
		bundle string
		until  *time.Time
	}{{"the bundle of the delete", c.Data.RetainUntil}, {"the bundle of the export", c.Data.ExportRetainUntil}} {
		if kept.until != nil {
			row("afterwards", "%s cannot be removed until %s", kept.bundle, kept.until.UTC().Format(time.RFC3339))
		}
	}
	row("plan", "sha256 %s, made %s", says.PlanSHA256, says.FinishedAt.UTC().Format(time.RFC3339))
	fmt.Fprintln(t, "would be deleted:")
	printPlanned(t, says.Projects)
	printThings(t, contract.Counts(says.Counts))
	for _, r := range says.Residuals {
		row("would remain", "%s: %s", r.Category, r.Reason)
	}
	t.Flush()
}

// confirm asks, unless --yes is given.
func (c approveCmd) confirm(p *program) error {
	if c.Yes {
		return nil
	}
	if !isTerminal(p.stdin) {
		return fmt.Errorf("%w: there is no terminal to ask on: use --yes if you have seen the plan", errUsage)
	}
	fmt.Fprint(p.stderr, "\nThis cannot be undone. Type yes to approve it: ")
	return confirmed(p)
}
