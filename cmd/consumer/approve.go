package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/cvconsumer/cvconsumer/pkg/handler/contract"
	"github.com/cvconsumer/cvconsumer/pkg/handler/contract/trust"
	"github.com/cvconsumer/cvconsumer/pkg/sink"
	"github.com/cvconsumer/cvconsumer/pkg/sink/bagfile"
	"github.com/cvconsumer/cvconsumer/pkg/sink/verify"
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
	conf := c.NATS.config(&bad)
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
	at, err := c.S3.open(p.ctx, p.env, where)
	defer at.close()
	switch {
	case err != nil:
		return says, err
	case at.damaged != nil:
		return says, fmt.Errorf("%w: the plan's bundle %s: %w", errVerifyFailed, where, at.damaged)
	}
	bag := &summarized{bag: at.src}
	report, err := verify.Bag(p.ctx, bag, verify.Options{MaxProblems: 3})
	switch {
	case err != nil && report.Files == 0:
		return says, fmt.Errorf("read the plan's bundle %s: %w", where, at.access.unreachable(err))
	case err != nil:
		return says, fmt.Errorf("%w: the plan's bundle %s: %w", errInconclusive, where, err)
	case report.Result != verify.OK:
		return says, fmt.Errorf("%w: the plan's bundle %s: %s", errVerifyFailed, where, report.Findings(3))
	case receipt != "" && receipt != report.ReceiptSHA256:
		return says, fmt.Errorf("%w: the plan's bundle %s has another receipt than its event says: it was replaced", errVerifyFailed, where)
	}
	if err := json.Unmarshal(bag.summary, &says); err != nil || !says.DryRun {
		return says, fmt.Errorf("%w: %s is not the bundle of a plan", errUsage, where)
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

// summarized is a bag that remembers its summary as it was verified.
type summarized struct {
	bag     verify.Source
	mu      sync.Mutex
	summary []byte
}

var _ verify.Source = (*summarized)(nil)

// List implements verify.Source.
func (s *summarized) List(ctx context.Context) iter.Seq2[verify.File, error] {
	return s.bag.List(ctx)
}

// maxSummary bounds data/deletion.json, in bytes.
const maxSummary = 16 << 20

// Open implements verify.Source.
func (s *summarized) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	in, err := s.bag.Open(ctx, name)
	if err != nil || name != string(sink.DeletionFile) {
		return in, err //nolint:wrapcheck // it is the source's
	}
	b, err := io.ReadAll(io.LimitReader(in, maxSummary))
	if err = errors.Join(err, in.Close()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.summary = b
	return io.NopCloser(bytes.NewReader(b)), nil
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
	row("plan", "sha256 %s, made %s", says.PlanSHA256, says.FinishedAt.UTC().Format(time.RFC3339))
	fmt.Fprintln(t, "would be deleted:")
	for _, one := range says.Projects {
		extent := "parts of the project"
		if one.Project {
			extent = "the whole project"
		}
		row("project", "%s %q: %s (%d iterations, %d tags, %d images, %d predictions)", one.ID, one.Name, extent,
			one.Counts.Iterations, one.Counts.Tags, one.Counts.Images, one.Counts.Predictions)
	}
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
	return confirmed(p.stdin)
}
